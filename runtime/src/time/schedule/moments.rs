//! Moments that a cron expression names in a time zone.

use crate::model::{
    Micros,
    manifest::{Schedule, Unkept},
};
use croner::Cron;
use jiff::{Timestamp, tz::TimeZone};
use std::collections::VecDeque;

/// Where the look for the newest of many moments begins: a quarter of an hour, then eight times as much, and so on.
const FIRST_LOOK: i64 = 15 * 60 * Micros::SECOND;

pub(super) struct Moments {
    cron: Cron,
    zone: TimeZone,
}

impl Moments {
    pub fn of(schedule: &Schedule) -> Result<Moments, Unkept> {
        Ok(Moments { cron: schedule.expression()?, zone: schedule.time_zone()? })
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
