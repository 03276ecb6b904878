//! The actuators of a device, and what they are told.

use super::{
    super::{
        AppState, Problem,
        auth::Asker,
        request::{Params, Path},
    },
    answer::{Answer, end, json, read, read_large, window},
    command,
    devices::{current, seen_by, since, update},
    input::{self, NewActuator, Scalar},
    shape::{ActuatorShape, last},
    table::{LIMIT, Looks, Routes, Says},
};
use crate::{
    clock,
    devices::{Command, CommandState, Currents, RegistryError},
    identity::Deed,
    model::{Actuator, Id},
};
use axum::{body::Body, extract::State};
use http::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

pub fn routes() -> Routes {
    let put = |summary| Says::new(summary).takes_scalar(Looks::Text).done();
    Routes::of("Actuators")
        .get("/devices/{device}/actuators", list, Says::new("The actuators of a device").list::<ActuatorShape>())
        .post("/devices/{device}/actuators", create, Says::new("Adds an actuator").takes::<NewActuator>().makes())
        .get("/devices/{device}/actuators/{actuator}", show, Says::new("An actuator, with what it was told last").one::<ActuatorShape>())
        .delete("/devices/{device}/actuators/{actuator}", delete, Says::new("Takes an actuator away").done())
        .put("/devices/{device}/actuators/{actuator}/name", set_name, put("Its name"))
        .put(
            "/devices/{device}/actuators/{actuator}/meta",
            set_meta,
            Says::new("Whatever else is known of it").takes::<input::Meta>().done(),
        )
        .put("/devices/{device}/actuators/{actuator}/actuator_kind", set_kind, put("What kind of thing it is: `Buzzer`"))
        .put("/devices/{device}/actuators/{actuator}/value_type", set_value_type, put("What it is told: `bool`, `number`, `string`"))
        .get(
            "/devices/{device}/commands",
            commands,
            Says::new("What the device was told, the newest first, and what became of it").query(&[LIMIT]).list::<CommandShape>(),
        )
        .put("/devices/{device}/actuators/{actuator}/value", command::give, Says::new("Tells it something: a command").takes_value().done())
}

/// A command, and what became of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Command)]
struct CommandShape {
    id: String,
    #[schema(value_type = String)]
    actuator_id: Id,
    #[schema(value_type = Object)]
    value: Json,
    /// `waiting`, `delivered`, `refused` or `expired`.
    #[schema(value_type = String)]
    state: CommandState,
    date_given: String,
    /// When it came into this state.
    date_changed: String,
}

async fn commands(State(state): State<AppState>, Asker(who): Asker, path: Path, mut params: Params) -> Answer {
    let (id, (limit, _)) = (path.id("device")?, window(&mut params)?);
    end(params)?;
    read_large(&state, move |state| {
        let device = state.registry.device_for(&who, Deed::ViewData, &id)?;
        let given = state.devices.commands_since(who.tenant(), &device.id, since(&who, &device), limit, clock::now())?;
        let shape = |command: Command| CommandShape {
            id: command.id,
            actuator_id: command.actuator,
            value: command.value,
            state: command.state,
            date_given: command.given.to_string(),
            date_changed: command.changed.to_string(),
        };
        json(&given.into_iter().map(shape).collect::<Vec<_>>())
    })
    .await
}

async fn list(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    let id = path.id("device")?;
    read_large(&state, move |state| {
        let device = state.registry.device_for(&who, Deed::View, &id)?;
        let currents = current(state, &who, &device)?;
        json(&device.actuators.iter().map(|actuator| ActuatorShape::of(actuator, last(actuator, &currents.actuators))).collect::<Vec<_>>())
    })
    .await
}

async fn show(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    let (id, actuator) = (path.id("device")?, path.id("actuator")?);
    read(&state, move |state| {
        let device = state.registry.device_for(&who, Deed::View, &id)?;
        let found = device.actuators.iter().find(|known| known.id == actuator).ok_or_else(|| unknown(&id, &actuator))?;
        let told = state.devices.actuator(who.tenant(), &id, &actuator)?;
        let currents = seen_by(&who, &device, Currents { actuators: told.into_iter().collect(), ..Currents::default() });
        json(&ActuatorShape::of(found, last(found, &currents.actuators)))
    })
    .await
}

async fn create(State(state): State<AppState>, Asker(who): Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let new: NewActuator = input::json(&headers, from).await?;
    let actuator = new.into_actuator(clock::now());
    update(&state, &who, &path, |device| {
        if device.actuators.iter().any(|known| known.id == actuator.id) {
            return Err(RegistryError::Exists { what: "actuator", id: actuator.id.clone() });
        }
        device.actuators.push(actuator.clone());
        Ok(())
    })
    .await
}

async fn delete(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    let actuator = path.id("actuator")?;
    update(&state, &who, &path, |device| {
        let before = device.actuators.len();
        device.actuators.retain(|known| known.id != actuator);
        if device.actuators.len() == before { Err(RegistryError::Unknown { what: "actuator", id: actuator.clone() }) } else { Ok(()) }
    })
    .await
}

async fn set_name(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let name = Scalar::read(&headers, from).await?.text("name")?;
    change(&state, asker, &path, |actuator| actuator.name = name.clone()).await
}

async fn set_meta(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let meta: Option<Map<String, Json>> = Scalar::read(&headers, from).await?.shape("meta")?;
    let meta = meta.unwrap_or_default();
    change(&state, asker, &path, |actuator| actuator.meta = meta.clone()).await
}

async fn set_kind(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let kind = Scalar::read(&headers, from).await?.text("actuator_kind")?;
    change(&state, asker, &path, |actuator| actuator.actuator_kind = kind.clone()).await
}

async fn set_value_type(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let value_type = Scalar::read(&headers, from).await?.text("value_type")?;
    change(&state, asker, &path, |actuator| actuator.actuator_value_type = value_type.clone()).await
}

async fn change(state: &AppState, asker: Asker, path: &Path, mut change: impl FnMut(&mut Actuator) + Send) -> Answer {
    let actuator = path.id("actuator")?;
    update(state, &asker.0, path, |device| {
        let known = device.actuators.iter_mut().find(|known| known.id == actuator);
        change(known.ok_or_else(|| RegistryError::Unknown { what: "actuator", id: actuator.clone() })?);
        Ok(())
    })
    .await
}

pub fn unknown(device: &Id, actuator: &Id) -> Problem {
    Problem::unknown("unknown-actuator", format!("device `{device}` has no actuator `{actuator}`")).field("actuator")
}
