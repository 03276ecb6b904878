//! What a reading or a message carries.

use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Any JSON, as its text, or bytes that nobody has decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One JSON text: a number, a string, an object, ...
    Json(String),
    /// Bytes, as the device sent them.
    Bytes(Vec<u8>),
}

impl Value {
    /// The JSON of anything that serde knows.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
        serde_json::to_string(value).map(Value::Json).map_err(|e| Error::invalid(format!("a value can't be written as JSON: {e}")))
    }

    /// Reads the JSON as a `T`. What can't be read will not become readable, so the error is a rejection.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        match self {
            Value::Json(text) => {
                serde_json::from_str(text).map_err(|e| Error::reject(format!("the value `{}` can't be read: {e}", head(text))))
            }
            Value::Bytes(_) => Err(Error::reject("the value is bytes, not JSON")),
        }
    }

    /// The value as a number: a JSON number, or a string that holds one, since many devices quote them. Never infinite or NaN.
    pub fn number(&self) -> Option<f64> {
        let Value::Json(text) = self else { return None };
        let text = text.trim();
        let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        bare.trim().parse().ok().filter(|n: &f64| n.is_finite())
    }

    /// The JSON text, or nothing for bytes.
    pub fn json(&self) -> Option<&str> {
        match self {
            Value::Json(text) => Some(text),
            Value::Bytes(_) => None,
        }
    }

    /// The bytes of the payload: those of the JSON text where it is JSON.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Json(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
        }
    }
}

/// The start of a text, short enough for a log line.
fn head(text: &str) -> String {
    let mut head: String = text.chars().take(80).collect();
    if head.len() < text.len() {
        head.push('…');
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_number_is_a_number_and_a_word_is_none() {
        let number = |text: &str| Value::Json(text.into()).number();
        assert_eq!(number("\"61.10\""), Some(61.1));
        assert_eq!(number(" 9.5 "), Some(9.5));
        assert_eq!(number("1e3"), Some(1000.0));
        for text in ["\"warm\"", "true", "null", "\"NaN\"", "\"inf\"", "[1]", "\"\""] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_that_can_not_be_read_is_shown_and_rejected() {
        let parsed = Value::Json("\"warm\"".into()).parse::<f64>();
        let shown = |error: &Error| error.reason().starts_with("the value `\"warm\"` can't be read: invalid type");
        assert!(parsed.is_err_and(|error| shown(&error) && !error.is_retry()));
    }
}
