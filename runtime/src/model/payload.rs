//! What a body says of one reading: the same by every door.
//!
//! Values are kept as the text that was sent: nothing is parsed that nobody asks for, beyond making sure that whoever
//! parses it later can. Members that we do not know are ignored, as the WAZIUP cloud does.

use super::{Micros, Value, limit::VALUE_BYTES_MAX};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// What is wrong with a body, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyError {
    pub kind: BodyErrorKind,
    /// The member, as `value`, or `[17].timestamp` in a list.
    pub field: Option<String>,
    /// The line, from 1, where lines count.
    pub line: Option<usize>,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyErrorKind {
    Malformed,
    TooLarge,
}

impl BodyError {
    pub fn body(detail: String) -> BodyError {
        BodyError { kind: BodyErrorKind::Malformed, field: None, line: None, detail }
    }

    pub fn field(field: &str, detail: String) -> BodyError {
        BodyError { field: Some(field.to_owned()), ..BodyError::body(detail) }
    }

    pub fn missing(field: &str) -> BodyError {
        BodyError::field(field, format!("`{field}` is missing"))
    }

    pub fn too_large(field: Option<&str>, detail: String) -> BodyError {
        BodyError { kind: BodyErrorKind::TooLarge, field: field.map(str::to_owned), line: None, detail }
    }

    pub fn syntax(error: &serde_json::Error) -> BodyError {
        BodyError {
            line: Some(error.line()).filter(|line| *line > 0),
            ..BodyError::body(format!("the body is not the JSON expected: {error}"))
        }
    }

    /// The same error, of an element of a list.
    pub fn in_element(mut self, index: usize) -> BodyError {
        self.field = Some(match self.field {
            Some(field) => format!("[{index}].{field}"),
            None => format!("[{index}]"),
        });
        self
    }

    /// The same error, of a line of many.
    pub fn on_line(mut self, line: usize) -> BodyError {
        self.line = Some(line);
        self
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.detail)
    }
}

impl std::error::Error for BodyError {}

/// A value and when it was measured, if the device said so.
pub type Measured = (Option<Micros>, Value);

/// `{"value": …, "timestamp": …}`, or any JSON that is no object.
pub fn value(text: &str) -> Result<Measured, BodyError> {
    if text.trim_start().starts_with('{') {
        let fields: Fields = serde_json::from_str(text).map_err(|e| BodyError::syntax(&e))?;
        return fields.measured();
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(|e| BodyError::syntax(&e))?;
    Ok((None, json(raw)?))
}

/// Whether a value is within its limit.
pub fn fits(length: usize) -> Result<(), BodyError> {
    if length > VALUE_BYTES_MAX {
        return Err(BodyError::too_large(Some("value"), format!("a value has at most {VALUE_BYTES_MAX} bytes, this one has {length}")));
    }
    Ok(())
}

/// The text as it was sent, once it is sure that it can be read: the skimming parser that found its end lets pass
/// what a real one refuses (half a surrogate pair, 1e999, a thousand brackets), and a function would choke on it.
pub fn json(raw: &RawValue) -> Result<Value, BodyError> {
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
pub struct Fields<'a> {
    pub device: Option<&'a RawValue>,
    pub sensor: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
}

impl Fields<'_> {
    pub fn measured(&self) -> Result<Measured, BodyError> {
        let measured = self.timestamp.map_or(Ok(None), time)?;
        let value = self.value.ok_or_else(|| BodyError::missing("value"))?;
        Ok((measured, json(value)?))
    }
}

/// A member that has to be a text.
pub fn string<'a>(field: &'static str, raw: &'a RawValue) -> Result<Cow<'a, str>, BodyError> {
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
