//! Devices and their current values, in the shape of the WAZIUP API.

use super::{
    AppState, Problem,
    auth::Caller,
    request::{Params, Path, blocking},
};
use crate::{devices::Device, identity::Action, model::Tenant};
use axum::{Json, extract::State};
use serde_json::Value;

/// As in the WAZIUP API.
const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1_000;
/// A projection that is further behind than this (a node that has just started) answers with what it has.
const CATCH_UP_EVENTS_MAX: u64 = 50_000;

/// `GET /api/v2/devices?limit&offset`
pub async fn list(State(state): State<AppState>, caller: Caller, mut params: Params) -> Result<Json<Value>, Problem> {
    caller.may(Action::Read)?;
    let (limit, offset) = (params.limit(LIMIT_DEFAULT, LIMIT_MAX)?, params.parse("offset")?.unwrap_or(0));
    params.done()?;
    let devices = read(&state, move |state| Ok(state.devices.list(&caller.0.tenant, limit, offset)?.0)).await?;
    Ok(Json(devices.iter().map(Device::to_json).collect()))
}

/// `GET /api/v2/devices/{device}`
pub async fn show(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    Ok(Json(device(&state, &caller, &path).await?.to_json()))
}

/// `GET /api/v2/devices/{device}/sensors`
pub async fn sensors(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let device = device(&state, &caller, &path).await?;
    Ok(Json(device.sensors.iter().map(|sensor| sensor.to_json()).collect()))
}

/// `GET /api/v2/devices/{device}/sensors/{sensor}`
pub async fn sensor(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let device = device(&state, &caller, &path).await?;
    let sensor = path.text("sensor");
    let found = device
        .sensor(sensor)
        .ok_or_else(|| Problem::unknown("unknown-sensor", format!("device `{}` has no sensor `{sensor}`", device.id)).field("sensor"))?;
    Ok(Json(found.to_json()))
}

async fn device(state: &AppState, caller: &Caller, path: &Path) -> Result<Device, Problem> {
    caller.may(Action::Read)?;
    let (tenant, id): (Tenant, _) = (caller.0.tenant.clone(), path.id("device")?);
    let asked = id.clone();
    let found = read(state, move |state| Ok(state.devices.get(&tenant, &asked)?)).await?;
    found.ok_or_else(|| Problem::unknown("unknown-device", format!("there is no device `{id}`")).field("device"))
}

/// Reads the projection once it has taken every event that was acknowledged before the question: who sent a value and
/// then asks for it gets it.
async fn read<T: Send + 'static>(
    state: &AppState,
    question: impl FnOnce(&AppState) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let head = *state.ledger.head().borrow();
    let answer = blocking(state, move |state| {
        while state.devices.position() < head && head - state.devices.position() <= CATCH_UP_EVENTS_MAX {
            let events = state.ledger.events(state.devices.position() + 1, 8_192, 4 << 20)?;
            if events.is_empty() {
                break;
            }
            state.devices.index(&events)?;
        }
        question(state)
    });
    answer.await
}
