//! Sensors that fit a selector, whatever device they are on.

use super::{
    AppState, Problem,
    auth::Caller,
    request::{Params, blocking},
};
use crate::{
    clock,
    identity::{Action, Principal},
    model::selector::{Selector, SensorRef},
};
use axum::{Json, extract::State};

/// Sensors in one answer.
const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 100_000;

/// `GET /api/v1/sensors?select=kind=Thermometer,unit=DegreeCelsius&limit`: devices and sensors, in the order of their ids.
pub async fn select(State(state): State<AppState>, caller: Caller, mut params: Params) -> Result<Json<Vec<SensorRef>>, Problem> {
    caller.may(Action::Read)?;
    let selector = params.parse::<Selector>("select")?.unwrap_or_default();
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    params.done()?;
    let who = Principal::Token(caller.0);
    let found = blocking(&state, move |state| {
        let mut found = state.registry.select(&selector, &who, clock::now());
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    });
    found.await.map(Json)
}
