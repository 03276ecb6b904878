//! Durations and sizes as people write them.

use std::time::Duration;

/// `500ms`, `10s`, `5m`, `1h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{}` is not a duration: a whole number and `ms`, `s`, `m`, `h` or `d`, as in `10s`", shown(text));
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// `64MiB`, `512KiB`, `64MB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{}` is not a size: a whole number and `KiB`, `MiB` or `GiB`, as in `64MiB`", shown(text));
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let bytes: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(bytes).and_then(|n| usize::try_from(n).ok()).ok_or_else(wrong)
}

/// The largest unit that divides it, as [`bytes`] reads it back; below 1 KiB it is said in bytes.
pub(super) fn bytes_text(bytes: u64) -> String {
    match bytes {
        n if n % (1 << 30) == 0 => format!("{}GiB", n >> 30),
        n if n % (1 << 20) == 0 => format!("{}MiB", n >> 20),
        n if n % (1 << 10) == 0 => format!("{}KiB", n >> 10),
        n => format!("{n} bytes"),
    }
}

/// `20%`, of 0 to 100.
pub(super) fn percent(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{}` is not a share: a whole number from 0 to 100 and `%`, as in `20%`", shown(text));
    let (number, unit) = split(text).ok_or_else(wrong)?;
    u32::try_from(number).ok().filter(|n| *n <= 100 && unit == "%").ok_or_else(wrong)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..at].parse().ok()?, text[at..].trim_start()))
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The largest unit that divides it, as [`duration`] reads it back.
pub fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        n if n % 86_400_000 == 0 && n > 86_400_000 => format!("{}d", n / 86_400_000),
        n if n % 3_600_000 == 0 => format!("{}h", n / 3_600_000),
        n if n % 60_000 == 0 => format!("{}m", n / 60_000),
        n if n % 1_000 == 0 => format!("{}s", n / 1_000),
        n => format!("{n}ms"),
    }
}

/// Durations in stored manifests are whole milliseconds.
pub(super) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5 m"), Ok(Duration::from_secs(300)));
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("64MB"), Ok(64_000_000));
        assert_eq!((percent("0%"), percent("100 %")), (Ok(0), Ok(100)));
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in ["", "10", "s", "1.5s", "-1s", "10 seconds", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["64", "64M", "64mib", "MiB", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["20", "101%", "-1%", "0.2", "%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_shown_as_it_can_be_written() {
        for text in ["500ms", "10s", "5m", "24h"] {
            assert_eq!(duration(text).map(duration_text).as_deref(), Ok(text));
        }
    }
}
