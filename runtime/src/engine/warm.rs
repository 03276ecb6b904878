//! Instances that wait for their next call, of functions whose manifest says `reuse`.
//!
//! They belong to a loaded release and go with it. All of a node together are bounded, and let go when somebody needs their
//! memory or nobody has needed them for a while.

use super::call::Handlers;
use crate::{host::Call, model::Id};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use wasmtime::Store;

/// Instances of a node that wait. Each takes some hundred kilobytes, four mappings of the kernel's 65,530, and a slot of the pool.
pub const WARM_MAX: u32 = 512;
/// How long one waits for its next call: what is called more seldom is no slower with a fresh one.
const WARM_SECONDS: u64 = 10;

/// An instance between two calls.
pub(super) struct Warm {
    pub store: Store<Call>,
    pub handlers: Handlers,
    /// Calls it may still serve.
    pub left: u32,
}

/// Those of one loaded release.
pub(super) struct Warms {
    idle: Mutex<HashMap<Id, Vec<(Instant, Warm)>>>,
    all: Arc<AllWarms>,
}

/// Those of a node.
#[derive(Default)]
pub(super) struct AllWarms {
    count: AtomicUsize,
    releases: Mutex<Vec<Weak<Warms>>>,
}

impl Warms {
    pub fn of(all: &Arc<AllWarms>) -> Arc<Warms> {
        let warms = Arc::new(Warms { idle: Mutex::default(), all: all.clone() });
        let mut releases = all.releases.lock();
        releases.retain(|release| release.strong_count() > 0);
        releases.push(Arc::downgrade(&warms));
        warms
    }

    /// The one that was used last: its memory is in the processor's caches, and the others grow old.
    pub fn take(&self, function: &Id) -> Option<Warm> {
        let (_, warm) = self.idle.lock().get_mut(function)?.pop()?;
        self.all.count.fetch_sub(1, Relaxed);
        Some(warm)
    }

    /// Keeps an instance whose call went well, while it may serve more and there is room.
    pub fn keep(&self, function: &Id, mut warm: Warm, now: Instant) {
        if warm.left == 0 {
            return;
        }
        if self.all.count.fetch_add(1, Relaxed) >= WARM_MAX as usize {
            self.all.count.fetch_sub(1, Relaxed);
            return;
        }
        // Counts until it is gone: a slot that is not free yet is not promised to another.
        if !warm.store.data_mut().ended() || warm.store.data().memory.is_wanted() {
            drop(warm);
            self.all.count.fetch_sub(1, Relaxed);
            return;
        }
        let mut idle = self.idle.lock();
        match idle.get_mut(function) {
            Some(waiting) => waiting.push((now, warm)),
            None => drop(idle.insert(function.clone(), vec![(now, warm)])),
        }
    }

    /// Lets go of those that wait since before `since`; the lock is not held for as long as that takes.
    fn drop_older(&self, since: Instant) {
        let mut found = Vec::new();
        for waiting in self.idle.lock().values_mut() {
            let old = waiting.partition_point(|(kept, _)| *kept <= since);
            found.extend(waiting.drain(..old).map(|(_, warm)| warm));
        }
        for warm in found {
            drop(warm);
            self.all.count.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Warms {
    fn drop(&mut self) {
        let count: usize = self.idle.get_mut().values().map(Vec::len).sum();
        self.all.count.fetch_sub(count, Relaxed);
    }
}

impl AllWarms {
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Lets go of all that nobody has called for a while.
    pub fn sweep(&self) {
        if self.count() > 0
            && let Some(since) = Instant::now().checked_sub(Duration::from_secs(WARM_SECONDS))
        {
            self.drop_older(since);
        }
    }

    /// Lets go of all.
    pub fn clear(&self) {
        self.drop_older(Instant::now());
    }

    fn drop_older(&self, since: Instant) {
        let releases: Vec<Arc<Warms>> = self.releases.lock().iter().filter_map(Weak::upgrade).collect();
        releases.iter().for_each(|release| release.drop_older(since));
    }
}
