//! Times as people type and read them.

use tawi_runtime::model::Micros;

/// RFC 3339, a date (midnight UTC), or a span ago: `90s`, `15m`, `2h`, `7d`.
pub fn parse(text: &str) -> Result<Micros, String> {
    parse_at(text, jiff::Timestamp::now().as_microsecond())
}

fn parse_at(text: &str, now: i64) -> Result<Micros, String> {
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() == 10
    {
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|e| e.to_string())?;
        return Ok(Micros(midnight.timestamp().as_microsecond()));
    }
    if let Some(ago) = span(text) {
        return Ok(Micros(now.saturating_sub(ago)));
    }
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Ok(Micros(stamp.as_microsecond()));
    }
    Err(format!("`{text}` is not a time such as `2026-01-31T08:30:00Z`, `2026-01-31` or `2h` (ago)"))
}

/// How long something is to last: `90s`, `15m`, `2h`, `7d`.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let micros = span(text).and_then(|micros| u64::try_from(micros).ok());
    micros.map(std::time::Duration::from_micros).ok_or_else(|| format!("`{text}` is no duration such as `90s`, `15m` or `2h`"))
}

fn span(text: &str) -> Option<i64> {
    let (number, seconds) = match text.split_at_checked(text.len().checked_sub(1)?)? {
        (number, "s") => (number, 1),
        (number, "m") => (number, 60),
        (number, "h") => (number, 3_600),
        (number, "d") => (number, 86_400),
        _ => return None,
    };
    number.parse::<u32>().ok().map(|n| i64::from(n) * seconds * Micros::SECOND)
}

/// An RFC 3339 time of the API, shorter: to the second, in UTC.
pub fn short(rfc3339: &str) -> String {
    match rfc3339.parse::<jiff::Timestamp>() {
        Ok(stamp) => stamp.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

/// How long something may take: `1h 2m 3s`, without what is nothing.
pub fn long(millis: u64) -> String {
    let seconds = millis.div_ceil(1_000);
    let parts = [(seconds / 3_600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let said: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if said.is_empty() { "0s".to_owned() } else { said.join(" ") }
}

/// As `short`, with milliseconds, for live lines.
pub fn precise(rfc3339: &str) -> String {
    match rfc3339.parse::<jiff::Timestamp>() {
        Ok(stamp) => stamp.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dates_instants_and_spans_ago_are_times() {
        let now = Micros::parse("2026-01-31T08:30:00Z").unwrap().0;
        let at = |text: &str| parse_at(text, now).map(|t| t.to_string());
        assert_eq!(at("2h").unwrap(), "2026-01-31T06:30:00Z");
        assert_eq!(at("2026-01-30").unwrap(), "2026-01-30T00:00:00Z");
        assert_eq!(at("2026-01-30T01:00:00+02:00").unwrap(), "2026-01-29T23:00:00Z");
        for wrong in ["", "h", "soon", "2026-13-01", "-1h"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("10m").unwrap().as_secs(), 600);
        assert!(duration("10").is_err() && duration("-1s").is_err());
        assert_eq!(short("2026-01-30T01:00:00.123456Z"), "2026-01-30 01:00:00");
        assert_eq!([0, 1, 60_000, 1_250_000, 7_200_000].map(long), ["0s", "1s", "1m", "20m 50s", "2h"]);
        assert_eq!(precise("2026-01-30T01:00:00.123456Z"), "2026-01-30 01:00:00.123");
    }
}
