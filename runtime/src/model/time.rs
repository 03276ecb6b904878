//! Points in time as microseconds since 1970-01-01T00:00Z.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Microseconds since 1970-01-01T00:00Z, leap seconds left out. Which clock it is from, the field's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a time: use RFC 3339 as in `2026-01-31T08:30:00Z`, or microseconds since 1970")]
pub struct TimeError {
    text: String,
}

impl Micros {
    pub const SECOND: i64 = 1_000_000;

    /// RFC 3339 with `Z` or an offset, or an integer of microseconds.
    pub fn parse(text: &str) -> Result<Micros, TimeError> {
        let text = text.trim();
        let wrong = || TimeError { text: text.chars().take(64).collect() };
        if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
            return Ok(Micros(stamp.as_microsecond()));
        }
        let micros = text.parse::<i64>().map_err(|_| wrong())?;
        jiff::Timestamp::from_microsecond(micros).map_err(|_| wrong())?;
        Ok(Micros(micros))
    }

    pub fn plus_millis(self, millis: u64) -> Micros {
        Micros(self.0.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000)))
    }

    /// Whole milliseconds from `earlier` to here; 0 when `earlier` is later.
    pub fn millis_since(self, earlier: Micros) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0) / 1_000).unwrap_or(0)
    }
}

/// RFC 3339 in UTC with as many digits as it needs. A value no calendar holds is shown as its number.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(stamp) => write!(f, "{stamp}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_an_offset_and_shown_in_utc() {
        let time = Micros::parse("2018-05-14T17:49:28.898+02:00").unwrap();
        assert_eq!(time.to_string(), "2018-05-14T15:49:28.898Z");
        assert_eq!(Micros::parse(&time.0.to_string()).unwrap(), time);
    }

    #[test]
    fn garbage_is_named() {
        let error = Micros::parse("yesterday").unwrap_err().to_string();
        assert!(error.starts_with("`yesterday` is not a time"), "{error}");
        assert!(Micros::parse("9223372036854775807").is_err());
    }
}
