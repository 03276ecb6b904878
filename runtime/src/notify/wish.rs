//! What somebody sends to make or change a notification, or to send a message: read and checked, nothing stored yet. Pure.

use super::{
    Action, ActuationAction, Condition, Expression, Name, Notification, NotifyError, Social, SocialAction, State, Status,
    document::Sending, fire::names_of,
};
use crate::{
    egress,
    model::{
        Id, Micros,
        limit::{
            CONDITION_DEVICES_MAX, EXPRESSION_BYTES_MAX, MESSAGE_BYTES_MAX, NOTIFICATION_NAMES_MAX, RECIPIENTS_MAX, THROTTLING_SECONDS_MIN,
        },
    },
};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;

/// A description is a line for people.
const DESCRIPTION_BYTES_MAX: usize = 1_024;
/// The name of a channel.
const CHANNEL_BYTES_MAX: usize = 32;
/// Where a webhook posts to.
const URL_BYTES_MAX: usize = 2_048;

/// A notification as it is sent. To change one, what is missing stays; what a client sends back of an answer (`id`, `times_sent`) is nobody's
/// to set and is let pass.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Wish {
    pub description: Option<String>,
    pub condition: Option<WishedCondition>,
    pub action: Option<Action>,
    pub throttling: Option<f64>,
    /// `null` takes it away.
    #[serde(deserialize_with = "said")]
    pub expires: Option<Option<String>>,
    pub status: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct WishedCondition {
    pub devices: Vec<Id>,
    #[serde(default)]
    pub sensors: Vec<Id>,
    pub expression: String,
}

/// A message as it is sent: for one user on one channel, or for several on several.
#[derive(Debug, Clone, Deserialize)]
pub struct Letter {
    #[serde(default)]
    pub username: Option<Id>,
    #[serde(default)]
    pub usernames: Vec<Id>,
    #[serde(default)]
    pub channel: Option<String>,
    #[serde(default)]
    pub channels: Vec<String>,
    #[serde(alias = "text")]
    pub message: String,
    #[serde(default)]
    pub url: Option<String>,
}

/// Tells a `null` from what is missing.
fn said<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

fn invalid(field: &'static str, why: impl Into<String>) -> NotifyError {
    NotifyError::Invalid { field, why: why.into() }
}

impl Wish {
    pub fn create(self, id: Id, owner: Option<Id>, now: Micros) -> Result<Notification, NotifyError> {
        let condition = self.condition.clone().ok_or_else(|| invalid("condition", "is missing"))?.checked()?;
        let action = self.action.clone().ok_or_else(|| invalid("action", "is missing"))?;
        let (status, throttling) = (Status::Active, THROTTLING_SECONDS_MIN);
        let new = Notification {
            id,
            owner,
            description: String::new(),
            condition,
            action,
            throttling,
            expires: None,
            status,
            state: State::default(),
            date_created: now,
            date_modified: now,
        };
        self.change(&new, now)
    }

    /// The notification as it is to be.
    pub fn change(self, before: &Notification, now: Micros) -> Result<Notification, NotifyError> {
        let mut after = before.clone();
        after.date_modified = now;
        let names_others = self.condition.is_some() || self.action.is_some();
        if let Some(description) = self.description {
            at_most("description", description.len(), DESCRIPTION_BYTES_MAX, "bytes")?;
            after.description = description;
        }
        if let Some(condition) = self.condition {
            after.condition = condition.checked()?;
        }
        if let Some(action) = self.action {
            after.action = action;
        }
        check_action(&after.action)?;
        if names_others {
            check_names(&after)?;
        }
        if let Some(seconds) = self.throttling {
            after.throttling = throttling(seconds)?;
        }
        if let Some(expires) = self.expires {
            let time = |text: String| Micros::parse(&text).map_err(|error| invalid("expires", error.to_string()));
            after.expires = expires.map(time).transpose()?;
        }
        if let Some(status) = self.status {
            after.status = self::status(&status)?;
        }
        Ok(after)
    }
}

/// `active` or `inactive`. `expired` and `failed`, which are shown, are nothing that somebody could want.
pub fn status(text: &str) -> Result<Status, NotifyError> {
    match text {
        "active" | "expired" | "failed" => Ok(Status::Active),
        "inactive" => Ok(Status::Inactive),
        other => Err(invalid("status", format!("`{}` is neither `active` nor `inactive`", short(other)))),
    }
}

fn throttling(seconds: f64) -> Result<i64, NotifyError> {
    const YEAR: f64 = 366.0 * 86_400.0;
    match (0.0..=YEAR).contains(&seconds) {
        true => Ok((seconds.ceil() as i64).max(THROTTLING_SECONDS_MIN)),
        false => Err(invalid("throttling", format!("{seconds} is not a number of seconds from 0 to a year"))),
    }
}

impl WishedCondition {
    fn checked(self) -> Result<Condition, NotifyError> {
        let WishedCondition { devices, sensors, expression } = self;
        if devices.is_empty() {
            return Err(invalid("condition.devices", "name at least one device"));
        }
        at_most("condition.devices", devices.len(), CONDITION_DEVICES_MAX, "devices")?;
        at_most("condition.sensors", sensors.len(), CONDITION_DEVICES_MAX, "sensors")?;
        let read = Expression::parse(&expression).map_err(|error| invalid("condition.expression", error.to_string()))?;
        if sensors.is_empty() && read.names().is_empty() {
            return Err(invalid("condition.sensors", "neither they nor the expression name a sensor: no reading would be looked at"));
        }
        Ok(Condition { devices, sensors, expression })
    }
}

