//! Devices, gateways and projects as documents: under which key each is kept, and what it may not be. Pure.

use super::{super::batch::What, RegistryError};
use crate::{
    identity::{Resource, ResourceKind},
    model::{
        Actuator, Device, Gateway, Id, Location, Micros, Owned, Project, Sensor,
        limit::{DOCUMENT_BYTES_MAX, META_BYTES_MAX, PARTS_PER_DEVICE_MAX, PROJECT_MEMBERS_MAX, TEXT_BYTES_MAX},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};
use std::collections::HashSet;

type Checked = Result<(), RegistryError>;

/// One document of the registry.
pub trait Document: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static {
    const KIND: ResourceKind;
    /// As an error calls it.
    const WHAT: &'static str;
    const PREFIX: &'static str;

    fn id(&self) -> &Id;
    fn owned(&self) -> &Owned;
    fn owned_mut(&mut self) -> &mut Owned;
    /// What is right of its own fields.
    fn check_fields(&self) -> Checked;
    /// Dates are the node's: of what is new, changed, or as it was.
    fn stamp(&mut self, before: Option<&Self>, now: Micros);

    /// The DevEUI that it says is its own.
    fn eui(&self) -> Option<String> {
        None
    }

    /// The DevEUI that is what one of this kind is called.
    fn eui_of_id(_: &Id) -> Option<String> {
        None
    }

    fn key(id: &Id) -> String {
        format!("{}{id}", Self::PREFIX)
    }

    fn resource(&self) -> Resource<'_> {
        Resource { kind: Self::KIND, id: self.id(), owned: self.owned() }
    }

    fn check(&self) -> Checked {
        self.check_fields()?;
        let bytes = serde_json::to_vec(self).map_or(usize::MAX, |bytes| bytes.len());
        at_most("id", bytes, DOCUMENT_BYTES_MAX, "bytes in all, with everything that belongs to it")
    }
}

impl Document for Device {
    const KIND: ResourceKind = ResourceKind::Device;
    const WHAT: &'static str = "device";
    const PREFIX: &'static str = Device::RECORD;

    fn id(&self) -> &Id {
        &self.id
    }
    fn owned(&self) -> &Owned {
        &self.owned
    }
    fn owned_mut(&mut self) -> &mut Owned {
        &mut self.owned
    }

    fn eui(&self) -> Option<String> {
        super::index::eui(self)
    }

    fn eui_of_id(id: &Id) -> Option<String> {
        Some(id.to_string())
    }

    fn check_fields(&self) -> Checked {
        text("name", self.name.as_deref())?;
        text("domain", self.domain.as_deref())?;
        place(self.location)?;
        meta("meta", &self.meta)?;
        parts("sensors", self.sensors.iter().map(|sensor| &sensor.id))?;
        parts("actuators", self.actuators.iter().map(|actuator| &actuator.id))?;
        self.sensors.iter().try_for_each(check_sensor)?;
        self.actuators.iter().try_for_each(check_actuator)
    }

    fn stamp(&mut self, before: Option<&Device>, now: Micros) {
        self.date_created = before.map_or(now, |before| before.date_created);
        self.date_modified = now;
        for sensor in &mut self.sensors {
            let old = before.and_then(|before| before.sensors.iter().find(|old| old.id == sensor.id));
            sensor.date_created = old.map_or(now, |old| old.date_created);
            sensor.date_modified = old.map_or(now, |old| old.date_modified);
            if old.is_some_and(|old| old != sensor) {
                sensor.date_modified = now;
            }
        }
        for actuator in &mut self.actuators {
            let old = before.and_then(|before| before.actuators.iter().find(|old| old.id == actuator.id));
            actuator.date_created = old.map_or(now, |old| old.date_created);
            actuator.date_modified = old.map_or(now, |old| old.date_modified);
            if old.is_some_and(|old| old != actuator) {
                actuator.date_modified = now;
            }
        }
    }
}

impl Document for Gateway {
    const KIND: ResourceKind = ResourceKind::Gateway;
    const WHAT: &'static str = "gateway";
    const PREFIX: &'static str = "g:";

    fn id(&self) -> &Id {
        &self.id
    }
    fn owned(&self) -> &Owned {
        &self.owned
    }
    fn owned_mut(&mut self) -> &mut Owned {
        &mut self.owned
    }

    fn check_fields(&self) -> Checked {
        text("name", self.name.as_deref())?;
        place(self.location)?;
        meta("meta", &self.meta)
    }

