//! Points in time, without a calendar library: a few lines are enough for UTC.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Microseconds since 1970-01-01T00:00Z. Shown and written as RFC 3339 in UTC.
///
/// ```
/// use tawi::Timestamp;
///
/// let time: Timestamp = "2018-05-14T17:49:28.898+02:00".parse()?;
/// assert_eq!(time.to_string(), "2018-05-14T15:49:28.898Z");
/// assert_eq!(time.day(), "2018-05-14");
/// assert_eq!(time.micros(), 1_526_312_968_898_000);
/// # Ok::<(), tawi::TimeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeError(String);

impl Timestamp {
    /// From microseconds since 1970-01-01T00:00Z.
    pub const fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros)
    }

    /// Microseconds since 1970-01-01T00:00Z.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The node's clock. It stands still during a call, so that a call can be run again and do the same.
    pub fn now() -> Timestamp {
        crate::host::now()
    }

    /// The day in UTC, as `2018-05-14`.
    pub fn day(self) -> String {
        let (year, month, day) = self.date();
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// Year, month (1 to 12) and day (1 to 31) in UTC.
    pub fn date(self) -> (i64, u32, u32) {
        date_of(self.0.div_euclid(DAY))
    }

    /// The start of the day in UTC.
    pub fn start_of_day(self) -> Timestamp {
        Timestamp(self.0 - self.0.rem_euclid(DAY))
    }

    /// How long after `earlier` it is; zero when it is not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let micros = self.0.rem_euclid(DAY);
        let seconds = micros / SECOND;
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        match micros % SECOND {
            0 => f.write_str("Z"),
            fraction if fraction % 1000 == 0 => write!(f, ".{:03}Z", fraction / 1000),
            fraction => write!(f, ".{fraction:06}Z"),
        }
    }
}

/// RFC 3339: a date, `T` or a space, a time, and `Z` or an offset. Digits below a microsecond are cut.
impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Timestamp, TimeError> {
        parse(text).ok_or_else(|| TimeError(text.chars().take(64).collect()))
    }
}

impl TryFrom<&str> for Timestamp {
    type Error = TimeError;
    fn try_from(text: &str) -> Result<Timestamp, TimeError> {
        text.parse()
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let field = |from: usize, to: usize, max: i64| {
        let digits = text.get(from..to).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i64>().ok().filter(|n| *n <= max)
    };
    let mark = |at: usize, marks: &str| text.get(at..=at).filter(|m| marks.contains(*m));
    let (year, month, day) = (field(0, 4, 9999)?, field(5, 7, 12)?, field(8, 10, 31)?);
    let (hour, minute, second) = (field(11, 13, 23)?, field(14, 16, 59)?, field(17, 19, 60)?);
    for (at, marks) in [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")] {
        mark(at, marks)?;
    }
    let days = days_of(year, month, day);
    if date_of(days) != (year, u32::try_from(month).ok()?, u32::try_from(day).ok()?) {
        return None;
    }
    let mut rest = &text[19..];
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix('.') {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let micros = &after[..digits.min(6)];
        fraction = micros.parse::<i64>().ok()? * 10_i64.pow(6 - u32::try_from(micros.len()).ok()?);
        rest = &after[digits..];
    }
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_seconds(rest)?;
    Some(Timestamp(seconds * SECOND + fraction))
}

/// `Z`, `+02:00`, `-0530`.
fn offset_seconds(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let digits = text[1..].replacen(':', "", 1);
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    let (hours, minutes) = (number / 100, number % 100);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days since 1970-01-01 of a date. Years are counted from March, so that the leap day is the last of its year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day since 1970-01-01; the other way round.
fn date_of(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a time: use RFC 3339 as in `2026-01-31T08:30:00Z`", self.0)
    }
}

impl std::error::Error for TimeError {}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_is_there_and_back() {
        let mut previous = date_of(-146_097);
        for days in -146_096..146_097 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month.into(), day.into()), days);
            assert!((year, month, day) > previous);
            previous = (year, month, day);
        }
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(11_016), (2000, 2, 29));
    }

    #[test]
    fn times_are_read_and_shown() -> Result<(), TimeError> {
        for (text, shown) in [
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2018-05-14 00:30:00+01:00", "2018-05-13T23:30:00Z"),
            ("2020-02-29T12:00:00.5-0530", "2020-02-29T17:30:00.500Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>()?.to_string(), shown);
        }
        Ok(())
    }

    #[test]
    fn what_is_no_time_is_named() {
        for text in [
            "",
            "yesterday",
            "2018-05-14",
            "2018-02-29T00:00:00Z",
            "2018-13-01T00:00:00Z",
            "2018-05-14T25:00:00Z",
            "2018-05-14T00:00:00",
            "2018-05-14T00:00:00.Z",
            "2018-05-14T00:00:00+é",
            "+018-05-14T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        let error = "yesterday".parse::<Timestamp>().err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.starts_with("`yesterday` is not a time"), "{error}");
    }
}
