//! The index: every device, gateway and project of the node in memory, so that no question about who may do what reads the disk.
//!
//! Devices lie in one vector, which `order` goes through by id; what a selector asks of sensors lies in another (`rows`), because going
//! through a hundred thousand short rows is faster than following as many pointers. Nothing here reads a clock or a disk.

use super::{clean::Known, rows::Rows, share::Shares};
use crate::{
    identity::{Principal, Resource, ResourceKind, may},
    model::{
        Device, Gateway, Id, Micros, Owned, Project, Sensor, Visibility,
        device::Meta,
        limit::PARTS_PER_DEVICE_MAX,
        selector::{self, Spot},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

#[derive(Default)]
pub(super) struct Index {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_id: HashMap<Id, u32>,
    /// Where they are in `entries`, in the order of their ids.
    order: Vec<u32>,
    /// How many devices a decision can't tell apart: a total is counted without looking at each of them.
    alike: HashMap<Owned, usize>,
    /// Registered devices by their DevEUI, who was registered first before who says the same later.
    by_eui: HashMap<String, BTreeSet<(Micros, Id)>>,
    pub shares: Shares,
    /// Of those apps that are not the node's own.
    pub app_owners: HashMap<Id, Id>,
    pub rows: Rows,
    pub gateways: BTreeMap<Id, Arc<Gateway>>,
    pub projects: BTreeMap<Id, Group>,
}

/// A project, and whether a device is in it.
pub(super) struct Group {
    pub project: Arc<Project>,
    pub members: HashSet<Id>,
}

/// A device that is registered, or was heard, or both.
pub(super) struct Entry {
    pub id: Id,
    pub owned: Owned,
    /// As it was registered; none: it was heard only.
    pub document: Option<Arc<Device>>,
    /// With the sensors that were heard and are not in the document.
    pub shown: Arc<Device>,
    /// When it was heard first; 0: never.
    pub first: Micros,
    pub spot: Option<Spot>,
    /// Of its tags and those of its sensors: who lacks a mark of a tag lacks the tag.
    pub tags: u64,
    /// In `rows`, in the order of the sensors in `shown`.
    pub rows: Box<[u32]>,
    /// Which rule is for each of them, as far as somebody asked; a device that changes has another entry.
    pub rules: Known,
}

/// What a device was heard to say: its sensors, and when each of them was heard last.
#[derive(Debug, Default, Clone)]
pub(super) struct Heard {
    pub first: Micros,
    pub sensors: Vec<(Id, Micros)>,
}

impl Entry {
    pub fn resource(&self) -> Resource<'_> {
        Resource { kind: ResourceKind::Device, id: &self.id, owned: &self.owned }
    }

    /// Its DevEUI where it is registered, and when it was.
    fn eui(&self) -> Option<(String, Micros)> {
        let document = self.document.as_ref()?;
        Some((eui(document)?, document.date_created))
    }

    /// The row of a sensor.
    pub fn row(&self, sensor: &Id) -> Option<u32> {
        let nth = self.shown.sensors.iter().position(|known| known.id == *sensor)?;
        self.rows.get(nth).copied()
    }
}

/// The `meta.dev_eui` of a device, in lower case.
pub(super) fn eui(device: &Device) -> Option<String> {
    Some(device.meta.get("dev_eui")?.as_str()?.to_ascii_lowercase())
}

impl Index {
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn get(&self, id: &Id) -> Option<&Entry> {
        self.at(*self.by_id.get(id)?)
    }

    /// Who is called so goes before who says so.
    pub fn of_eui(&self, eui: &str) -> Option<&Id> {
        let called = Id::new(eui).ok().and_then(|id| self.get(&id)).filter(|entry| entry.document.is_some());
        called.map(|entry| &entry.id).or_else(|| self.by_eui.get(eui)?.first().map(|(_, id)| id))
    }

    pub fn at(&self, place: u32) -> Option<&Entry> {
        self.entries.get(place as usize)?.as_ref()
    }

    /// Those behind `after`, by id.
    pub fn behind(&self, after: Option<&Id>) -> impl Iterator<Item = &Entry> {
        let from = after.map_or(0, |after| self.order.partition_point(|place| self.at(*place).is_some_and(|entry| entry.id <= *after)));
        self.order.get(from..).unwrap_or_default().iter().filter_map(|place| self.at(*place))
    }

    /// How many devices somebody sees.
    pub fn seen_by(&self, who: &Principal) -> usize {
        let view = crate::identity::Deed::View;
        if let Principal::Device { id, .. } = who {
            return self.get(id).filter(|entry| may(who, view, entry.resource())).map_or(0, |_| 1);
        }
        // Whoever is no device is told nothing apart by an id.
        let Some(any) = self.behind(None).next() else { return 0 };
        let seen = self.alike.iter().filter(|(owned, _)| may(who, view, Resource { kind: ResourceKind::Device, id: &any.id, owned }));
        seen.map(|(_, count)| count).sum()
    }

    pub fn set_document(&mut self, id: &Id, document: Option<Arc<Device>>) {
        let heard = self.heard(id);
        self.set(id, document, heard);
    }

    /// A sensor was heard; false where the index does not have it.
    pub fn hear_again(&self, device: &Id, sensor: &Id, received: Micros) -> bool {
        let row = self.get(device).and_then(|entry| entry.row(sensor));
        row.is_some_and(|row| self.rows.set_seen(row, received))
    }

    /// A sensor was heard that the index does not have.
    pub fn hear(&mut self, device: &Id, sensor: Id, received: Micros, first: Micros) {
        let document = self.get(device).and_then(|entry| entry.document.clone());
        let mut heard = self.heard(device);
        if heard.sensors.is_empty() {
            heard.first = first;
        }
        heard.sensors.push((sensor, received));
        self.set(device, document, heard);
    }

    /// Sensors were taken away, and what they said; none: all of them.
    pub fn forget(&mut self, device: &Id, sensors: Option<&[Id]>) {
        let Some(entry) = self.get(device) else { return };
        let (document, mut heard) = (entry.document.clone(), self.heard(device));
        heard.sensors.retain(|(id, _)| sensors.is_some_and(|gone| !gone.contains(id)));
        self.set(device, document, heard);
    }

    /// What a device has said so far.
    pub fn heard(&self, id: &Id) -> Heard {
        let Some(entry) = self.get(id) else { return Heard::default() };
        let seen = entry.shown.sensors.iter().zip(&entry.rows).map(|(sensor, row)| (sensor.id.clone(), self.rows.seen(*row)));
        Heard { first: entry.first, sensors: seen.filter(|(_, seen)| seen.0 > 0).collect() }
    }

    fn set(&mut self, id: &Id, document: Option<Arc<Device>>, heard: Heard) {
        let Some(shown) = shown(id, document.as_ref(), &heard) else {
            self.remove(id);
            return;
        };
        let place = match self.by_id.get(id) {
            Some(place) => *place,
            None => self.enter(id),
        };
        let seen: HashMap<&Id, Micros> = heard.sensors.iter().map(|(id, seen)| (id, *seen)).collect();
        let seen = |sensor: &Sensor| seen.get(&sensor.id).copied().unwrap_or_default();
        let rows = shown.sensors.iter().enumerate().map(|(nth, sensor)| self.rows.add(place, nth, sensor, seen(sensor))).collect();
        let entry = Entry {
            id: id.clone(),
            owned: shown.owned.clone(),
            first: heard.first,
            spot: shown.location.map(Spot::of),
            tags: selector::marks(&shown),
            document,
            shown,
            rows,
            rules: Known::default(),
        };
        *self.alike.entry(entry.owned.clone()).or_default() += 1;
        let (eui, now) = (entry.eui(), entry.document.clone());
        let old = self.entries.get_mut(place as usize).and_then(|slot| slot.replace(entry));
        self.share(old.as_ref().and_then(|old| old.document.clone()), now);
        self.let_go(old);
        if let Some((eui, created)) = eui {
            self.by_eui.entry(eui).or_default().insert((created, id.clone()));
        }
    }

    /// A place for a device that is not there yet. It stands in the order by the id that it has in `by_id`, until its entry is put there.
    fn enter(&mut self, id: &Id) -> u32 {
        let at = self.order.partition_point(|place| self.at(*place).is_some_and(|entry| entry.id < *id));
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            // `DEVICES_MAX` is far below.
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        self.order.insert(at, place);
        self.by_id.insert(id.clone(), place);
        place
    }

    fn remove(&mut self, id: &Id) {
        // By its id, so while its entry is there.
        let Some(place) = self.by_id.get(id).copied() else { return };
        let at = self.order.partition_point(|place| self.at(*place).is_some_and(|entry| entry.id < *id));
        if self.order.get(at) == Some(&place) {
            self.order.remove(at);
        }
        self.by_id.remove(id);
        self.free.push(place);
        let old = self.entries.get_mut(place as usize).and_then(Option::take);
        self.share(old.as_ref().and_then(|old| old.document.clone()), None);
        self.let_go(old);
    }

    /// A device is heard far more often than it is changed: then its document is the same, and is not looked at.
    fn share(&mut self, old: Option<Arc<Device>>, new: Option<Arc<Device>>) {
        if let (Some(old), Some(new)) = (&old, &new)
            && Arc::ptr_eq(old, new)
        {
            return;
        }
        old.inspect(|old| self.shares.remove(&**old));
        new.inspect(|new| self.shares.add(&**new));
    }

    fn let_go(&mut self, old: Option<Entry>) {
        let Some(old) = old else { return };
        if let Some((eui, created)) = old.eui()
            && let Some(others) = self.by_eui.get_mut(&eui)
        {
            others.remove(&(created, old.id.clone()));
            if others.is_empty() {
                self.by_eui.remove(&eui);
            }
        }
        for row in old.rows {
            self.rows.remove(row);
        }
        if let Some(count) = self.alike.get_mut(&old.owned) {
            *count -= 1;
            if *count == 0 {
                self.alike.remove(&old.owned);
            }
        }
    }

    pub fn set_project(&mut self, id: &Id, project: Option<Arc<Project>>) {
        self.projects.remove(id).inspect(|old| self.shares.remove(&*old.project));
        if let Some(project) = project {
            self.shares.add(&*project);
            let members = project.device_ids.iter().cloned().collect();
            self.projects.insert(id.clone(), Group { project, members });
        }
    }

    pub fn set_gateway(&mut self, id: &Id, gateway: Option<Arc<Gateway>>) {
        self.gateways.remove(id).inspect(|old| self.shares.remove(&**old));
        if let Some(gateway) = gateway {
            self.shares.add(&*gateway);
            self.gateways.insert(id.clone(), gateway);
        }
    }
}

/// A device as it is shown: its document, and the sensors that were heard and are not in it, as far as a device may have so many. A device without a
/// document belongs to nobody and is seen by administrators alone, until somebody registers it.
pub(super) fn shown(id: &Id, document: Option<&Arc<Device>>, heard: &Heard) -> Option<Arc<Device>> {
    let registered: HashSet<&Id> = document.iter().flat_map(|device| &device.sensors).map(|sensor| &sensor.id).collect();
    let found = heard.sensors.iter().filter(|(id, _)| !registered.contains(id));
    let room = PARTS_PER_DEVICE_MAX.saturating_sub(registered.len());
    let mut found: Vec<Sensor> = found.take(room).map(|(id, _)| sensor(id, heard.first)).collect();
    // It is kept, and nobody knew how many there would be.
    found.shrink_to_fit();
    match document {
        None if found.is_empty() => None,
        Some(device) if found.is_empty() => Some(device.clone()),
        None => Some(Arc::new(device(id, heard.first, found))),
        Some(document) => {
            let mut device = Device::clone(document);
            device.sensors.reserve_exact(found.len());
            device.sensors.extend(found);
            Some(Arc::new(device))
        }
    }
}

pub(super) fn device(id: &Id, first: Micros, sensors: Vec<Sensor>) -> Device {
    Device {
        id: id.clone(),
        name: None,
        gateway_id: None,
        domain: None,
        owned: Owned { owner: None, visibility: Visibility::Private },
        location: None,
        deployed: None,
        meta: serde_json::Map::new(),
        sensors,
        actuators: Vec::new(),
        date_created: first,
        date_modified: first,
    }
}

/// When it was heard first nobody wrote down; when its device was, is known.
pub(super) fn sensor(id: &Id, first: Micros) -> Sensor {
    Sensor {
        id: id.clone(),
        name: None,
        sensor_kind: None,
        quantity_kind: None,
        unit: None,
        calib: None,
        meta: Meta::default(),
        date_created: first,
        date_modified: first,
    }
}
