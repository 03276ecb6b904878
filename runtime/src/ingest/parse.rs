//! Bodies of requests -> samples. Pure; the hot path of every reading that comes by HTTP. What a body says of one reading
//! is `model/payload.rs`; here is how many there are in it, and of what.

use crate::model::{
    Id, Value,
    limit::INGEST_READINGS_MAX,
    payload::{self, BodyError, Fields, Measured, fits, json, string},
};
use crate::preprocess::Sample;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{fmt, marker::PhantomData};

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

/// The body of `POST …/value`: `{"value": …, "timestamp": …}`, any JSON that is no object, a text, or bytes.
pub fn value(format: Format, body: &Bytes) -> Result<Measured, BodyError> {
    match format {
        Format::Bytes => Ok((None, bytes(body)?)),
        Format::Text => Ok((None, text(utf8(body)?.trim())?)),
        Format::Json => payload::value(utf8(body)?),
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
        return list.iter().enumerate().map(|(i, fields)| sample(fields, &mut ids).map_err(|e| e.in_element(i))).collect();
    }
    let mut samples = Vec::with_capacity((body.len() / 64).min(INGEST_READINGS_MAX));
    for (number, line) in body.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        not_too_many(samples.len() + 1)?;
        let sample = serde_json::from_str::<Fields>(line).map_err(|e| BodyError::syntax(&e)).and_then(|f| sample(&f, &mut ids));
        samples.push(sample.map_err(|e| e.on_line(number + 1))?);
    }
    Ok(samples)
}

fn utf8(body: &[u8]) -> Result<&str, BodyError> {
    std::str::from_utf8(body).map_err(|e| BodyError::body(format!("the body is not UTF-8 at byte {}", e.valid_up_to())))
}

pub(super) fn not_too_many(count: usize) -> Result<(), BodyError> {
    if count > INGEST_READINGS_MAX {
        return Err(BodyError::too_large(None, format!("more than {INGEST_READINGS_MAX} readings in one request")));
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

fn sample(fields: &Fields<'_>, ids: &mut Ids) -> Result<Sample, BodyError> {
    let device = id("device", fields.device, &mut ids.device)?;
    let sensor = id("sensor", fields.sensor, &mut ids.sensor)?;
    let (measured, value) = fields.measured()?;
    Ok(Sample { device, sensor, measured, value })
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

/// A list that stops growing one above the limit, however long the body is.
pub(super) struct Bounded<T>(pub Vec<T>);

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
