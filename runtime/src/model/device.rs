//! What is registered: devices with their sensors and actuators, gateways, projects. The shapes of the WAZIUP API, which are
//! those that are stored too; what a sensor measured last stands elsewhere (`devices`).

use super::{id::Id, time::Micros};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// A device as somebody registered it, with everything that belongs to it: one document of the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(flatten)]
    pub owned: Owned,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<bool>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Json>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensors: Vec<Sensor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actuators: Vec<Actuator>,
    pub date_created: Micros,
    pub date_modified: Micros,
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
    /// As it was given: `{"linear": {"enabled", "value_min": {"sensor_value", "real_value"}, "value_max": {…}}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calib: Option<Json>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Json>,
    pub date_created: Micros,
    pub date_modified: Micros,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Actuator {
    pub id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actuator_kind: Option<String>,
    /// `bool`, `number`, `string`, …: what its value looks like. Not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actuator_value_type: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Json>,
    pub date_created: Micros,
    pub date_modified: Micros,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    pub id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(flatten)]
    pub owned: Owned,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Json>,
    /// When it last said that it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Micros>,
    pub date_created: Micros,
    pub date_modified: Micros,
}

/// Devices and gateways that somebody works with together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub id: Id,
    pub name: String,
    #[serde(flatten)]
    pub owned: Owned,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_ids: Vec<Id>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateway_ids: Vec<Id>,
    pub date_created: Micros,
    pub date_modified: Micros,
}

/// Whose something is, and who sees it: all that a decision about it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owned {
    /// A user. None: it belongs to the tenant, and to no user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Id>,
    #[serde(default)]
    pub visibility: Visibility,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody sees it, and may send it values.
    #[default]
    Public,
    /// Its owner and administrators alone.
    Private,
}

impl Device {
    /// Where the document of a registered device is kept: the registry writes it there, and `identity` looks up there when that was.
    pub const RECORD: &'static str = "d:";
}

/// A place on Earth, in degrees of WGS 84.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Location {
    pub latitude: f64,
    pub longitude: f64,
}
