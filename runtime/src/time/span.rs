//! Durations as microseconds, and the times they are added to.

use crate::model::{Event, Micros, limit};
use std::time::Duration;

/// Times of rules stay between here and there, 15,000 years on both sides, so that a duration can be added to any of them.
const FARTHEST: i64 = 500_000_000_000_000_000;
/// Before any time there is.
pub(super) const BEFORE: Micros = Micros(-2 * FARTHEST);
/// After any time there is.
pub(super) const NEVER: Micros = Micros(2 * FARTHEST);

pub(super) const CLOCK_BACK: i64 = seconds(limit::CLOCK_BACK_SECONDS_MAX);
pub(super) const GRACE: i64 = seconds(limit::SILENCE_GRACE_SECONDS);
pub(super) const REVISION: i64 = seconds(limit::REVISION_SECONDS);
pub(super) const TICK_LATE: i64 = seconds(limit::TICK_LATE_SECONDS_MAX);

const fn seconds(seconds: u64) -> i64 {
    seconds as i64 * Micros::SECOND
}

pub(super) fn of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(FARTHEST).min(FARTHEST / 1_000)
}

pub(super) fn later(time: Micros, span: i64) -> Micros {
    Micros(time.0.saturating_add(span))
}

pub(super) fn bounded(time: Micros) -> Micros {
    Micros(time.0.clamp(-FARTHEST, FARTHEST))
}

/// When a reading counts: when it was measured, or when it was received where the device's clock is further ahead than `ahead`.
pub(super) fn event_time(measured: Micros, received: Micros, ahead: i64) -> Micros {
    let too_far = measured.0.saturating_sub(received.0) > ahead;
    bounded(if too_far { received } else { measured })
}

pub(super) fn event_time_of(event: &Event, ahead: i64) -> Micros {
    event_time(event.measured, event.received, ahead)
}

/// The last multiple of `step` that is not after `time`.
pub(super) fn floor(time: i64, step: i64) -> i64 {
    time.div_euclid(step) * step
}

/// The first multiple of `step` that is not before `time`.
pub(super) fn ceil(time: i64, step: i64) -> i64 {
    -floor(-time, step)
}

/// In as many digits for each time, so that names with times in them are in the order of time.
pub(super) fn digits(time: Micros) -> String {
    format!("{:016x}", (time.0 as u64) ^ (1 << 63))
}
