//! Bodies of requests -> samples. Pure; the hot path of every reading that comes by HTTP.
//!
//! Values are kept as the text that was sent: nothing is parsed that nobody asks for, beyond making sure that whoever
//! parses it later can. Members that we do not know are ignored, as the WAZIUP cloud does.

use super::error::BodyError;
use crate::model::{
    Id, Micros, Value,
    limit::{INGEST_READINGS_MAX, VALUE_BYTES_MAX},
};
use crate::preprocess::Sample;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, marker::PhantomData};

/// What a body is, by its content type. Unknown ones are read as JSON: `curl -d` calls everything a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Text,
    Bytes,
}

impl Format {
    pub fn of(content_type: Option<&str>) -> Format {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "text/plain" => Format::Text,
            "application/octet-stream" => Format::Bytes,
            _ => Format::Json,
        }
    }
}

/// A value and when it was measured, if the device said so.
pub type Measured = (Option<Micros>, Value);

/// The body of `POST …/value`: `{"value": …, "timestamp": …}`, any JSON that is no object, a text, or bytes.
pub fn value(format: Format, body: &Bytes) -> Result<Measured, BodyError> {
    match format {
        Format::Bytes => Ok((None, bytes(body)?)),
        Format::Text => Ok((None, text(utf8(body)?.trim())?)),
        Format::Json => {
            let body = utf8(body)?;
            if body.trim_start().starts_with('{') {
                let fields: Fields = serde_json::from_str(body).map_err(|e| BodyError::syntax(&e))?;
                return fields.measured();
            }
            let raw: &RawValue = serde_json::from_str(body).map_err(|e| BodyError::syntax(&e))?;
            Ok((None, json(raw)?))
        }
    }
}

/// The body of `POST …/values`: a list of `{"value": …, "timestamp": …}`.
pub fn values(body: &[u8]) -> Result<Vec<Measured>, BodyError> {
    let Bounded(list) = serde_json::from_str::<Bounded<Fields>>(utf8(body)?).map_err(|e| BodyError::syntax(&e))?;
    not_too_many(list.len())?;
    list.iter().enumerate().map(|(i, fields)| fields.measured().map_err(|e| e.in_element(i))).collect()
}

/// The body of `POST /api/v1/readings`: a list, or one object a line, of `{"device", "sensor", "value", "timestamp"}`.
pub fn readings(body: &[u8]) -> Result<Vec<Sample>, BodyError> {
    let body = utf8(body)?;
    let mut ids = Ids::default();
    if body.trim_start().starts_with('[') {
        let Bounded(list) = serde_json::from_str::<Bounded<Fields>>(body).map_err(|e| BodyError::syntax(&e))?;
        not_too_many(list.len())?;
        return list.iter().enumerate().map(|(i, fields)| fields.sample(&mut ids).map_err(|e| e.in_element(i))).collect();
    }
    let mut samples = Vec::with_capacity((body.len() / 64).min(INGEST_READINGS_MAX));
    for (number, line) in body.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        not_too_many(samples.len() + 1)?;
        let sample = serde_json::from_str::<Fields>(line).map_err(|e| BodyError::syntax(&e)).and_then(|f| f.sample(&mut ids));
        samples.push(sample.map_err(|e| e.on_line(number + 1))?);
    }
    Ok(samples)
}

fn utf8(body: &[u8]) -> Result<&str, BodyError> {
    std::str::from_utf8(body).map_err(|e| BodyError::body(format!("the body is not UTF-8 at byte {}", e.valid_up_to())))
}

fn not_too_many(count: usize) -> Result<(), BodyError> {
    if count > INGEST_READINGS_MAX {
        return Err(BodyError::too_large(None, format!("more than {INGEST_READINGS_MAX} readings in one request")));
    }
    Ok(())
}

fn fits(length: usize) -> Result<(), BodyError> {
    if length > VALUE_BYTES_MAX {
        return Err(BodyError::too_large(Some("value"), format!("a value has at most {VALUE_BYTES_MAX} bytes, this one has {length}")));
    }
    Ok(())
}

fn bytes(body: &Bytes) -> Result<Value, BodyError> {
    fits(body.len())?;
    Ok(Value::Bytes(body.clone()))
}

/// A text that is JSON (`25.6`, `true`) is that; anything else is a string.
fn text(text: &str) -> Result<Value, BodyError> {
    fits(text.len())?;
    if let Ok(raw) = serde_json::from_str::<&RawValue>(text)
        && let Ok(value) = json(raw)
    {
        return Ok(value);
    }
    Ok(Value::from_json(&serde_json::Value::from(text)))
}