fn check_action(action: &Action) -> Result<(), NotifyError> {
    match action {
        Action::SocialAction(SocialAction { usernames, channels, message, url }) => {
            check_message("action.value.message", message)?;
            check_channels("action.value.channels", channels, usernames.len(), url.as_deref())
        }
        Action::ActuationAction(ActuationAction { actuator_value, .. }) => {
            at_most("action.value.actuator_value", actuator_value.to_string().len(), EXPRESSION_BYTES_MAX, "bytes")
        }
    }
}

/// Each is looked up: in the condition for each reading, and in the action where it is met.
fn check_names(notification: &Notification) -> Result<(), NotifyError> {
    let read = Expression::parse(&notification.condition.expression);
    let condition: BTreeSet<Name> = read.map(|read| read.names().iter().cloned().collect()).unwrap_or_default();
    at_most("condition.expression", condition.len(), NOTIFICATION_NAMES_MAX, "sensors by name")?;
    let all: BTreeSet<Name> = condition.into_iter().chain(names_of(&notification.action)).collect();
    at_most("action.value", all.len(), NOTIFICATION_NAMES_MAX, "sensors by name, those of the condition counted")
}

fn check_message(field: &'static str, message: &str) -> Result<(), NotifyError> {
    at_most(field, message.len(), MESSAGE_BYTES_MAX, "bytes")
}

fn check_channels(field: &'static str, channels: &[String], usernames: usize, url: Option<&str>) -> Result<(), NotifyError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if channels.is_empty() {
        return Err(invalid(field, "name at least one channel, such as `email`, `webhook` or `log`"));
    }
    if let Some(wrong) = channels.iter().find(|c| c.is_empty() || c.len() > CHANNEL_BYTES_MAX || !c.chars().all(plain)) {
        return Err(invalid(field, format!("`{}` is not the name of a channel", short(wrong))));
    }
    at_most(field, channels.len().saturating_mul(usernames.max(1)), RECIPIENTS_MAX, "messages, each user on each channel")?;
    let asks = |channel: &String| channel == super::channel::WEBHOOK;
    match url {
        None if channels.iter().any(asks) => Err(invalid("url", "the channel `webhook` needs a `url`")),
        None => Ok(()),
        Some(url) => {
            at_most("url", url.len(), URL_BYTES_MAX, "bytes")?;
            egress::url(url).map(drop).map_err(|error| invalid("url", error.to_string()))
        }
    }
}

impl Letter {
    /// How many messages it is.
    pub fn count(&self) -> usize {
        (self.usernames.len() + usize::from(self.username.is_some())).max(1) * (self.channels.len() + usize::from(self.channel.is_some()))
    }

    /// One message for each user on each channel; `id` makes an id of each.
    pub fn messages(
        self,
        owner: Option<Id>,
        now: Micros,
        mut id: impl FnMut() -> Result<Id, NotifyError>,
    ) -> Result<Vec<Social>, NotifyError> {
        let usernames: Vec<Id> = self.usernames.into_iter().chain(self.username).collect();
        let channels: Vec<String> = self.channels.into_iter().chain(self.channel).collect();
        check_message("message", &self.message)?;
        check_channels("channel", &channels, usernames.len(), self.url.as_deref())?;
        let pairs = recipients(&usernames, &channels);
        let social = |(username, channel)| {
            let mut social = Social::new(id()?, owner.clone(), now);
            (social.username, social.channel) = (username, channel);
            (social.message, social.url) = (self.message.clone(), self.url.clone());
            Ok(social)
        };
        pairs.into_iter().map(social).collect()
    }
}

impl Social {
    pub(super) fn new(id: Id, owner: Option<Id>, now: Micros) -> Social {
        Social {
            id,
            owner,
            notification: None,
            username: None,
            channel: String::new(),
            subject: String::new(),
            message: String::new(),
            url: None,
            status: Sending::Pending,
            attempts: 0,
            next_attempt: now,
            claimed_until: now,
            error: None,
            code: None,
            date_created: now,
            date_ended: None,
        }
    }
}

/// Each user on each channel, each pair once. A webhook has an address of its own and needs no user.
pub(super) fn recipients(usernames: &[Id], channels: &[String]) -> Vec<(Option<Id>, String)> {
    let mut pairs: Vec<(Option<Id>, String)> = Vec::new();
    for channel in channels {
        let nobody = usernames.is_empty().then_some(None);
        for username in usernames.iter().cloned().map(Some).chain(nobody) {
            let pair = (username, channel.clone());
            if !pairs.contains(&pair) && pairs.len() < RECIPIENTS_MAX {
                pairs.push(pair);
            }
        }
    }
    pairs
}

fn at_most(field: &'static str, is: usize, max: usize, of: &str) -> Result<(), NotifyError> {
    if is <= max {
        return Ok(());
    }
    Err(invalid(field, format!("at most {max} {of}, these are {is}")))
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
