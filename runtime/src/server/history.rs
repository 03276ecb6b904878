//! Questions to history.

use super::{AppState, Problem, auth::Caller, event::EventJson, request::Params};
use crate::{
    history::Query,
    identity::Action,
    model::limit::{ANSWER_BYTES_MAX, HISTORY_HITS_MAX},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

const LIMIT_DEFAULT: usize = 100;

#[derive(Serialize)]
struct Page<'a> {
    total: u64,
    hits: Vec<EventJson<'a>>,
}

/// `GET /api/v1/history?q&from&to&limit&offset`: newest measured first.
pub async fn search(State(state): State<AppState>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.may(Action::Read)?;
    let mut query = query(&caller, &mut params)?;
    query.limit = params.limit(LIMIT_DEFAULT, HISTORY_HITS_MAX)?;
    query.bytes_max = ANSWER_BYTES_MAX;
    query.offset = params.parse("offset")?.unwrap_or(0);
    params.done()?;
    let page = state.history.ask(query).await?;
    Ok(Json(Page { total: page.total, hits: page.hits.iter().map(EventJson::found).collect() }).into_response())
}

/// `GET /api/v1/history/count?q&from&to`
pub async fn count(State(state): State<AppState>, caller: Caller, mut params: Params) -> Result<Json<Value>, Problem> {
    caller.may(Action::Read)?;
    let query = query(&caller, &mut params)?;
    params.done()?;
    Ok(Json(json!({ "total": state.history.ask_count(query).await? })))
}

fn query(caller: &Caller, params: &mut Params) -> Result<Query, Problem> {
    let text = params.text("q").unwrap_or_default();
    Ok(Query { from: params.time("from")?, to: params.time("to")?, ..Query::new(caller.0.tenant.clone(), &text) })
}
