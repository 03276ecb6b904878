//! Rules of pre-processing: what is done to the readings of sensors before anybody sees them.

use super::{
    AppState, Problem,
    auth::Caller,
    request::{Path, json},
};
use crate::{
    clock,
    devices::registry::Standing,
    identity::Action,
    model::Id,
    preprocess::{Declared, Name, RuleError},
};
use axum::{Json, body::Body, extract::State};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// `GET /api/v1/clean`: all rules, by name: those that were set by hand, then those of apps.
pub async fn list(State(state): State<AppState>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.may(Action::Read)?;
    let registry = state.registry.clone();
    // It goes through all sensors that there are.
    let standings = tokio::task::spawn_blocking(move || registry.standings()).await.map_err(|e| Problem::internal(&e))?;
    let standing = |name| standings.as_ref().and_then(|all| all.get(name));
    Ok(Json(state.registry.rules().iter().map(|rule| shown(rule, standing(rule.name()))).collect()))
}

/// `GET /api/v1/clean/{name}`; the name of an app's is `APP%2FNAME`.
pub async fn show(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    caller.may(Action::Read)?;
    let name = Name::parse(path.text("name")).map_err(|e| Problem::bad_request(e.to_string()).field("name"))?;
    let rule = state.registry.rule(&name);
    rule.map(|rule| Json(shown(&rule, None)))
        .ok_or_else(|| Problem::unknown("unknown-rule", format!("there is no rule `{name}`")).field("name"))
}

/// `PUT /api/v1/clean/{name} {"device": "pond1", "sensor": "temp", "steps": [{"range": {"min": 0, "max": 40}}]}`
pub async fn put(State(state): State<AppState>, caller: Caller, path: Path, headers: HeaderMap, from: Body) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer)?;
    let name = by_hand(&path)?;
    let rule = Declared::of(&name, json(&headers, from).await?)?;
    state.registry.put_rule(&rule, clock::now()).await?;
    (state.rules_changed)().await;
    tracing::info!(rule = %name, by = caller.0.name, "rule of pre-processing set");
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/clean/{name}`
pub async fn remove(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer)?;
    let name = by_hand(&path)?;
    state.registry.remove_rule(&name, clock::now()).await?;
    (state.rules_changed)().await;
    tracing::info!(rule = %name, by = caller.0.name, "rule of pre-processing removed");
    Ok(StatusCode::NO_CONTENT)
}

/// The name of a rule that is nobody's but of who sets it.
fn by_hand(path: &Path) -> Result<Id, Problem> {
    if let Ok(Name { app: Some(app), name }) = Name::parse(path.text("name")) {
        let problem =
            Problem::bad_request(format!("the rule `{app}/{name}` is said by the tawi.toml of `{app}`, and changes with its release"));
        return Err(problem
            .field("name")
            .hint("push it without the rule, or set a rule of another name: one that was set by hand goes before it"));
    }
    path.id("name")
}

fn shown(rule: &Declared, standing: Option<&Standing>) -> Value {
    let mut document = rule.document().clone();
    document["name"] = rule.name().to_string().into();
    if let Some(app) = &rule.name().app {
        document["app"] = app.as_str().into();
    }
    if let Some(Standing { sensors, behind }) = standing {
        document["sensors"] = (*sensors).into();
        if !behind.is_empty() {
            document["behind"] = behind.iter().map(|(name, sensors)| (name.to_string(), Value::from(*sensors))).collect();
        }
    }
    document
}

impl From<RuleError> for Problem {
    fn from(error: RuleError) -> Problem {
        let problem = Problem::bad_request(error.to_string()).field(error.field);
        match error.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
