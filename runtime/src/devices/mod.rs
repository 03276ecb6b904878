//! In: events of the ledger, in order, and what people register. Out: which devices there are, and what each sensor said last.
//! Never: decides who may do what (`identity` does), changes the ledger but by documents.
//!
//! Two halves. `registry` holds what is registered, which is documents in the ledger. The rest is a projection of the readings. The *current value* of a sensor is the one that arrived last, the highest sequence, and
//! not the one with the newest measured time: a clock that is ahead by a year would freeze the value for a year, and what
//! arrives late from a gateway that was offline arrives in the order in which it was sent. Its measured time is kept beside.

mod batch;
mod commands;
mod connected;
mod follow;
mod query;
pub mod registry;
mod store;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use batch::Ended;
pub use commands::{Command, CommandState};
pub use connected::{Connected, speaks_for};
pub use query::{Query, QueryError};
pub use registry::{Registry, RegistryError};

use crate::{
    ledger::LedgerError,
    model::{Event, Id, Micros, Seq, Tenant, Value},
    records::RecordsError,
    telemetry::Standing,
};
use parking_lot::Mutex;
use registry::Follower;
use std::{path::Path, sync::Arc};
use store::Store;

/// A device that sent something, and its sensors in the order of their ids. What is registered of it is [`crate::model::Device`].
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub id: Id,
    /// When its first reading was received.
    pub created: Micros,
    /// When its last reading was received.
    pub modified: Micros,
    pub sensors: Vec<Sensor>,
    /// Those that were commanded.
    pub actuators: Vec<Actuator>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    pub id: Id,
    pub current: Current,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Actuator {
    pub id: Id,
    /// The value of its last command.
    pub current: Current,
}

/// What a sensor said last, or an actuator was told last.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    pub value: Value,
    pub measured: Micros,
    pub received: Micros,
    pub seq: Seq,
}

