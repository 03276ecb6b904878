//! Rules of pre-processing: what is done to the readings of sensors before anybody sees them.

use super::{
    AppState, Problem,
    auth::Caller,
    request::{Path, json},
};
use crate::{
    clock,
    identity::Action,
    preprocess::{Rule, RuleError},
};
use axum::{Json, body::Body, extract::State};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// `GET /api/v1/clean`: all rules, by name.
pub async fn list(State(state): State<AppState>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.may(Action::Read)?;
    Ok(Json(state.registry.rules().iter().map(|rule| shown(rule)).collect()))
}

/// `GET /api/v1/clean/{name}`
pub async fn show(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    caller.may(Action::Read)?;
    let name = path.id("name")?;
    let rule = state.registry.rule(&name);
    rule.map(|rule| Json(shown(&rule))).ok_or_else(|| Problem::unknown("unknown-rule", format!("there is no rule `{name}`")).field("name"))
}

/// `PUT /api/v1/clean/{name} {"device": "pond1", "sensor": "temp", "steps": [{"range": {"min": 0, "max": 40}}]}`
pub async fn put(State(state): State<AppState>, caller: Caller, path: Path, headers: HeaderMap, from: Body) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer)?;
    let name = path.id("name")?;
    let rule = Rule::of(&name, json(&headers, from).await?)?;
    state.registry.put_rule(&rule, clock::now()).await?;
    tracing::info!(rule = %name, by = caller.0.name, "rule of pre-processing set");
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/clean/{name}`
pub async fn remove(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer)?;
    let name = path.id("name")?;
    state.registry.remove_rule(&name, clock::now()).await?;
    tracing::info!(rule = %name, by = caller.0.name, "rule of pre-processing removed");
    Ok(StatusCode::NO_CONTENT)
}

fn shown(rule: &Rule) -> Value {
    let mut document = rule.document.clone();
    document["name"] = rule.name.as_str().into();
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
