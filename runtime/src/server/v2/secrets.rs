//! Secrets of devices, and codes by which devices are claimed: the owner's and administrators'.

use super::super::{
    AppState, Problem,
    auth::Asker,
    request::{Path, blocking, json},
};
use crate::{
    clock,
    devices::RegistryError,
    identity::{Deed, DeviceSecret, Principal, Redeemed},
    model::{Device, Id},
};
use axum::{Json, body::Body, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    code: String,
}

fn show(secret: &DeviceSecret) -> Value {
    object!({ "id": secret.id, "created": secret.created.to_string() })
}

/// A device that who asks may change.
fn changeable(state: &AppState, who: &Principal, path: &Path) -> Result<Id, Problem> {
    let id = path.id("device")?;
    state.registry.device_for(who, Deed::Update, &id)?;
    Ok(id)
}

/// `GET /api/v2/devices/{device}/secrets`: without their texts, which nobody keeps.
pub async fn list(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<Json<Value>, Problem> {
    let id = changeable(&state, &who, &path)?;
    let secrets = blocking(&state, move |state| Ok(state.identify.secrets.list(&id)?)).await?;
    Ok(Json(secrets.iter().map(show).collect()))
}

/// `POST /api/v2/devices/{device}/secrets`: with its text, this once.
pub async fn create(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<(StatusCode, Json<Value>), Problem> {
    let id = changeable(&state, &who, &path)?;
    let (secret, text) = state.identify.secrets.create(&id, clock::now()).await?;
    tracing::info!(device = %id, secret = secret.id, "secret of a device created");
    let mut shown = show(&secret);
    shown["secret"] = text.into();
    Ok((StatusCode::CREATED, Json(shown)))
}

/// `DELETE /api/v2/devices/{device}/secrets/{secret}`
pub async fn revoke(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<StatusCode, Problem> {
    let (id, secret) = (changeable(&state, &who, &path)?, path.text("secret"));
    if !state.identify.secrets.revoke(&id, secret, clock::now()).await? {
        return Err(Problem::unknown("unknown-secret", format!("device `{id}` has no secret with the id `{secret}`")).field("secret"));
    }
    tracing::info!(device = %id, secret, "secret of a device revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v2/devices/{device}/claim`: a code that makes the device the user's who shows it.
pub async fn offer(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<(StatusCode, Json<Value>), Problem> {
    let id = changeable(&state, &who, &path)?;
    let owner = state.registry.owned(&id).and_then(|owned| owned.owner);
    let code = state.identify.claims.create(&id, owner.as_ref(), clock::now()).await?;
    Ok((StatusCode::CREATED, Json(object!({ "device": id, "code": code }))))
}

/// `POST /api/v2/claims {"code"}`: the device is the user's now. The code speaks for who made it, so it needs no right of its own.
pub async fn claim(State(state): State<AppState>, Asker(who): Asker, headers: HeaderMap, from: Body) -> Result<Json<Value>, Problem> {
    let wanted: Code = json(&headers, from).await?;
    let user = who.user().ok_or_else(|| Problem::forbidden("only a user claims a device; log in as one"))?;
    let Redeemed { device, owner, registered } = state.identify.claims.redeem(&wanted.code, user, clock::now()).await?;
    let maker = Principal::User { tenant: who.tenant().clone(), id: user.clone(), admin: true };
    let hers = |device: &mut Device| {
        let is_another = registered.is_some_and(|registered| registered != device.date_created);
        if is_another || (device.owned.owner != owner && device.owned.owner.as_ref() != Some(user)) {
            return Err(RegistryError::Invalid { field: "code", why: "the device has changed hands since the code was made".to_owned() });
        }
        device.owned.owner = Some(user.clone());
        Ok(())
    };
    state.registry.update_device(&maker, &device, clock::now(), hers).await?;
    state.identify.claims.done(&wanted.code, clock::now()).await?;
    tracing::info!(%device, %user, "device claimed");
    Ok(Json(object!({ "device": device })))
}
