//! Who runs what a consumer has handed out: as many workers as there are processors, and more while calls wait.
//!
//! A worker goes from one line to the next without a task for each, so what a call of some microseconds costs is the call. Where a
//! call waits for something (a request, its time, a tick), another worker may take its place; so a slow line holds up no other.

use super::{
    queues::Line,
    run::{Ended, Item, Ran, Runner},
    shared::Shared,
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::sync::Notify;

/// Lines handed out and not begun, at which the consumer is woken to hand out more.
pub(super) const READY_LOW: usize = 32;
/// Lines handed out at a time, those that run included: so many may be waited for before one of them has its next turn.
pub(super) const HANDED_MAX: usize = 128;

static PROCESSORS: LazyLock<usize> = LazyLock::new(|| match cfg!(test) {
    // A simulated history is the same on every machine.
    true => 2,
    false => std::thread::available_parallelism().map_or(1, usize::from),
});

/// What is handed out, and who works on it.
pub(super) struct Work {
    state: Mutex<State>,
    /// Active workers of all functions of the node.
    all: Arc<AtomicUsize>,
}

/// Some events of one line, to be run one after another.
pub(super) struct Job {
    pub line: Line,
    pub items: Vec<Item>,
    /// The lane's epoch in which the consumer's queues were made.
    pub epoch: u64,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Job>,
    /// Workers there are.
    workers: usize,
    /// Of them, those whose call does not wait.
    active: usize,
}

impl Work {
    pub fn new(all: Arc<AtomicUsize>) -> Work {
        Work { state: Mutex::default(), all }
    }

    pub fn hand_out(&self, job: Job) {
        self.state.lock().ready.push_back(job);
    }

    /// Takes back what nobody has begun.
    pub fn take_back(&self) -> Vec<Line> {
        self.state.lock().ready.drain(..).map(|job| job.line).collect()
    }

    /// How many workers to begin now, of which there may be `workers_max` in all. They count from here on. Where the processors have
    /// enough to do for others one is enough: two would only take what they share from each other's caches.
    pub fn wanted(&self, workers_max: usize) -> usize {
        let mut state = self.state.lock();
        let idle = PROCESSORS.saturating_sub(self.all.load(Relaxed)).max(usize::from(state.active == 0));
        let wanted = state.ready.len().min(idle).min(workers_max.saturating_sub(state.workers));
        state.workers += wanted;
        state.active += wanted;
        self.all.fetch_add(wanted, Relaxed);
        wanted
    }

    /// The next line, and how many are left behind it. None: the worker ends, and counts no more.
    fn next(&self) -> Option<(Job, usize)> {
        let mut state = self.state.lock();
        // Those that took the place of one that waited leave when that one is back.
        let job = if state.active > *PROCESSORS { None } else { state.ready.pop_front() };
        match job {
            Some(job) => Some((job, state.ready.len())),
            None => {
                drop(state);
                self.lost();
                None
            }
        }
    }

    /// A worker is no more.
    fn lost(&self) {
        let mut state = self.state.lock();
        state.workers -= 1;
        state.active -= 1;
        self.all.fetch_sub(1, Relaxed);
    }

    /// True when somebody could take the place of a worker whose call waits now.
    fn waits(&self) -> bool {
        let mut state = self.state.lock();
        state.active -= 1;
        self.all.fetch_sub(1, Relaxed);
        !state.ready.is_empty() && state.active < *PROCESSORS
    }

    fn goes_on(&self) {
        self.state.lock().active += 1;
        self.all.fetch_add(1, Relaxed);
    }
}

/// Goes from line to line until there is none.
pub(super) async fn work(mut runner: Runner) {
    let mut at_work = AtWork { shared: runner.shared.clone(), line: None };
    while let Some((job, left)) = at_work.shared.work.next() {
        at_work.line = Some(job.line);
        let ran = runner.run(job).await;
        at_work.line = None;
        let attention = left == READY_LOW || !matches!(ran.ended, Ended::Through);
        at_work.shared.ran(ran);
        if attention {
            at_work.shared.wake.notify_one();
        }
    }
    at_work.shared.wake.notify_one();
}

/// What a worker has in hand. One that ends by panic, which is a fault of the node, must not keep its line for ever.
struct AtWork {
    shared: Arc<Shared>,
    line: Option<Line>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            self.shared.work.lost();
            self.shared.ran(Ran { line, ended: Ended::Reset, unparked: None, rest: Vec::new() });
            self.shared.wake.notify_one();
        }
    }
}

/// How many calls may wait for something at a time, while they hold their instances. Calls that never wait are not counted: there
/// are no more of them than processors.
pub(super) struct Slow {
    count: AtomicUsize,
    max: usize,
    room: Notify,
}

impl Slow {
    pub fn new(max: usize) -> Slow {
        Slow { count: AtomicUsize::new(0), max, room: Notify::new() }
    }

    /// Waits until one more call may begin that may have to wait.
    pub async fn room(&self) {
        while !self.has_room() {
            let mut room = pin!(self.room.notified());
            // Before it looks again: who ends in between wakes it.
            room.as_mut().enable();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    pub fn has_room(&self) -> bool {
        self.count.load(Relaxed) < self.max
    }

    fn waits(&self) {
        self.count.fetch_add(1, Relaxed);
    }

    fn goes_on(&self) {
        if self.count.fetch_sub(1, Relaxed) >= self.max {
            self.room.notify_waiters();
        }
    }
}

/// A call that tells when it waits.
pub(super) struct Waits<'a, F> {
    call: F,
    shared: &'a Shared,
    /// Where it is counted while it waits: its app, and the node.
    slow: [&'a Slow; 2],
    waiting: bool,
    /// It did, at least once.
    pub waited: bool,
}

impl<'a, F> Waits<'a, F> {
    pub fn new(call: F, shared: &'a Shared, slow: [&'a Slow; 2]) -> Waits<'a, F> {
        Waits { call, shared, slow, waiting: false, waited: false }
    }

    fn goes_on(&mut self) {
        self.waiting = false;
        self.shared.work.goes_on();
        self.slow.iter().for_each(|slow| slow.goes_on());
    }
}

impl<F: Future + Unpin> Future for Waits<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let polled = Pin::new(&mut self.call).poll(context);
        match (polled.is_pending(), self.waiting) {
            (true, false) => {
                (self.waiting, self.waited) = (true, true);
                self.slow.iter().for_each(|slow| slow.waits());
                if self.shared.work.waits() {
                    self.shared.wake.notify_one();
                }
            }
            (false, true) => self.goes_on(),
            _ => {}
        }
        polled
    }
}

/// A call that is given up counts again, until its worker ends.
impl<F> Drop for Waits<'_, F> {
    fn drop(&mut self) {
        if self.waiting {
            self.goes_on();
        }
    }
}
