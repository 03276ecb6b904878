//! A node of a simulation: a ledger whose parts are given their turns, dispatch on a runtime of its own, a clock that can be wrong.

use super::{
    calls::{Call, Said},
    disks::Floor,
    releases::{Releases, app},
};
use crate::{
    clock,
    dispatch::{Dispatch, HistorySource, Settings},
    host::HistoryPage,
    ledger::{Ledger, LedgerError, Op, Outcome},
    model::{FunctionId, Micros, Seq},
};
use futures::future::BoxFuture;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Runtime, task::yield_now};

/// When histories begin: some day, at some time.
const BEGINNING: Micros = Micros(1_700_000_000_000_000);
/// How often a node looks whether it runs the release that it should.
const RECONCILE_EVERY: Duration = Duration::from_millis(50);

pub struct Node {
    pub floor: Floor,
    runtime: Runtime,
    pub dispatch: Arc<Dispatch>,
    /// The release that it runs, counted from 1; 0 before the first.
    running: Arc<AtomicUsize>,
    /// Time passed since the beginning, of which all nodes know, and how wrong this one's clock is.
    time: Duration,
    pub skew: i64,
}

impl Node {
    /// Runs what `wanted` says from here on.
    pub fn start(floor: Floor, releases: &Arc<Releases>, wanted: Arc<AtomicUsize>, time: Duration, skew: i64) -> Node {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).event_interval(1).build().unwrap();
        let history: HistorySource = Arc::new(|_, _| -> BoxFuture<'static, _> { Box::pin(async { Ok(HistoryPage::default()) }) });
        let dispatch = Arc::new(Dispatch::new(releases.engine.clone(), floor.ledger().clone(), history));
        let running = Arc::new(AtomicUsize::new(0));
        let mut floor = floor;
        floor.task().map(|task| runtime.spawn(task));
        runtime.spawn(reconcile(dispatch.clone(), releases.clone(), wanted, running.clone()));
        Node { floor, runtime, dispatch, running, time, skew }
    }

    pub fn ledger(&self) -> &Ledger {
        self.floor.ledger()
    }

    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    pub fn now(&self) -> Micros {
        let passed = i64::try_from(self.time.as_micros()).unwrap_or(i64::MAX);
        Micros(BEGINNING.0 + passed + self.skew)
    }

    /// Lets tasks of the node run, so many polls of them.
    pub fn run(&mut self, polls: u64) {
        clock::set(Some(self.now()));
        self.runtime.block_on(async {
            for _ in 0..polls {
                yield_now().await;
            }
        });
    }

    /// Gives a part of the ledger its turn, in the node's time.
    pub fn turn<T>(&mut self, act: impl FnOnce(&mut Floor) -> T) -> T {
        clock::set(Some(self.now()));
        let _guard = self.runtime.enter();
        act(&mut self.floor)
    }

    pub fn pass(&mut self, time: Duration) {
        self.time += time;
        clock::set(Some(self.now()));
        self.runtime.block_on(tokio::time::advance(time));
    }

    pub fn spawn(&self, call: Call) -> Arc<Said> {
        let said = Arc::new(Said::default());
        self.runtime.spawn(call.run(self.dispatch.app(&app()), self.now(), said.clone()));
        said
    }

    /// As the API does it.
    pub fn replay(&self, function: FunctionId, seq: Seq) {
        let (dispatch, ledger, now) = (self.dispatch.clone(), self.ledger().clone(), self.now());
        self.runtime.spawn(async move {
            if let Ok(Outcome::Applied { .. }) = ledger.apply(Op::ReplayDead { function: function.clone(), seq, now }).await
                && let Some(consumer) = dispatch.consumer(&function)
            {
                consumer.replayed(seq);
            }
        });
    }

    /// As the upkeep does it, which looks at some moment how far everybody is.
    pub fn pause_laggards(&self, below: Seq, bytes_max: u64) {
        let dispatch = self.dispatch.clone();
        self.runtime.spawn(async move {
            let _ = dispatch.pause_laggards(below, bytes_max).await;
        });
    }

    /// Lets whatever is paused go on. True when there was something.
    pub fn resume_all(&self) -> bool {
        let paused = self.ledger().paused().unwrap_or_default();
        for (function, _) in &paused {
            let (dispatch, function) = (self.dispatch.clone(), function.clone());
            self.runtime.spawn(async move {
                let _ = dispatch.resume(&function).await;
            });
        }
        !paused.is_empty()
    }

    pub fn trim(&self, below: Seq) {
        let ledger = self.ledger().clone();
        self.runtime.spawn(async move {
            let _ = ledger.apply(Op::Trim { below }).await;
        });
    }

    /// Why it is not at rest yet; none when it is.
    pub fn restless(&self, wanted: usize) -> Result<Option<String>, LedgerError> {
        let ledger = self.ledger();
        if self.running() != wanted {
            return Ok(Some(format!("runs release {} of {wanted}", self.running())));
        }
        if !self.floor.is_idle() {
            return Ok(Some("its ledger has work".to_owned()));
        }
        let head = *ledger.head().borrow();
        for (function, position) in ledger.functions()?.into_iter().filter(|(function, _)| function.evaluates().is_some()) {
            if position.through < head {
                let (name, through) = (function.function, position.through);
                return Ok(Some(format!("what makes triggers of `{name}` is at {through} of {head}")));
            }
        }
        for consumer in self.dispatch.consumers() {
            let (name, scanned, open) = (&consumer.id.function, consumer.scanned(), consumer.open());
            let parked: Vec<_> =
                ledger.parked(&consumer.id)?.into_iter().map(|p| (p.seq, p.attempts, p.due, p.replay, p.event.device)).collect();
            if scanned < head || open > 0 || !parked.is_empty() || consumer.parked() > 0 {
                let knows = consumer.parked();
                return Ok(Some(format!("`{name}` is at {scanned} of {head}, {open} open, parked {parked:?} of which it knows {knows}")));
            }
        }
        let app = self.dispatch.app(&app());
        Ok(app.is_none_or(|app| app.lane.inner.lock().committing).then(|| "its lane commits".to_owned()))
    }
}

/// As the reconciler does it: again until it works.
async fn reconcile(dispatch: Arc<Dispatch>, releases: Arc<Releases>, wanted: Arc<AtomicUsize>, running: Arc<AtomicUsize>) {
    let mut every = tokio::time::interval(RECONCILE_EVERY);
    loop {
        every.tick().await;
        let want = wanted.load(Ordering::Relaxed);
        if want != running.load(Ordering::Relaxed) {
            let loaded = releases.loaded[want - 1].clone();
            if dispatch.set(loaded, Settings::default()).await.is_ok() {
                running.store(want, Ordering::Relaxed);
            }
        }
    }
}
