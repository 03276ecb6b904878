//! The sensors of a device.

use super::{
    super::{AppState, Problem, auth::Asker, request::Path},
    answer::{Answer, json, read, read_large},
    devices::{self, seen_by, update},
    input::{self, NewSensor, Scalar},
    shape::{SensorShape, current},
    table::{Looks, Routes, Says},
};
use crate::{
    clock,
    devices::{Currents, RegistryError},
    identity::Deed,
    model::{Id, Sensor},
};
use axum::{body::Body, extract::State};
use http::HeaderMap;
use serde_json::{Map, Value as Json};

pub fn routes() -> Routes {
    let put = |summary| Says::new(summary).takes_scalar(Looks::Text).done();
    Routes::of("Sensors")
        .get("/devices/{device}/sensors", list, Says::new("The sensors of a device").list::<SensorShape>())
        .post("/devices/{device}/sensors", create, Says::new("Adds a sensor").takes::<NewSensor>().makes())
        .get("/devices/{device}/sensors/{sensor}", show, Says::new("A sensor, with what it said last").one::<SensorShape>())
        .delete("/devices/{device}/sensors/{sensor}", delete, Says::new("Takes a sensor away, with what it said last").done())
        .put("/devices/{device}/sensors/{sensor}/name", set_name, put("Its name"))
        .put("/devices/{device}/sensors/{sensor}/meta", set_meta, Says::new("Whatever else is known of it").takes::<input::Meta>().done())
        .put("/devices/{device}/sensors/{sensor}/sensor_kind", set_sensor_kind, put("What kind of thing it is: `Thermometer`"))
        .put("/devices/{device}/sensors/{sensor}/quantity_kind", set_quantity_kind, put("What it measures: `AirTemperature`"))
        .put("/devices/{device}/sensors/{sensor}/unit", set_unit, put("In what: `DegreeCelsius`"))
        .put(
            "/devices/{device}/sensors/{sensor}/calib",
            set_calib,
            Says::new("How what it says becomes what is meant; null: as it is").takes::<input::Calibration>().done(),
        )
}

async fn list(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    let id = path.id("device")?;
    read_large(&state, move |state| {
        let device = state.registry.device_for(&who, Deed::View, &id)?;
        let currents = devices::current(state, &who, &device)?;
        json(&device.sensors.iter().map(|sensor| SensorShape::of(sensor, current(sensor, &currents.sensors))).collect::<Vec<_>>())
    })
    .await
}

async fn show(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    let (id, sensor) = (path.id("device")?, path.id("sensor")?);
    read(&state, move |state| {
        let device = state.registry.device_for(&who, Deed::View, &id)?;
        let found = device.sensors.iter().find(|known| known.id == sensor).ok_or_else(|| unknown(&id, &sensor))?;
        let said = state.devices.sensor(who.tenant(), &id, &sensor)?;
        let currents = seen_by(&who, &device, Currents { sensors: said.into_iter().collect(), ..Currents::default() });
        json(&SensorShape::of(found, current(found, &currents.sensors)))
    })
    .await
}

async fn create(State(state): State<AppState>, Asker(who): Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let new: NewSensor = input::json(&headers, from).await?;
    let sensor = new.into_sensor(clock::now())?;
    update(&state, &who, &path, |device| {
        if device.sensors.iter().any(|known| known.id == sensor.id) {
            return Err(RegistryError::Exists { what: "sensor", id: sensor.id.clone() });
        }
        device.sensors.push(sensor.clone());
        Ok(())
    })
    .await
}

async fn delete(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    let sensor = path.id("sensor")?;
    update(&state, &who, &path, |device| {
        let before = device.sensors.len();
        device.sensors.retain(|known| known.id != sensor);
        if device.sensors.len() == before { Err(RegistryError::Unknown { what: "sensor", id: sensor.clone() }) } else { Ok(()) }
    })
    .await
}

async fn set_name(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let name = Scalar::read(&headers, from).await?.text("name")?;
    change(&state, asker, &path, |sensor| sensor.name = name.as_deref().map(Into::into)).await
}

async fn set_meta(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let meta: Option<Map<String, Json>> = Scalar::read(&headers, from).await?.shape("meta")?;
    let meta = meta.unwrap_or_default();
    change(&state, asker, &path, |sensor| sensor.meta = meta.clone().into()).await
}

async fn set_sensor_kind(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let kind = Scalar::read(&headers, from).await?.text("sensor_kind")?;
    change(&state, asker, &path, |sensor| sensor.sensor_kind = kind.as_deref().map(Into::into)).await
}

async fn set_quantity_kind(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let kind = Scalar::read(&headers, from).await?.text("quantity_kind")?;
    change(&state, asker, &path, |sensor| sensor.quantity_kind = kind.as_deref().map(Into::into)).await
}

async fn set_unit(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let unit = Scalar::read(&headers, from).await?.text("unit")?;
    change(&state, asker, &path, |sensor| sensor.unit = unit.as_deref().map(Into::into)).await
}

async fn set_calib(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let calib: Option<Json> = Scalar::read(&headers, from).await?.shape("calib")?;
    let calib = calib.map_or(Ok(None), input::calib)?;
    change(&state, asker, &path, |sensor| sensor.calib = calib.clone().map(Box::new)).await
}

async fn change(state: &AppState, asker: Asker, path: &Path, mut change: impl FnMut(&mut Sensor) + Send) -> Answer {
    let sensor = path.id("sensor")?;
    update(state, &asker.0, path, |device| {
        let known = device.sensors.iter_mut().find(|known| known.id == sensor);
        change(known.ok_or_else(|| RegistryError::Unknown { what: "sensor", id: sensor.clone() })?);
        Ok(())
    })
    .await
}

pub fn unknown(device: &Id, sensor: &Id) -> Problem {
    Problem::unknown("unknown-sensor", format!("device `{device}` has no sensor `{sensor}`")).field("sensor")
}
