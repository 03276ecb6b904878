//! A device as the API takes it, and what is wrong with one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashSet;
use tawi_runtime::model::{
    Id, Location, Visibility,
    calibration::Linear,
    limit::{META_BYTES_MAX, PARTS_PER_DEVICE_MAX, TEXT_BYTES_MAX},
};

/// One device of a file, and the line where it begins.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    pub line: u64,
    pub device: Device,
}

/// What is not said of it is left as it is. Values and dates, which a listing has too, are passed over.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
    #[serde(default)]
    pub sensors: Vec<Sensor>,
    #[serde(default)]
    pub actuators: Vec<Actuator>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    pub id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity_kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calib: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Actuator {
    pub id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actuator_kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actuator_value_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
}

type Checked = Result<(), String>;

impl Device {
    pub fn new(id: Id) -> Device {
        Device {
            id,
            name: None,
            gateway_id: None,
            domain: None,
            visibility: None,
            owner: None,
            location: None,
            deployed: None,
            meta: None,
            sensors: Vec::new(),
            actuators: Vec::new(),
        }
    }

    /// The node would refuse what is wrong here, but only after it took others.
    pub fn check(&self) -> Checked {
        text("name", self.name.as_deref())?;
        text("domain", self.domain.as_deref())?;
        place(self.location)?;
        meta(self.meta.as_ref())?;
        parts("sensor", self.sensors.iter().map(|sensor| &sensor.id))?;
        parts("actuator", self.actuators.iter().map(|actuator| &actuator.id))?;
        self.sensors.iter().try_for_each(|sensor| sensor.check().map_err(|why| format!("sensor `{}`: {why}", sensor.id)))?;
        self.actuators.iter().try_for_each(|actuator| actuator.check().map_err(|why| format!("actuator `{}`: {why}", actuator.id)))
    }
}

impl Sensor {
    fn check(&self) -> Checked {
        text("name", self.name.as_deref())?;
        text("sensor_kind", self.sensor_kind.as_deref())?;
        text("quantity_kind", self.quantity_kind.as_deref())?;
        text("unit", self.unit.as_deref())?;
        if let Some(calib) = &self.calib {
            Linear::of(calib).map_err(|e| format!("`calib`: {e}"))?;
        }
        meta(self.meta.as_ref())
    }
}

impl Actuator {
    fn check(&self) -> Checked {
        text("name", self.name.as_deref())?;
        text("actuator_kind", self.actuator_kind.as_deref())?;
        text("actuator_value_type", self.actuator_value_type.as_deref())?;
        meta(self.meta.as_ref())
    }
}

fn text(field: &str, text: Option<&str>) -> Checked {
    match text.map_or(0, str::len) {
        few if few <= TEXT_BYTES_MAX => Ok(()),
        many => Err(format!("`{field}` has {many} bytes, {TEXT_BYTES_MAX} are allowed")),
    }
}

fn meta(meta: Option<&Map<String, Value>>) -> Checked {
    match meta.map_or(0, |meta| Value::from(meta.clone()).to_string().len()) {
        few if few <= META_BYTES_MAX => Ok(()),
        many => Err(format!("`meta` has {many} bytes as JSON, {META_BYTES_MAX} are allowed")),
    }
}

/// No number is not in any range.
fn place(location: Option<Location>) -> Checked {
    match location {
        Some(Location { latitude, longitude }) if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) => {
            Err(format!("latitude {latitude}, longitude {longitude} is no place: -90 to 90 and -180 to 180 degrees"))
        }
        _ => Ok(()),
    }
}

fn parts<'a>(what: &str, ids: impl ExactSizeIterator<Item = &'a Id>) -> Checked {
    if ids.len() > PARTS_PER_DEVICE_MAX {
        return Err(format!("a device has {PARTS_PER_DEVICE_MAX} {what}s at most, these are {}", ids.len()));
    }
    let mut seen = HashSet::with_capacity(ids.len());
    for id in ids {
        if !seen.insert(id) {
            return Err(format!("{what} `{id}` is there twice"));
        }
    }
    Ok(())
}
