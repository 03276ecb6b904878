//! Triggers of the past: the same rules over what was, one event after another, by the clock of the events. Alone with its ledger.
//!
//! What it writes into the log is the same however often it was interrupted: rules fire in one order whatever was reloaded in between, and
//! each trigger is stamped with the moment at which it fell due.

use super::{shelf::Shelf, sink::Sink, subject};
use crate::{
    dispatch::{Eyes, Feed, Fits, Sight},
    ledger::{Commit, Done, Ledger, LedgerError, Op, Outcome, Version},
    model::{Event, FunctionId, Micros, NewEvent, Seq, Write, manifest::Trigger},
    time::{Firing, Rules},
};
use tokio_util::sync::CancellationToken;

/// Events looked at in one go, and bytes of them.
const SCAN_EVENTS: usize = 512;
const SCAN_BYTES: usize = 4 << 20;
/// From here on what is made is committed before more is.
const COMMIT_BYTES: usize = 384 << 10;
/// Events after which it is committed that nothing came of them: what is behind is let go of.
const COMMIT_EVENTS: u32 = 4_096;

/// Where its state says when the last event came that was looked at.
const SEEN: &str = "seen";

/// When the last event came that a function's rule has looked at, as far as that is durable.
pub fn seen(ledger: &Ledger, target: &FunctionId) -> Result<Micros, LedgerError> {
    let kept = ledger.state(&target.evaluator().app, SEEN)?;
    Ok(Micros(kept.and_then(|bytes| Some(i64::from_be_bytes(bytes.as_ref().try_into().ok()?))).unwrap_or(i64::MIN)))
}

/// How the past ends.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Its last event.
    pub last: Seq,
    /// What falls due behind that is told as far as here, unless the last event came later.
    pub until: Micros,
    /// Nothing was measured from here on: windows that end by then are whole.
    pub measured: Option<Micros>,
}

/// Tells the triggers of one function.
pub struct Teller {
    ledger: Ledger,
    fits: Fits,
    sight: Sight,
    target: FunctionId,
    id: FunctionId,
    sink: Sink,
    feed: Feed,
    rules: Rules,
    shelf: Shelf,
    base: Version,
    scanned: Seq,
    /// When the last event came.
    seen: Micros,
    told: Vec<NewEvent>,
    bytes: usize,
    looked_at: u32,
    firings: Vec<Firing>,
}

impl Teller {
    /// None for a function that is told of events themselves. `ledger` has the past for its log.
    pub(in crate::dispatch) fn new(ledger: Ledger, fits: Fits, sight: Sight, target: &FunctionId, trigger: &Trigger) -> Option<Teller> {
        let Trigger::Event { subject: pattern, order, select, rule: Some(rule) } = trigger else { return None };
        let id = target.evaluator();
        Some(Teller {
            shelf: Shelf::new(ledger.clone(), id.app.clone()),
            ledger,
            fits,
            sight,
            target: target.clone(),
            id,
            sink: Sink::Function(subject(target)),
            feed: Feed { triggers: false, pattern: pattern.clone(), order: *order, select: select.clone() },
            rules: Rules::new(rule),
            base: 0,
            scanned: 0,
            seen: Micros(i64::MIN),
            told: Vec::new(),
            bytes: 0,
            looked_at: 0,
            firings: Vec::new(),
        })
    }

    /// Until all is told, or it is stopped. What was not committed then is made again the next time.
    pub async fn run(mut self, end: End, stop: CancellationToken) -> Result<(), LedgerError> {
        let Some(ran) = stop.run_until_cancelled(self.tell(end)).await else { return Ok(()) };
        ran
    }

    async fn tell(&mut self, end: End) -> Result<(), LedgerError> {
        self.begin().await?;
        let mut head = self.ledger.head();
        while self.scanned < end.last {
            let last = *head.borrow_and_update();
            if self.scanned >= last {
                self.commit().await?;
                if head.changed().await.is_err() {
                    return Err(LedgerError::Closed);
                }
                continue;
            }
            self.scan(last)?;
            if self.is_full() || self.looked_at >= COMMIT_EVENTS {
                self.commit().await?;
            }
            tokio::task::yield_now().await;
        }
        let until = end.until.max(self.seen);
        while !self.come_to(until) {
            self.commit().await?;
        }
        if let Some(measured) = end.measured {
            while self.rules.finish_some(measured, &mut self.shelf, &mut self.firings) {
                self.take_firings(until);
                self.commit().await?;
            }
            self.take_firings(until);
        }
        self.commit().await
    }

