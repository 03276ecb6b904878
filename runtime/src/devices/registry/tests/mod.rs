//! Stories about what is registered, on one node and on two.

mod changes;
mod clean;
mod found;
mod lists;
mod selectors;
mod watches;

use super::{super::Devices, Registry};
use crate::{
    identity::Principal,
    ledger::{Append, Ledger, LedgerConfig, LedgerOptions, Op},
    model::{Device, Id, Micros, NewEvent, Sensor, Value, id::default_tenant},
};
use std::path::Path;

pub const NOW: Micros = Micros(1_770_000_000_000_000);

pub fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub fn user(name: &str) -> Principal {
    Principal::User { tenant: default_tenant(), id: id(name), admin: false }
}

pub fn admin() -> Principal {
    Principal::User { tenant: default_tenant(), id: id("root"), admin: true }
}

pub fn guest() -> Principal {
    Principal::Guest { tenant: default_tenant() }
}

/// As a client sends it: dates are the node's.
pub fn device(text: serde_json::Value) -> Device {
    let mut whole = serde_json::json!({ "date_created": 0, "date_modified": 0 });
    whole.as_object_mut().unwrap().extend(text.as_object().unwrap().clone());
    for part in ["sensors", "actuators"] {
        for one in whole.get_mut(part).and_then(|list| list.as_array_mut()).into_iter().flatten() {
            one["date_created"] = 0.into();
            one["date_modified"] = 0.into();
        }
    }
    serde_json::from_value(whole).unwrap()
}

pub fn sensor(name: &str) -> Sensor {
    device(serde_json::json!({ "id": "x", "sensors": [{ "id": name }] })).sensors.remove(0)
}

pub async fn ledger(dir: &Path) -> Ledger {
    Ledger::open(&LedgerConfig::Embedded { dir: dir.join("ledger"), options: LedgerOptions::default() }).await.unwrap()
}

/// One node of a log: its own projection, and the registry that follows with it.
pub struct Node {
    pub ledger: Ledger,
    pub devices: Devices,
    pub registry: Registry,
    _dir: tempfile::TempDir,
}

impl Node {
    pub fn on(ledger: &Ledger) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let devices = Devices::open(dir.path()).unwrap();
        let registry = Registry::open(ledger.clone(), devices.clone(), &default_tenant()).unwrap();
        Node { ledger: ledger.clone(), devices, registry, _dir: dir }
    }

    /// One that has read all of the log.
    pub async fn alone() -> (Node, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Node::on(&ledger(dir.path()).await), dir)
    }

    /// What its follower does when the log has grown.
    pub fn follow(&self) {
        let events = self.ledger.events(self.devices.position() + 1, 10_000, usize::MAX).unwrap();
        self.devices.index(&events).unwrap();
    }

    /// A reading that is in the log, and not followed yet.
    pub async fn send(&self, device: &str, sensor: &str, received: Micros) {
        let value = Value::json("1").unwrap();
        let event = NewEvent::reading(&default_tenant(), &id(device), &id(sensor), received, received, value);
        let append = Append { tenant: default_tenant(), events: vec![event], dedup: None, intake: None };
        self.ledger.apply(Op::Append(append)).await.unwrap();
    }

    pub fn sensors(&self, device: &str) -> Vec<String> {
        let device = self.registry.device(&id(device));
        device.map(|device| device.sensors.iter().map(|sensor| sensor.id.to_string()).collect()).unwrap_or_default()
    }
}
