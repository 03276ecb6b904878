//! Whether a schedule can be kept: its expression, its time zone, and that there is such a moment at all.

use super::rule::Schedule;
use croner::Cron;
use jiff::{Timestamp, tz::TimeZone};
use std::str::FromStr;

/// Why a schedule can't be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Unkept {
    /// It is the zone, else the expression.
    pub zone: bool,
    pub what: String,
    pub hint: String,
}

/// An expression: the longest that means something names each minute of an hour.
pub const CRON_BYTES_MAX: usize = 256;
/// How alike two names must be to be taken for one another.
const LIKENESS_MIN: f64 = 0.8;
/// Where the search for a first moment begins: 2024-01-01T00:00Z, so that what a manifest says does not depend on the day.
const SEARCHED_FROM_SECONDS: i64 = 1_704_067_200;

impl Schedule {
    pub fn check(&self) -> Result<(), Unkept> {
        let zone = self.time_zone()?;
        let cron = self.expression()?;
        let from = Timestamp::from_second(SEARCHED_FROM_SECONDS).unwrap_or_default().to_zoned(zone);
        cron.find_next_occurrence(&from, true).map(drop).map_err(|_| Unkept {
            zone: false,
            what: format!("`{}` never comes: there is no such day", self.cron),
            hint: "from left to right: minute, hour, day of the month, month, day of the week".to_owned(),
        })
    }

    pub fn expression(&self) -> Result<Cron, Unkept> {
        let wrong = |why: String| {
            Unkept {
            zone: false,
            what: format!("`{}` is not a cron expression: {why}", self.cron.chars().take(80).collect::<String>()),
            hint: "five fields: minute, hour, day of the month, month, day of the week, as in `0 6 * * MON-FRI`; six with seconds in front; or `@hourly`, `@daily`"
                .to_owned(),
        }
        };
        if self.cron.len() > CRON_BYTES_MAX {
            return Err(wrong(format!("it has {} bytes, {CRON_BYTES_MAX} are allowed", self.cron.len())));
        }
        Cron::from_str(&self.cron).map_err(|error| wrong(error.to_string()))
    }

    pub fn time_zone(&self) -> Result<TimeZone, Unkept> {
        TimeZone::get(&self.zone).map_err(|_| {
            let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
            let likeness = |name: &&String| strsim::jaro_winkler(&self.zone.to_lowercase(), &name.to_lowercase());
            let best = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let hint = match best {
                Some(name) if likeness(&name) >= LIKENESS_MIN => format!("did you mean `{name}`?"),
                _ => "a name of the time zone database, as `Africa/Lagos` or `UTC`".to_owned(),
            };
            let shown: String = self.zone.chars().take(80).collect();
            Unkept { zone: true, what: format!("there is no time zone `{shown}`"), hint }
        })
    }
}
