//! Events of one consumer that wait in memory for their first try, line by line. Pure.

use super::run::Item;
use crate::{
    ledger::Parked,
    model::{Event, Seq, manifest::Order},
};
use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher},
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

/// For lines, whose numbers are hashes already, or follow one another.
#[derive(Debug, Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // An odd number with its bits well mixed: the table looks at the upper bits.
        self.0 = (self.0.rotate_left(26) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.unsigned_abs() as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub type LineMap<T> = HashMap<Line, T, BuildHasherDefault<Spread>>;
pub type LineSet = HashSet<Line, BuildHasherDefault<Spread>>;

/// What waits in a line: nearly always one event, which takes no memory of its own.
enum Waiting {
    One(Item),
    More(VecDeque<Item>),
}

impl Waiting {
    fn push(&mut self, item: Item) {
        match self {
            Waiting::More(queue) => queue.push_back(item),
            Waiting::One(_) => {
                if let Waiting::One(first) = std::mem::replace(self, Waiting::More(VecDeque::with_capacity(4)))
                    && let Waiting::More(queue) = self
                {
                    queue.extend([first, item]);
                }
            }
        }
    }

    fn into_queue(self) -> VecDeque<Item> {
        match self {
            Waiting::One(item) => [item].into(),
            Waiting::More(queue) => queue,
        }
    }
}

#[derive(Default)]
pub(super) struct Queues {
    lines: LineMap<Waiting>,
    /// Lines with something to run and nothing running before it.
    ready: VecDeque<Line>,
    bytes: usize,
}

impl Queues {
    /// Puts an event at the end of its line, which is ready unless it is `busy`.
    pub fn push(&mut self, line: Line, item: Item, busy: bool) {
        self.bytes += item.event.size_bytes();
        match self.lines.entry(line) {
            Entry::Occupied(mut waiting) => waiting.get_mut().push(item),
            Entry::Vacant(none) => {
                none.insert(Waiting::One(item));
                if !busy {
                    self.ready.push_back(line);
                }
            }
        }
    }

    /// The line whose turn it is, with at most so many of its events; the others stay, and the line is busy.
    pub fn pop(&mut self, max: usize) -> Option<(Line, Vec<Item>)> {
        let line = self.ready.pop_front()?;
        let mut queue = match self.lines.remove(&line)? {
            Waiting::One(item) => {
                self.bytes -= item.event.size_bytes();
                return Some((line, vec![item]));
            }
            Waiting::More(queue) => queue,
        };
        let later = queue.split_off(queue.len().min(max));
        if !later.is_empty() {
            self.lines.insert(line, Waiting::More(later));
        }
        self.bytes -= bytes(&queue);
        Some((line, queue.into()))
    }

    /// A run of the line has ended before these: they go first.
    pub fn give_back(&mut self, line: Line, rest: Vec<Item>) {
        if rest.is_empty() {
            if self.lines.contains_key(&line) {
                self.ready.push_back(line);
            }
            return;
        }
        let mut queue: VecDeque<Item> = rest.into();
        self.bytes += bytes(&queue);
        queue.extend(self.lines.remove(&line).map(Waiting::into_queue).unwrap_or_default());
        self.lines.insert(line, Waiting::More(queue));
        self.ready.push_back(line);
    }

    /// All that wait in a line; it is none any more.
    pub fn take(&mut self, line: &Line) -> VecDeque<Item> {
        let queue = self.lines.remove(line).map(Waiting::into_queue).unwrap_or_default();
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
