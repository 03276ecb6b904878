//! Memory of guests: what one call has, held against its own limit and against what all calls of the node share.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// What the memory of a guest grows by.
const PAGE_BYTES: usize = 64 * 1024;
/// Elements of all tables of a guest together: 800 KB of pointers.
pub const TABLE_ELEMENTS_MAX: usize = 100_000;

/// What all calls of a node may have together. Cheap to clone.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Budget>);

struct Budget {
    free_pages: AtomicUsize,
    bytes_max: usize,
    /// Something was given back.
    freed: Notify,
    /// Calls that wait for it. They hold nothing meanwhile: what they can't have yet is there for the growth of others.
    waiting: AtomicUsize,
    /// Lets go of what is held by nobody that runs.
    reclaim: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBudget").field("bytes_max", &self.0.bytes_max).finish_non_exhaustive()
    }
}

impl MemoryBudget {
    pub fn new(bytes_max: usize) -> MemoryBudget {
        MemoryBudget::reclaiming(bytes_max, || {})
    }

    /// `reclaim` is called when there is not enough for somebody, and drops what is kept without need.
    pub fn reclaiming(bytes_max: usize, reclaim: impl Fn() + Send + Sync + 'static) -> MemoryBudget {
        MemoryBudget(Arc::new(Budget {
            free_pages: AtomicUsize::new(pages(bytes_max)),
            bytes_max,
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            reclaim: Box::new(reclaim),
        }))
    }

    pub fn bytes_max(&self) -> usize {
        self.0.bytes_max
    }
}

impl Budget {
    fn take(&self, pages: usize) -> bool {
        self.try_take(pages) || {
            (self.reclaim)();
            self.try_take(pages)
        }
    }

    fn try_take(&self, pages: usize) -> bool {
        // In one order with `waiting`: who gives back sees who waits, or who waits sees what was given back.
        self.free_pages.try_update(Ordering::SeqCst, Ordering::Relaxed, |free| free.checked_sub(pages)).is_ok()
    }

    fn give_back(&self, pages: usize) {
        self.free_pages.fetch_add(pages, Ordering::SeqCst);
        if self.is_wanted() {
            self.freed.notify_waiters();
        }
    }

    fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

fn pages(bytes: usize) -> usize {
    bytes / PAGE_BYTES
}

/// Why a guest did not get the memory it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryRefusal {
    /// It would have had `asked` bytes in all, over its own limit.
    Call { asked: usize, bytes_max: usize },
    /// It would have had `asked` bytes in all, and the node has no more for it.
    Node { asked: usize, bytes_max: usize },
}

impl fmt::Display for MemoryRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryRefusal::Call { asked, bytes_max } => {
                write!(f, "asked for {asked} bytes of memory, over its limit of {bytes_max} (`memory` under [limits] in tawi.toml)")
            }
            MemoryRefusal::Node { asked, bytes_max } => write!(
                f,
                "asked for {asked} bytes of memory, and the calls of this node together have all of their {bytes_max} \
                 (`guest-memory-bytes-max` under [limits] in its configuration)"
            ),
        }
    }
}

/// The memories and tables of one call. What they took of the node's memory is given back when it is dropped.
///
/// A growth that is granted here and fails in the end stays counted: that hurts nobody but its own call.
#[derive(Debug)]
pub struct CallMemory {
    bytes_max: usize,
    bytes: usize,
    table_elements: usize,
    budget: MemoryBudget,
    /// Pages of the node's memory that this call has.
    held: usize,
    /// The last growth, when it was refused: the trap that follows says only `unreachable`.
    pub refused: Option<MemoryRefusal>,
}

impl CallMemory {
    pub fn new(bytes_max: usize, budget: MemoryBudget) -> CallMemory {
        CallMemory { bytes_max, bytes: 0, table_elements: 0, budget, held: 0, refused: None }
    }

    /// What the memories have now. They never shrink, so it is the most that they had, too.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes what an instance begins with from the node's memory, if there is so much.
    pub fn try_reserve(&mut self, bytes: usize) -> bool {
        let wanted = pages(bytes.min(self.bytes_max).min(self.budget.bytes_max()));
        let taken = self.budget.0.take(wanted);
        self.held += if taken { wanted } else { 0 };
        taken
    }

    /// Waits until the node has room for what an instance begins with: a call for which there is none has not failed, it is early.
    pub async fn reserve(&mut self, bytes: usize) {
        if self.try_reserve(bytes) {
            return;
        }
        let budget = self.budget.clone();
        let _waits = Waits::one_more(&budget.0.waiting);
        loop {
            let mut freed = pin!(budget.0.freed.notified());
            // Before it looks: what is given back in between wakes it.
            freed.as_mut().enable();
            if self.try_reserve(bytes) {
                return;
            }
            freed.await;
        }
    }

    /// Whether a call waits for memory: then nobody keeps any for later.
    pub fn is_wanted(&self) -> bool {
        self.budget.0.is_wanted()
    }

    fn grow(&mut self, delta: usize) -> Result<(), MemoryRefusal> {
        let asked = self.bytes.saturating_add(delta);
        if asked > self.bytes_max {
            return Err(MemoryRefusal::Call { asked, bytes_max: self.bytes_max });
        }
        let missing = asked.div_ceil(PAGE_BYTES).saturating_sub(self.held);
        if missing > 0 {
            if !self.budget.0.take(missing) {
                return Err(MemoryRefusal::Node { asked, bytes_max: self.budget.bytes_max() });
            }
            self.held += missing;
        }
        self.bytes = asked;
        Ok(())
    }
}

