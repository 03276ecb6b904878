//! What some events in a row come to: of many readings of one sensor only the last. Pure.

use super::CommandState;
use crate::model::{Event, Id, Kind, Micros, NewEvent, Subject, Tenant, Value};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The subject of an event that says what of a device is gone. Only the node reads it.
const GONE: &str = "registry.gone";
/// The subject of an event that says what became of commands. Only the node reads it.
const ENDED: &str = "registry.commands";

/// Tenant, device, and sensor or actuator.
pub(super) type Key<'a> = (&'a str, &'a str, &'a str);

#[derive(Default)]
pub(super) struct Batch<'a> {
    /// Comes before all else here: what was said of them afterwards is in the others.
    pub gone: Vec<Gone>,
    /// When each device was heard first and last.
    pub devices: BTreeMap<(&'a str, &'a str), (Micros, Micros)>,
    pub readings: BTreeMap<Key<'a>, &'a Event>,
    pub commands: BTreeMap<Key<'a>, (&'a Event, Value)>,
    /// All of them, in their order.
    pub orders: Vec<&'a Event>,
    /// Ends of commands, each with its tenant, in their order.
    pub ended: Vec<(&'a Tenant, Ended)>,
    /// In their order: changes of the registry are among them.
    pub notices: Vec<&'a Event>,
}

/// What of a device its owner has taken away, and what it said with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gone {
    pub tenant: Tenant,
    pub device: Id,
    pub what: What,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub id: String,
    pub state: CommandState,
    /// When that was.
    pub changed: Micros,
}

impl Ended {
    /// In the log the first one of a command stands, on every node.
    pub fn event(tenant: &Tenant, ends: &[Ended], now: Micros) -> NewEvent {
        notice(ENDED, tenant, None, Value::from_json(&serde_json::json!(ends)), now)
    }

    fn of(event: &Event) -> Option<Vec<Ended>> {
        let is_ends = event.subject.as_str() == ENDED;
        is_ends.then(|| serde_json::from_value(event.value.to_json()).ok()).flatten()
    }
}

fn notice(subject: &str, tenant: &Tenant, device: Option<Id>, value: Value, now: Micros) -> NewEvent {
    NewEvent {
        tenant: tenant.clone(),
        kind: Kind::Registry,
        subject: Subject::new(subject).unwrap_or_else(|e| unreachable!("{e}")),
        key: device.as_ref().map_or_else(|| subject.to_owned(), Id::to_string),
        device,
        sensor: None,
        measured: now,
        received: now,
        value,
        raw: None,
        cause: None,
    }
}

/// None is all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct What {
    pub sensors: Option<Vec<Id>>,
    pub actuators: Option<Vec<Id>>,
}

impl What {
    pub const ALL: What = What { sensors: None, actuators: None };

    pub fn is_all(&self) -> bool {
        *self == What::ALL
    }

    pub fn is_nothing(&self) -> bool {
        [&self.sensors, &self.actuators].into_iter().all(|ids| ids.as_ref().is_some_and(Vec::is_empty))
    }
}

impl Gone {
    /// In the log it stands where it happened, so that every node, however late it reads, keeps what was said after it.
    pub fn event(&self, now: Micros) -> NewEvent {
        notice(GONE, &self.tenant, Some(self.device.clone()), Value::from_json(&serde_json::json!(self.what)), now)
    }

    fn of(event: &Event) -> Option<Gone> {
        let device = event.device.clone().filter(|_| event.subject.as_str() == GONE)?;
        let what = serde_json::from_value(event.value.to_json()).ok()?;
        Some(Gone { tenant: event.tenant.clone(), device, what })
    }
}

impl<'a> Batch<'a> {
    pub fn of(events: &'a [Arc<Event>]) -> Batch<'a> {
        let mut batch = Batch::default();
        for event in events {
            match event.kind {
                Kind::Reading => batch.reading(event),
                Kind::Command => {
                    batch.orders.push(event);
                    batch.command(event);
                }
                Kind::Registry => batch.notice(event),
                Kind::Message | Kind::Log | Kind::Trigger | Kind::Run | Kind::Dropped => {}
            }
        }
        batch
    }

    fn reading(&mut self, event: &'a Event) {
        let (Some(device), Some(sensor)) = (&event.device, &event.sensor) else { return };
        let (tenant, device) = (event.tenant.as_str(), device.as_str());
        self.readings.insert((tenant, device, sensor.as_str()), event);
        let seen = self.devices.entry((tenant, device)).or_insert((event.received, event.received));
        seen.1 = event.received;
    }

    /// A command is `{"id", "value"}`; what has no value changes nothing.
    fn command(&mut self, event: &'a Event) {
        let (Some(device), Some(actuator)) = (&event.device, &event.sensor) else { return };
        let Some(value) = event.value.to_json().get("value").map(Value::from_json) else { return };
        self.commands.insert((event.tenant.as_str(), device.as_str(), actuator.as_str()), (event, value));
    }

    fn notice(&mut self, event: &'a Event) {
        if let Some(ends) = Ended::of(event) {
            return self.ended.extend(ends.into_iter().map(|end| (&event.tenant, end)));
        }
        let Some(gone) = Gone::of(event) else {
            self.notices.push(event);
            return;
        };
        let of = |key: &Key<'_>| (key.0, key.1) == (gone.tenant.as_str(), gone.device.as_str());
        let is_in = |named: &Option<Vec<Id>>, id: &str| named.as_ref().is_none_or(|named| named.iter().any(|n| n.as_str() == id));
        self.readings.retain(|key, _| !(of(key) && is_in(&gone.what.sensors, key.2)));
        self.commands.retain(|key, _| !(of(key) && is_in(&gone.what.actuators, key.2)));
        if gone.what.is_all() {
            self.devices.retain(|key, _| *key != (gone.tenant.as_str(), gone.device.as_str()));
            self.orders.retain(|order| order.tenant != gone.tenant || order.device.as_ref() != Some(&gone.device));
        }
        self.gone.push(gone);
    }
}
