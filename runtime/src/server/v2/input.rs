//! What the API takes: the shapes of the WAZIUP cloud. Members that we do not know, and those that are the node's to say (dates, values),
//! are passed over, as the cloud does: clients send back what they were shown.

use super::super::{Problem, body};
use crate::model::{Actuator, Device, Gateway, Id, Location, Micros, Owned, Project, Sensor, Visibility, calibration::Linear};
use axum::body::Body;
use http::{HeaderMap, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

/// A body that describes something: less than what one document of the registry may be.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize, ToSchema)]
pub struct NewDevice {
    #[schema(value_type = String)]
    pub id: Id,
    #[schema(value_type = Option<String>)]
    pub gateway_id: Option<Id>,
    pub name: Option<String>,
    pub domain: Option<String>,
    /// `public`, unless said.
    #[schema(value_type = Option<String>)]
    pub visibility: Option<Visibility>,
    /// Only an administrator registers for somebody else.
    #[schema(value_type = Option<String>)]
    pub owner: Option<Id>,
    #[schema(value_type = Option<super::shape::LocationShape>)]
    pub location: Option<Location>,
    pub deployed: Option<bool>,
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Json>>,
    pub sensors: Option<Vec<NewSensor>>,
    pub actuators: Option<Vec<NewActuator>>,
}

#[derive(Deserialize, ToSchema)]
pub struct NewSensor {
    #[schema(value_type = String)]
    pub id: Id,
    pub name: Option<String>,
    pub sensor_kind: Option<String>,
    pub quantity_kind: Option<String>,
    pub unit: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub calib: Option<Json>,
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Json>>,
}

#[derive(Deserialize, ToSchema)]
pub struct NewActuator {
    #[schema(value_type = String)]
    pub id: Id,
    pub name: Option<String>,
    pub actuator_kind: Option<String>,
    pub actuator_value_type: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Json>>,
}

#[derive(Deserialize, ToSchema)]
pub struct NewGateway {
    #[schema(value_type = String)]
    pub id: Id,
    pub name: Option<String>,
    #[schema(value_type = Option<String>)]
    pub visibility: Option<Visibility>,
    #[schema(value_type = Option<String>)]
    pub owner: Option<Id>,
    #[schema(value_type = Option<super::shape::LocationShape>)]
    pub location: Option<Location>,
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Json>>,
}

#[derive(Deserialize, ToSchema)]
pub struct NewProject {
    #[schema(value_type = String)]
    pub id: Id,
    /// The id, unless said.
    pub name: Option<String>,
    #[schema(value_type = Option<String>)]
    pub visibility: Option<Visibility>,
    #[schema(value_type = Option<String>)]
    pub owner: Option<Id>,
    #[schema(value_type = Option<Vec<String>>)]
    pub device_ids: Option<Vec<Id>>,
    #[schema(value_type = Option<Vec<String>>)]
    pub gateway_ids: Option<Vec<Id>>,
}

/// One value of many.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct NewValue {
    value: Json,
    /// RFC 3339; without it the time of arrival.
    timestamp: Option<String>,
}

/// Any object.
#[derive(ToSchema)]
#[schema(value_type = Object)]
#[allow(dead_code)]
pub struct Meta(Json);

/// A line through two points: what the sensor says, and what is meant.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Calibration {
    linear: Option<Linear2>,
}

#[derive(ToSchema)]
#[schema(as = LinearCalibration)]
#[allow(dead_code)]
pub struct Linear2 {
    enabled: Option<bool>,
    value_min: Point,
    value_max: Point,
}

#[derive(ToSchema)]
#[schema(as = CalibrationPoint)]
#[allow(dead_code)]
pub struct Point {
    sensor_value: f64,
    real_value: f64,
}

#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Login {
    username: Option<String>,
    password: Option<String>,
}

#[derive(ToSchema)]
#[allow(dead_code)]
pub struct User {
    username: String,
    password: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    facebook: Option<String>,
    twitter: Option<String>,
    /// Whether an administrator set the mail address: only then mail goes there.
    email_confirmed: Option<bool>,
    sms_credit: Option<u32>,
    admin: Option<bool>,
}

#[derive(ToSchema)]
#[allow(dead_code)]
pub struct NewPassword {
    password: String,
    old: Option<String>,
}

#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Secret {
    id: String,
    created: String,
    /// Only when it is made.
    secret: Option<String>,
}

#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Claim {
    code: Option<String>,
    device: Option<String>,
}

/// What is watched, what is done about it, and how it went.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Notification {
    id: Option<String>,
    description: Option<String>,
    #[schema(value_type = Object)]
    condition: Json,
    #[schema(value_type = Object)]
    action: Json,
    /// Seconds between two firings at least.
    throttling: Option<u64>,
    expires: Option<String>,
    /// `active` or `inactive`; shown as `expired` when its time is over.
    status: Option<String>,
    /// What follows is shown, and let pass where it is sent.
    owner: Option<String>,
    times_sent: Option<u64>,
    last_notif: Option<String>,
    last_success: Option<String>,
    last_success_code: Option<u16>,
    last_failure: Option<String>,
    last_failure_reason: Option<String>,
    date_created: Option<String>,
    date_modified: Option<String>,
}

