//! One function's way through the log: scans, queues by key, runs what may run. Owned by one task.

use super::{
    App, Context, Eyes, Feed,
    batch::Fold,
    parking::{Parking, Waiting},
    queues::{Line, LineSet, Queues},
    run::{Ended, Item, ParkedItem, Ran, Runner},
    shared::Shared,
    tracker::Tracker,
    work::{HANDED_MAX, Job, work},
};
use crate::{
    clock,
    ledger::{LedgerError, Parked},
    model::{Event, Micros, Seq},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// Events a function holds that are not durably settled.
const OPEN_MAX: usize = 4_096;
/// Bytes of events it holds in memory, waiting for their turn.
const QUEUED_BYTES_MAX: usize = 16 << 20;
/// Parked events over which it reads no further: what waits is in the ledger, but some tens of bytes of each are in memory.
const PARKED_MAX: usize = 1 << 20;
/// Parked events read at once when it begins.
const PARKED_PAGE: usize = 64;
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
/// Between two tries to read what is to be begun with, or a parked event.
const READ_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Consumer {
    pub context: Arc<Context>,
    pub app: Arc<App>,
    pub shared: Arc<Shared>,
    feed: Feed,
    pub stop: CancellationToken,
    queues: Queues,
    busy: LineSet,
    parking: Parking,
    /// Whether a parked event goes before one from the log: they take turns.
    parked_first: bool,
    /// Replayed dead letters that are to be read from the ledger.
    replays: BTreeSet<Seq>,
    /// Those that are settled, and the moment of the lane at which they were: until that is durable they are in the ledger.
    unparked: HashMap<Seq, u64>,
    epoch: u64,
    /// The queues no longer match the ledger.
    reset: bool,
    /// The log is not kept for it: it tries what is parked, and takes nothing from the log.
    paused: bool,
    /// Times it began since something of it was committed.
    begun: u32,
    flushed: Seq,
    /// When the position is stored next, whatever happens until then.
    flush_at: Instant,
}

impl Consumer {
    pub fn new(context: Arc<Context>, app: Arc<App>, shared: Arc<Shared>, feed: Feed, stop: CancellationToken) -> Consumer {
        Consumer {
            context,
            app,
            shared,
            feed,
            stop,
            queues: Queues::default(),
            busy: LineSet::default(),
            parking: Parking::default(),
            parked_first: false,
            replays: BTreeSet::new(),
            unparked: HashMap::new(),
            epoch: 0,
            reset: true,
            paused: false,
            begun: 0,
            flushed: 0,
            flush_at: Instant::now() + FLUSH_EVERY,
        }
    }

    /// Until stopped, then until what runs has ended; or until the ledger knows the function no more.
    pub async fn run(mut self) {
        let mut told = self.context.ledger.told();
        while !(self.stop.is_cancelled() && self.busy.is_empty()) {
            self.take_reports();
            let begin = self.reset && self.busy.is_empty() && !self.stop.is_cancelled();
            if begin && !self.begin().await {
                tracing::warn!(function = %self.shared.id, "the ledger has no such function any more; its events are nobody's until it is deployed again");
                return;
            }
            told.mark_unchanged();
            let more = self.go_on();
            self.shared.set_parked(self.parking.count());
            self.flush_in_time();
            self.wait(&mut told, more).await;
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
        let delay = if self.begun < 2 { Duration::ZERO } else { doubled.mul_f64(super::part()) };
        self.begun += 1;
        delay
    }

    /// Does what can be done now. True when the log may hold more that there is room for.
    fn go_on(&mut self) -> bool {
        if self.reset || self.stop.is_cancelled() {
            // What is handed out and not begun is in the ledger still.
            for line in self.shared.work.take_back() {
                self.busy.remove(&line);
            }
            return false;
        }
        let scanned = self.scan().unwrap_or_else(|error| {
            tracing::warn!(function = %self.shared.id, %error, "can't read the log");
            false
        });
        self.start();
        scanned
    }

    async fn wait(&mut self, told: &mut watch::Receiver<Seq>, more: bool) {
        let stopping = self.stop.is_cancelled();
        if stopping && self.busy.is_empty() {
            return;
        }
        let freed = self.app.lane.room.notified();
        let works = !stopping && !self.reset;
        let room = works && self.has_room();
        // Who has no room of its own is woken by what it has under way.
        let full = works && !self.app.lane.has_room();
        let due = (works && self.may_start()).then(|| self.parking.next_due()).flatten();
        let due = due.map_or(FLUSH_EVERY, |due| Duration::from_millis(due.millis_since(clock::now()) + 1));
        let until = self.flush_at.min(Instant::now() + due.min(FLUSH_EVERY));
        let shared = self.shared.clone();
        tokio::select! {
            biased;
            () = shared.wake.notified() => {}
            // A tick of the runtime between two scans, so that a long backlog starves nobody.
            () = tokio::task::yield_now(), if room && more => {}
            _ = told.changed(), if room && !more => {}
            () = freed, if full => {}
            () = self.stop.cancelled(), if !stopping => {}
            () = tokio::time::sleep_until(until), if !stopping => {}
        }
    }

    /// However often it is woken: who judges how far it is behind sees what is stored.
    fn flush_in_time(&mut self) {
        let now = Instant::now();
        if now < self.flush_at {
            return;
        }
        self.flush_at = now + FLUSH_EVERY;
        match self.paused {
            true => self.look_up(),
            false => self.flush(),
        }
    }

    /// Another node may have let it go on.
    fn look_up(&mut self) {
        // Not knowing, it stays as it is.
        self.reset |= self.context.ledger.pause(&self.shared.id).is_ok_and(|pause| pause.is_none());
    }

    fn has_room(&self) -> bool {
        !self.paused
            && self.shared.open() < OPEN_MAX
            && self.queues.bytes() < QUEUED_BYTES_MAX
            && self.parking.count() < PARKED_MAX
            && self.app.lane.has_room()
    }

    fn may_start(&self) -> bool {
        self.busy.len() < HANDED_MAX
    }

    /// Begins again from what is durable: at start, and whenever folded calls were lost.
    fn reload(&mut self) -> Result<bool, LedgerError> {
        // The epoch first: whatever is lost after this makes every fold of the new queues fail.
        let epoch = self.app.lane.inner.lock().epoch;
        let Some(position) = self.context.ledger.position(&self.shared.id)? else { return Ok(false) };
        self.paused = self.context.ledger.pause(&self.shared.id)?.is_some();
        self.parking = self.read_parking()?;
        *self.shared.tracker.lock() = Tracker::resume(&position);
        self.queues = Queues::default();
        self.replays.clear();
        self.unparked.clear();
        self.flushed = position.through;
        self.epoch = epoch;
        self.reset = false;
        Ok(true)
    }

    /// Page by page: the events of those that wait are not kept.
    fn read_parking(&self) -> Result<Parking, LedgerError> {
        let mut parking = Parking::default();
        let mut last = 0;
        loop {
            let page = self.context.ledger.parked_after(&self.shared.id, last, PARKED_PAGE)?;
            for parked in &page {
                parking.park(Line::of_parked(parked, self.feed.order), waiting(parked));
            }
            match page.last() {
                Some(parked) if page.len() == PARKED_PAGE => last = parked.seq,
                _ => return Ok(parking),
            }
        }
    }

    fn take_reports(&mut self) {
        let reports = self.shared.reports();
        self.reset |= reports.lost > self.epoch || reports.moved;
        if reports.committed {
            self.begun = 0;
        }
        for ran in reports.ran {
            self.take_ran(ran);
        }
        self.replays.extend(reports.replayed);
        if !self.reset {
            self.take_replays();
        }
    }

    fn take_ran(&mut self, ran: Ran) {
        self.busy.remove(&ran.line);
        if let Some((seq, at)) = ran.unparked {
            self.parking.unpark(&ran.line, seq);
            if ran.line == Line::Replay(seq) {
                self.unparked.insert(seq, at);
            }
        }
        match ran.ended {
            Ended::Reset => self.reset = true,
            Ended::Parked(waiting) => self.parking.park(ran.line, waiting),
            Ended::Through => {}
        }
        self.parking.give_back(&ran.line);
        if self.reset {
            return;
        }
        // A parked one that was not begun is in the parking still.
        let rest: Vec<Item> = ran.rest.into_iter().filter(|item| item.parked.is_none()).collect();
        if self.parking.holds(&ran.line) {
            let queued = self.queues.take(&ran.line);
            rest.iter().chain(&queued).for_each(|item| self.park_behind(&ran.line, item));
        } else {
            self.queues.give_back(ran.line, rest);
        }
    }

    /// Takes in dead letters that are to be tried again.
    fn take_replays(&mut self) {
        // Asked before the ledger is: what is settled up to here is no longer there.
        let settled = self.app.lane.settled_at();
        self.unparked.retain(|_, at| *at > settled);
        for seq in std::mem::take(&mut self.replays) {
            let line = Line::Replay(seq);
            // While it runs, or what it came to is not durable, the ledger may show it as it was before.
            if self.busy.contains(&line) || self.unparked.contains_key(&seq) {
                self.replays.insert(seq);
            } else if !self.parking.holds(&line) {
                match self.read_parked(seq) {
                    Ok(Some(parked)) if parked.replay => self.parking.park(line, waiting(&parked)),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(function = %self.shared.id, seq, %error, "can't read a replayed dead letter, trying again");
                        self.replays.insert(seq);
                    }
                }
            }
        }
    }

    fn read_parked(&self, seq: Seq) -> Result<Option<Parked>, LedgerError> {
        let next = self.context.ledger.parked_after(&self.shared.id, seq.saturating_sub(1), 1)?.pop();
        Ok(next.filter(|parked| parked.seq == seq))
    }

    fn scan(&mut self) -> Result<bool, LedgerError> {
        if !self.has_room() {
            return Ok(false);
        }
        let last = *self.context.ledger.head().borrow();
        let from = self.shared.scanned() + 1;
        if from > last {
            return Ok(false);
        }
        let (events, through) = self.context.ledger.events_told(from, SCAN_EVENTS, SCAN_BYTES)?;
        let eyes = (self.context.sight)(&self.shared.id.app);
        if let (Some(eyes), Some(last)) = (&eyes, events.last()) {
            eyes.reach(last.seq).map_err(LedgerError::Unavailable)?;
        }
        let new = {
            let shared = self.shared.clone();
            let mut tracker = shared.tracker.lock();
            let mut new = events;
            new.retain(|event| tracker.scan(event.seq, self.concerns(event, eyes.as_deref())));
            // What was told to nobody, and what is gone from the log.
            tracker.skip_to(through);
            new
        };
        new.into_iter().for_each(|event| self.enqueue(event));
        if self.shared.scanned() > self.flushed + FLUSH_EVENTS {
            self.flush();
        }
        Ok(self.shared.scanned() < last)
    }

    fn concerns(&self, event: &Event, eyes: Option<&dyn Eyes>) -> bool {
        event.tenant == self.shared.id.app.tenant && self.feed.concerns(event, &self.context.fits, eyes)
    }

    fn enqueue(&mut self, event: Arc<Event>) {
        let line = Line::of(&event, self.feed.order);
        let item = Item { event, attempts: 0, parked: None };
        let busy = self.busy.contains(&line);
        match self.parking.holds(&line) && !busy {
            true => self.park_behind(&line, &item),
            false => self.queues.push(line, item, busy),
        }
    }

    fn park_behind(&mut self, line: &Line, item: &Item) {
        if self.reset {
            return;
        }
        match self.runner().park_behind(item) {
            Ok(waiting) => self.parking.park(*line, waiting),
            Err(_) => self.reset = true,
        }
    }

    /// Hands out what may run. What is parked and what comes from the log take turns, so that neither starves the other.
    fn start(&mut self) {
        self.hand_out();
        for _ in 0..self.shared.work.wanted(self.context.calls_per_function_max) {
            let runner = self.runner();
            tokio::spawn(work(runner));
        }
    }

    fn hand_out(&mut self) {
        let now = clock::now();
        while self.may_start() {
            let started = match self.parked_first {
                true => self.start_parked(now) || self.start_queued(),
                false => self.start_queued() || self.start_parked(now),
            };
            if !started {
                return;
            }
            self.parked_first = !self.parked_first;
        }
    }

    fn start_queued(&mut self) -> bool {
        let Some((line, items)) = self.queues.pop(RUN_EVENTS) else { return false };
        self.hand(line, items);
        true
    }

    fn start_parked(&mut self, now: Micros) -> bool {
        let Some((line, first)) = self.parking.take_due(now, self.wait_max()) else { return false };
        match self.event(first.seq) {
            Ok(Some(event)) => {
                let replay = matches!(line, Line::Replay(_));
                self.hand(line, vec![Item { event, attempts: first.attempts, parked: Some(ParkedItem { replay }) }]);
            }
            Ok(None) => {
                tracing::warn!(function = %self.shared.id, seq = first.seq, "a parked event is not in the ledger any more");
                self.parking.unpark(&line, first.seq);
                self.parking.give_back(&line);
            }
            Err(error) => {
                tracing::warn!(function = %self.shared.id, seq = first.seq, %error, "can't read a parked event, trying again");
                let due = now.plus_millis(u64::try_from(READ_AGAIN.as_millis()).unwrap_or(u64::MAX));
                self.parking.park(line, Waiting { due, ..first });
                self.parking.give_back(&line);
            }
        }
        true
    }

    /// How long the function lets an event wait at most.
    fn wait_max(&self) -> Duration {
        let loaded = self.app.loaded.load();
        let function = loaded.release.manifest.function(self.shared.id.function.as_str());
        function.map_or(Duration::MAX, |function| function.delivery.retry_after_max.max(function.delivery.backoff_delay))
    }

    /// A parked event: from the log if it is still there, where one is too whose parking is not durable yet.
    fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, LedgerError> {
        if let Some(event) = self.context.ledger.event(seq)? {
            return Ok(Some(event));
        }
        Ok(self.read_parked(seq)?.map(|parked| Arc::new(Event { seq, body: parked.event })))
    }

    fn hand(&mut self, line: Line, items: Vec<Item>) {
        self.busy.insert(line);
        self.shared.work.hand_out(Job { line, items, epoch: self.epoch });
    }

    fn runner(&self) -> Runner {
        Runner::new(self.context.clone(), self.app.clone(), self.shared.clone(), self.epoch)
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

fn waiting(parked: &Parked) -> Waiting {
    Waiting { seq: parked.seq, due: parked.due, attempts: parked.attempts }
}
