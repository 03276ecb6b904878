//! The last events in memory, so that whoever follows the log at its end never touches the disk.

use crate::model::{Event, Seq};
use parking_lot::RwLock;
use std::{collections::VecDeque, sync::Arc};

/// Memory for the tail. At 300 bytes a reading this is some 50,000 readings: a second or two of the fastest intake,
/// more than any follower that keeps up is behind.
pub(super) const TAIL_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Tail(RwLock<Events>);

#[derive(Default)]
struct Events {
    /// Without gaps, ascending.
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Tail {
    /// `events` follow the ones before, without a gap; after a gap the old ones are dropped.
    pub(super) fn push(&self, events: &[Arc<Event>]) {
        let Some(first) = events.first() else { return };
        let mut tail = self.0.write();
        if tail.events.back().is_some_and(|last| last.seq + 1 != first.seq) {
            tail.events.clear();
            tail.bytes = 0;
        }
        for event in events {
            tail.bytes += event.size_bytes();
            tail.events.push_back(event.clone());
        }
        while tail.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = tail.events.pop_front() else { break };
            tail.bytes -= oldest.size_bytes();
        }
    }

    /// None when the tail doesn't reach back to `from`, so that the view must be asked.
    pub(super) fn read(&self, from: Seq, max_events: usize, max_bytes: usize) -> Option<Vec<Arc<Event>>> {
        let tail = self.0.read();
        let first = tail.events.front()?.seq;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        let mut bytes = 0;
        let found = tail.events.iter().skip(skip).take(max_events).take_while(|event| {
            let fits = bytes == 0 || bytes + event.size_bytes() <= max_bytes;
            bytes += event.size_bytes();
            fits
        });
        Some(found.cloned().collect())
    }
}
