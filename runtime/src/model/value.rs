//! What a reading or a message carries.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Any JSON, kept as its text, or bytes that nobody has decoded. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// A valid JSON text.
    Json(Arc<str>),
    Bytes(Bytes),
}

impl Value {
    /// `None` when the text is not one JSON value.
    pub fn json(text: &str) -> Option<Value> {
        serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
        Some(Value::Json(text.trim().into()))
    }

    pub fn from_json(json: &serde_json::Value) -> Value {
        Value::Json(json.to_string().into())
    }

    /// A whole number is written as one. None: it is not finite.
    pub fn number(number: f64) -> Option<Value> {
        // Exact: every whole number below 2^53 is.
        if number.fract() == 0.0 && number.abs() < 1e15 {
            return Some(Value::from_json(&serde_json::Value::from(number as i64)));
        }
        serde_json::Number::from_f64(number).map(|number| Value::from_json(&serde_json::Value::Number(number)))
    }

    pub fn len_bytes(&self) -> usize {
        match self {
            Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
        }
    }

    /// As JSON for people and APIs: bytes become `{"bytes": "<hex>"}`.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Json(text) => serde_json::from_str(text).unwrap_or(serde_json::Value::Null),
            Value::Bytes(bytes) => {
                use std::fmt::Write;
                let hex = bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
                    let _ = write!(hex, "{byte:02x}");
                    hex
                });
                serde_json::json!({ "bytes": hex })
            }
        }
    }

    /// The value as a number: a JSON number, or a string that holds one (devices quote them). Not finite: none.
    pub fn as_f64(&self) -> Option<f64> {
        let Value::Json(text) = self else { return None };
        let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        bare.trim().parse::<f64>().ok().filter(|n| n.is_finite())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_number_is_a_number_and_a_word_is_none() {
        assert_eq!(Value::json("\"61.10\"").unwrap().as_f64(), Some(61.1));
        assert_eq!(Value::json(" 9.5 ").unwrap().as_f64(), Some(9.5));
        assert_eq!(Value::json("\"warm\"").unwrap().as_f64(), None);
        assert_eq!(Value::json("true").unwrap().as_f64(), None);
        assert!(Value::json("{,}").is_none());
    }
}
