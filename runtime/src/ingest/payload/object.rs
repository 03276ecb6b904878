//! An object whose members are sensors, as devices and the decoders of network servers give it: `{"temperature": 21.5}`.

use super::{body, push};
use crate::model::{
    Id, Measurement, Micros,
    payload::{BodyError, json},
};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// When the values were measured, where this member is a time.
const TIMESTAMP: &str = "timestamp";

/// Of a payload of JSON.
pub fn measurements(payload: &[u8]) -> Result<Vec<Measurement>, BodyError> {
    of(&body::<Members>(payload)?)
}

/// Of a member of a larger body.
pub fn of_raw(raw: &RawValue) -> Result<Vec<Measurement>, BodyError> {
    measurements(raw.get().as_bytes())
}

fn of(members: &Members<'_>) -> Result<Vec<Measurement>, BodyError> {
    let stamp = |(name, raw): &(String, &RawValue)| if name == TIMESTAMP { moment(raw) } else { None };
    let (measured, mut found) = (members.0.iter().find_map(stamp), Vec::new());
    for (name, raw) in &members.0 {
        if name == TIMESTAMP && measured.is_some() {
            continue;
        }
        match channels(raw) {
            Some(channels) => {
                for (channel, raw) in &channels.0 {
                    add(&mut found, &format!("{name}_{channel}"), raw, measured)?;
                }
            }
            None => add(&mut found, name, raw, measured)?,
        }
    }
    Ok(found)
}

/// What is null was not measured.
fn add(found: &mut Vec<Measurement>, name: &str, raw: &RawValue, measured: Option<Micros>) -> Result<(), BodyError> {
    if raw.get() == "null" {
        return Ok(());
    }
    let value = json(raw).map_err(|e| BodyError { field: Some(name.to_owned()), ..e })?;
    push(found, Measurement { sensor: sensor(name)?, measured, value })
}

/// Names are for people, and people write spaces.
fn sensor(name: &str) -> Result<Id, BodyError> {
    let plain = |c: char| if c.is_control() || c.is_whitespace() || "/+#*>".contains(c) { '_' } else { c };
    Id::new(&name.chars().map(plain).collect::<String>()).map_err(|e| BodyError::field(&super::shown(name), e.to_string()))
}

/// `{"1": 21.5, "2": 22}`: values by channel, as ChirpStack decodes CayenneLPP.
fn channels(raw: &RawValue) -> Option<Members<'_>> {
    let is_channel = |name: &str| (1..=3).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_digit());
    let members: Members = raw.get().starts_with('{').then(|| serde_json::from_str(raw.get()).ok())??;
    (!members.0.is_empty() && members.0.iter().all(|(name, _)| is_channel(name))).then_some(members)
}

fn moment(raw: &RawValue) -> Option<Micros> {
    super::time(TIMESTAMP, &serde_json::from_str::<String>(raw.get()).ok()?).ok()
}

/// The members of an object in their order, unparsed.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose members are sensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Object)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(String, String)> {
        let found = measurements(text.as_bytes()).unwrap();
        found.iter().map(|one| (one.sensor.to_string(), one.value.to_json().to_string())).collect()
    }

    #[test]
    fn each_member_is_a_sensor_with_the_digits_that_were_sent() {
        let found = measurements(br#"{"temp": 21.50, "door open": true, "gps": {"latitude": 1}, "battery": null}"#).unwrap();
        assert_eq!(found[0].value, crate::model::Value::Json("21.50".into()));
        let sensors: Vec<&str> = found.iter().map(|one| one.sensor.as_str()).collect();
        assert_eq!(sensors, ["temp", "door_open", "gps"], "what is null was not measured");
        assert_eq!(shown("{}"), []);
    }

    #[test]
    fn values_by_channel_are_a_sensor_each() {
        let found = shown(r#"{"temperatureSensor":{"1":23.5,"2":24},"none":{}}"#);
        let expected = [("temperatureSensor_1", "23.5"), ("temperatureSensor_2", "24"), ("none", "{}")];
        assert_eq!(found, expected.map(|(sensor, value)| (sensor.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_timestamp_is_when_they_were_measured_if_it_is_a_time() {
        let found = measurements(br#"{"temp":1,"timestamp":"2026-01-31T08:30:00Z"}"#).unwrap();
        assert_eq!((found.len(), found[0].measured), (1, Some(Micros::parse("2026-01-31T08:30:00Z").unwrap())));
        assert_eq!(shown(r#"{"timestamp":17}"#), [("timestamp".to_owned(), "17".to_owned())]);
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place() {
        for text in ["[1]", "21.5", "", "{\"a\":", "{\"\":1}"] {
            assert!(measurements(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(measurements(br#"{"a":1e999}"#).unwrap_err().field.as_deref(), Some("a"));
    }
}
