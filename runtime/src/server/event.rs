//! An event as the API shows it, live or from history: one object, the same names everywhere.

use crate::{
    history::Hit,
    model::{Event, Id, Kind, Micros, NewEvent, Seq, Value},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Members that an event does not have are left out; `value` is always there.
#[derive(Serialize)]
pub struct EventJson<'a> {
    pub sequence: Seq,
    pub kind: &'static str,
    pub subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor: Option<&'a Id>,
    /// The digits that were sent, not the nearest float.
    pub value: Box<RawValue>,
    /// `hex` where the value is bytes, so that nobody takes an object with the member `bytes` for some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Box<RawValue>>,
    pub measured: String,
    pub received: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<&'a str>,
    /// The event whose handling wrote this one; 0 for an HTTP call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why a reading was taken out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<&'a serde_json::Value>,
}

/// What the value of a log event holds, as far as a reader looks for it.
#[derive(Default, Deserialize)]
struct Line {
    level: Option<String>,
    message: Option<String>,
}

pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Reading => "reading",
        Kind::Message => "message",
        Kind::Command => "command",
        Kind::Log => "log",
        Kind::Registry => "registry",
        Kind::Trigger => "trigger",
        Kind::Run => "run",
        Kind::Dropped => "dropped",
    }
}

pub fn parse_kind(name: &str) -> Option<Kind> {
    [Kind::Reading, Kind::Message, Kind::Command, Kind::Log].into_iter().find(|kind| kind_name(*kind) == name)
}

impl<'a> EventJson<'a> {
    pub fn of(event: &'a Event) -> EventJson<'a> {
        EventJson::new(event.seq, &event.body)
    }

    pub fn new(sequence: Seq, event: &'a NewEvent) -> EventJson<'a> {
        let line = if event.kind == Kind::Log { line(&event.value) } else { Line::default() };
        let cause = event.cause.as_ref();
        EventJson {
            sequence,
            kind: kind_name(event.kind),
            subject: event.subject.as_str(),
            device: event.device.as_ref(),
            sensor: event.sensor.as_ref(),
            value: one_line(&event.value),
            encoding: encoding(&event.value),
            raw: event.raw.as_deref().map(one_line),
            measured: event.measured.to_string(),
            received: event.received.to_string(),
            app: cause.map(|c| &c.app),
            function: cause.map(|c| &c.function),
            call: cause.map(|c| c.call.as_str()),
            cause: cause.map(|c| c.seq),
            level: line.level,
            message: line.message,
            dropped: None,
        }
    }

    /// One that the history found: with the digits that were sent, as live.
    pub fn found(hit: &'a Hit) -> EventJson<'a> {
        EventJson {
            sequence: hit.seq,
            kind: kind_name(hit.kind),
            subject: &hit.subject,
            device: hit.device.as_ref(),
            sensor: hit.sensor.as_ref(),
            value: one_line(&hit.value),
            encoding: encoding(&hit.value),
            raw: hit.raw.as_ref().map(one_line),
            measured: hit.measured.to_string(),
            received: hit.received.to_string(),
            app: hit.app.as_ref(),
            function: hit.function.as_ref(),
            call: hit.call.as_deref(),
            cause: hit.cause,
            level: hit.level.clone(),
            message: hit.message.clone(),
            dropped: hit.dropped.as_ref(),
        }
    }

    /// One line of a stream.
    pub fn write(&self, to: &mut Vec<u8>) {
        // Writing to memory fails for nothing that is in here.
        if serde_json::to_writer(&mut *to, self).is_ok() {
            to.push(b'\n');
        }
    }
}

fn line(value: &Value) -> Line {
    match value {
        Value::Json(text) => serde_json::from_str(text).unwrap_or_default(),
        Value::Bytes(_) => Line::default(),
    }
}

fn encoding(value: &Value) -> Option<&'static str> {
    matches!(value, Value::Bytes(_)).then_some("hex")
}

/// JSON has line ends only between its tokens, where a space does as well.
fn one_line(value: &Value) -> Box<RawValue> {
    let text = match value {
        Value::Json(text) if text.contains(['\n', '\r']) => text.replace(['\n', '\r'], " "),
        Value::Json(text) => text.to_string(),
        Value::Bytes(_) => value.to_json().to_string(),
    };
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// State, config and the like: a stored text as JSON where it is JSON, as a string where it is a text, else in hex.
pub fn stored(bytes: &[u8]) -> BTreeMap<&'static str, serde_json::Value> {
    let (encoding, value) = match std::str::from_utf8(bytes) {
        Ok(text) => match serde_json::from_str(text) {
            Ok(json) => ("json", json),
            Err(_) => ("text", text.into()),
        },
        Err(_) => ("hex", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into()),
    };
    BTreeMap::from([("encoding", encoding.into()), ("value", value)])
}

/// A time of the API.
pub fn time(micros: Micros) -> serde_json::Value {
    micros.to_string().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::id::default_tenant;

    #[test]
    fn an_event_is_one_line_with_the_digits_that_were_sent() {
        let id = |t| Id::new(t).unwrap();
        let value = Value::json("{\"n\":\n 12345678901234567890.10}").unwrap();
        let body = NewEvent::reading(&default_tenant(), &id("d.1"), &id("t"), Micros(0), Micros(1), value);
        let mut line = Vec::new();
        EventJson::of(&Event { seq: 7, body }).write(&mut line);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"sequence\":7,\"kind\":\"reading\",\"subject\":\"reading.d%2E1.t\",\"device\":\"d.1\",\"sensor\":\"t\",\
             \"value\":{\"n\":  12345678901234567890.10},\"measured\":\"1970-01-01T00:00:00Z\",\"received\":\"1970-01-01T00:00:00.000001Z\"}\n"
        );
    }

    #[test]
    fn bytes_say_that_they_are_bytes_and_an_object_of_that_name_does_not() {
        let id = |t| Id::new(t).unwrap();
        let shown = |value: Value| {
            let body = NewEvent::reading(&default_tenant(), &id("d"), &id("t"), Micros(0), Micros(1), value);
            let json = serde_json::to_value(EventJson::new(7, &body)).unwrap();
            (json["value"].clone(), json.get("encoding").cloned())
        };
        let bytes = serde_json::json!({ "bytes": "00ff" });
        assert_eq!(shown(Value::Bytes(vec![0, 255].into())), (bytes.clone(), Some("hex".into())));
        assert_eq!(shown(Value::from_json(&bytes)), (bytes, None));
    }

    #[test]
    fn what_is_stored_is_shown_as_what_it_is() {
        assert_eq!(stored(b"{\"n\":1}")["value"], serde_json::json!({"n": 1}));
        assert_eq!(stored(b"plain words")["encoding"], "text");
        assert_eq!(stored(&[0xff, 1])["value"], "ff01");
    }
}