/// A message to somebody, or to several.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Social {
    username: Option<String>,
    channel: Option<String>,
    /// For `/socials/batch`.
    usernames: Option<Vec<String>>,
    /// For `/socials/batch`.
    channels: Option<Vec<String>>,
    message: String,
    /// Where the channel `webhook` posts to.
    url: Option<String>,
    /// What follows is shown, and let pass where it is sent.
    id: Option<String>,
    owner: Option<String>,
    notification: Option<String>,
    /// `pending`, `sent` or `failed`.
    status: Option<String>,
    attempts: Option<u32>,
    error: Option<String>,
    code: Option<u16>,
    next_attempt: Option<String>,
    ts: Option<String>,
    date_created: Option<String>,
    date_ended: Option<String>,
}

impl NewDevice {
    pub fn into_device(self, now: Micros) -> Result<Device, Problem> {
        let sensors = self.sensors.unwrap_or_default().into_iter().map(|sensor| sensor.into_sensor(now));
        let actuators = self.actuators.unwrap_or_default().into_iter().map(|actuator| actuator.into_actuator(now));
        Ok(Device {
            id: self.id,
            name: self.name,
            gateway_id: self.gateway_id,
            domain: self.domain,
            owned: owned(self.owner, self.visibility),
            location: self.location,
            deployed: self.deployed,
            meta: self.meta.unwrap_or_default(),
            sensors: sensors.collect::<Result<_, _>>()?,
            actuators: actuators.collect(),
            date_created: now,
            date_modified: now,
        })
    }
}

impl NewSensor {
    pub fn into_sensor(self, now: Micros) -> Result<Sensor, Problem> {
        Ok(Sensor {
            id: self.id,
            name: self.name.map(Into::into),
            sensor_kind: self.sensor_kind.map(Into::into),
            quantity_kind: self.quantity_kind.map(Into::into),
            unit: self.unit.map(Into::into),
            calib: self.calib.map_or(Ok(None), calib)?.map(Box::new),
            meta: self.meta.unwrap_or_default().into(),
            date_created: now,
            date_modified: now,
        })
    }
}

impl NewActuator {
    pub fn into_actuator(self, now: Micros) -> Actuator {
        Actuator {
            id: self.id,
            name: self.name,
            actuator_kind: self.actuator_kind,
            actuator_value_type: self.actuator_value_type,
            meta: self.meta.unwrap_or_default(),
            date_created: now,
            date_modified: now,
        }
    }
}

impl NewGateway {
    pub fn into_gateway(self, now: Micros) -> Gateway {
        Gateway {
            id: self.id,
            name: self.name,
            owned: owned(self.owner, self.visibility),
            location: self.location,
            meta: self.meta.unwrap_or_default(),
            heartbeat: None,
            date_created: now,
            date_modified: now,
        }
    }
}

impl NewProject {
    pub fn into_project(self, now: Micros) -> Project {
        Project {
            name: self.name.unwrap_or_else(|| self.id.to_string()),
            id: self.id,
            owned: owned(self.owner, self.visibility),
            device_ids: self.device_ids.unwrap_or_default(),
            gateway_ids: self.gateway_ids.unwrap_or_default(),
            date_created: now,
            date_modified: now,
        }
    }
}

fn owned(owner: Option<Id>, visibility: Option<Visibility>) -> Owned {
    Owned { owner, visibility: visibility.unwrap_or_default() }
}

/// A calibration that can be applied, or null for none.
pub fn calib(calib: Json) -> Result<Option<Json>, Problem> {
    Linear::of(&calib).map_err(|error| Problem::bad_request(error.to_string()).field("calib"))?;
    Ok(Some(calib).filter(|calib| !calib.is_null()))
}

/// A body that is JSON of this shape.
pub async fn json<T: DeserializeOwned>(headers: &HeaderMap, from: Body) -> Result<T, Problem> {
    let bytes = body::whole(headers, from, BODY_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| malformed(&error))
}

/// A body that is one value: JSON, or a text as it is. Null, and an empty text, are none.
pub struct Scalar(Json);

impl Scalar {
    pub async fn read(headers: &HeaderMap, from: Body) -> Result<Scalar, Problem> {
        let bytes = body::whole(headers, from, BODY_BYTES_MAX).await?;
        Scalar::of(headers, &bytes)
    }

