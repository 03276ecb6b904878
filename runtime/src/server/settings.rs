//! Config and secrets of an app. A secret goes in and never comes out.

use super::{
    AppState, Problem,
    apps::known,
    auth::Caller,
    request::{Path, json},
};
use crate::{
    deploy::{Store, StoreError},
    identity::Action,
    model::{AppId, Id},
};
use axum::{Json, body::Body, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    value: String,
}

/// `GET /api/v1/apps/{app}/config`: what was set, over the manifest's defaults.
pub async fn list_config(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let app = known(&state, allowed(&caller, &path, |app| Action::Inspect(app))?)?;
    let set = state.store.config(&app);
    let source = |key: &String| if set.contains_key(key) { "set" } else { "manifest" };
    let all = state.store.effective_config(&app);
    Ok(Json(all.iter().map(|(key, value)| object!({ "key": key, "value": value, "source": source(key) })).collect()))
}

/// `PUT /api/v1/apps/{app}/config/{key} {"value": "…"}`
pub async fn set_config(
    State(state): State<AppState>,
    caller: Caller,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<StatusCode, Problem> {
    set(&state, &caller, &path, Some(value(&headers, from).await?), Store::set_config).await
}

/// `DELETE /api/v1/apps/{app}/config/{key}`
pub async fn unset_config(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    set(&state, &caller, &path, None, Store::set_config).await
}

/// `GET /api/v1/apps/{app}/secrets`: names only.
pub async fn list_secrets(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let app = known(&state, allowed(&caller, &path, |app| Action::Inspect(app))?)?;
    Ok(Json(state.store.secrets(&app).keys().map(|key| object!({ "key": key })).collect()))
}

/// `PUT /api/v1/apps/{app}/secrets/{key} {"value": "…"}`
pub async fn set_secret(
    State(state): State<AppState>,
    caller: Caller,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<StatusCode, Problem> {
    set(&state, &caller, &path, Some(value(&headers, from).await?), Store::set_secret).await
}

/// `DELETE /api/v1/apps/{app}/secrets/{key}`
pub async fn unset_secret(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    set(&state, &caller, &path, None, Store::set_secret).await
}

type Setter = fn(&Store, &AppId, &str, Option<&str>) -> Result<(), StoreError>;

/// Settings may be made ahead of the first push, so the app need not exist; its name has to be one.
async fn set(state: &AppState, caller: &Caller, path: &Path, value: Option<String>, setter: Setter) -> Result<StatusCode, Problem> {
    let app = allowed(caller, path, |app| Action::Operate(app))?;
    AppId::check_name(app.app.as_str()).map_err(|why| Problem::bad_request(why).field("app"))?;
    let (store, key) = (state.store.clone(), path.text("key").to_owned());
    tokio::task::spawn_blocking(move || setter(&store, &app, &key, value.as_deref())).await??;
    Ok(StatusCode::NO_CONTENT)
}

async fn value(headers: &HeaderMap, from: Body) -> Result<String, Problem> {
    Ok(json::<Setting>(headers, from).await?.value)
}

fn allowed(caller: &Caller, path: &Path, action: impl Fn(&Id) -> Action<'_>) -> Result<AppId, Problem> {
    let app = path.id("app")?;
    caller.may(action(&app))?;
    Ok(caller.app(app))
}
