//! Where the past is read: the log as far as it goes back, before that the history. Blocks.

use super::{Failure, measured::ByTime};
use crate::{
    history::{History, Hit, Order, Query, Stretch},
    ledger::Ledger,
    model::{Event, Kind, Micros, Pattern, Seq, Tenant},
};
use std::sync::Arc;

/// Events, and bytes of them, that are read at a time.
const PAGE_EVENTS: usize = 4_096;
const PAGE_BYTES: usize = 4 << 20;
/// Sequences that the history is asked about at a time; more where it has nothing, and never so many that their places take much memory.
const SPAN: Seq = 1 << 17;
const SPAN_MAX: Seq = 1 << 20;
const KINDS: [Kind; 3] = [Kind::Reading, Kind::Message, Kind::Command];

/// Which events are replayed.
#[derive(Clone)]
pub struct Range {
    pub tenant: Tenant,
    pub pattern: Pattern,
    /// Measured at or after this, and before that.
    pub from: Option<Micros>,
    pub to: Option<Micros>,
    /// The last sequence.
    pub last: Seq,
    /// As if each had been received when it was measured.
    pub by_measured: bool,
    /// Whether the app may be given an event, by when that was received.
    pub may: Arc<dyn Fn(&Event) -> bool + Send + Sync>,
}

pub enum Source {
    /// In the order in which it came.
    Came(Box<AsItCame>),
    Measured(Box<ByTime>),
}

pub struct AsItCame {
    ledger: Ledger,
    history: History,
    range: Range,
    /// The next sequence to look at.
    next: Seq,
    span: Seq,
    stretch: Option<(Stretch, Seq)>,
}

/// Some of the past: these events, and nothing else up to `through`.
pub struct Page {
    pub events: Vec<Arc<Event>>,
    pub through: Seq,
}

impl Source {
    /// Begins behind `through`. What a rule is to make of measured time has to come in the order of it.
    pub fn new(ledger: Ledger, history: History, range: Range, is_told: bool, through: Seq, clock: Micros) -> Source {
        match range.by_measured && is_told {
            true => Source::Measured(Box::new(ByTime::new(history, range, through, clock))),
            false => Source::Came(Box::new(AsItCame { ledger, history, range, next: through + 1, span: SPAN, stretch: None })),
        }
    }

    /// The last number that an event may have.
    pub fn last(&self) -> Seq {
        match self {
            Source::Came(source) => source.range.last,
            Source::Measured(_) => ByTime::LAST,
        }
    }

    /// What comes next, which may be nothing yet; none at the end.
    pub fn next(&mut self) -> Result<Option<Page>, Failure> {
        match self {
            Source::Came(source) => source.next(),
            Source::Measured(source) => source.next(),
        }
    }
}

impl AsItCame {
    fn next(&mut self) -> Result<Option<Page>, Failure> {
        if self.stretch.is_some() {
            return self.of_history().map(Some);
        }
        if self.next > self.range.last {
            return Ok(None);
        }
        if self.next >= self.ledger.first() {
            let found = self.ledger.events(self.next, PAGE_EVENTS, PAGE_BYTES)?;
            // Unless it was trimmed meanwhile: then what is missing is in the history.
            if self.next >= self.ledger.first() {
                return Ok(Some(self.of_log(found)));
            }
        }
        let end = self.next.saturating_add(self.span).min(self.ledger.first()).min(self.range.last + 1);
        let query = self.range.query(self.range.from, self.range.to);
        self.stretch = Some((self.history.stretch(&query, self.next..end, Order::Came)?, end));
        self.of_history().map(Some)
    }

    fn of_log(&mut self, found: Vec<Arc<Event>>) -> Page {
        let through = found.last().map_or(self.range.last, |event| event.seq).min(self.range.last);
        self.next = through + 1;
        let events = found.into_iter().filter(|event| event.seq <= through && self.range.holds(event));
        Page { events: events.map(|event| self.range.told(event)).collect(), through }
    }

    fn of_history(&mut self) -> Result<Page, Failure> {
        let Some((stretch, end)) = &mut self.stretch else { return Ok(Page { events: Vec::new(), through: self.next - 1 }) };
        let hits = stretch.next(PAGE_EVENTS, PAGE_BYTES)?;
        let Some(last) = hits.last().map(|hit| hit.seq) else {
            // Nobody waits long for the beginning of a log that is long gone.
            self.span = if self.next + self.span >= *end { (self.span * 2).min(SPAN_MAX) } else { SPAN };
            self.next = *end;
            self.stretch = None;
            return Ok(Page { events: Vec::new(), through: self.next - 1 });
        };
        (self.next, self.span) = (last + 1, SPAN);
        let tenant = &self.range.tenant;
        let events = hits.into_iter().filter_map(|hit: Hit| hit.into_event(tenant)).filter(|event| self.range.holds(event));
        Ok(Page { events: events.map(|event| self.range.told(Arc::new(event))).collect(), through: last })
    }
}

impl Range {
    /// The question for what was measured in a part of it.
    pub fn query(&self, from: Option<Micros>, to: Option<Micros>) -> Query {
        Query { kinds: Some(KINDS.to_vec()), from, to, ..Query::new(self.tenant.clone(), "") }
    }

    pub fn holds(&self, event: &Event) -> bool {
        let time = self.from.is_none_or(|from| event.measured >= from) && self.to.is_none_or(|to| event.measured < to);
        let about = KINDS.contains(&event.kind) && event.tenant == self.tenant && self.pattern.matches(event.subject.as_str());
        time && about && (self.may)(event)
    }

    fn told(&self, event: Arc<Event>) -> Arc<Event> {
        // A clock that ran ahead did not make a reading come earlier.
        if !self.by_measured || event.measured >= event.received {
            return event;
        }
        let mut event = Event::clone(&event);
        event.body.received = event.body.measured;
        Arc::new(event)
    }
}
