//! Which partition a measured time belongs to: its month, by UTC.

use crate::model::Micros;
use std::fmt;

const DAY: i64 = 86_400 * Micros::SECOND;

/// A UTC month, counted from January of year 0.
///
/// A clock can claim any time, and a partition is a directory: what is before 1970 shares the first month, what is after
/// 9999 the last one, so that a device whose clock runs wild makes some thousand directories at the very worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i64);

impl Month {
    pub const FIRST: Month = Month(1970 * 12);
    pub const LAST: Month = Month(9999 * 12 + 11);

    pub fn of(measured: Micros) -> Month {
        let (year, month) = civil(measured.0.div_euclid(DAY));
        Month(year * 12 + month).clamp(Month::FIRST, Month::LAST)
    }

    /// The first moment in it.
    pub fn start(self) -> Micros {
        if self <= Month::FIRST { Micros(i64::MIN) } else { Micros(days_before(self.0) * DAY) }
    }

    /// The first moment after it.
    pub fn end(self) -> Micros {
        if self >= Month::LAST { Micros(i64::MAX) } else { Micros(days_before(self.0 + 1) * DAY) }
    }

    /// Whether a moment of it can lie in `from..to`.
    pub fn meets(self, from: Option<Micros>, to: Option<Micros>) -> bool {
        from.is_none_or(|from| from < self.end()) && to.is_none_or(|to| to > self.start())
    }

    /// The month that [`Month`]'s `Display` wrote.
    pub fn parse(name: &str) -> Option<Month> {
        let (year, month) = name.split_once('-').filter(|(year, month)| year.len() == 4 && month.len() == 2)?;
        let (year, month) = (year.parse::<i64>().ok()?, month.parse::<i64>().ok()?);
        let it = Month(year * 12 + month - 1);
        ((1..=12).contains(&month) && (Month::FIRST..=Month::LAST).contains(&it)).then_some(it)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

/// Year and month (0 to 11) of a day counted from 1970-01-01, in the Gregorian calendar carried on both ways without end.
///
/// Years are counted from March here, so that the odd day of a leap year is the last one, and in eras of 400 years,
/// which all have 146,097 days. Own arithmetic, because a calendar library refuses what a broken clock sends.
fn civil(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = ((5 * of_year + 2) / 153 + 2) % 12;
    (era * 400 + year_of_era + i64::from(month < 2), month)
}

/// Days from 1970-01-01 to the first day of a month, which is counted from January of year 0.
fn days_before(month: i64) -> i64 {
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12));
    let year = year - i64::from(month < 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 10) % 12) + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_and_ends_where_the_calendar_says() {
        for (time, name) in [
            ("1970-01-01T00:00:00Z", "1970-01"),
            ("2018-05-14T17:49:28.898Z", "2018-05"),
            ("2024-02-29T23:59:59.999999Z", "2024-02"),
            ("2024-03-01T00:00:00Z", "2024-03"),
            ("2000-12-31T23:59:59Z", "2000-12"),
            ("2026-01-31T23:30:00-01:00", "2026-02"),
        ] {
            let month = Month::of(Micros::parse(time).unwrap());
            assert_eq!(month.to_string(), name, "{time}");
            assert_eq!(Month::parse(name), Some(month));
        }
        let february = Month::parse("2024-02").unwrap();
        assert_eq!(february.start(), Micros::parse("2024-02-01T00:00:00Z").unwrap());
        assert_eq!(february.end(), Micros::parse("2024-03-01T00:00:00Z").unwrap());
    }

    #[test]
    fn every_month_holds_its_own_ends() {
        let mut month = Month(1971 * 12);
        while month < Month::parse("2400-01").unwrap() {
            assert_eq!(Month::of(month.start()), month);
            assert_eq!(Month::of(Micros(month.end().0 - 1)), month);
            assert_eq!(month.end(), Month(month.0 + 1).start());
            month = Month(month.0 + 1);
        }
    }

    #[test]
    fn a_wild_clock_lands_in_the_first_or_the_last_month() {
        assert_eq!(Month::of(Micros(i64::MIN)), Month::FIRST);
        assert_eq!(Month::of(Micros(-1)), Month::FIRST);
        assert_eq!(Month::of(Micros(i64::MAX)), Month::LAST);
        assert!(Month::FIRST.meets(None, Some(Micros(-5))));
        assert_eq!(Month::parse("2024-13"), None);
        assert_eq!(Month::parse("dropped-2024-01"), None);
    }

    #[test]
    fn a_window_is_half_open() {
        let (january, march) = (Month::parse("2026-01").unwrap(), Month::parse("2026-03").unwrap());
        let february = Month::parse("2026-02").unwrap();
        assert!(february.meets(Some(january.start()), Some(march.start())));
        assert!(!february.meets(None, Some(february.start())));
        assert!(!february.meets(Some(march.start()), None));
    }
}