impl Drop for CallMemory {
    fn drop(&mut self) {
        self.budget.0.give_back(self.held);
    }
}

/// Counts one that waits, for as long as it does.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn one_more(count: &'a AtomicUsize) -> Waits<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Waits(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl wasmtime::ResourceLimiter for CallMemory {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // Over what the guest itself declares: it would fail after it was granted, and stay counted.
            return Ok(false);
        }
        self.refused = self.grow(desired.saturating_sub(current)).err();
        Ok(self.refused.is_none())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let all = self.table_elements.saturating_add(desired.saturating_sub(current));
        if all <= TABLE_ELEMENTS_MAX {
            self.table_elements = all;
        }
        Ok(all <= TABLE_ELEMENTS_MAX)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use wasmtime::ResourceLimiter;

    const MIB: usize = 1 << 20;

    fn refusal(memory: &mut CallMemory, current: usize, desired: usize) -> String {
        assert!(!memory.memory_growing(current, desired, None).unwrap());
        memory.refused.unwrap().to_string()
    }

    /// A component may have several memories, and each alone is small.
    #[test]
    fn the_memories_of_a_call_count_together() {
        let mut memory = CallMemory::new(10 * MIB, MemoryBudget::new(100 * MIB));
        assert!(memory.memory_growing(0, 6 * MIB, None).unwrap());
        assert!(refusal(&mut memory, 0, 6 * MIB).contains("over its limit of 10485760 (`memory` under [limits]"));
        assert!(memory.memory_growing(0, 4 * MIB, None).unwrap());
        assert_eq!(memory.refused, None, "what was refused before it went on is no reason for what comes later");
        assert!(refusal(&mut memory, 4 * MIB, 5 * MIB).contains("11534336 bytes"));
    }

    #[test]
    fn what_is_kept_without_need_is_let_go_before_anybody_is_refused() {
        let kept = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let idle = kept.clone();
        let budget = MemoryBudget::reclaiming(10 * MIB, move || idle.lock().clear());
        let mut idle = CallMemory::new(8 * MIB, budget.clone());
        assert!(idle.memory_growing(0, 6 * MIB, None).unwrap());
        kept.lock().push(idle);
        let mut memory = CallMemory::new(8 * MIB, budget);
        assert!(memory.memory_growing(0, 8 * MIB, None).unwrap());
    }

    #[test]
    fn the_tables_of_a_call_count_together() {
        let mut memory = CallMemory::new(MIB, MemoryBudget::new(MIB));
        assert!(memory.table_growing(0, TABLE_ELEMENTS_MAX - 10, None).unwrap());
        assert!(!memory.table_growing(0, 11, None).unwrap());
        assert!(memory.table_growing(0, 10, None).unwrap());
    }

    #[test]
    fn the_calls_of_a_node_share_its_memory_and_give_it_back() {
        let budget = MemoryBudget::new(10 * MIB);
        let mut one = CallMemory::new(8 * MIB, budget.clone());
        let mut other = CallMemory::new(8 * MIB, budget.clone());
        assert!(one.memory_growing(0, 6 * MIB, None).unwrap());
        assert!(other.memory_growing(0, 4 * MIB, None).unwrap());
        let why = refusal(&mut other, 4 * MIB, 5 * MIB);
        assert!(why.contains("all of their 10485760") && why.contains("guest-memory-bytes-max"), "{why}");
        drop(one);
        assert!(other.memory_growing(4 * MIB, 8 * MIB, None).unwrap());
        drop(other);
        assert_eq!(budget.0.free_pages.load(Ordering::SeqCst), pages(10 * MIB));
    }

    /// Its instance could not even begin: that is no failure of the event it is for.
    #[tokio::test]
    async fn a_call_for_which_there_is_no_memory_yet_waits() {
        let budget = MemoryBudget::new(10 * MIB);
        let mut first = CallMemory::new(8 * MIB, budget.clone());
        assert!(first.memory_growing(0, 8 * MIB, None).unwrap());
        let mut second = CallMemory::new(8 * MIB, budget);
        let waits = tokio::select! {
            biased;
            () = second.reserve(4 * MIB) => false,
            () = std::future::ready(()) => true,
        };
        assert!(waits);
        drop(first);
        second.reserve(4 * MIB).await;
        assert!(second.memory_growing(0, 4 * MIB, None).unwrap());
        assert_eq!(second.held, pages(4 * MIB), "what was kept for it is what it takes first");
    }

    /// Who waits for much leaves what there is to those that run: their growth would fail, and be held against them.
    #[tokio::test]
    async fn a_call_that_waits_for_memory_holds_none_meanwhile() {
        let budget = MemoryBudget::new(10 * MIB);
        let mut first = CallMemory::new(8 * MIB, budget.clone());
        assert!(first.memory_growing(0, 5 * MIB, None).unwrap());
        let mut second = CallMemory::new(8 * MIB, budget.clone());
        let mut waits = Box::pin(second.reserve(6 * MIB));
        assert!(futures::poll!(&mut waits).is_pending());
        assert!(first.is_wanted());
        assert!(first.memory_growing(5 * MIB, 8 * MIB, None).unwrap());
        drop(first);
        waits.await;
        assert!(!second.is_wanted());
    }
}
