//! What is registered: devices with their sensors and actuators, gateways, projects. The shapes of the WAZIUP API, which are
//! those that are stored too; what a sensor measured last stands elsewhere (`devices`).

use super::{id::Id, time::Micros};
use serde::{Deserialize, Serialize, Serializer};
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

/// A node keeps every sensor that it has heard in memory, and of most it knows no more than the name: so what is rarely there is small where
/// it is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    pub id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_kind: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity_kind: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Box<str>>,
    /// As it was given: `{"linear": {"enabled", "value_min": {"sensor_value", "real_value"}, "value_max": {…}}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calib: Option<Box<Json>>,
    #[serde(default, skip_serializing_if = "Meta::is_empty")]
    pub meta: Meta,
    pub date_created: Micros,
    pub date_modified: Micros,
}

/// What somebody wrote down of a sensor beside what has a name here: eight bytes, where that is nothing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Map<String, Json>")]
pub struct Meta(Option<Box<Map<String, Json>>>);

impl Meta {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn map(&self) -> Option<&Map<String, Json>> {
        self.0.as_deref()
    }
}

impl From<Map<String, Json>> for Meta {
    fn from(map: Map<String, Json>) -> Meta {
        Meta((!map.is_empty()).then(|| Box::new(map)))
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.map() {
            Some(map) => map.serialize(serializer),
            None => Map::<String, Json>::new().serialize(serializer),
        }
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A node has a hundred thousand of them in memory.
    #[test]
    fn a_sensor_of_which_little_is_known_is_small() {
        assert!(size_of::<Sensor>() <= 112, "{} bytes", size_of::<Sensor>());
    }

    #[test]
    fn what_somebody_wrote_down_of_a_sensor_reads_back_as_it_was() {
        let read = |text: &str| serde_json::from_str::<Sensor>(text).unwrap();
        let one = r#"{"id":"t","name":"Outside","meta":{"b":1,"a":{}},"date_created":1,"date_modified":2}"#;
        assert_eq!(serde_json::to_string(&read(one)).unwrap(), one);
        let plain = read(r#"{"id":"t","meta":{},"date_created":1,"date_modified":2}"#);
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"id":"t","date_created":1,"date_modified":2}"#);
        assert_eq!(serde_json::to_string(&plain.meta).unwrap(), "{}", "as it is shown");
    }
}