    fn of(headers: &HeaderMap, bytes: &[u8]) -> Result<Scalar, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
        let plain = || {
            Scalar(match text.trim() {
                "" => Json::Null,
                text => text.into(),
            })
        };
        match media_type(headers) {
            "text/plain" => Ok(plain()),
            "application/json" => serde_json::from_str(text).map(Scalar).map_err(|error| malformed(&error)),
            // `curl -d` calls everything a form.
            _ => Ok(serde_json::from_str(text).map_or_else(|_| plain(), Scalar)),
        }
    }

    /// A text, or none.
    pub fn text(self, field: &'static str) -> Result<Option<String>, Problem> {
        match self.0 {
            Json::Null => Ok(None),
            Json::String(text) if text.is_empty() => Ok(None),
            Json::String(text) => Ok(Some(text)),
            other => Err(wrong(field, "a text", &other)),
        }
    }

    pub fn id(self, field: &'static str) -> Result<Option<Id>, Problem> {
        let text = self.text(field)?;
        text.map(|text| Id::new(&text)).transpose().map_err(|error| Problem::bad_request(error.to_string()).field(field))
    }

    pub fn boolean(self, field: &'static str) -> Result<Option<bool>, Problem> {
        match self.0 {
            Json::Null => Ok(None),
            Json::Bool(yes) => Ok(Some(yes)),
            Json::String(text) if text == "true" || text == "false" => Ok(Some(text == "true")),
            other => Err(wrong(field, "true or false", &other)),
        }
    }

    pub fn visibility(self) -> Result<Visibility, Problem> {
        match self.0.as_str() {
            Some("public") => Ok(Visibility::Public),
            Some("private") => Ok(Visibility::Private),
            _ => Err(wrong("visibility", "`public` or `private`", &self.0)),
        }
    }

    /// An object or a list, which as a plain text is JSON too; none for null.
    pub fn shape<T: DeserializeOwned>(self, field: &'static str) -> Result<Option<T>, Problem> {
        let json = match self.0 {
            Json::String(text) => serde_json::from_str(&text).map_err(|error| malformed(&error).field(field))?,
            json => json,
        };
        serde_json::from_value(json).map_err(|error| malformed(&error).field(field))
    }
}

fn wrong(field: &'static str, wanted: &str, got: &Json) -> Problem {
    let got: String = got.to_string().chars().take(64).collect();
    Problem::bad_request(format!("`{field}` is {wanted}, not `{got}`")).field(field)
}

/// Without its parameters.
pub fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// serde names the member where one is missing.
fn malformed(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let short: String = text.chars().take(512).collect();
    let problem = Problem::bad_request(format!("the body is not the JSON expected: {short}"));
    match missing {
        Some(field) => problem.field(field),
        None => problem,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn scalar(content_type: &'static str, body: &str) -> Result<Scalar, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Scalar::of(&headers, body.as_bytes())
    }

    #[test]
    fn a_scalar_is_json_or_a_plain_text() {
        for (content_type, body, wanted) in [
            ("application/json", "\"pond\"", Some("pond")),
            ("application/json;charset=utf-8", "null", None),
            ("text/plain;charset=utf-8", "pond", Some("pond")),
            ("text/plain;charset=utf-8", "", None),
            ("text/plain", "null", Some("null")),
            ("application/x-www-form-urlencoded", "my pond", Some("my pond")),
            ("application/x-www-form-urlencoded", "\"my pond\"", Some("my pond")),
        ] {
            assert_eq!(scalar(content_type, body).unwrap().text("name").unwrap().as_deref(), wanted, "{content_type} {body}");
        }
        assert!(scalar("application/json", "my pond").is_err());
        assert_eq!(scalar("application/json", "7").unwrap().text("name").unwrap_err().field.as_deref(), Some("name"));
    }

    #[test]
    fn what_a_scalar_is_meant_to_be_is_said() {
        assert_eq!(scalar("text/plain", "true").unwrap().boolean("deployed").unwrap(), Some(true));
        assert_eq!(scalar("application/json", "false").unwrap().boolean("deployed").unwrap(), Some(false));
        let error = scalar("application/json", "[1]").unwrap().boolean("deployed").unwrap_err();
        assert!(error.detail.contains("true or false, not `[1]`"), "{}", error.detail);
        assert_eq!(scalar("text/plain", "a b").unwrap().id("owner").unwrap_err().field.as_deref(), Some("owner"));
        let ids: Option<Vec<Id>> = scalar("text/plain", "[\"a\",\"b\"]").unwrap().shape("device_ids").unwrap();
        assert_eq!(ids.unwrap().len(), 2);
        assert!(scalar("application/json", "{\"latitude\":1}").unwrap().shape::<Location>("location").is_err());
    }

    #[test]
    fn a_member_that_is_missing_is_named_and_unknown_ones_are_passed_over() {
        let new =
            serde_json::from_str::<NewDevice>(r#"{"id":"d","date_created":"x","sensors":[{"id":"s","value":{"value":1}}],"meta":null}"#);
        assert_eq!(new.ok().unwrap().into_device(Micros(1)).unwrap().sensors.len(), 1);
        let error = serde_json::from_str::<NewDevice>("{}").err().unwrap();
        assert_eq!(malformed(&error).field.as_deref(), Some("id"));
    }
}
