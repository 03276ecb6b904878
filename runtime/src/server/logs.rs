//! What an app's functions logged: from history, then from the log as it grows.

use super::{
    AppState, Problem, apps,
    auth::Caller,
    event::EventJson,
    request::{Params, Path},
    tail::{ndjson, tail},
};
use crate::{
    history::Query,
    identity::Action,
    model::{Event, Id, Kind, Seq, limit::HISTORY_HITS_MAX},
};
use axum::{extract::State, response::Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::time::Duration;

const LIMIT_DEFAULT: usize = 100;
/// How long to wait until history has what was durable when the question came; then it answers with what it has.
const HISTORY_WAIT: Duration = Duration::from_secs(3);

/// `GET /api/v1/apps/{app}/logs?limit&follow&function&call`: oldest first.
pub async fn logs(State(state): State<AppState>, caller: Caller, path: Path, mut params: Params) -> Result<Response, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Inspect(&app))?;
    let limit = params.limit(LIMIT_DEFAULT, HISTORY_HITS_MAX)?;
    let follow: bool = params.parse("follow")?.unwrap_or(false);
    let function = params.text("function").map(|name| Id::new(&name)).transpose();
    let function = function.map_err(|e| Problem::bad_request(e.to_string()).field("function"))?;
    let call = params.text("call");
    params.done()?;

    let known = caught_up(&state).await;
    let mut text = format!("app:{}", quoted(app.as_str()));
    if let Some(function) = &function {
        text.push_str(&format!(" AND function:{}", quoted(function.as_str())));
    }
    if let Some(call) = &call {
        text.push_str(&format!(" AND call:{}", quoted(call)));
    }
    let query = Query { limit, kinds: Some(vec![Kind::Log]), ..Query::new(caller.0.tenant.clone(), &text) };
    let hits = if limit == 0 { Vec::new() } else { state.history.ask(query).await?.hits };
    if hits.is_empty() {
        // A deleted app's log can be read; one that never was is a typing error.
        apps::known(&state, caller.app(app.clone()))?;
    }
    // What came later than that is in the tail; a page may hold it already.
    let old = hits.iter().rev().filter(|hit| !follow || hit.seq <= known);
    let mut lines = Vec::new();
    old.for_each(|hit| EventJson::found(hit).write(&mut lines));
    let old = stream::iter((!lines.is_empty()).then(|| Bytes::from(lines)));
    if !follow {
        return Ok(ndjson(old));
    }
    let tenant = caller.0.tenant.clone();
    let ours = move |event: &Event| {
        let Some(cause) = event.cause.as_ref().filter(|_| event.kind == Kind::Log && event.tenant == tenant) else { return false };
        let is_asked = function.as_ref().is_none_or(|f| cause.function == *f) && call.as_ref().is_none_or(|c| cause.call == *c);
        cause.app == app && is_asked
    };
    Ok(ndjson(old.chain(tail(&state, caller.1, known + 1, ours)?)))
}

/// Up to where history knows everything: the head of the log at the time of the question, if it gets there.
async fn caught_up(state: &AppState) -> Seq {
    let head = *state.ledger.head().borrow();
    let mut position = state.history.watch();
    let reached = tokio::time::timeout(HISTORY_WAIT, position.wait_for(|position| *position >= head)).await;
    drop(reached);
    state.history.position()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
