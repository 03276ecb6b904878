//! Stories about the history, each in a directory of its own or on a disk that forgets.

mod clean;
mod crash;
mod disk;
mod follow;
mod language;
mod pages;
mod partitions;
mod reach;
mod runs;

use super::{History, HistoryOptions, Page, Query};
use crate::model::{Event, Id, Kind, Micros, NewEvent, Subject, Value, event::Cause, id::default_tenant};
use std::sync::Arc;

pub fn micros(time: &str) -> Micros {
    Micros::parse(time).unwrap()
}

pub fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub fn reading(seq: u64, device: &str, sensor: &str, measured: Micros, value: &str) -> Arc<Event> {
    let received = Micros(1_790_000_000_000_000 + i64::try_from(seq).unwrap());
    let body = NewEvent::reading(&default_tenant(), &id(device), &id(sensor), measured, received, Value::json(value).unwrap());
    Arc::new(Event { seq, body })
}

pub fn message(seq: u64, subject: &str, measured: Micros, value: &str) -> Arc<Event> {
    let mut event = Event::clone(&reading(seq, "x", "y", measured, value));
    event.body.kind = Kind::Message;
    event.body.subject = Subject::new(subject).unwrap();
    (event.body.device, event.body.sensor) = (None, None);
    Arc::new(event)
}

pub fn log_line(seq: u64, app: &str, function: &str, call: &str, measured: Micros, level: &str, text: &str) -> Arc<Event> {
    let line = serde_json::json!({ "level": level, "context": "", "message": text, "call": call, "attempt": 1 });
    let mut event = Event::clone(&message(seq, &format!("log.{app}.{function}"), measured, &line.to_string()));
    event.body.kind = Kind::Log;
    event.body.cause =
        Some(Box::new(Cause { app: id(app), function: id(function), seq: seq - 1, call: call.to_owned(), place: Default::default() }));
    Arc::new(event)
}

pub struct Place {
    pub history: History,
    pub dir: tempfile::TempDir,
}

/// A history with these events in it.
pub fn history_of(events: &[Arc<Event>]) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    history.index(events).unwrap();
    history.commit().unwrap();
    Place { history, dir }
}

pub fn find(history: &History, text: &str) -> Page {
    history.search(&Query { limit: 1_000, ..Query::new(default_tenant(), text) }).unwrap()
}

pub fn seqs(page: &Page) -> Vec<u64> {
    page.hits.iter().map(|hit| hit.seq).collect()
}

pub fn sorted(page: &Page) -> Vec<u64> {
    let mut seqs = seqs(page);
    seqs.sort_unstable();
    seqs
}

/// Small, seeded and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64: a counter, well stirred.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides.max(1)
    }
}