/// What the sensors of one device said last, and its actuators were told last, by their ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Currents {
    pub sensors: Vec<Sensor>,
    pub actuators: Vec<Actuator>,
    /// They are more than was asked for at most, and none of them is here.
    pub is_left_out: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    #[error("can't {doing} of the devices")]
    Storage { doing: &'static str, source: Box<redb::Error> },
    #[error("can't read `{name}` of the devices: {why}")]
    Format { name: String, why: String },
    #[error("can't read the ledger for the devices")]
    Ledger(#[source] LedgerError),
    #[error("can't follow what is registered")]
    Registry(#[source] RecordsError),
    #[error("the devices' worker ended early")]
    Task(#[from] tokio::task::JoinError),
}

/// The devices of a node. Cheap to clone.
#[derive(Clone)]
pub struct Devices {
    store: Arc<Store>,
    standing: Standing,
    /// Registries hear of what was taken.
    followers: Arc<Mutex<Vec<Follower>>>,
    /// The next step of following the ledger panics.
    #[cfg(test)]
    stumbles: Arc<std::sync::atomic::AtomicBool>,
}

impl Devices {
    /// Opens or makes `devices.redb` in a directory.
    pub fn open(dir: &Path) -> Result<Devices, DevicesError> {
        Ok(Devices {
            store: Arc::new(Store::open(dir)?),
            standing: Standing::default(),
            followers: Arc::default(),
            #[cfg(test)]
            stumbles: Arc::default(),
        })
    }

    /// Takes events in ascending order of sequence; what was taken before is skipped. Seen at once, durable with the next
    /// [`Devices::commit`]. Blocks.
    pub fn index(&self, events: &[Arc<Event>]) -> Result<(), DevicesError> {
        self.store.index(events, |batch| {
            let followers = self.followers.lock().clone();
            followers.iter().try_for_each(|follower| follower.follow(batch))
        })
    }

    /// What every sensor of a tenant was heard to say before now is for the follower to read first.
    fn follow(&self, follower: Follower) {
        let mut followers = self.followers.lock();
        followers.retain(Follower::is_alive);
        followers.push(follower);
    }

    /// Makes what was taken durable. Blocks.
    pub fn commit(&self) -> Result<(), DevicesError> {
        self.store.commit()
    }

    fn is_dirty(&self) -> bool {
        self.store.is_dirty()
    }

    /// A consistent copy of this moment in another directory, as [`Devices::open`] takes it. Blocks.
    pub fn backup(&self, dir: &Path) -> Result<(), DevicesError> {
        self.store.backup(dir)
    }

    /// Every event up to here has been taken.
    pub fn position(&self) -> Seq {
        self.store.position()
    }

    /// Whether following the ledger fails, and at what.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Devices in the order of their ids, `offset` skipped, and how many there are in all.
    pub fn list(&self, tenant: &Tenant, limit: usize, offset: usize) -> Result<(Vec<Device>, usize), DevicesError> {
        self.store.list(tenant, limit, offset)
    }

    /// What became of a command.
    pub fn command(&self, tenant: &Tenant, id: &str, now: Micros) -> Result<Option<Command>, DevicesError> {
        self.store.command(tenant, id, now)
    }

    /// The newest commands first; of one device or of all.
    pub fn commands(&self, tenant: &Tenant, device: Option<&Id>, limit: usize, now: Micros) -> Result<Vec<Command>, DevicesError> {
        match device {
            Some(device) => self.store.commands_since(tenant, device, None, limit, now),
            None => self.store.commands(tenant, limit, now),
        }
    }

    /// The newest commands of a device first, those that were given before `since` left out; fewer than `limit` where they are large.
    pub fn commands_since(
        &self,
        tenant: &Tenant,
        device: &Id,
        since: Option<Micros>,
        limit: usize,
        now: Micros,
    ) -> Result<Vec<Command>, DevicesError> {
        self.store.commands_since(tenant, device, since, limit, now)
    }

    /// Commands that wait for a device, in their order.
    pub fn waiting(&self, tenant: &Tenant, device: &Id, now: Micros) -> Result<Vec<Command>, DevicesError> {
        self.store.waiting(tenant, device, now)
    }

    /// Devices in the order of their ids, those up to `after` left out, at most so many.
    pub fn after(&self, tenant: &Tenant, after: Option<&Id>, limit: usize) -> Result<Vec<Device>, DevicesError> {
        self.store.after(tenant, after, limit)
    }

    pub fn get(&self, tenant: &Tenant, device: &Id) -> Result<Option<Device>, DevicesError> {
        self.store.get(tenant, device)
    }

    /// What the actuators of a device were told last, also where it never sent anything.
    pub fn actuators(&self, tenant: &Tenant, device: &Id) -> Result<Vec<Actuator>, DevicesError> {
        self.store.actuators(tenant, device)
    }

    /// What each of some devices said and was told last, in their order; whoever was not heard has said nothing. As far as `bytes_max` goes: what
    /// comes behind is not here, and of a device that alone has more nothing is but that.
    pub fn currents<'a>(
        &self,
        tenant: &Tenant,
        devices: impl IntoIterator<Item = &'a Id>,
        bytes_max: usize,
    ) -> Result<Vec<Currents>, DevicesError> {
        self.store.all_currents(tenant, devices.into_iter(), bytes_max)
    }

    /// What one sensor said last.
    pub fn sensor(&self, tenant: &Tenant, device: &Id, sensor: &Id) -> Result<Option<Sensor>, DevicesError> {
        self.store.sensor(tenant, device, sensor)
    }

    /// What one actuator was told last.
    pub fn actuator(&self, tenant: &Tenant, device: &Id, actuator: &Id) -> Result<Option<Actuator>, DevicesError> {
        self.store.actuator(tenant, device, actuator)
    }

    /// Whether a reading of this device has been taken.
    pub fn known(&self, tenant: &Tenant, device: &Id) -> Result<bool, DevicesError> {
        self.store.known(tenant, device)
    }
}

impl Device {
    pub fn sensor(&self, id: &str) -> Option<&Sensor> {
        self.sensors.iter().find(|sensor| sensor.id.as_str() == id)
    }

    /// As the WAZIUP API shows a device, with what is known of it.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "id": self.id,
            "sensors": self.sensors.iter().map(Sensor::to_json).collect::<Vec<_>>(),
            "date_created": self.created.to_string(),
            "date_modified": self.modified.to_string(),
        })
    }
}

impl Sensor {
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "id": self.id, "value": self.current.to_json() })
    }
}

impl Current {
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "value": self.value.to_json(),
            "timestamp": self.measured.to_string(),
            "date_received": self.received.to_string(),
        })
    }
}
