//! Events of one consumer that wait: for another try, or behind one of their key that does. Pure; the ledger holds the truth.

use crate::{
    ledger::Parked,
    model::{Micros, Seq, manifest::Order},
};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug)]
pub struct Parking {
    order: Order,
    keys: HashMap<String, BTreeMap<Seq, Parked>>,
    bytes: usize,
    count: usize,
}

impl Parking {
    pub fn new(order: Order) -> Parking {
        Parking { order, keys: HashMap::new(), bytes: 0, count: 0 }
    }

    /// The line an event waits in: its key's; one of its own without order, and for a replayed dead letter.
    pub fn line(&self, parked: &Parked) -> String {
        match (parked.replay, self.order) {
            (true, _) => format!("\u{0}{}", parked.seq),
            (false, Order::Device) => parked.event.key.clone(),
            (false, Order::None) => format!("\u{1}{}", parked.seq),
        }
    }

    /// Adds an event, or replaces what is known of it.
    pub fn park(&mut self, parked: Parked) {
        let size = parked.event.size_bytes();
        let old = self.keys.entry(self.line(&parked)).or_default().insert(parked.seq, parked);
        self.count += usize::from(old.is_none());
        self.bytes = self.bytes + size - old.map_or(0, |old| old.event.size_bytes());
    }

    pub fn unpark(&mut self, line: &str, seq: Seq) {
        let Some(queue) = self.keys.get_mut(line) else { return };
        if let Some(old) = queue.remove(&seq) {
            self.bytes -= old.event.size_bytes();
            self.count -= 1;
        }
        if queue.is_empty() {
            self.keys.remove(line);
        }
    }

    pub fn holds(&self, line: &str) -> bool {
        self.keys.contains_key(line)
    }

    pub fn knows(&self, line: &str, seq: Seq) -> bool {
        self.keys.get(line).is_some_and(|queue| queue.contains_key(&seq))
    }

    /// Who is first in each line that may go now, unless `busy`.
    pub fn due(&self, now: Micros, busy: impl Fn(&str) -> bool) -> Vec<Parked> {
        let firsts = self.keys.iter().filter_map(|(line, queue)| Some((line, queue.values().next()?)));
        firsts.filter(|(line, first)| first.due <= now && !busy(line)).map(|(_, first)| first.clone()).collect()
    }

    /// When the next one may go.
    pub fn next_due(&self, busy: impl Fn(&str) -> bool) -> Option<Micros> {
        let firsts = self.keys.iter().filter(|(line, _)| !busy(line)).filter_map(|(_, queue)| queue.values().next());
        firsts.map(|first| first.due).min()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events that wait.
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{AppId, FunctionId, Id, NewEvent, Value, id::default_tenant};

    fn parked(device: &str, seq: Seq, value: &str) -> Parked {
        let id = |text| Id::new(text).unwrap();
        let app = AppId::new(default_tenant(), id("app"));
        let event = NewEvent::reading(&default_tenant(), &id(device), &id("s"), Micros(0), Micros(0), Value::json(value).unwrap());
        let function = FunctionId { app, function: id("f") };
        Parked { function, seq, event, attempts: 0, due: Micros(0), error: String::new(), replay: false }
    }

    #[test]
    fn what_waits_is_counted_once_and_what_has_gone_no_more() {
        let mut parking = Parking::new(Order::Device);
        for (device, seq, value) in [("a", 1, "1"), ("a", 2, "22"), ("b", 3, "333"), ("a", 1, "4444")] {
            parking.park(parked(device, seq, value));
        }
        assert_eq!(parking.count(), 3);
        for (line, seq, left) in [("a", 1, 2), ("a", 1, 2), ("c", 9, 2), ("b", 3, 1), ("a", 2, 0)] {
            parking.unpark(line, seq);
            assert_eq!(parking.count(), left, "{line} {seq}");
        }
        assert_eq!(parking.bytes(), 0);
    }
}
