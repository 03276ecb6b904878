//! Questions about how calls went.

use super::{AppState, Problem, auth::Caller, request::Params};
use crate::{
    history::{RunHit, RunQuery},
    identity::Action,
    model::limit::RUNS_MAX,
};
use axum::{Json, extract::State};
use serde_json::{Value, json};

const LIMIT_DEFAULT: usize = 100;

/// `GET /api/v1/runs?q&from&to&after&limit&offset`: the newest first.
pub async fn search(State(state): State<AppState>, caller: Caller, mut params: Params) -> Result<Json<Value>, Problem> {
    caller.may(Action::Read)?;
    let mut query = query(&caller, &mut params)?;
    query.after = params.parse("after")?;
    query.limit = params.limit(LIMIT_DEFAULT, RUNS_MAX)?;
    query.offset = params.parse("offset")?.unwrap_or(0);
    params.done()?;
    let page = state.history.ask_runs(query).await?;
    Ok(Json(json!({ "hits": page.hits.iter().map(RunHit::to_json).collect::<Vec<_>>(), "more": page.more })))
}

/// `GET /api/v1/runs/count?q&from&to`
pub async fn count(State(state): State<AppState>, caller: Caller, mut params: Params) -> Result<Json<Value>, Problem> {
    caller.may(Action::Read)?;
    let query = query(&caller, &mut params)?;
    params.done()?;
    Ok(Json(json!({ "total": state.history.ask_run_count(query).await? })))
}

fn query(caller: &Caller, params: &mut Params) -> Result<RunQuery, Problem> {
    let text = params.text("q").unwrap_or_default();
    Ok(RunQuery { from: params.time("from")?, to: params.time("to")?, ..RunQuery::new(caller.0.tenant.clone(), &text) })
}
