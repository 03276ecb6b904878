//! One function's way through the log: scans, queues by key, runs what may run. Owned by one task.

use super::{
    App, Context,
    batch::Fold,
    parking::Parking,
    run::{Ended, Item, ParkedItem, Ran, Runner},
    shared::Shared,
    tracker::Tracker,
};
use crate::{
    clock,
    ledger::{LedgerError, Parked},
    model::{Event, Kind, Pattern, Seq, manifest::Order},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Events a function holds that are not durably settled.
const OPEN_MAX: usize = 4_096;
/// Bytes of events it holds in memory, waiting for their turn.
const QUEUED_BYTES_MAX: usize = 16 << 20;
/// Bytes of parked events over which it reads no further: what waits is durable, but it is also in memory.
const PARKED_BYTES_MAX: usize = 32 << 20;
/// Events looked at in one go.
const SCAN_EVENTS: usize = 512;
const SCAN_BYTES: usize = 4 << 20;
/// Events of one key in one run: the next key's turn comes soon enough.
const RUN_EVENTS: usize = 32;
/// How far the scan may be ahead of the committed position when nothing concerns the function.
const FLUSH_EVENTS: Seq = 10_000;
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// The longest wait before a consumer that has lost what it did begins again: under what one commit takes to a server that is
/// far. It doubles up to here from the first loss on, and each time a random part of it is waited, so that two nodes on one
/// log don't keep refusing each other.
const BEGIN_DELAY_MAX: Duration = Duration::from_millis(256);
/// Between two tries to read what is to be begun with.
const READ_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Consumer {
    pub context: Arc<Context>,
    pub app: Arc<App>,
    pub shared: Arc<Shared>,
    pub pattern: Pattern,
    pub order: Order,
    pub stop: CancellationToken,
    queues: HashMap<String, VecDeque<Item>>,
    /// Lines with something to run and nothing running or parked before it.
    ready: VecDeque<String>,
    busy: HashSet<String>,
    parking: Parking,
    queued_bytes: usize,
    epoch: u64,
    /// The queues no longer match the ledger.
    reset: bool,
    /// Times it began since something of it was committed.
    begun: u32,
    flushed: Seq,
}

impl Consumer {
    pub fn new(
        context: Arc<Context>,
        app: Arc<App>,
        shared: Arc<Shared>,
        pattern: Pattern,
        order: Order,
        stop: CancellationToken,
    ) -> Consumer {
        Consumer {
            context,
            app,
            shared,
            pattern,
            order,
            stop,
            queues: HashMap::new(),
            ready: VecDeque::new(),
            busy: HashSet::new(),
            parking: Parking::new(order),
            queued_bytes: 0,
            epoch: 0,
            reset: true,
            begun: 0,
            flushed: 0,
        }
    }

    /// Until stopped, then until what runs has ended; or until the ledger knows the function no more.
    pub async fn run(mut self) {
        let mut head = self.context.ledger.head();
        while !(self.stop.is_cancelled() && self.busy.is_empty()) {
            self.take_reports();
            let begin = self.reset && self.busy.is_empty() && !self.stop.is_cancelled();
            if begin && !self.begin().await {
                tracing::warn!(function = %self.shared.id, "the ledger has no such function any more; its events are nobody's until it is deployed again");
                return;
            }
            let more = self.go_on(&mut head);
            self.wait(&mut head, more).await;
        }
    }

    /// Begins from what is durable. False when the function is not registered, and so has no events.
    async fn begin(&mut self) -> bool {
        let stop = self.stop.clone();
        let begun = stop.run_until_cancelled(async {
            tokio::time::sleep(self.delay()).await;
            loop {
                // What this consumer, or the one before it, has folded must be in the ledger, or lost: it would run again.
                self.app.lane.settled().await;
                match self.reload() {
                    Ok(registered) => return registered,
                    Err(error) => {
                        tracing::warn!(function = %self.shared.id, %error, "can't read the consumer's position, trying again");
                    }
                }
                tokio::time::sleep(READ_AGAIN).await;
            }
        });
        begun.await.unwrap_or(true)
    }

    /// None before the first begin and after the first loss.
    fn delay(&mut self) -> Duration {
        let doubled = Duration::from_millis(1).saturating_mul(1 << self.begun.min(16)).min(BEGIN_DELAY_MAX);
        let delay = if self.begun < 2 { Duration::ZERO } else { doubled.mul_f64(rand::random()) };
        self.begun += 1;
        delay
    }

    /// Does what can be done now. True when the log may hold more that there is room for.
    fn go_on(&mut self, head: &mut watch::Receiver<Seq>) -> bool {
        if self.reset || self.stop.is_cancelled() {
            return false;
        }
        let scanned = self.scan(head).unwrap_or_else(|error| {
            tracing::warn!(function = %self.shared.id, %error, "can't read the log");
            false
        });
        self.start_due();
        scanned
    }

    async fn wait(&mut self, head: &mut watch::Receiver<Seq>, more: bool) {
        let stopping = self.stop.is_cancelled();
        if stopping && self.busy.is_empty() {
            return;
        }
        let can_run = !stopping && !self.reset && !self.ready.is_empty() && self.busy.len() < self.context.calls_per_function_max;
        let room = !stopping && !self.reset && self.has_room();
        let due = (!stopping && !self.reset).then(|| self.parking.next_due(|line| self.busy.contains(line))).flatten();
        let due = due.map_or(FLUSH_EVERY, |due| Duration::from_millis(due.millis_since(clock::now()) + 1).min(FLUSH_EVERY));
        let shared = self.shared.clone();
        let engine = self.context.engine.clone();
        tokio::select! {
            biased;
            () = shared.wake.notified() => {}
            permit = engine.permit(), if can_run => self.start(permit),
            // A tick of the runtime between two scans, so that a long backlog starves nobody.
            () = tokio::task::yield_now(), if room && more => {}
            _ = head.changed(), if room && !more => {}
            () = self.stop.cancelled(), if !stopping => {}
            () = tokio::time::sleep(due), if !stopping => self.flush(),
        }
    }

    fn has_room(&self) -> bool {
        self.shared.open() < OPEN_MAX && self.queued_bytes < QUEUED_BYTES_MAX && self.parking.bytes() < PARKED_BYTES_MAX
    }

    /// Begins again from what is durable: at start, and whenever folded calls were lost.
    fn reload(&mut self) -> Result<bool, LedgerError> {
        // The epoch first: whatever is lost after this makes every fold of the new queues fail.
        let epoch = self.app.lane.inner.lock().epoch;
        let Some(position) = self.context.ledger.position(&self.shared.id)? else { return Ok(false) };
        let parked = self.context.ledger.parked(&self.shared.id)?;
        *self.shared.tracker.lock() = Tracker::resume(&position);
        self.queues.clear();
        self.ready.clear();
        self.queued_bytes = 0;
        self.flushed = position.through;
        self.parking = Parking::new(self.order);
        parked.into_iter().for_each(|parked| self.parking.park(parked));
        self.epoch = epoch;
        self.reset = false;
        Ok(true)
    }

    fn take_reports(&mut self) {
        let reports = self.shared.reports();
        self.reset |= reports.lost > self.epoch;
        if reports.committed {
            self.begun = 0;
        }
        for ran in reports.ran {
            self.take_ran(ran);
        }
        if reports.refresh && !self.reset {
            self.take_new_parked();
        }
    }

    fn take_ran(&mut self, ran: Ran) {
        self.busy.remove(&ran.line);
        for seq in ran.unparked {
            self.parking.unpark(&ran.line, seq);
        }
        match ran.ended {
            Ended::Reset => self.reset = true,
            Ended::Parked(parked) => self.parking.park(*parked),
            Ended::Through => {}
        }
        if self.reset {
            return;
        }
        let queued = self.queues.remove(&ran.line).unwrap_or_default();
        // Parked ones that were not begun are in the parking still.
        let waiting = ran.rest.into_iter().filter(|item| item.parked.is_none()).chain(queued);
        if self.parking.holds(&ran.line) {
            let waiting: Vec<Item> = waiting.collect();
            waiting.iter().for_each(|item| self.park_behind(item));
            return;
        }
        let waiting: VecDeque<Item> = waiting.collect();
        if !waiting.is_empty() {
            self.queues.insert(ran.line.clone(), waiting);
            self.ready.push_back(ran.line);
        }
    }

    fn take_new_parked(&mut self) {
        match self.context.ledger.parked(&self.shared.id) {
            Ok(parked) => {
                let new = parked.into_iter().filter(|parked| parked.replay && !self.parking.knows(&self.parking.line(parked), parked.seq));
                let new: Vec<Parked> = new.collect();
                new.into_iter().for_each(|parked| self.parking.park(parked));
            }
            Err(error) => tracing::warn!(function = %self.shared.id, %error, "can't read the parked events"),
        }
    }

    fn scan(&mut self, head: &mut watch::Receiver<Seq>) -> Result<bool, LedgerError> {
        if !self.has_room() {
            return Ok(false);
        }
        let last = *head.borrow_and_update();
        let from = self.shared.scanned() + 1;
        if from > last {
            return Ok(false);
        }
        let events = self.context.ledger.events(from, SCAN_EVENTS, SCAN_BYTES)?;
        if events.is_empty() {
            // All of it is gone from the log: it was nobody's any more.
            self.shared.tracker.lock().skip_to(last);
        }
        for event in &events {
            let concerns = self.concerns(event);
            let new = self.shared.tracker.lock().scan(event.seq, concerns);
            if new {
                self.enqueue(event);
            }
        }
        if self.shared.scanned() > self.flushed + FLUSH_EVENTS {
            self.flush();
        }
        Ok(self.shared.scanned() < last)
    }

    fn concerns(&self, event: &Event) -> bool {
        event.kind != Kind::Log && event.tenant == self.shared.id.app.tenant && self.pattern.matches(event.subject.as_str())
    }

    fn enqueue(&mut self, event: &Arc<Event>) {
        let line = match self.order {
            Order::Device => event.key.clone(),
            Order::None => format!("\u{1}{}", event.seq),
        };
        let item = Item { event: event.clone(), attempts: 0, parked: None };
        if self.parking.holds(&line) && !self.busy.contains(&line) {
            return self.park_behind(&item);
        }
        self.queued_bytes += event.size_bytes();
        let queue = self.queues.entry(line.clone()).or_default();
        queue.push_back(item);
        if queue.len() == 1 && !self.busy.contains(&line) {
            self.ready.push_back(line);
        }
    }

    fn park_behind(&mut self, item: &Item) {
        if self.reset {
            return;
        }
        self.queued_bytes = self.queued_bytes.saturating_sub(item.event.size_bytes());
        match self.runner().park_behind(item) {
            Ok(parked) => self.parking.park(parked),
            Err(_) => self.reset = true,
        }
    }

    fn start_due(&mut self) {
        for parked in self.parking.due(clock::now(), |line| self.busy.contains(line) || self.queues.contains_key(line)) {
            let line = self.parking.line(&parked);
            let event = Arc::new(Event { seq: parked.seq, body: parked.event });
            let item = Item { event, attempts: parked.attempts, parked: Some(ParkedItem { replay: parked.replay }) };
            self.queues.insert(line.clone(), VecDeque::from([item]));
            self.ready.push_back(line);
        }
    }

    fn start(&mut self, permit: crate::engine::Permit) {
        let Some(line) = self.ready.pop_front() else { return };
        let mut queue = self.queues.remove(&line).unwrap_or_default();
        let later = queue.split_off(queue.len().min(RUN_EVENTS));
        if !later.is_empty() {
            self.queues.insert(line.clone(), later);
        }
        let bytes: usize = queue.iter().filter(|item| item.parked.is_none()).map(|item| item.event.size_bytes()).sum();
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.busy.insert(line.clone());
        let runner = self.runner();
        tokio::spawn(async move {
            let ran = runner.run(&permit, line, queue.into()).await;
            drop(permit);
            runner.shared.ran(ran);
        });
    }

    fn runner(&self) -> Runner {
        Runner { context: self.context.clone(), app: self.app.clone(), shared: self.shared.clone(), epoch: self.epoch }
    }

    /// Commits the position when the scan has passed much that did not concern the function.
    fn flush(&mut self) {
        let scanned = self.shared.scanned();
        if self.reset || scanned == self.flushed {
            return;
        }
        self.flushed = scanned;
        let fold = Fold { settled: Some((self.shared.clone(), 0)), ..Fold::default() };
        self.reset |= self.app.lane.fold(self.epoch, fold, false).is_err();
    }
}
