//! What an app remembers.

use super::{
    AppState, Problem,
    apps::known,
    auth::Caller,
    event::stored,
    request::{Params, Path, blocking},
};
use crate::{identity::Action, model::limit::STATE_ENTRIES_MAX};
use axum::{Json, extract::State};
use serde_json::{Value, json};

/// `GET /api/v1/apps/{app}/state?prefix&after&limit`: ascending by key; the next page begins after the last key.
pub async fn list(State(state): State<AppState>, caller: Caller, path: Path, mut params: Params) -> Result<Json<Value>, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Inspect(&app))?;
    let (prefix, after) = (params.text("prefix").unwrap_or_default(), params.text("after"));
    let limit = params.limit(100, STATE_ENTRIES_MAX)?;
    params.done()?;
    let app = caller.app(app);
    let page = blocking(&state, move |state| {
        let entries = state.ledger.state_entries(&app, &prefix, after.as_deref(), limit)?;
        if entries.is_empty() {
            known(state, app)?;
        }
        Ok(entries.into_iter().map(|(key, bytes)| entry(&key, &bytes)).collect())
    });
    page.await.map(Json)
}

/// `GET /api/v1/apps/{app}/state/{key}`; a key may hold slashes.
pub async fn get(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Inspect(&app))?;
    let key = path.text("key");
    let (of, asked) = (caller.app(app.clone()), key.to_owned());
    match blocking(&state, move |state| Ok(state.ledger.state(&of, &asked)?)).await? {
        Some(bytes) => Ok(Json(entry(key, &bytes))),
        None => Err(Problem::unknown("unknown-key", format!("`{app}` has no state under `{key}`")).field("key")),
    }
}

fn entry(key: &str, bytes: &[u8]) -> Value {
    let mut entry = json!({ "key": key });
    for (name, value) in stored(bytes) {
        entry[name] = value;
    }
    entry
}
