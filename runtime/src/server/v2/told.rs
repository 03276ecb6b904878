//! How notifications, messages, secrets and claims look, for the OpenAPI document: what their rooms read and write as JSON.

use utoipa::ToSchema;

/// What is made of, and shown as, a notification. What the node writes itself is not taken.
#[derive(ToSchema)]
#[schema(as = Notification)]
#[allow(dead_code)]
pub struct NotificationShape {
    #[schema(read_only)]
    id: String,
    #[schema(read_only)]
    owner: Option<String>,
    description: Option<String>,
    condition: Condition,
    action: Action,
    /// Seconds between two messages.
    throttling: Option<u64>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<String>,
    /// `active`, `inactive`, `expired`.
    status: Option<String>,
    #[schema(read_only)]
    times_sent: u64,
    #[schema(read_only)]
    last_notif: Option<String>,
    #[schema(read_only)]
    last_success: Option<String>,
    #[schema(read_only)]
    last_success_code: Option<String>,
    #[schema(read_only)]
    last_failure: Option<String>,
    #[schema(read_only)]
    last_failure_reason: Option<String>,
}

#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Condition {
    devices: Vec<String>,
    sensors: Vec<String>,
    /// As in `TC1>40`.
    expression: String,
}

#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Action {
    /// `SocialAction` or `ActuationAction`.
    r#type: String,
    /// `{"usernames", "channels", "message"}`, or `{"device_id", "actuator_id", "actuator_value"}`.
    #[schema(value_type = Object)]
    value: String,
}

/// A message to a user, and what became of it.
#[derive(ToSchema)]
#[schema(as = Social)]
#[allow(dead_code)]
pub struct SocialShape {
    id: String,
    username: String,
    channel: String,
    message: String,
    status: String,
    attempts: u32,
    error: Option<String>,
    ts: String,
}

/// A message to send.
#[derive(ToSchema)]
#[schema(as = NewSocial)]
#[allow(dead_code)]
pub struct LetterShape {
    username: String,
    channel: String,
    message: String,
}

/// The same for several users, on several channels.
#[derive(ToSchema)]
#[schema(as = NewSocials)]
#[allow(dead_code)]
pub struct LettersShape {
    usernames: Vec<String>,
    channels: Vec<String>,
    message: String,
}

/// A secret of a device; its text is shown once, by who made it.
#[derive(ToSchema)]
#[schema(as = DeviceSecret)]
#[allow(dead_code)]
pub struct SecretShape {
    id: String,
    secret: Option<String>,
}

/// A code that makes a device the user's who shows it.
#[derive(ToSchema)]
#[schema(as = Claim)]
#[allow(dead_code)]
pub struct ClaimShape {
    device: Option<String>,
    code: String,
}
