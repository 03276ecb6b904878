//! Uplinks by HTTP: answered when they are durable, as readings or as a dead letter.

use super::{
    AppState, Problem,
    auth::{Asker, Caller},
    readings::{answer, content_type, refused},
    request::{Params, Path, idempotency_key},
    v2::sender_name,
};
use crate::{
    clock,
    identity::{Action, Identity, Principal, allow},
    ingest::{
        Arrival, Otherwise, RepeatKey, Taken,
        payload::{Builtin, chirpstack, ttn},
    },
    model::{
        Id, Uplink,
        limit::{INGEST_BODY_BYTES_MAX, VALUE_BYTES_MAX},
    },
};
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde_json::json;

/// `POST /api/v1/devices/{device}/uplink?port`: the bytes as the device sent them.
pub async fn raw(
    State(state): State<AppState>,
    Asker(who): Asker,
    path: Path,
    mut params: Params,
    headers: HeaderMap,
    from: Body,
) -> Result<Response, Problem> {
    let allowed = refused(&state, path.id("device")).and_then(|device| may_send(&who, &device));
    refused(&state, allowed)?;
    let (device, port) = (refused(&state, path.id("device"))?, refused(&state, params.parse("port"))?);
    params.done()?;
    let (payload, _share) = refused(&state, state.bodies.read(&headers, from, VALUE_BYTES_MAX).await)?;
    let uplink = Uplink { device, port, payload, measured: None, received: clock::now() };
    let repeat = refused(&state, idempotency_key(&headers))?.map(|key| RepeatKey::http_uplink(&sender_name(&who), &uplink, key));
    let otherwise = content_type(&headers).and_then(Builtin::of_content_type).map_or(Otherwise::Nothing, Otherwise::Builtin);
    let arrival = Arrival { tenant: who.tenant().clone(), uplink, repeat, otherwise };
    Ok(told(&state, refused(&state, state.ingest.uplink(arrival).await)?))
}

/// A token that sends, an administrator, and the device itself.
fn may_send(who: &Principal, device: &Id) -> Result<(), Problem> {
    let is_token = |identity: &Identity| allow(identity, Action::Send);
    match who {
        Principal::Guest { .. } => Err(Problem::no_token()),
        Principal::Token(identity) if is_token(identity) => Ok(()),
        Principal::User { admin: true, .. } => Ok(()),
        Principal::Device { id, .. } if id == device => Ok(()),
        Principal::Token(_) | Principal::User { .. } | Principal::Device { .. } => Err(Problem::forbidden(format!(
            "who asks may not send uplinks of the device `{device}`: it may itself, and a token that sends"
        ))),
    }
}

/// `POST /api/v1/uplinks/chirpstack?event`: what ChirpStack's HTTP integration sends; other events than uplinks are let pass.
pub async fn chirpstack(
    State(state): State<AppState>,
    caller: Caller,
    mut params: Params,
    headers: HeaderMap,
    from: Body,
) -> Result<Response, Problem> {
    caller.may(Action::Send)?;
    let event = params.text("event");
    let (body, _share) = refused(&state, state.bodies.read(&headers, from, INGEST_BODY_BYTES_MAX).await)?;
    let Some(uplink) = refused(&state, chirpstack::uplink(event.as_deref(), &body, clock::now()))? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    Ok(told(&state, refused(&state, state.ingest.network_uplink(caller.0.tenant, "chirpstack", uplink).await)?))
}

/// `POST /api/v1/uplinks/ttn`: what a webhook of The Things Stack sends; other messages than uplinks are let pass.
pub async fn ttn(State(state): State<AppState>, caller: Caller, headers: HeaderMap, from: Body) -> Result<Response, Problem> {
    caller.may(Action::Send)?;
    let (body, _share) = refused(&state, state.bodies.read(&headers, from, INGEST_BODY_BYTES_MAX).await)?;
    let Some(uplink) = refused(&state, ttn::uplink(&body, clock::now()))? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    Ok(told(&state, refused(&state, state.ingest.network_uplink(caller.0.tenant, "ttn", uplink).await)?))
}

/// 204 for readings; 202 with a word for what is kept until somebody mends its codec.
fn told(state: &AppState, taken: Taken) -> Response {
    let stored = answer(&taken.stored);
    let Some(why) = taken.undecoded else { return stored };
    state.metrics.refuse("undecodable");
    let letter = taken.stored.seqs.first().map(|seq| format!("{}/{}/{seq}", why.function.app.app, why.function.function));
    let note = json!({ "undecoded": why.error, "dead_letter": letter });
    (StatusCode::ACCEPTED, stored.headers().clone(), Json(note)).into_response()
}
