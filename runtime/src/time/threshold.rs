//! Threshold: a value that goes beyond a limit, and comes back.

use super::{
    desk::Desk,
    sample::Sample,
    series::Follow,
    span::{self, event_time_of, later},
};
use crate::model::{
    Event, Micros,
    manifest::Threshold as Wanted,
    trigger::{Crossing, Fired, Sampled},
};
use serde::{Deserialize, Serialize};

pub(super) struct Threshold {
    above: bool,
    limit: f64,
    hysteresis: f64,
    hold: i64,
}

/// Where the value is, as far as the function was told.
#[derive(Default, Serialize, Deserialize)]
pub(super) enum State {
    #[default]
    Here,
    /// Beyond, but not for long enough yet.
    Going {
        since: Micros,
        /// The latest measured time since then.
        until: Micros,
        /// When the latest reading was received.
        heard: Micros,
        reading: Box<Sample>,
    },
    Beyond,
}

impl Threshold {
    pub fn new(wanted: &Wanted) -> Threshold {
        let Wanted { above, limit, hysteresis, hold } = *wanted;
        Threshold { above, limit, hysteresis, hold: span::of(hold) }
    }

    fn is_beyond(&self, value: f64) -> bool {
        if self.above { value > self.limit } else { value < self.limit }
    }

    fn is_back(&self, value: f64) -> bool {
        if self.above { value <= self.limit - self.hysteresis } else { value >= self.limit + self.hysteresis }
    }

    fn tell(reading: Sampled, beyond: bool, since: Micros, measured: Micros, hops: u16, desk: &mut Desk<'_>) {
        let source = reading.sequence;
        desk.fire(Fired::Threshold(Crossing { reading, beyond, since }), measured, source, hops);
    }
}

impl Follow for Threshold {
    type State = State;
    /// While the node was away, no reading could say otherwise.
    const PATIENT: bool = true;

    fn take(&self, state: &mut State, event: &Event, desk: &mut Desk<'_>) -> bool {
        let Some(value) = event.value.as_f64() else { return false };
        // Nothing is measured after it was received.
        let time = event_time_of(event, 0);
        let (beyond, received) = (self.is_beyond(value), span::bounded(event.received));
        let told = |beyond, since, desk: &mut Desk<'_>| Self::tell(Sampled::of(event), beyond, since, event.measured, event.hops(), desk);
        match state {
            State::Here if beyond && self.hold == 0 => {
                told(true, time, desk);
                *state = State::Beyond;
            }
            State::Here if beyond => {
                *state = State::Going { since: time, until: time, heard: received, reading: Box::new(Sample::of(event)) };
            }
            State::Going { since, .. } if beyond && time.0 - since.0 >= self.hold => {
                told(true, *since, desk);
                *state = State::Beyond;
            }
            State::Going { until, heard, reading, .. } if beyond => {
                (*until, *heard, **reading) = (time.max(*until), received.max(*heard), Sample::of(event));
            }
            State::Going { .. } => *state = State::Here,
            State::Beyond if self.is_back(value) => {
                told(false, time, desk);
                *state = State::Here;
            }
            State::Here | State::Beyond => return false,
        }
        true
    }

    /// The device's clock is taken to go on with ours: who sends nothing any more has not come back.
    fn deadline(&self, state: &State, _last: Micros) -> Option<Micros> {
        let State::Going { since, until, heard, .. } = state else { return None };
        Some(later(*heard, self.hold - (until.0 - since.0)))
    }

    fn due(&self, state: &mut State, _at: Micros, desk: &mut Desk<'_>) {
        let State::Going { since, reading, .. } = std::mem::replace(state, State::Beyond) else { return };
        let hops = reading.hops;
        Self::tell(reading.told(), true, since, later(since, self.hold), hops, desk);
    }

    fn set_back(&self, state: &mut State, now: Micros, _desk: &mut Desk<'_>) {
        if let State::Going { heard, .. } = state {
            *heard = now;
        }
    }
}
