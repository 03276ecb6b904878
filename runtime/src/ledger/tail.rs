//! The last events in memory, so that whoever follows the log at its end never touches the disk.

use crate::model::{Event, Seq};
use parking_lot::RwLock;
use std::{collections::VecDeque, sync::Arc};

/// Memory for the tail. At 330 bytes a reading this is some 50,000 readings: a second or two of the fastest intake,
/// more than any follower that keeps up is behind.
pub(super) const TAIL_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Tail(RwLock<Events>);

#[derive(Default)]
struct Events {
    /// Without gaps, ascending.
    events: VecDeque<Arc<Event>>,
    /// Those of them that functions may be told of: hundreds of functions follow the log, and most of it may be records of their calls.
    told: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Tail {
    /// `events` follow the ones before, without a gap; after a gap the old ones are dropped.
    pub(super) fn push(&self, events: &[Arc<Event>]) {
        let Some(first) = events.first() else { return };
        let mut tail = self.0.write();
        if tail.events.back().is_some_and(|last| last.seq + 1 != first.seq) {
            *tail = Events::default();
        }
        for event in events {
            tail.bytes += memory_bytes(event);
            tail.events.push_back(event.clone());
            if event.kind.is_told() {
                tail.told.push_back(event.clone());
            }
        }
        while tail.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = tail.events.pop_front() else { break };
            tail.told.pop_front_if(|first| first.seq == oldest.seq);
            tail.bytes -= memory_bytes(&oldest);
        }
    }

    /// None when the tail doesn't reach back to `from`, so that the view must be asked.
    pub(super) fn read(&self, from: Seq, max_events: usize, max_bytes: usize) -> Option<Vec<Arc<Event>>> {
        let tail = self.0.read();
        let first = tail.events.front()?.seq;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        Some(some(tail.events.iter().skip(skip), max_events, max_bytes))
    }

    /// Those that functions may be told of, and up to where there are no others.
    pub(super) fn read_told(&self, from: Seq, max_events: usize, max_bytes: usize) -> Option<(Vec<Arc<Event>>, Seq)> {
        let tail = self.0.read();
        from.checked_sub(tail.events.front()?.seq)?;
        let last = tail.events.back()?.seq;
        let skip = tail.told.partition_point(|event| event.seq < from);
        let found = some(tail.told.iter().skip(skip), max_events, max_bytes);
        let is_all = skip + found.len() == tail.told.len();
        let through = if is_all { last } else { found.last()?.seq };
        Some((found, through))
    }
}

/// The first of these, at least one of them.
fn some<'a>(events: impl Iterator<Item = &'a Arc<Event>>, max_events: usize, max_bytes: usize) -> Vec<Arc<Event>> {
    let mut bytes = 0;
    let found = events.take(max_events).take_while(|event| {
        let fits = bytes == 0 || bytes + event.size_bytes() <= max_bytes;
        bytes += event.size_bytes();
        fits
    });
    found.cloned().collect()
}

/// What an event takes in memory: beside what it counts for, its texts have heads, are rounded up, and stand elsewhere than it.
fn memory_bytes(event: &Event) -> usize {
    const MORE_BYTES: usize = 160;
    event.size_bytes() + MORE_BYTES + event.cause.as_ref().map_or(0, |_| MORE_BYTES)
}
