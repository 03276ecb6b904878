//! What the API shows: the shapes of the WAZIUP cloud.

use crate::{
    devices::{Actuator as Told, Current, Sensor as Heard},
    model::{Actuator, Device, Gateway, Id, Location, Micros, Project, Sensor, Value, Visibility, device::Meta},
};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json, value::RawValue};
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Device)]
pub struct DeviceShape<'a> {
    #[schema(value_type = String)]
    pub id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<&'a str>,
    #[schema(value_type = String)]
    pub visibility: Visibility,
    /// A user; left out where it belongs to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationShape>,
    pub deployed: Option<bool>,
    #[schema(value_type = Object)]
    pub meta: &'a Map<String, Json>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_created: Micros,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_modified: Micros,
    pub sensors: Vec<SensorShape<'a>>,
    pub actuators: Vec<ActuatorShape<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Sensor)]
pub struct SensorShape<'a> {
    #[schema(value_type = String)]
    pub id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor_kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity_kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'a str>,
    /// What arrived last; left out while nothing has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<ValueShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub calib: Option<&'a Json>,
    #[schema(value_type = Object)]
    pub meta: &'a Meta,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_created: Micros,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_modified: Micros,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Actuator)]
pub struct ActuatorShape<'a> {
    #[schema(value_type = String)]
    pub id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actuator_kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actuator_value_type: Option<&'a str>,
    /// What it was told last; null while it was told nothing.
    #[schema(value_type = serde_json::Value)]
    pub value: Option<Box<RawValue>>,
    #[schema(value_type = Object)]
    pub meta: &'a Map<String, Json>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_created: Micros,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_modified: Micros,
}

/// A value, when it was measured, and when it arrived.
#[derive(Serialize, ToSchema)]
#[schema(as = SensorValue)]
pub struct ValueShape {
    /// The digits that were sent, not the nearest float.
    #[schema(value_type = serde_json::Value)]
    pub value: Box<RawValue>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Micros,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_received: Micros,
    /// The value is what the sensor's calibration makes of the one that it sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub calibrated: bool,
}

/// A value and whose it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Datapoint)]
pub struct DatapointShape<'a> {
    #[schema(value_type = String)]
    pub device_id: &'a Id,
    #[schema(value_type = String)]
    pub sensor_id: &'a Id,
    #[serde(flatten)]
    pub value: ValueShape,
}

#[derive(Serialize, Clone, Copy, ToSchema)]
#[schema(as = Location)]
pub struct LocationShape {
    pub latitude: f64,
    pub longitude: f64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Gateway)]
pub struct GatewayShape<'a> {
    #[schema(value_type = String)]
    pub id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[schema(value_type = String)]
    pub visibility: Visibility,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationShape>,
    #[schema(value_type = Object)]
    pub meta: &'a Map<String, Json>,
    /// It is there over MQTT now, or its last heartbeat was a short time ago.
    pub connected: bool,
    /// When it last said that it lives.
    #[serde(serialize_with = "maybe_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub heartbeat: Option<Micros>,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_created: Micros,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_modified: Micros,
    /// With `full=true`: those of its devices that who asks may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceShape<'a>>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Project)]
pub struct ProjectShape<'a> {
    #[schema(value_type = String)]
    pub id: &'a Id,
    pub name: &'a str,
    #[schema(value_type = String)]
    pub visibility: Visibility,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'a str>,
    #[schema(value_type = Vec<String>)]
    pub device_ids: &'a [Id],
    #[schema(value_type = Vec<String>)]
    pub gateway_ids: &'a [Id],
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_created: Micros,
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub date_modified: Micros,
    /// With `full=true`: those that who asks may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceShape<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<GatewayShape<'a>>>,
}

