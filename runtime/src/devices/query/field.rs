//! The fields that a query may ask about.

use super::{Found, Scalar};
use crate::model::{Device, Micros, Visibility};
use serde_json::Value as Json;

/// As they are listed to who asked for another.
pub(super) const NAMES: &str = "id, name, owner, gateway_id, visibility, domain, deployed, location, date_created, date_modified, meta.KEY, sensors.id, \
                                sensors.name, sensor_kind, quantity_kind, unit, actuators.id, actuators.name, actuator_kind";

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    Id,
    Name,
    Owner,
    GatewayId,
    Visibility,
    Domain,
    Deployed,
    Location,
    DateCreated,
    DateModified,
    /// A path into `meta`.
    Meta(Vec<String>),
    SensorId,
    SensorName,
    SensorKind,
    QuantityKind,
    Unit,
    ActuatorId,
    ActuatorName,
    ActuatorKind,
}

impl Field {
    /// Also by the names that the original's broker has for dates.
    pub fn of(name: &str) -> Option<Field> {
        if let Some(path) = name.strip_prefix("meta.") {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            return path.iter().all(|key| !key.is_empty()).then_some(Field::Meta(path));
        }
        Some(match name {
            "id" => Field::Id,
            "name" => Field::Name,
            "owner" => Field::Owner,
            "gateway_id" => Field::GatewayId,
            "visibility" => Field::Visibility,
            "domain" => Field::Domain,
            "deployed" => Field::Deployed,
            "location" => Field::Location,
            "date_created" | "dateCreated" => Field::DateCreated,
            "date_modified" | "dateModified" => Field::DateModified,
            "sensors.id" => Field::SensorId,
            "sensors.name" => Field::SensorName,
            "sensors.sensor_kind" | "sensor_kind" => Field::SensorKind,
            "sensors.quantity_kind" | "quantity_kind" => Field::QuantityKind,
            "sensors.unit" | "unit" => Field::Unit,
            "actuators.id" => Field::ActuatorId,
            "actuators.name" => Field::ActuatorName,
            "actuators.actuator_kind" | "actuator_kind" => Field::ActuatorKind,
            _ => return None,
        })
    }

    /// A value of the field's type.
    pub fn scalar(&self, text: &str) -> Result<Scalar, String> {
        match self {
            Field::Deployed => match text {
                "true" => Ok(Scalar::Bool(true)),
                "false" => Ok(Scalar::Bool(false)),
                _ => Err("`deployed` is `true` or `false`".to_owned()),
            },
            Field::Visibility => match text {
                "public" => Ok(Scalar::Visibility(Visibility::Public)),
                "private" => Ok(Scalar::Visibility(Visibility::Private)),
                _ => Err("`visibility` is `public` or `private`".to_owned()),
            },
            Field::DateCreated | Field::DateModified => time(text).map(Scalar::Time),
            Field::Location => Err("a location can only be there or not; sensors within a circle are found with `select`".to_owned()),
            Field::Meta(_) => Ok(Scalar::Free(text.to_owned(), text.parse().ok())),
            _ => Ok(Scalar::Text(text.to_owned())),
        }
    }

    /// Whether its values have an order.
    pub fn is_ordered(&self) -> bool {
        !matches!(self, Field::Deployed | Field::Visibility | Field::Location)
    }

    pub fn is_text(&self) -> bool {
        !matches!(self, Field::Deployed | Field::Visibility | Field::Location | Field::DateCreated | Field::DateModified)
    }

    /// Whether `test` holds for one of those values that the device has in this field.
    pub fn any(&self, device: &Device, test: &dyn Fn(Found<'_>) -> bool) -> bool {
        let text = |text: Option<&str>| text.is_some_and(|text| test(Found::Text(text)));
        let sensors = |of: fn(&crate::model::Sensor) -> Option<&str>| device.sensors.iter().any(|sensor| text(of(sensor)));
        let actuators = |of: fn(&crate::model::Actuator) -> Option<&str>| device.actuators.iter().any(|actuator| text(of(actuator)));
        match self {
            Field::Id => text(Some(device.id.as_str())),
            Field::Name => text(device.name.as_deref()),
            Field::Owner => text(device.owned.owner.as_ref().map(|owner| owner.as_str())),
            Field::GatewayId => text(device.gateway_id.as_ref().map(|gateway| gateway.as_str())),
            Field::Visibility => test(Found::Visibility(device.owned.visibility)),
            Field::Domain => text(device.domain.as_deref()),
            Field::Deployed => device.deployed.is_some_and(|deployed| test(Found::Bool(deployed))),
            Field::Location => device.location.is_some() && test(Found::There),
            Field::DateCreated => test(Found::Time(device.date_created)),
            Field::DateModified => test(Found::Time(device.date_modified)),
            Field::Meta(path) => meta(path, device, test),
            Field::SensorId => sensors(|sensor| Some(sensor.id.as_str())),
            Field::SensorName => sensors(|sensor| sensor.name.as_deref()),
            Field::SensorKind => sensors(|sensor| sensor.sensor_kind.as_deref()),
            Field::QuantityKind => sensors(|sensor| sensor.quantity_kind.as_deref()),
            Field::Unit => sensors(|sensor| sensor.unit.as_deref()),
            Field::ActuatorId => actuators(|actuator| Some(actuator.id.as_str())),
            Field::ActuatorName => actuators(|actuator| actuator.name.as_deref()),
            Field::ActuatorKind => actuators(|actuator| actuator.actuator_kind.as_deref()),
        }
    }
}

/// A day is its first moment.
fn time(text: &str) -> Result<Micros, String> {
    Micros::parse(text).or_else(|error| Micros::parse(&format!("{text}T00:00:00Z")).map_err(|_| error.to_string()))
}

/// Of a list, each of its elements.
fn meta(path: &[String], device: &Device, test: &dyn Fn(Found<'_>) -> bool) -> bool {
    let (first, rest) = match path {
        [first, rest @ ..] => (device.meta.get(first), rest),
        [] => return false,
    };
    let found = rest.iter().try_fold(first, |json, key| json.map(|json| json.get(key)));
    let one = |json: &Json| match json {
        Json::Null => false,
        Json::Bool(is) => test(Found::Bool(*is)),
        Json::Number(number) => number.as_f64().is_some_and(|number| test(Found::Number(number))),
        Json::String(text) => test(Found::Text(text)),
        Json::Array(_) | Json::Object(_) => test(Found::There),
    };
    match found.flatten() {
        Some(Json::Array(list)) => list.iter().any(one),
        Some(json) => one(json),
        None => false,
    }
}
