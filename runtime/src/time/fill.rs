//! The readings of a sensor without its gaps: each as it came, and before it what is missing since the one before.
//!
//! A gap is filled when the next reading closes it, in pieces, so that a long one does not have to be durable at once. What comes late passes, and
//! what was made up by then stays as it was told.

use super::{
    desk::Desk,
    gap::Missing,
    series::Follow,
    span::{self, BEFORE},
};
use crate::model::{
    Event, Micros, Value,
    event::Seq,
    manifest::{Fill, Method},
    trigger::{Filled, Fired, Gap},
};
use serde::{Deserialize, Serialize};

/// Values told in one look: with those of all series that a tick looks at, they fit a commit.
const PIECE: i64 = 32;
/// Readings before a gap that a trend is made of.
const TREND_READINGS: usize = 8;

pub(super) struct Filling {
    every: i64,
    max_gap: i64,
    ahead: i64,
    method: Method,
}

#[derive(Serialize, Deserialize)]
pub(super) struct State {
    /// The largest time at which a reading counts.
    watermark: Micros,
    /// What the next gap is filled by, ascending.
    recent: Vec<(Micros, f64)>,
    /// A gap that is being filled.
    closing: Option<Closing>,
}

/// The reading that ended a gap.
#[derive(Serialize, Deserialize)]
struct Closing {
    time: Micros,
    number: f64,
    value: Value,
    source: Seq,
    hops: u16,
    /// Of what is missing, the next that is told.
    next: i64,
}

impl Default for State {
    fn default() -> State {
        State { watermark: BEFORE, recent: Vec::new(), closing: None }
    }
}

impl Filling {
    pub fn new(fill: &Fill) -> Filling {
        let Fill { every, method, max_gap, ahead } = fill;
        Filling { every: span::of(*every).max(1), max_gap: span::of(*max_gap), ahead: span::of(*ahead), method: *method }
    }

    /// Tells some of what is missing, and then the reading that came after it.
    fn go_on(&self, state: &mut State, desk: &mut Desk<'_>) {
        let Some(mut closing) = state.closing.take() else { return };
        let missing = Missing::between(&state.recent, (closing.time, closing.number), self.every, self.method);
        let count = missing.map_or(0, |missing| missing.count);
        let gap = Some(Gap { method: self.method, from: state.watermark, to: closing.time });
        for _ in 0..PIECE.min(count + 1 - closing.next) {
            if let Some((time, Some(value))) = missing.map(|missing| missing.at(closing.next))
                && let Some(value) = Value::number(value)
            {
                desk.fire(Fired::Filled(Filled { value, gap }), time, closing.source, closing.hops);
            }
            closing.next += 1;
        }
        if closing.next <= count {
            state.closing = Some(closing);
            return;
        }
        self.pass(state, closing, desk);
    }

    fn pass(&self, state: &mut State, reading: Closing, desk: &mut Desk<'_>) {
        let Closing { time, number, value, source, hops, .. } = reading;
        desk.fire(Fired::Filled(Filled { value, gap: None }), time, source, hops);
        state.watermark = time;
        let kept = if self.method == Method::Trend { TREND_READINGS } else { 1 };
        let over = (state.recent.len() + 1).saturating_sub(kept);
        state.recent.drain(..over);
        state.recent.push((time, number));
    }
}

impl Follow for Filling {
    type State = State;
    const PATIENT: bool = false;

    fn take(&self, state: &mut State, event: &Event, desk: &mut Desk<'_>) -> bool {
        // What is no number has no place on a line.
        let Some(number) = event.value.as_f64() else { return false };
        let time = span::event_time_of(event, self.ahead);
        // Of another node's clock that is behind, the next reading comes before the rest was due.
        let drained = state.closing.is_some();
        while state.closing.is_some() {
            if desk.is_full() {
                desk.put_off();
                return true;
            }
            self.go_on(state, desk);
        }
        if time <= state.watermark {
            desk.fire(Fired::Filled(Filled { value: event.value.clone(), gap: None }), time, event.seq, event.hops());
            return drained;
        }
        let from = state.watermark;
        let missing = Missing::between(&state.recent, (time, number), self.every, self.method);
        let closing = Closing { time, number, value: event.value.clone(), source: event.seq, hops: event.hops(), next: 1 };
        match missing {
            Some(missing) if time.0 - from.0 > self.max_gap => {
                desk.troubles.gap(desk.name, from, time, missing.count);
                // What was before it says nothing about what is behind it.
                state.recent.clear();
                self.pass(state, closing, desk);
            }
            Some(_) => {
                state.closing = Some(closing);
                self.go_on(state, desk);
            }
            None => self.pass(state, closing, desk),
        }
        true
    }

    /// At once, as long as there is more to tell of a gap.
    fn deadline(&self, state: &State, last: Micros) -> Option<Micros> {
        state.closing.as_ref().map(|_| last)
    }

    fn due(&self, state: &mut State, _at: Micros, desk: &mut Desk<'_>) {
        self.go_on(state, desk);
    }

    /// What was of the future ends no gap.
    fn set_back(&self, state: &mut State, _now: Micros, desk: &mut Desk<'_>) {
        while state.closing.is_some() {
            if desk.is_full() {
                return desk.put_off();
            }
            self.go_on(state, desk);
        }
        *state = State::default();
    }
}
