//! Rules at work, against slow and obvious references.

mod fills;
mod grace;
mod limits;
mod plain;
mod restarts;
mod stories;
mod stream;
mod windows;

use super::{Firing, Rules, Shelf};
use crate::model::{
    Event, Id, Micros, NewEvent, Value,
    id::default_tenant,
    manifest::{Fill, Method, Per, Rule, Shape, Window},
    trigger::{Filled, Fired, WindowResult},
};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};

const SECOND: i64 = Micros::SECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2026-03-02T00:00Z, a Monday.
const MONDAY: i64 = 1_772_409_600 * SECOND;

/// A shelf in memory, which counts what is written.
#[derive(Debug, Default, Clone, PartialEq)]
struct Map {
    parts: BTreeMap<String, Bytes>,
    puts: usize,
}

impl Shelf for Map {
    fn get(&mut self, part: &str) -> Option<Bytes> {
        self.parts.get(part).cloned()
    }

    fn put(&mut self, part: &str, value: Option<Bytes>) {
        self.puts += 1;
        match value {
            Some(value) => self.parts.insert(part.to_owned(), value),
            None => self.parts.remove(part),
        };
    }

    fn list(&mut self, prefix: &str) -> Vec<(String, Bytes)> {
        let from = self.parts.range(prefix.to_owned()..);
        from.take_while(|(part, _)| part.starts_with(prefix)).map(|(part, value)| (part.clone(), value.clone())).collect()
    }
}

/// A rule with its shelf.
struct Bench {
    rules: Rules,
    rule: Rule,
    shelf: Map,
    sequence: u64,
}

impl Bench {
    fn new(rule: &Rule) -> Bench {
        let (mut rules, mut shelf) = (Rules::new(rule), Map::default());
        rules.reload(&mut shelf).unwrap();
        Bench { rules, rule: rule.clone(), shelf, sequence: 0 }
    }

    fn take(&mut self, event: &Event) -> Vec<Firing> {
        let mut out = Vec::new();
        self.rules.take(event, &mut self.shelf, &mut out);
        out
    }

    /// A number of `fridge/temp`.
    fn number(&mut self, value: f64, measured: i64, received: i64) -> Vec<Firing> {
        self.value("fridge", "temp", &value.to_string(), measured, received)
    }

    fn value(&mut self, device: &str, sensor: &str, json: &str, measured: i64, received: i64) -> Vec<Firing> {
        self.sequence += 1;
        let event = reading(self.sequence, device, sensor, json, measured, received);
        self.take(&event)
    }

    fn tick(&mut self, now: i64) -> Vec<Firing> {
        let mut out = Vec::new();
        self.rules.tick(Micros(now), &mut self.shelf, &mut out);
        out
    }

    /// All in memory is lost.
    fn reload(&mut self) {
        self.rules = Rules::new(&self.rule);
        self.rules.reload(&mut self.shelf).unwrap();
    }
}

fn reading(seq: u64, device: &str, sensor: &str, json: &str, measured: i64, received: i64) -> Event {
    let (device, sensor, value) = (Id::new(device).unwrap(), Id::new(sensor).unwrap(), Value::json(json).unwrap());
    Event { seq, body: NewEvent::reading(&default_tenant(), &device, &sensor, Micros(measured), Micros(received), value) }
}

fn micros(span: i64) -> Duration {
    Duration::from_micros(u64::try_from(span).unwrap())
}

fn tumbling(length: i64, lateness: i64) -> Window {
    let (lateness, ahead, idle) = (micros(lateness), micros(HOUR), micros(10 * MINUTE));
    Window {
        shape: Shape::Tumbling { length: micros(length) },
        per: Per::Sensor,
        lateness,
        ahead,
        idle,
        readings: false,
        percentiles: vec![],
    }
}

fn windows(firings: Vec<Firing>) -> Vec<WindowResult> {
    firings.into_iter().map(|firing| window(firing.fired)).collect()
}

fn window(fired: Fired) -> WindowResult {
    match fired {
        Fired::Window(result) => result,
        other => panic!("{other:?}"),
    }
}
