//! Both ledgers against one suite, and each against what may happen to it: power, disk, network.
#![allow(clippy::unwrap_used)]

mod conformance;
mod embedded;
pub(crate) mod floor;
mod jetstream;
mod lag;
pub(crate) mod nats;
pub(crate) mod sim;

use super::*;
use crate::model::{Id, Micros, NewEvent, Subject, Value, Write};

pub(super) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub(super) fn app(name: &str) -> AppId {
    AppId::new(id("main"), id(name))
}

pub(super) fn function(app_name: &str, name: &str) -> FunctionId {
    FunctionId { app: app(app_name), function: id(name) }
}

/// A reading of device `d` whose value is `n`.
pub(super) fn reading(n: u64) -> NewEvent {
    let time = Micros(1_700_000_000_000_000);
    NewEvent::reading(&id("main"), &id("d"), &id("s"), time, time, Value::json(&n.to_string()).unwrap())
}

pub(super) fn message(subject: &str, n: u64) -> NewEvent {
    let subject = Subject::new(subject).unwrap();
    NewEvent { kind: crate::model::Kind::Message, subject, device: None, sensor: None, ..reading(n) }
}

pub(super) fn number(event: &NewEvent) -> u64 {
    event.value.as_f64().unwrap() as u64
}

pub(super) fn append(numbers: impl IntoIterator<Item = u64>) -> Op {
    let events = numbers.into_iter().map(reading).collect();
    Op::Append(Append { tenant: id("main"), events, dedup: None, intake: None })
}

pub(super) fn commit(app_name: &str, base: Option<Version>) -> Commit {
    Commit {
        app: app(app_name),
        base,
        done: Vec::new(),
        writes: Vec::new(),
        events: Vec::new(),
        park: Vec::new(),
        unpark: Vec::new(),
        dead: Vec::new(),
        dedup: None,
    }
}

pub(super) fn put(key: &str, value: &str) -> Write {
    Write { key: key.to_owned(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

pub(super) fn seqs(outcome: Outcome) -> Vec<Seq> {
    match outcome {
        Outcome::Applied { seqs, .. } => seqs,
        other => panic!("not applied: {other:?}"),
    }
}

/// Everything a ledger answers, to compare one with another.
pub(crate) fn picture(ledger: &Ledger) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let events = ledger.events(0, usize::MAX, usize::MAX).unwrap();
    writeln!(text, "first {} head {} events {events:?}", ledger.first(), *ledger.head().borrow()).unwrap();
    for (function, position) in ledger.functions().unwrap() {
        let state = ledger.state_entries(&function.app, "", None, usize::MAX).unwrap();
        let version = ledger.version(&function.app).unwrap();
        writeln!(text, "{function} {position:?} {:?} {version} {state:?}", ledger.parked(&function).unwrap()).unwrap();
    }
    writeln!(text, "paused {:?} lost {:?}", ledger.paused().unwrap(), ledger.lost(None).unwrap()).unwrap();
    let size = ledger.log_bytes(ledger.first(), *ledger.head().borrow() + 1).unwrap();
    writeln!(text, "{size} bytes {:?}", ledger.dead(None, None, usize::MAX).unwrap()).unwrap();
    text
}
