//! The index follows the log: what other nodes changed, and which sensors were heard.

use super::{Inner, RegistryError, document::Document};
use crate::{
    devices::{DevicesError, batch::Batch},
    model::{Device, Gateway, Id, Micros, Project, limit::PARTS_PER_DEVICE_MAX},
    preprocess::{Name, Rule},
    records::{RecordsError, Space},
};
use std::sync::{Arc, Weak};

/// A registry as the projection knows it: it is not kept for the projection's sake.
#[derive(Clone)]
pub(in crate::devices) struct Follower(Weak<Inner>);

impl Follower {
    pub(super) fn of(inner: &Arc<Inner>) -> Follower {
        Follower(Arc::downgrade(inner))
    }

    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub fn follow(&self, batch: &Batch<'_>) -> Result<(), DevicesError> {
        self.0.upgrade().map_or(Ok(()), |inner| inner.follow(batch).map_err(DevicesError::Registry))
    }
}

impl Inner {
    /// As it all is now.
    pub fn read_all(&self) -> Result<(), RegistryError> {
        let _turn = self.turn.lock();
        self.read_app_owners()?;
        let mut index = self.index.write();
        self.records.scan::<Device>(Device::PREFIX, |_, device| index.set_document(&device.id.clone(), Some(Arc::new(device))))?;
        self.records.scan::<Gateway>(Gateway::PREFIX, |_, gateway| index.set_gateway(&gateway.id.clone(), Some(Arc::new(gateway))))?;
        self.records.scan::<Project>(Project::PREFIX, |_, project| index.set_project(&project.id.clone(), Some(Arc::new(project))))?;
        self.read_rules()?;
        self.devices.store.heard(&self.tenant, |device, sensor, first, last| {
            if !index.hear_again(&device, &sensor, last) {
                self.take_in(&mut index, &device, sensor, last, first);
            }
        })?;
        Ok(())
    }

    fn follow(&self, batch: &Batch<'_>) -> Result<(), RecordsError> {
        let tenant = self.tenant.as_str();
        let gone = batch.gone.iter().filter(|gone| gone.tenant == self.tenant);
        let changed = batch.notices.iter().filter(|event| event.tenant == self.tenant).filter_map(|event| Space::Devices.changed(event));
        let feeds = self.turn.lock();
        for gone in gone {
            self.index.write().forget(&gone.device, gone.what.sensors.as_deref());
            feeds.device_changed(self, &gone.device);
        }
        for key in changed.flatten() {
            self.read_again(&feeds, &key)?;
        }
        if batch.notices.iter().any(|event| event.tenant == self.tenant && Space::Identity.changed(event).is_some()) {
            self.people_moved();
        }
        for ((of, device, _), event) in &batch.readings {
            let (Some(id), Some(sensor), true) = (&event.device, &event.sensor, *of == tenant) else { continue };
            let first = batch.devices.get(&(*of, *device)).map_or(event.received, |times| times.0);
            self.hear(&feeds, id, sensor, event.received, first);
        }
        Ok(())
    }

    /// A reading of a sensor that is known, which is nearly every one, changes nothing that anybody else looks at.
    pub(super) fn hear(&self, feeds: &super::Feeds, device: &Id, sensor: &Id, received: Micros, first: Micros) {
        let known = self.index.read().hear_again(device, sensor, received);
        match known {
            true => feeds.heard(self, device, sensor),
            false => {
                self.take_in(&mut self.index.write(), device, sensor.clone(), received, first);
                feeds.device_changed(self, device);
            }
        }
    }

    /// What came in by a door that does not ask (NATS) is in the log all the same, but not in memory without end.
    fn take_in(&self, index: &mut super::Index, device: &Id, sensor: Id, received: Micros, first: Micros) {
        let room = match index.get(device) {
            None => index.len() < self.devices_max,
            Some(entry) => entry.rows.len() < PARTS_PER_DEVICE_MAX,
        };
        if room {
            index.hear(device, sensor, received, first);
        }
    }

    /// Reads documents again that were changed, here or elsewhere.
    pub fn refresh(&self, key: &str) -> Result<(), RecordsError> {
        self.read_again(&self.turn.lock(), key)
    }

    pub fn read_again(&self, feeds: &super::Feeds, key: &str) -> Result<(), RecordsError> {
        let of = |prefix| key.strip_prefix(prefix).and_then(|id| Id::new(id).ok());
        if let Some(id) = of(Device::PREFIX) {
            let device = self.records.get::<Device>(key)?.map(Arc::new);
            self.index.write().set_document(&id, device);
            feeds.device_changed(self, &id);
        } else if let Some(id) = of(Gateway::PREFIX) {
            let gateway = self.records.get::<Gateway>(key)?.map(Arc::new);
            self.index.write().set_gateway(&id, gateway);
        } else if let Some(id) = of(Project::PREFIX) {
            let project = self.records.get::<Project>(key)?.map(Arc::new);
            self.index.write().set_project(&id, project);
            self.rules_moved();
            feeds.project_changed(self, &id);
        } else if let Some(name) = key.strip_prefix(Rule::PREFIX).and_then(|name| Name::parse(name).ok()) {
            let document = self.records.get(key)?;
            self.set_rule(&name, document);
        } else if let Some(app) = of(super::sight::PREFIX) {
            self.read_app_owner(key, app)?;
        }
        Ok(())
    }
}
