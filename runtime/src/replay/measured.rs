//! The past in the order in which it was measured, as if it had come then: out of the history, which has all of it. Blocks.
//!
//! An event has a number here that follows from its time, so that a replay that goes on finds its place: the microseconds since 1970,
//! with room for a thousand events in each; more of one moment take from the next ones, of which hardly one is taken.

use super::{
    Failure,
    source::{Page, Range},
};
use crate::{
    history::{History, Order, Query, Sort, Stretch},
    model::{Event, Micros, Seq},
};
use std::sync::Arc;

const PAGE_EVENTS: usize = 4_096;
const PAGE_BYTES: usize = 4 << 20;
/// Bits of a number that tell events of one microsecond apart; the others reach to the year 2540, and what is later counts as then.
const TIES_BITS: u32 = 10;
const TIME_MAX: i64 = (1 << (63 - TIES_BITS)) - 1;
/// How much measured time the history is asked about at once: never so much that the places of what is there take much memory.
const SPAN_MIN: i64 = 60 * Micros::SECOND;
const SPAN_MAX: i64 = 32 * 24 * 60 * SPAN_MIN;
const FOUND_MAX: usize = 1 << 20;

pub struct ByTime {
    history: History,
    range: Range,
    /// Where the next question begins; none at the end.
    next: Option<Micros>,
    span: i64,
    stretch: Option<Stretch>,
    /// The last number that was given, and what was settled when this began.
    number: Seq,
    settled: Seq,
    /// The latest time at which an event counted as received.
    clock: Micros,
}

/// The first number of a moment.
fn number_at(measured: Micros) -> Seq {
    u64::try_from(measured.0.clamp(0, TIME_MAX)).unwrap_or(0) << TIES_BITS
}

/// The start of the minute in which a number was given: numbers of a minute do not depend on what was before it.
fn minute_of(number: Seq) -> i64 {
    let time = i64::try_from(number >> TIES_BITS).unwrap_or(TIME_MAX);
    time - time.rem_euclid(SPAN_MIN)
}

impl ByTime {
    /// The number behind every other.
    pub const LAST: Seq = (1 << 63) - 1;

    /// Begins behind `settled`, where the clock was at `clock`.
    pub fn new(history: History, range: Range, settled: Seq, clock: Micros) -> ByTime {
        let begin = if settled == 0 { i64::MIN } else { minute_of(settled) };
        let from = range.from.map_or(begin, |from| from.0.max(begin));
        ByTime { history, range, next: Some(Micros(from)), span: SPAN_MAX, stretch: None, number: 0, settled, clock }
    }

    fn query(&self, from: Micros, to: Option<Micros>) -> Query {
        let to = match (to, self.range.to) {
            (Some(to), Some(end)) => Some(to.min(end)),
            (to, end) => to.or(end),
        };
        self.range.query(Some(from), to)
    }

    pub fn next(&mut self) -> Result<Option<Page>, Failure> {
        if self.history.position() < self.range.last {
            return Ok(Some(Page { events: Vec::new(), through: self.number }));
        }
        if self.stretch.is_none() && !self.ask()? {
            return Ok(None);
        }
        let Some(stretch) = &mut self.stretch else { return Ok(None) };
        let hits = stretch.next(PAGE_EVENTS, PAGE_BYTES)?;
        if hits.is_empty() {
            self.stretch = None;
        }
        let tenant = self.range.tenant.clone();
        let events: Vec<Arc<Event>> =
            hits.into_iter().filter_map(|hit| hit.into_event(&tenant)).filter_map(|event| self.numbered(event)).collect();
        Ok(Some(Page { events, through: self.number }))
    }

    /// The next stretch that has something in it. False at the end.
    fn ask(&mut self) -> Result<bool, Failure> {
        let Some(from) = self.next else { return Ok(false) };
        // Nothing may lie there for years.
        let first = Query { limit: 1, sort: Sort::OldestFirst, ..self.query(from, None) };
        let Some(first) = self.history.search(&first)?.hits.pop() else {
            self.next = None;
            return Ok(false);
        };
        let begin = first.measured.0 - first.measured.0.rem_euclid(SPAN_MIN);
        loop {
            let to = begin.saturating_add(self.span);
            let stretch =
                self.history.stretch(&self.query(Micros(begin.max(from.0)), Some(Micros(to))), 0..self.range.last + 1, Order::Measured)?;
            let found = stretch.left();
            if found > FOUND_MAX && self.span > SPAN_MIN {
                self.span = (self.span / 4).max(SPAN_MIN) / SPAN_MIN * SPAN_MIN;
                continue;
            }
            if found < FOUND_MAX / 8 {
                self.span = (self.span * 2).min(SPAN_MAX);
            }
            self.stretch = Some(stretch);
            self.next = (to < i64::MAX).then_some(Micros(to));
            return Ok(true);
        }
    }

    /// With its number, and as if it had come when it was measured, unless it came before that. None: it is settled, or not for this replay.
    fn numbered(&mut self, mut event: Event) -> Option<Arc<Event>> {
        self.number = number_at(event.measured).max(self.number + 1);
        if self.number <= self.settled || !self.range.holds(&event) {
            return None;
        }
        self.clock = self.clock.max(event.measured.min(event.received));
        (event.seq, event.body.received) = (self.number, self.clock);
        Some(Arc::new(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_when_it_was_and_what_is_wild_stays_in_bounds() {
        assert_eq!(number_at(Micros(-5)), 0);
        assert_eq!(number_at(Micros(7)), 7 << TIES_BITS);
        assert_eq!(minute_of(number_at(Micros(61 * Micros::SECOND)) + 3), 60 * Micros::SECOND);
        assert!(number_at(Micros(i64::MAX)) < ByTime::LAST && minute_of(ByTime::LAST) <= TIME_MAX);
    }
}
