//! Devices: registered, found, changed, deleted.

use super::{
    super::{
        AppState, Problem,
        auth::Asker,
        request::{Params, Path},
    },
    answer::{Answer, done, end, fresh, json, page, read_large, window},
    input::{self, NewDevice, Scalar},
    shape::{DeviceShape, LocationShape},
    table::{LIMIT, Looks, OFFSET, Param, Routes, Says},
};
use crate::{
    clock,
    devices::{Currents, Query, RegistryError},
    identity::{AccountError, Deed, Principal},
    model::{Device, Id, Location, Micros, limit::ANSWER_BYTES_MAX},
};
use axum::{body::Body, extract::State};
use http::HeaderMap;
use serde_json::{Map, Value as Json};
use std::sync::Arc;

const Q: Param = Param("q", "conditions such as `owner==ada;domain==farm`", Looks::Text);

pub fn routes() -> Routes {
    let put = |summary, looks| Says::new(summary).takes_scalar(looks).done();
    Routes::of("Devices")
        .get("/devices", list, Says::new("Devices that who asks may see, by id").query(&[Q, LIMIT, OFFSET]).list::<DeviceShape>())
        .post("/devices", create, Says::new("Registers a device").takes::<NewDevice>().makes())
        .get("/devices/{device}", show, Says::new("A device").one::<DeviceShape>())
        .delete("/devices/{device}", delete, Says::new("Deletes a device, with what its sensors said last").done())
        .put("/devices/{device}/name", set_name, put("Its name", Looks::Text))
        .put("/devices/{device}/meta", set_meta, Says::new("Whatever else is known of it").takes::<input::Meta>().done())
        .put("/devices/{device}/location", set_location, Says::new("Where it is; null: nowhere").takes::<LocationShape>().done())
        .put("/devices/{device}/gateway_id", set_gateway, put("The gateway that it is behind; empty: none", Looks::Text))
        .put("/devices/{device}/visibility", set_visibility, put("Who sees it", Looks::OneOf(&["public", "private"])))
        .put("/devices/{device}/deployed", set_deployed, put("Whether it is in the field", Looks::Yes))
        .put("/devices/{device}/owner", set_owner, put("Whose it is", Looks::Text))
}

/// `GET /devices?q&limit&offset`
async fn list(State(state): State<AppState>, Asker(who): Asker, mut params: Params) -> Answer {
    let query = query(&mut params)?;
    let (limit, offset) = window(&mut params)?;
    end(params)?;
    read_large(&state, move |state| {
        let (devices, total) = state.registry.list(&who, &query, limit, offset)?;
        // Of fewer devices where they said much: the page ends there.
        let currents = state.devices.currents(who.tenant(), devices.iter().map(|device| &device.id), ANSWER_BYTES_MAX)?;
        let seen = devices.iter().zip(currents).map(|(device, currents)| {
            let currents = seen_by(&who, device, currents);
            serde_json::value::to_raw_value(&DeviceShape::of(device, &currents.sensors, &currents.actuators))
                .map_err(|error| Problem::internal(&error))
        });
        page(seen, total)
    })
    .await
}

fn query(params: &mut Params) -> Result<Query, Problem> {
    let text = params.text("q").unwrap_or_default();
    Query::parse(&text).map_err(|error| Problem::bad_request(error.to_string()).field("q"))
}

/// `POST /devices`
async fn create(State(state): State<AppState>, Asker(who): Asker, headers: HeaderMap, from: Body) -> Answer {
    let (new, now): (NewDevice, Micros) = (input::json(&headers, from).await?, clock::now());
    let device = new.into_device(now)?;
    fresh(&state).await?;
    // It would be everybody's then, with all that it goes on to say.
    if matches!(who, Principal::Guest { .. })
        && state.registry.device(&device.id).is_some_and(|_| !state.registry.is_registered(&device.id))
    {
        return Err(Problem::forbidden(format!("the device `{}` sends already: who registers it says who it is", device.id)));
    }
    state.registry.create_device(&who, device, now).await?;
    done()
}

/// `GET /devices/{device}`
async fn show(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    let id = path.id("device")?;
    read_large(&state, move |state| {
        let device = state.registry.device_for(&who, Deed::View, &id)?;
        let currents = current(state, &who, &device)?;
        json(&DeviceShape::of(&device, &currents.sensors, &currents.actuators))
    })
    .await
}

/// `DELETE /devices/{device}`
async fn delete(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    let id = path.id("device")?;
    fresh(&state).await?;
    state.registry.device_for(&who, Deed::Delete, &id)?;
    // First, so that nothing of it is left when somebody is told that the device is gone, whatever ends this in between.
    forget_secrets(&state, &id).await?;
    state.registry.delete_device(&who, &id, clock::now()).await?;
    // What was made meanwhile is good no more, and would only lie about.
    if let Err(error) = forget_secrets(&state, &id).await {
        tracing::warn!(device = %id, %error, "can't tidy up behind a device that was deleted");
    }
    done()
}

