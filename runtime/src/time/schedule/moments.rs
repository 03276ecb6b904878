//! Moments that a cron expression names in a time zone.

use crate::{
    model::Micros,
    time::check::{Refused, refused},
};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, tz::TimeZone};
use std::collections::VecDeque;

/// Where the look for the newest of many moments begins: a quarter of an hour, then eight times as much, and so on.
const FIRST_LOOK: i64 = 15 * 60 * Micros::SECOND;
/// Names that are less alike are not what was meant.
const ALIKE: f64 = 0.8;

pub(super) struct Moments {
    cron: Cron,
    zone: TimeZone,
}

impl Moments {
    pub fn new(cron: &str, zone: &str) -> Result<Moments, Refused> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let parsed = parser.parse(cron).or_else(|error| {
            let hint = "five fields as in `0 6 * * *` (minute, hour, day, month, day of the week), six with seconds in front, or `@hourly`, `@daily` and the like";
            refused(format!("`{}` is not a cron expression: {error}", shown(cron)), hint)
        })?;
        let zone = TimeZone::get(zone).or_else(|_| refused(format!("there is no time zone `{}`", shown(zone)), meant(zone)))?;
        Ok(Moments { cron: parsed, zone })
    }

    /// The first one after that time. None: there is none in the years that calendars know.
    pub fn after(&self, time: Micros) -> Option<Micros> {
        let time = Timestamp::from_microsecond(time.0).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&time, false).ok()?;
        Some(Micros(next.timestamp().as_microsecond())).filter(|next| next.0 > time.timestamp().as_microsecond())
    }

    /// The newest `max` of those after `after` and until `until`, the oldest first.
    pub fn newest(&self, after: Micros, until: Micros, max: usize) -> Vec<Micros> {
        let mut look = FIRST_LOOK;
        loop {
            let from = after.max(Micros(until.0.saturating_sub(look)));
            let mut found = VecDeque::new();
            let mut next = self.after(from).filter(|next| *next <= until);
            while let Some(moment) = next {
                if found.len() == max {
                    found.pop_front();
                }
                found.push_back(moment);
                next = self.after(moment).filter(|next| *next <= until);
            }
            if from <= after || found.len() == max {
                return found.into();
            }
            look = look.saturating_mul(8);
        }
    }
}

fn meant(zone: &str) -> String {
    let place = zone.to_lowercase();
    let likeness = |name: &String| {
        let name = name.to_lowercase();
        // `Berlin` is as good as `Europe/Berlin`.
        let last = name.rsplit('/').next().unwrap_or(&name);
        strsim::jaro_winkler(&place, &name).max(strsim::jaro_winkler(&place, last))
    };
    let names = jiff::tz::db().available().map(|name| name.as_str().to_owned());
    let best = names.map(|name| (likeness(&name), name)).max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1)));
    match best {
        Some((likeness, name)) if likeness > ALIKE => format!("did you mean `{name}`?"),
        _ => "a name of the time zone database, as `Africa/Lagos`, `Europe/Berlin` or `UTC`".to_owned(),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
