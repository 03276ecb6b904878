//! The past as a log: what was read ahead of it, for a function that consumes it.

use crate::{
    ledger::{LedgerError, Log},
    model::{Event, Seq},
};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::watch;

/// Read ahead, in events and bytes: more than a function has open at a time, so that it never waits for what it holds back itself.
const AHEAD_EVENTS: usize = 32_768;
const AHEAD_BYTES: usize = 64 << 20;

pub struct Past {
    head: watch::Sender<Seq>,
    /// What nobody has settled, as far as it was read.
    ahead: Mutex<Ahead>,
}

#[derive(Default)]
struct Ahead {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Past {
    /// `through`: settled before.
    pub fn new(through: Seq) -> Past {
        Past { head: watch::Sender::new(through), ahead: Mutex::default() }
    }

    /// What comes next, ascending, and up to where that is all.
    pub fn push(&self, events: Vec<Arc<Event>>, through: Seq) {
        let mut ahead = self.ahead.lock();
        ahead.bytes += events.iter().map(|event| event.size_bytes()).sum::<usize>();
        ahead.events.extend(events);
        drop(ahead);
        self.head.send_if_modified(|head| std::mem::replace(head, through.max(*head)) < through);
    }

    /// Settled, durably: nobody will read it again.
    pub fn forget(&self, through: Seq) {
        let mut ahead = self.ahead.lock();
        while ahead.events.front().is_some_and(|event| event.seq <= through) {
            let gone = ahead.events.pop_front().map_or(0, |event| event.size_bytes());
            ahead.bytes -= gone;
        }
    }

    pub fn is_full(&self) -> bool {
        let ahead = self.ahead.lock();
        ahead.events.len() >= AHEAD_EVENTS || ahead.bytes >= AHEAD_BYTES
    }
}

impl Log for Past {
    fn head(&self) -> watch::Receiver<Seq> {
        self.head.subscribe()
    }

    fn first(&self) -> Seq {
        self.ahead.lock().events.front().map_or(0, |event| event.seq)
    }

    fn events(&self, from: Seq, max_events: usize, max_bytes: usize) -> Result<Vec<Arc<Event>>, LedgerError> {
        let ahead = self.ahead.lock();
        let begin = ahead.events.partition_point(|event| event.seq < from);
        let mut bytes = 0;
        let fits = |event: &&Arc<Event>| {
            bytes += event.size_bytes();
            bytes <= max_bytes || bytes == event.size_bytes()
        };
        Ok(ahead.events.range(begin..).take(max_events).take_while(fits).cloned().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Id, Micros, NewEvent, Value, id::default_tenant};

    fn event(seq: Seq) -> Arc<Event> {
        let (id, value) = (Id::new("d").unwrap(), Value::json("1").unwrap());
        Arc::new(Event { seq, body: NewEvent::reading(&default_tenant(), &id, &id, Micros(1), Micros(2), value) })
    }

    fn seqs(past: &Past, from: Seq, max: usize, bytes: usize) -> Vec<Seq> {
        past.events(from, max, bytes).unwrap().iter().map(|event| event.seq).collect()
    }

    #[test]
    fn it_is_a_log_with_holes_that_forgets_what_is_settled() {
        let past = Past::new(3);
        assert_eq!((*past.head().borrow(), past.first()), (3, 0));
        past.push(vec![event(5), event(9)], 12);
        past.push(vec![event(20)], 20);
        assert_eq!((*past.head().borrow(), past.first()), (20, 5));
        assert_eq!(seqs(&past, 1, 10, usize::MAX), [5, 9, 20]);
        assert_eq!(seqs(&past, 6, 1, usize::MAX), [9]);
        assert_eq!(seqs(&past, 1, 10, 1), [5], "one at least, however large");
        past.forget(9);
        assert_eq!(seqs(&past, 1, 10, usize::MAX), [20]);
        past.forget(20);
        let bytes = past.ahead.lock().bytes;
        assert_eq!((bytes, past.events(1, 10, 10).unwrap().len()), (0, 0));
    }
}