/// The text as it was sent, once it is sure that it can be read: the skimming parser that found its end lets pass
/// what a real one refuses (half a surrogate pair, 1e999, a thousand brackets), and a function would choke on it.
fn json(raw: &RawValue) -> Result<Value, BodyError> {
    let text = raw.get();
    fits(text.len())?;
    let plain = match text.as_bytes() {
        [b'"', rest @ ..] => !rest.contains(&b'\\'),
        [b'{' | b'[', ..] => false,
        [b't' | b'f' | b'n', ..] => true,
        number => number.len() <= 15 && !number.iter().any(|b| matches!(b, b'e' | b'E')),
    };
    if !plain {
        serde_json::from_str::<serde_json::Value>(text).map_err(|e| BodyError::field("value", format!("the value can't be read: {e}")))?;
    }
    Ok(Value::Json(text.into()))
}

/// The members we know of one object, unparsed.
#[derive(Default)]
struct Fields<'a> {
    device: Option<&'a RawValue>,
    sensor: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
}

impl Fields<'_> {
    fn measured(&self) -> Result<Measured, BodyError> {
        let measured = self.timestamp.map_or(Ok(None), time)?;
        let value = self.value.ok_or_else(|| BodyError::missing("value"))?;
        Ok((measured, json(value)?))
    }

    fn sample(&self, ids: &mut Ids) -> Result<Sample, BodyError> {
        let device = id("device", self.device, &mut ids.device)?;
        let sensor = id("sensor", self.sensor, &mut ids.sensor)?;
        let (measured, value) = self.measured()?;
        Ok(Sample { device, sensor, measured, value })
    }
}

/// The ids of the reading before: in a batch they mostly repeat, and a clone costs nothing.
#[derive(Default)]
struct Ids {
    device: Option<Id>,
    sensor: Option<Id>,
}

fn id(field: &'static str, raw: Option<&RawValue>, last: &mut Option<Id>) -> Result<Id, BodyError> {
    let text = string(field, raw.ok_or_else(|| BodyError::missing(field))?)?;
    match last {
        Some(id) if id.as_str() == text => Ok(id.clone()),
        _ => {
            let id = Id::new(&text).map_err(|e| BodyError::field(field, e.to_string()))?;
            *last = Some(id.clone());
            Ok(id)
        }
    }
}

fn string<'a>(field: &'static str, raw: &'a RawValue) -> Result<Cow<'a, str>, BodyError> {
    let text = raw.get();
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        Some(_) => serde_json::from_str(text).map(Cow::Owned).map_err(|e| BodyError::field(field, e.to_string())),
        None => Err(BodyError::field(field, format!("`{field}` has to be a string"))),
    }
}

/// RFC 3339 only: a bare number could be seconds, milliseconds or microseconds, and two of three guesses are 1970.
fn time(raw: &RawValue) -> Result<Option<Micros>, BodyError> {
    if raw.get() == "null" {
        return Ok(None);
    }
    let wrong = |text: &str| {
        let text: String = text.chars().take(64).collect();
        BodyError::field("timestamp", format!("`{text}` is not a time: use RFC 3339 as in `2026-01-31T08:30:00Z`"))
    };
    let text = string("timestamp", raw).map_err(|_| wrong(raw.get()))?;
    let stamp: jiff::Timestamp = text.parse().map_err(|_| wrong(&text))?;
    Ok(Some(Micros(stamp.as_microsecond())))
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Device,
    Sensor,
    Value,
    Timestamp,
    #[serde(other)]
    Other,
}

/// By hand, because a derived one would take a list for an object.
impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `value`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(member) = map.next_key()? {
                    let (name, place) = match member {
                        Member::Device => ("device", &mut fields.device),
                        Member::Sensor => ("sensor", &mut fields.sensor),
                        Member::Value => ("value", &mut fields.value),
                        Member::Timestamp => ("timestamp", &mut fields.timestamp),
                        Member::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if place.replace(map.next_value()?).is_some() {
                        return Err(serde::de::Error::duplicate_field(name));
                    }
                }
                Ok(fields)
            }
        }
        from.deserialize_map(Object)
    }
}

/// A list that stops growing one above the limit, however long the body is.
struct Bounded<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Bounded<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of readings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bounded<T>, A::Error> {
                let mut list = Vec::new();
                while list.len() <= INGEST_READINGS_MAX {
                    match seq.next_element()? {
                        Some(element) => list.push(element),
                        None => return Ok(Bounded(list)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Bounded(list))
            }
        }
        from.deserialize_seq(List(PhantomData))
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
