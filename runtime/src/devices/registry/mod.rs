//! What is registered: devices with their sensors and actuators, gateways, projects.
//!
//! Each is a document in the ledger, the same on every node of a log. In memory is an index over all of them, with the devices and sensors that
//! were heard without anybody registering them: it follows the log, and a node's own changes are in it when they return.

mod change;
mod clean;
mod document;
mod error;
mod follow;
mod index;
mod list;
mod rows;
mod select;
mod share;
mod sight;
mod watch;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use clean::{People, Standing};
pub use error::RegistryError;
pub(super) use follow::Follower;
pub use watch::{Delta, Watch};

use super::Devices;
use crate::{
    identity::{Deed, Principal, may},
    ledger::Ledger,
    model::{
        Device, Gateway, Id, Micros, Owned, Project, Tenant,
        limit::{DEVICES_MAX, PARTS_PER_DEVICE_MAX},
    },
    records::{Records, Space},
};
use arc_swap::ArcSwap;
use clean::Rules;
use index::Index;
use parking_lot::{Mutex, RwLock};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64},
};
use watch::Feeds;

/// The registry of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    tenant: Tenant,
    records: Records,
    devices: Devices,
    /// Whoever changes the index does so while holding this, from reading the ledger on: what was read last is what stays. Before `index`, if both are held.
    turn: Mutex<Feeds>,
    index: RwLock<Index>,
    devices_max: usize,
    /// What is to be done to readings.
    rules: ArcSwap<Rules>,
    /// Grows when another rule may be the one for a device that did not change.
    rules_moved: AtomicU64,
    /// Who the owners of apps are.
    people: OnceLock<People>,
    /// Whether any app has an owner: nothing else is asked where none has.
    has_app_owners: AtomicBool,
}

/// What a reading is told of the sensor that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Sensor,
    /// The device is, the sensor is not.
    Device,
    Nothing,
}

/// From when on somebody may know what a device says: whoever registers one that was there before, or takes the id of one that was deleted, has no
/// right to what it said to others (`docs/decisions/0018`); nor has the device itself, whose secrets are its owner's to make. None: from the beginning.
/// One rule for every door.
pub fn since(who: &Principal, device: &Device) -> Option<Micros> {
    match who {
        Principal::Token(_) => None,
        _ if who.is_admin() => None,
        Principal::User { .. } | Principal::Guest { .. } | Principal::Device { .. } => Some(device.date_created),
    }
}

impl Registry {
    /// Reads all that is registered and all that was heard, and follows `devices` from there on. Nobody else may be at work with `devices` yet. Blocks.
    pub fn open(ledger: Ledger, devices: Devices, tenant: &Tenant) -> Result<Registry, RegistryError> {
        Registry::open_for(ledger, devices, tenant, DEVICES_MAX)
    }

    fn open_for(ledger: Ledger, devices: Devices, tenant: &Tenant, devices_max: usize) -> Result<Registry, RegistryError> {
        let records = Records::new(ledger, tenant, Space::Devices);
        let inner = Inner {
            tenant: tenant.clone(),
            records,
            devices,
            turn: Mutex::default(),
            index: RwLock::default(),
            devices_max,
            rules: ArcSwap::default(),
            rules_moved: AtomicU64::new(0),
            people: OnceLock::new(),
            has_app_owners: AtomicBool::new(false),
        };
        let registry = Registry(Arc::new(inner));
        registry.0.read_all()?;
        registry.0.devices.follow(Follower::of(&registry.0));
        Ok(registry)
    }

    pub fn tenant(&self) -> &Tenant {
        &self.0.tenant
    }

    /// As it was registered, with the sensors that were heard and nobody registered.
    pub fn device(&self, id: &Id) -> Option<Arc<Device>> {
        self.0.index.read().get(id).map(|entry| entry.shown.clone())
    }

    /// The registered device that this DevEUI, given in lower case, is the id or the `meta.dev_eui` of. No two have the same: a change that
    /// would make it so is refused. Of those from before that was so, the one that was registered first.
    pub fn device_of_eui(&self, eui: &str) -> Option<Id> {
        self.0.index.read().of_eui(eui).cloned()
    }

    /// Whether somebody registered it, so that it was not only heard.
    pub fn is_registered(&self, id: &Id) -> bool {
        self.0.index.read().get(id).is_some_and(|entry| entry.document.is_some())
    }

    pub fn gateway(&self, id: &Id) -> Option<Arc<Gateway>> {
        self.0.index.read().gateways.get(id).cloned()
    }

    pub fn project(&self, id: &Id) -> Option<Arc<Project>> {
        self.0.index.read().projects.get(id).map(|group| group.project.clone())
    }

    /// Whose a device is.
    pub fn owned(&self, id: &Id) -> Option<Owned> {
        self.0.index.read().get(id).map(|entry| entry.owned.clone())
    }

    /// How many devices there are, registered or heard.
    pub fn len(&self) -> usize {
        self.0.index.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When a sensor was heard last.
    pub fn seen(&self, device: &Id, sensor: &Id) -> Option<Micros> {
        let index = self.0.index.read();
        let seen = index.rows.seen(index.get(device)?.row(sensor)?);
        (seen.0 > 0).then_some(seen)
    }

    /// The decision about a device; none where there is no such device.
    pub fn allows(&self, who: &Principal, deed: Deed, device: &Id) -> Option<bool> {
        let index = self.0.index.read();
        let entry = index.get(device)?;
        Some(*who.tenant() == self.0.tenant && may(who, deed, entry.resource()))
    }

    /// A device for somebody who wants to do something with it. One that was only heard is unknown to those who can't see it: they may register it.
    pub fn device_for(&self, who: &Principal, deed: Deed, id: &Id) -> Result<Arc<Device>, RegistryError> {
        let index = self.0.index.read();
        let unknown = || RegistryError::Unknown { what: "device", id: id.clone() };
        let entry = index.get(id).filter(|_| *who.tenant() == self.0.tenant).ok_or_else(unknown)?;
        if may(who, deed, entry.resource()) {
            return Ok(entry.shown.clone());
        }
        match entry.document.is_some() || may(who, Deed::View, entry.resource()) {
            true => Err(RegistryError::Forbidden { deed, what: "device", id: id.clone() }),
            false => Err(unknown()),
        }
    }

    pub fn knows(&self, device: &Id, sensor: &Id) -> Known {
        match self.0.index.read().get(device) {
            None => Known::Nothing,
            Some(entry) if entry.row(sensor).is_some() => Known::Sensor,
            Some(_) => Known::Device,
        }
    }

    /// Whether another device, or another sensor of a device, may begin to send.
    pub fn has_room(&self, device: &Id) -> Result<(), RegistryError> {
        let index = self.0.index.read();
        match index.get(device) {
            None if index.len() >= self.0.devices_max => Err(RegistryError::Full { what: "devices", max: self.0.devices_max }),
            Some(entry) if entry.rows.len() >= PARTS_PER_DEVICE_MAX => {
                Err(RegistryError::Full { what: "sensors of this device", max: PARTS_PER_DEVICE_MAX })
            }
            _ => Ok(()),
        }
    }
}
