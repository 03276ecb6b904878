//! The average of each sensor and day, by the time it was *measured*, in UTC, however late it comes in.

use serde::{Deserialize, Serialize};
use tawi::{Event, log, state};

/// Under `day/DEVICE/SENSOR/2018-05-14`.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Day {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Day {
    fn with(day: Option<Day>, value: f64) -> Day {
        let Some(day) = day else { return Day { count: 1, sum: value, min: value, max: value } };
        Day { count: day.count + 1, sum: day.sum + value, min: day.min.min(value), max: day.max.max(value) }
    }
}

#[tawi::event]
fn count(event: Event) -> tawi::Result {
    let reading = event.reading()?;
    let Some(value) = event.number() else {
        log::debug!("{} of {} is not a number", reading.sensor, reading.device);
        return Ok(());
    };
    let key = format!("day/{}/{}/{}", reading.device, reading.sensor, reading.measured.day());
    // Every reading counts once, whatever happens: the platform commits this write together with its place in the log.
    state::set(&key, &Day::with(state::get(&key)?, value))
}
