//! One evaluator: from the log and the time to triggers, commit by commit. Owned by one task.

use super::{MADE_BY, Progress, shelf::Shelf, sink::Sink, work::Work};
use crate::{
    clock,
    dispatch::{Context, Fits, Sight, outgoing::Origin},
    ledger::{Commit, Done, Ledger, LedgerError, Op, Outcome, Version},
    model::{FunctionId, LogLevel, LogLine, Micros, NewEvent, Seq, Write},
    time::{Firing, Trouble},
};
use bytes::Bytes;
use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// Events looked at in one go, after which others have their turn.
const SCAN_EVENTS: usize = 512;
const SCAN_BYTES: usize = 4 << 20;
/// From here on what is made is committed before more is: others on the log wait for no more than this, and for what one look makes, which
/// is bounded by the rule (`RULE_LOOK_BYTES_MAX`). In tests of this crate little, so that a reading is often told of in several commits.
const COMMIT_BYTES_MAX: usize = if cfg!(test) { 2048 } else { 384 * 1024 };
/// What a rule forgets of another rule at once, and that alone, goes ahead in commits of so much.
const FORGET_BYTES_MAX: usize = 3 << 20;
/// From one commit with triggers to the next: under load they share one.
const PACE: Duration = Duration::from_millis(4);
/// How long what is kept may be ahead of what is durable when nothing is told: a crash costs reading so much of the log again.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How often the position is stored when nothing concerns the rule; the log is kept from there on.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
const FLUSH_EVENTS: Seq = 10_000;
/// A node that has heard nothing of the one whose evaluator is ahead for so long takes its place. A random part of it comes on top.
const TAKE_OVER: Duration = Duration::from_secs(15);
/// Looks of a node that waits for its turn.
const LOOK: Duration = Duration::from_secs(1);
/// The system's clock may leap while a timer runs; it is looked at so often at least.
const CLOCK_LOOK: Duration = Duration::from_secs(5);
/// What the last commit of one that is stopped may take.
const LAST_COMMIT: Duration = Duration::from_secs(1);
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Between two times that readings which came too late, and the like, are told in the log, and sensors that are named then.
const SAY_EVERY: Duration = Duration::from_secs(60);
const TROUBLES_MAX: usize = 20;

pub(super) struct Evaluator {
    ledger: Ledger,
    fits: Fits,
    sight: Sight,
    id: FunctionId,
    target: FunctionId,
    sink: Sink,
    rule: Bytes,
    lent: Lent,
    progress: Arc<Progress>,
    base: Version,
    scanned: Seq,
    flushed: Seq,
    flush_at: Instant,
    keep_at: Option<Instant>,
    paced: Instant,
    /// The next begin is one of a node that was away.
    away: bool,
    say_at: Instant,
    stop: CancellationToken,
}

/// What is lent to a thread that may block.
struct Lent {
    work: Work,
    shelf: Shelf,
    firings: Vec<Firing>,
    firing_bytes: usize,
}

enum Begun {
    Ours,
    /// The log is not kept for it.
    Paused,
    /// The ledger knows it no more, or it is of another rule.
    Gone,
}

/// Somebody else has come further.
struct Lost;

impl Evaluator {
    pub fn new(
        context: &Context,
        id: FunctionId,
        target: &FunctionId,
        sink: Sink,
        rule: Bytes,
        work: Work,
        progress: Arc<Progress>,
    ) -> Evaluator {
        let (ledger, now) = (context.ledger.clone(), Instant::now());
        let shelf = Shelf::new(ledger.clone(), id.app.clone());
        Evaluator {
            fits: context.fits.clone(),
            sight: context.sight.clone(),
            sink,
            target: target.clone(),
            lent: Lent { work, shelf, firings: Vec::new(), firing_bytes: 0 },
            ledger,
            id,
            rule,
            progress,
            base: 0,
            scanned: 0,
            flushed: 0,
            flush_at: now,
            keep_at: None,
            paced: now,
            away: true,
            say_at: now,
            stop: CancellationToken::new(),
        }
    }

