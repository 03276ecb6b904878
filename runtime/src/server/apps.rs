//! Apps: what is deployed, and the end of one.

use super::{
    AppState, Problem,
    auth::Caller,
    event::time,
    request::{Path, blocking, json as body},
};
use crate::{
    clock,
    deploy::StoreError,
    identity::Action,
    model::{AppId, Id},
};
use axum::{Json, body::Body, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// `GET /api/v1/apps`
pub async fn list(State(state): State<AppState>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.may(Action::Read)?;
    let ours = state.store.apps().into_iter().filter(|app| app.tenant == caller.0.tenant);
    Ok(Json(ours.map(|app| summary(&state, &app)).collect()))
}

/// `GET /api/v1/apps/{app}`
pub async fn show(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Inspect(&app))?;
    Ok(Json(summary(&state, &known(&state, caller.app(app))?)))
}

/// `DELETE /api/v1/apps/{app}`: first where it comes from, then what is desired, then what runs, then what it knew. A delete that
/// broke off can be repeated: until its source is gone the app is there as it was, and afterwards leftovers count as the app.
pub async fn delete(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer)?;
    let app = caller.app(path.id("app")?);
    let asked = app.clone();
    if !blocking(&state, move |state| has_leftovers(state, &asked)).await? {
        known(&state, app.clone())?;
    }
    (state.forget_source)(app.clone()).await.map_err(|e| Problem::internal(&e))?;
    let (store, desired) = (state.store.clone(), app.clone());
    match tokio::task::spawn_blocking(move || store.delete_app(&desired)).await? {
        // A builder forgets the releases with their source.
        Err(StoreError::NoApp(_)) => {}
        done => done?,
    }
    state.dispatch.remove(&app).await;
    state.dispatch.forget(&app).await?;
    forget_replays(&state, &app).await;
    // Of an app that was not served, nobody else takes them away.
    state.registry.set_app_rules(&app.app, &[], clock::now()).await?;
    (state.rules_changed)().await;
    // Last: what is left of an app must not see more than it did.
    state.registry.set_app_owner(&app.app, None, clock::now()).await?;
    tracing::info!(%app, by = caller.0.name, "app deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Whose an app is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    owner: Option<Id>,
}

/// `PUT /api/v1/apps/{app}/owner {"owner": "ada"}`: from now on its functions see and do what she may; null: all, as the node itself. It may come
/// before the first push.
pub async fn set_owner(
    State(state): State<AppState>,
    caller: Caller,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer)?;
    let (app, Owner { owner }) = (caller.app(path.id("app")?), body(&headers, from).await?);
    if let Some(owner) = &owner
        && state.identify.users.get(owner)?.is_none()
    {
        return Err(Problem::bad_request(format!("there is no user `{owner}`")).field("owner"));
    }
    forget_replays(&state, &app).await;
    state.registry.set_app_owner(&app.app, owner.as_ref(), clock::now()).await?;
    forget_replays(&state, &app).await;
    tracing::info!(%app, ?owner, by = caller.0.name, "app given");
    Ok(StatusCode::NO_CONTENT)
}

/// What was run again with the eyes of one owner is not for another.
async fn forget_replays(state: &AppState, app: &AppId) {
    let (replays, app) = (state.replays.clone(), app.clone());
    let _ = tokio::task::spawn_blocking(move || replays.forget(&app)).await;
}

fn has_leftovers(state: &AppState, app: &AppId) -> Result<bool, Problem> {
    let rules = state.registry.rules().iter().any(|rule| rule.name().app.as_ref() == Some(&app.app));
    let consumes = rules || state.ledger.functions()?.iter().any(|(function, _)| function.app == *app);
    Ok(consumes || !state.ledger.state_entries(app, "", None, 1)?.is_empty() || !state.ledger.dead(Some(app), None, 1)?.is_empty())
}

/// The app, if the node has heard of it.
pub fn known(state: &AppState, app: AppId) -> Result<AppId, Problem> {
    if state.store.apps().contains(&app) {
        return Ok(app);
    }
    Err(Problem::unknown("unknown-app", format!("there is no app `{}`", app.app)).field("app").hint("`tawi apps list` shows what there is"))
}

fn summary(state: &AppState, app: &AppId) -> Value {
    let owner = state.registry.app_owner(&app.app);
    let Some(release) = state.store.current(app) else {
        return json!({ "app": app.app, "release": null, "owner": owner });
    };
    json!({
        "app": app.app,
        "owner": owner,
        "release": release.number,
        "live": state.reconciler.live(app),
        "failing": state.reconciler.failing(app).map(|trouble| trouble.why),
        "commit": release.commit,
        "summary": release.summary,
        "created": time(release.created),
        "url": format!("{}/run/{}/", state.url, app.app),
        "functions": release.manifest.functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
    })
}