    async fn begin(&mut self) -> Result<(), LedgerError> {
        self.ledger.apply(Op::Register { function: self.id.clone(), start: 0 }).await?;
        self.base = self.ledger.version(&self.id.app)?;
        self.scanned = self.ledger.position(&self.id)?.map_or(0, |position| position.through);
        self.seen = seen(&self.ledger, &self.target)?;
        let reloaded = self.rules.reload(&mut self.shelf).map_err(|error| LedgerError::Format(error.to_string()));
        self.read()?;
        reloaded
    }

    /// What was made while a part could not be read is worth nothing.
    fn read(&mut self) -> Result<(), LedgerError> {
        self.shelf.take_failure().map_or(Ok(()), Err)
    }

    /// Some of the log, as far as there is room for what comes of it.
    fn scan(&mut self, last: Seq) -> Result<(), LedgerError> {
        let events = self.ledger.events(self.scanned + 1, SCAN_EVENTS, SCAN_BYTES)?;
        if events.is_empty() {
            self.scanned = last;
        }
        let eyes = (self.sight)(&self.target.app);
        for event in &events {
            if self.concerns(event, eyes.as_deref()) {
                loop {
                    if self.is_full() || !self.come_to(event.received) || self.is_full() {
                        return self.read();
                    }
                    let again = self.rules.take_some(event, &mut self.shelf, &mut self.firings);
                    self.take_firings(event.received);
                    if !again {
                        break;
                    }
                }
            }
            self.seen = event.received;
            self.scanned = event.seq;
            self.looked_at += 1;
        }
        self.read()
    }

    fn concerns(&self, event: &Event, eyes: Option<&dyn Eyes>) -> bool {
        event.tenant == self.id.app.tenant && self.feed.concerns(event, &self.fits, eyes)
    }

    /// Tells what falls due, each at its moment. False when there is no room for all of it.
    fn come_to(&mut self, time: Micros) -> bool {
        while let Some(due) = self.rules.next().filter(|due| *due <= time) {
            if self.is_full() {
                return false;
            }
            let more = self.rules.tick_some(due, &mut self.shelf, &mut self.firings);
            let has_fired = !self.firings.is_empty();
            self.take_firings(due);
            if !more && !has_fired && self.rules.next() == Some(due) {
                // Whatever waits there waits for something else.
                break;
            }
        }
        true
    }

    fn take_firings(&mut self, moment: Micros) {
        for firing in self.firings.drain(..) {
            let told = self.sink.event(&self.target, firing, moment);
            self.bytes += told.as_ref().map_or(0, NewEvent::size_bytes);
            self.told.extend(told);
        }
    }

    fn is_full(&self) -> bool {
        self.bytes + self.shelf.bytes() >= COMMIT_BYTES
    }

    async fn commit(&mut self) -> Result<(), LedgerError> {
        self.read()?;
        // Nobody reads of readings that came too late so long ago.
        drop(self.rules.trouble());
        let done = Done { function: self.id.clone(), through: self.scanned, above: Vec::new() };
        let (events, mut writes) = (std::mem::take(&mut self.told), self.shelf.take_writes());
        writes.push(Write { key: SEEN.to_owned(), value: Some(self.seen.0.to_be_bytes().to_vec().into()) });
        (self.bytes, self.looked_at) = (0, 0);
        let commit = Commit { base: Some(self.base), done: vec![done], ..Commit::resting_on_nothing(self.id.app.clone(), events, writes) };
        match self.ledger.apply(Op::Commit(commit)).await? {
            Outcome::Applied { version, .. } => self.base = version,
            _ => return Err(LedgerError::Format("somebody else writes into the ledger of a replay".to_owned())),
        }
        Ok(())
    }
}