    /// Until stopped, or until the ledger knows it no more. Who is stopped makes durable what it has looked at, if that can be done in a
    /// moment: what was read under one rule is not to be read again under the next. What was not committed then is made again from the log.
    pub async fn run(mut self, stop: CancellationToken) {
        self.stop = stop.clone();
        let given_up = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_COMMIT).await;
        };
        let runs = async {
            // Who begins or waits has nothing to make durable.
            while let Some(Begun::Ours) = stop.run_until_cancelled(self.begin()).await {
                let Lost = self.go_on().await;
                stop.run_until_cancelled(self.follow()).await;
            }
        };
        tokio::select! {
            () = runs => {}
            () = given_up => {}
        }
    }

    async fn begin(&mut self) -> Begun {
        let mut wait = WAIT_MIN;
        loop {
            match self.load().await {
                Ok(Begun::Paused) => {}
                Ok(begun) => return begun,
                Err(error) => tracing::warn!(function = %self.target, error, "what its trigger keeps can't be read, trying again"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    async fn load(&mut self) -> Result<Begun, String> {
        let text = |error: LedgerError| crate::telemetry::chain(&error);
        // The version first: what is read may be of a later one, and then a commit on this one is refused.
        self.base = self.ledger.version(&self.id.app).map_err(text)?;
        let Some(position) = self.ledger.position(&self.id).map_err(text)? else { return Ok(Begun::Gone) };
        if self.ledger.state(&self.id.app, MADE_BY).map_err(text)?.is_some_and(|rule| rule != self.rule) {
            return Ok(Begun::Gone);
        }
        if self.ledger.pause(&self.id).map_err(text)?.is_some() {
            return Ok(Begun::Paused);
        }
        let (ledger, place) = (self.ledger.clone(), self.id.app.clone());
        let held = &mut self.lent;
        let lent = Lent {
            work: mem::replace(&mut held.work, Work::Nothing),
            shelf: Shelf::new(ledger, place),
            firings: Vec::new(),
            firing_bytes: 0,
        };
        let away = self.away;
        // A hundred thousand sensors take some tenths of a second.
        let restored = crate::dispatch::blocking(move || {
            let mut lent = lent;
            let restored = lent.work.restore(&mut lent.shelf, clock::now(), away);
            let restored = lent.shelf.take_failure().map_or(restored, |error| Err(text(error)));
            (lent, restored)
        });
        let (lent, restored) = restored.await.map_err(|error| error.to_string())?;
        self.lent = lent;
        restored?;
        self.away = false;
        self.scanned = position.through;
        self.flushed = position.through;
        self.progress.scanned.store(self.scanned, Ordering::Release);
        let now = Instant::now();
        (self.flush_at, self.keep_at, self.paced) = (now + FLUSH_EVERY, None, now);
        Ok(Begun::Ours)
    }

    async fn go_on(&mut self) -> Lost {
        let mut told = self.ledger.told();
        loop {
            told.mark_unchanged();
            // What was made while a part could not be read is worth nothing: it must not become durable.
            let stepped = self.step();
            let failed = self.lent.shelf.take_failure();
            let more = match failed.map_or(stepped, Err) {
                Ok(more) => more,
                Err(error) => {
                    tracing::warn!(function = %self.target, error = crate::telemetry::chain(&error), "its trigger begins again from what is durable");
                    tokio::time::sleep(WAIT_MAX).await;
                    return Lost;
                }
            };
            let stops = self.stop.is_cancelled();
            if (self.wants_commit() || (stops && self.scanned > self.flushed))
                && let Err(lost) = self.commit().await
            {
                return lost;
            }
            if stops {
                return Lost;
            }
            self.wait(&mut told, more).await;
        }
    }

    /// Looks at some of the log, then at the time. True when there is more to look at.
    fn step(&mut self) -> Result<bool, LedgerError> {
        let last = *self.ledger.head().borrow();
        let now = clock::now();
        if !self.lent.work.follows_the_log() {
            self.scanned = self.scanned.max(last);
        } else if self.scanned < last && !self.scan()? {
            return Ok(true);
        }
        let more = self.scanned < last;
        if !more {
            self.tick(now);
        }
        if self.lent.firings.is_empty() {
            self.progress.scanned.store(self.scanned, Ordering::Release);
        }
        Ok(more)
    }

    /// False when there was no room for all of it.
    fn scan(&mut self) -> Result<bool, LedgerError> {
        let (events, through) = self.ledger.events_told(self.scanned + 1, SCAN_EVENTS, SCAN_BYTES)?;
        let eyes = (self.sight)(&self.target.app);
        if let (Some(eyes), Some(last)) = (&eyes, events.last()) {
            eyes.reach(last.seq).map_err(LedgerError::Unavailable)?;
        }
        for event in &events {
            if event.tenant == self.id.app.tenant && self.lent.work.concerns(event, &self.fits, eyes.as_deref()) {
                while self.lent.tick_before(event) {
                    if self.lent.is_full() {
                        return Ok(false);
                    }
                }
                // One reading may end many windows with all their readings in them: each part of that is committed with the state that
                // belongs to it, and what is left is made of the same reading again, also by a node that knows it from the log alone.
                loop {
                    if self.lent.is_full() {
                        return Ok(false);
                    }
                    if !self.lent.take(event) {
                        break;
                    }
                }
            }
            self.scanned = event.seq;
        }
        self.scanned = self.scanned.max(through);
        Ok(true)
    }

    fn tick(&mut self, now: Micros) {
        while !self.lent.is_full() && self.lent.tick(now) {}
    }

    fn wants_commit(&mut self) -> bool {
        let now = Instant::now();
        if !self.lent.firings.is_empty() || self.lent.is_full() {
            return now >= self.paced || self.lent.is_full();
        }
        if self.lent.shelf.bytes() > 0 && now >= *self.keep_at.get_or_insert(now + KEEP_EVERY) {
            return true;
        }
        if self.scanned >= self.flushed + FLUSH_EVENTS {
            return true;
        }
        if now >= self.flush_at {
            self.flush_at = now + FLUSH_EVERY;
            // On a log that others share it says, too, that this node is there.
            return self.scanned > self.flushed || self.ledger.is_shared();
        }
        false
    }

    async fn wait(&mut self, told: &mut watch::Receiver<Seq>, more: bool) {
        let (now, moment) = (clock::now(), Instant::now());
        let due = self.lent.work.next(now).map_or(CLOCK_LOOK, |due| Duration::from_millis(due.millis_since(now)).min(CLOCK_LOOK));
        let mut until = (moment + due).min(self.flush_at);
        if let Some(at) = self.keep_at.filter(|_| self.lent.shelf.bytes() > 0) {
            until = until.min(at);
        }
        if !self.lent.firings.is_empty() {
            until = until.min(self.paced);
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = tokio::task::yield_now(), if more => {}
            // A reading that comes alone is told of at once; of many, each commit has some.
            _ = told.changed(), if !more && self.lent.work.follows_the_log() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    async fn commit(&mut self) -> Result<(), Lost> {
        let now = clock::now();
        let firings = self.lent.take_firings();
        let mut events: Vec<NewEvent> = firings.into_iter().filter_map(|firing| self.sink.event(&self.target, firing, now)).collect();
        events.extend(self.say_troubles(now));
        let through = self.scanned;
        let mut writes = self.lent.shelf.take_writes();
        // Only a rule that begins anew has so much to write: it forgets what another kept, and says last that it did. What goes ahead of
        // that is forgotten again where this node dies.
        writes.sort_by_key(|write| write.value.is_some());
        while let Some(ahead) = split(&mut writes, FORGET_BYTES_MAX) {
            self.apply(Vec::new(), ahead, None).await?;
        }
        self.apply(events, writes, Some(through)).await?;
        let moment = Instant::now();
        self.flushed = through;
        self.progress.scanned.store(through, Ordering::Release);
        (self.keep_at, self.paced, self.flush_at) = (None, moment + PACE, moment + FLUSH_EVERY);
        Ok(())
    }

    async fn apply(&mut self, events: Vec<NewEvent>, writes: Vec<Write>, through: Option<Seq>) -> Result<(), Lost> {
        let done = through.map(|through| Done { function: self.id.clone(), through, above: Vec::new() });
        let op = Op::Commit(Commit {
            base: Some(self.base),
            done: done.into_iter().collect(),
            ..Commit::resting_on_nothing(self.id.app.clone(), events, writes)
        });
        let mut wait = WAIT_MIN;
        loop {
            match self.ledger.apply(op.clone()).await {
                Ok(Outcome::Applied { version, .. }) => {
                    self.base = version;
                    return Ok(());
                }
                Ok(_) => return Err(Lost),
                Err(LedgerError::Closed) => std::future::pending().await,
                Err(error) => {
                    tracing::warn!(function = %self.target, error = crate::telemetry::chain(&error), "what its trigger keeps is not durable yet, trying again");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Lines in the function's log, now and then: of readings that came too late to count, and the like.
    fn say_troubles(&mut self, now: Micros) -> Vec<NewEvent> {
        if Instant::now() < self.say_at {
            return Vec::new();
        }
        let troubles = self.lent.work.trouble();
        if !troubles.is_empty() {
            self.say_at = Instant::now() + SAY_EVERY;
        }
        let more = troubles.len().saturating_sub(TROUBLES_MAX) as u64;
        let line = |trouble: Trouble| LogLine { time: now, level: LogLevel::Warn, context: "tawi".into(), message: trouble.to_string() };
        let lines = troubles.into_iter().take(TROUBLES_MAX).map(line).collect();
        let origin = Origin { function: &self.target, event: None, call: "trigger", attempt: 0, now };
        origin.logs(lines, more, None)
    }

    /// Waits while another node has the lead: it is one that commits, if only its position.
    async fn follow(&mut self) {
        if !self.ledger.is_shared() || !self.lent.work.follows_the_log() {
            return;
        }
        self.away = true;
        let patience = TAKE_OVER.mul_f64(1.0 + crate::dispatch::part());
        let (mut version, mut since) = (self.base, Instant::now());
        while since.elapsed() < patience {
            tokio::time::sleep(LOOK).await;
            match self.ledger.version(&self.id.app) {
                Ok(now) if now == version => {}
                // Not knowing, it is as if there were news.
                Ok(now) => (version, since) = (now, Instant::now()),
                Err(_) => since = Instant::now(),
            }
        }
    }
}

/// Takes removals from the front, so much of them, where all is more than that.
fn split(all: &mut Vec<Write>, bytes_max: usize) -> Option<Vec<Write>> {
    if all.iter().map(write_bytes).sum::<usize>() <= bytes_max {
        return None;
    }
    let mut sum = 0;
    let ahead = all.iter().take_while(|write| {
        sum += write_bytes(write);
        sum <= bytes_max && write.value.is_none()
    });
    let ahead = ahead.count();
    (ahead > 0).then(|| all.drain(..ahead).collect())
}

fn write_bytes(write: &Write) -> usize {
    32 + write.key.len() + write.value.as_ref().map_or(0, Bytes::len)
}

impl Lent {
    fn is_full(&self) -> bool {
        self.firing_bytes + self.shelf.bytes() >= COMMIT_BYTES_MAX
    }

    /// True when it is to be given again.
    fn take(&mut self, event: &crate::model::Event) -> bool {
        let before = self.firings.len();
        let again = self.work.take(event, &mut self.shelf, &mut self.firings);
        self.weigh(before);
        again
    }

    fn tick(&mut self, now: Micros) -> bool {
        let before = self.firings.len();
        let more = self.work.tick(now, &mut self.shelf, &mut self.firings);
        self.weigh(before);
        more
    }

    fn tick_before(&mut self, event: &crate::model::Event) -> bool {
        let before = self.firings.len();
        let more = self.work.tick_before(event, &mut self.shelf, &mut self.firings);
        self.weigh(before);
        more
    }

    fn weigh(&mut self, before: usize) {
        self.firing_bytes += self.firings[before..].iter().map(|firing| firing.fired.size_bytes()).sum::<usize>();
    }

    fn take_firings(&mut self) -> Vec<Firing> {
        self.firing_bytes = 0;
        mem::take(&mut self.firings)
    }
}