impl<'a> DeviceShape<'a> {
    /// A device as it is registered, with what its sensors said and its actuators were told.
    pub fn of(device: &'a Device, heard: &'a [Heard], told: &'a [Told]) -> DeviceShape<'a> {
        DeviceShape {
            id: &device.id,
            gateway_id: device.gateway_id.as_ref().map(Id::as_str),
            name: device.name.as_deref(),
            domain: device.domain.as_deref(),
            visibility: device.owned.visibility,
            owner: device.owned.owner.as_ref().map(Id::as_str),
            location: device.location.map(LocationShape::from),
            deployed: device.deployed,
            meta: &device.meta,
            date_created: device.date_created,
            date_modified: device.date_modified,
            sensors: device.sensors.iter().map(|sensor| SensorShape::of(sensor, current(sensor, heard))).collect(),
            actuators: device.actuators.iter().map(|actuator| ActuatorShape::of(actuator, last(actuator, told))).collect(),
        }
    }
}

/// What a sensor said last.
pub fn current<'a>(sensor: &Sensor, heard: &'a [Heard]) -> Option<&'a Current> {
    heard.iter().find(|heard| heard.id == sensor.id).map(|heard| &heard.current)
}

/// What an actuator was told last.
pub fn last<'a>(actuator: &Actuator, told: &'a [Told]) -> Option<&'a Current> {
    told.iter().find(|told| told.id == actuator.id).map(|told| &told.current)
}

impl<'a> SensorShape<'a> {
    pub fn of(sensor: &'a Sensor, current: Option<&Current>) -> SensorShape<'a> {
        SensorShape {
            id: &sensor.id,
            name: sensor.name.as_deref(),
            sensor_kind: sensor.sensor_kind.as_deref(),
            quantity_kind: sensor.quantity_kind.as_deref(),
            unit: sensor.unit.as_deref(),
            value: current.map(|current| ValueShape::new(&current.value, current.measured, current.received)),
            calib: sensor.calib.as_deref(),
            meta: &sensor.meta,
            date_created: sensor.date_created,
            date_modified: sensor.date_modified,
        }
    }
}

impl<'a> ActuatorShape<'a> {
    pub fn of(actuator: &'a Actuator, last: Option<&Current>) -> ActuatorShape<'a> {
        ActuatorShape {
            id: &actuator.id,
            name: actuator.name.as_deref(),
            actuator_kind: actuator.actuator_kind.as_deref(),
            actuator_value_type: actuator.actuator_value_type.as_deref(),
            value: last.map(|last| raw(&last.value)),
            meta: &actuator.meta,
            date_created: actuator.date_created,
            date_modified: actuator.date_modified,
        }
    }
}

impl ValueShape {
    pub fn new(value: &Value, timestamp: Micros, date_received: Micros) -> ValueShape {
        ValueShape { value: raw(value), timestamp, date_received, calibrated: false }
    }
}

impl<'a> GatewayShape<'a> {
    pub fn of(gateway: &'a Gateway, connected: bool, devices: Option<Vec<DeviceShape<'a>>>) -> GatewayShape<'a> {
        GatewayShape {
            id: &gateway.id,
            name: gateway.name.as_deref(),
            visibility: gateway.owned.visibility,
            owner: gateway.owned.owner.as_ref().map(Id::as_str),
            location: gateway.location.map(LocationShape::from),
            meta: &gateway.meta,
            connected,
            heartbeat: gateway.heartbeat,
            date_created: gateway.date_created,
            date_modified: gateway.date_modified,
            devices,
        }
    }
}

impl<'a> ProjectShape<'a> {
    pub fn of(project: &'a Project) -> ProjectShape<'a> {
        ProjectShape {
            id: &project.id,
            name: &project.name,
            visibility: project.owned.visibility,
            owner: project.owned.owner.as_ref().map(Id::as_str),
            device_ids: &project.device_ids,
            gateway_ids: &project.gateway_ids,
            date_created: project.date_created,
            date_modified: project.date_modified,
            devices: None,
            gateways: None,
        }
    }
}

impl From<Location> for LocationShape {
    fn from(location: Location) -> LocationShape {
        LocationShape { latitude: location.latitude, longitude: location.longitude }
    }
}

/// A value as the text that was sent; bytes as `{"bytes": "<hex>"}`.
pub fn raw(value: &Value) -> Box<RawValue> {
    let text = match value {
        Value::Json(text) => text.to_string(),
        Value::Bytes(_) => value.to_json().to_string(),
    };
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn time<S: Serializer>(time: &Micros, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

fn maybe_time<S: Serializer>(at: &Option<Micros>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => to.collect_str(at),
        None => to.serialize_none(),
    }
}