async fn forget_secrets(state: &AppState, device: &Id) -> Result<(), AccountError> {
    state.identify.secrets.forget(device, clock::now()).await?;
    state.identify.claims.forget(device, clock::now()).await
}

async fn set_name(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let name = Scalar::read(&headers, from).await?.text("name")?;
    change(&state, asker, &path, |device| device.name = name.clone()).await
}

async fn set_meta(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let meta: Option<Map<String, Json>> = Scalar::read(&headers, from).await?.shape("meta")?;
    let meta = meta.unwrap_or_default();
    change(&state, asker, &path, |device| device.meta = meta.clone()).await
}

async fn set_location(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let location: Option<Location> = Scalar::read(&headers, from).await?.shape("location")?;
    change(&state, asker, &path, |device| device.location = location).await
}

async fn set_gateway(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let gateway = Scalar::read(&headers, from).await?.id("gateway_id")?;
    change(&state, asker, &path, |device| device.gateway_id = gateway.clone()).await
}

async fn set_visibility(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let visibility = Scalar::read(&headers, from).await?.visibility()?;
    change(&state, asker, &path, |device| device.owned.visibility = visibility).await
}

async fn set_deployed(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let deployed = Scalar::read(&headers, from).await?.boolean("deployed")?;
    change(&state, asker, &path, |device| device.deployed = deployed).await
}

async fn set_owner(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let owner = Scalar::read(&headers, from).await?.id("owner")?;
    let owner = new_owner(&state, &asker.0, owner)?;
    change(&state, asker, &path, |device| device.owned.owner = owner.clone()).await
}

/// Whom something is given to: a user that there is. To nobody only an administrator gives it, who can take it back.
pub fn new_owner(state: &AppState, who: &Principal, owner: Option<Id>) -> Result<Option<Id>, Problem> {
    let refused = |why: String| Err(Problem::bad_request(why).field("owner"));
    match owner {
        None if who.is_admin() => Ok(None),
        None => refused("`owner` is the name of a user".to_owned()),
        Some(owner) => match state.identify.users.get(&owner)? {
            Some(_) => Ok(Some(owner)),
            None => refused(format!("there is no user `{owner}`")),
        },
    }
}

async fn change(state: &AppState, asker: Asker, path: &Path, mut change: impl FnMut(&mut Device) + Send) -> Answer {
    update(state, &asker.0, path, |device| {
        change(device);
        Ok(())
    })
    .await
}

/// A change of a device or of what belongs to it.
pub async fn update(
    state: &AppState,
    who: &Principal,
    path: &Path,
    change: impl FnMut(&mut Device) -> Result<(), RegistryError> + Send,
) -> Answer {
    let id = path.id("device")?;
    fresh(state).await?;
    state.registry.update_device(who, &id, clock::now(), change).await?;
    done()
}

/// What a device says, as far as who asks may know.
pub fn current(state: &AppState, who: &Principal, device: &Device) -> Result<Currents, Problem> {
    let said = state.devices.currents(who.tenant(), [&device.id], ANSWER_BYTES_MAX)?.pop().unwrap_or_default();
    if said.is_left_out {
        let why = format!("the values of the device `{}` are more than {ANSWER_BYTES_MAX} bytes", device.id);
        return Err(Problem::too_much(why).field("device").hint("ask for its sensors one by one"));
    }
    Ok(seen_by(who, device, said))
}

/// What the devices say, in their order, as far as who asks may know; all of them or none.
pub fn currents(state: &AppState, who: &Principal, devices: &[Arc<Device>]) -> Result<Vec<Currents>, Problem> {
    let all = state.devices.currents(who.tenant(), devices.iter().map(|device| &device.id), ANSWER_BYTES_MAX)?;
    if all.len() < devices.len() {
        let why = format!("what these {} devices say is more than {ANSWER_BYTES_MAX} bytes", devices.len());
        return Err(Problem::too_much(why).field("full").hint("ask for fewer with `limit`, or without `full`"));
    }
    Ok(devices.iter().zip(all).map(|(device, currents)| seen_by(who, device, currents)).collect())
}

pub fn shapes<'a>(devices: &'a [Arc<Device>], currents: &'a [Currents]) -> Vec<DeviceShape<'a>> {
    devices.iter().zip(currents).map(|(device, currents)| DeviceShape::of(device, &currents.sensors, &currents.actuators)).collect()
}

pub use crate::devices::registry::since;

pub fn seen_by(who: &Principal, device: &Device, mut currents: Currents) -> Currents {
    if let Some(since) = since(who, device) {
        currents.sensors.retain(|sensor| sensor.current.received >= since);
        currents.actuators.retain(|actuator| actuator.current.received >= since);
    }
    currents
}