    fn stamp(&mut self, before: Option<&Gateway>, now: Micros) {
        self.date_created = before.map_or(now, |before| before.date_created);
        self.date_modified = now;
    }
}

impl Document for Project {
    const KIND: ResourceKind = ResourceKind::Project;
    const WHAT: &'static str = "project";
    const PREFIX: &'static str = "p:";

    fn id(&self) -> &Id {
        &self.id
    }
    fn owned(&self) -> &Owned {
        &self.owned
    }
    fn owned_mut(&mut self) -> &mut Owned {
        &mut self.owned
    }

    fn check_fields(&self) -> Checked {
        text("name", Some(&self.name))?;
        at_most("device_ids", self.device_ids.len(), PROJECT_MEMBERS_MAX, "devices")?;
        at_most("gateway_ids", self.gateway_ids.len(), PROJECT_MEMBERS_MAX, "gateways")
    }

    fn stamp(&mut self, before: Option<&Project>, now: Micros) {
        self.date_created = before.map_or(now, |before| before.date_created);
        self.date_modified = now;
    }
}

/// The sensors and actuators that a change takes away.
pub(super) fn taken_away(before: &Device, after: &Device) -> What {
    let sensors: HashSet<&Id> = after.sensors.iter().map(|sensor| &sensor.id).collect();
    let actuators: HashSet<&Id> = after.actuators.iter().map(|actuator| &actuator.id).collect();
    What {
        sensors: Some(before.sensors.iter().filter(|old| !sensors.contains(&old.id)).map(|old| old.id.clone()).collect()),
        actuators: Some(before.actuators.iter().filter(|old| !actuators.contains(&old.id)).map(|old| old.id.clone()).collect()),
    }
}

fn check_sensor(sensor: &Sensor) -> Checked {
    text("sensors.name", sensor.name.as_deref())?;
    text("sensors.sensor_kind", sensor.sensor_kind.as_deref())?;
    text("sensors.quantity_kind", sensor.quantity_kind.as_deref())?;
    text("sensors.unit", sensor.unit.as_deref())?;
    let calib = sensor.calib.as_ref().map_or(0, |calib| calib.to_string().len());
    at_most("sensors.calib", calib, META_BYTES_MAX, "bytes")?;
    sensor.meta.map().map_or(Ok(()), |map| meta("sensors.meta", map))
}

fn check_actuator(actuator: &Actuator) -> Checked {
    text("actuators.name", actuator.name.as_deref())?;
    text("actuators.actuator_kind", actuator.actuator_kind.as_deref())?;
    text("actuators.actuator_value_type", actuator.actuator_value_type.as_deref())?;
    meta("actuators.meta", &actuator.meta)
}

fn at_most(field: &'static str, is: usize, max: usize, of: &str) -> Checked {
    if is <= max {
        return Ok(());
    }
    Err(RegistryError::Invalid { field, why: format!("at most {max} {of}, these are {is}") })
}

fn text(field: &'static str, text: Option<&str>) -> Checked {
    at_most(field, text.map_or(0, str::len), TEXT_BYTES_MAX, "bytes")
}

fn meta(field: &'static str, meta: &Map<String, Json>) -> Checked {
    // Most devices have none, and this is asked of each of their sensors.
    if meta.is_empty() {
        return Ok(());
    }
    let bytes = serde_json::to_vec(meta).map_or(usize::MAX, |bytes| bytes.len());
    at_most(field, bytes, META_BYTES_MAX, "bytes as JSON")
}

fn place(location: Option<Location>) -> Checked {
    let Some(Location { latitude, longitude }) = location else { return Ok(()) };
    // No number is not in any range.
    if (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude) {
        return Ok(());
    }
    let why = format!("latitude {latitude}, longitude {longitude} is no place: -90 to 90 and -180 to 180 degrees");
    Err(RegistryError::Invalid { field: "location", why })
}

fn parts<'a>(field: &'static str, ids: impl ExactSizeIterator<Item = &'a Id>) -> Checked {
    at_most(field, ids.len(), PARTS_PER_DEVICE_MAX, "of one device")?;
    let mut seen = HashSet::with_capacity(ids.len());
    for id in ids {
        if !seen.insert(id) {
            return Err(RegistryError::Invalid { field, why: format!("`{id}` is there twice") });
        }
    }
    Ok(())
}
