//! Events of one consumer that wait in memory for their first try, line by line. Pure.

use super::run::Item;
use crate::{
    ledger::Parked,
    model::{Event, Seq, manifest::Order},
};
use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// What keeps an order: events of one line go one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Line {
    /// A hash of the key, the same on every node. Two keys of one hash would be one line: still in order, only less at once.
    Key(u64),
    /// Of its own, without order.
    Own(Seq),
    /// A replayed dead letter: out of order, waits for nobody and nobody for it.
    Replay(Seq),
}

impl Line {
    pub fn key(key: &str) -> Line {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Line::Key(hasher.finish())
    }

    pub fn of(event: &Event, order: Order) -> Line {
        match order {
            Order::Device => Line::key(&event.key),
            Order::None => Line::Own(event.seq),
        }
    }

    pub fn of_parked(parked: &Parked, order: Order) -> Line {
        match (parked.replay, order) {
            (true, _) => Line::Replay(parked.seq),
            (false, Order::Device) => Line::key(&parked.event.key),
            (false, Order::None) => Line::Own(parked.seq),
        }
    }
}

#[derive(Default)]
pub(super) struct Queues {
    lines: HashMap<Line, VecDeque<Item>>,
    /// Lines with something to run and nothing running before it.
    ready: VecDeque<Line>,
    bytes: usize,
}

impl Queues {
    /// Puts an event at the end of its line, which is ready unless it is `busy`.
    pub fn push(&mut self, line: Line, item: Item, busy: bool) {
        self.bytes += item.event.size_bytes();
        let queue = self.lines.entry(line).or_default();
        queue.push_back(item);
        if queue.len() == 1 && !busy {
            self.ready.push_back(line);
        }
    }

    /// The line whose turn it is, with at most so many of its events; the others stay, and the line is busy.
    pub fn pop(&mut self, max: usize) -> Option<(Line, Vec<Item>)> {
        let line = self.ready.pop_front()?;
        let mut queue = self.lines.remove(&line)?;
        let later = queue.split_off(queue.len().min(max));
        if !later.is_empty() {
            self.lines.insert(line, later);
        }
        self.bytes -= bytes(&queue);
        Some((line, queue.into()))
    }

    /// A run of the line has ended before these: they go first.
    pub fn give_back(&mut self, line: Line, rest: Vec<Item>) {
        let mut queue: VecDeque<Item> = rest.into();
        self.bytes += bytes(&queue);
        queue.extend(self.lines.remove(&line).unwrap_or_default());
        if !queue.is_empty() {
            self.lines.insert(line, queue);
            self.ready.push_back(line);
        }
    }

    /// All that wait in a line; it is none any more.
    pub fn take(&mut self, line: &Line) -> VecDeque<Item> {
        let queue = self.lines.remove(line).unwrap_or_default();
        self.bytes -= bytes(&queue);
        queue
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn bytes(queue: &VecDeque<Item>) -> usize {
    queue.iter().map(|item| item.event.size_bytes()).sum()
}
