//! Whether the node lives, whether it is ready, and what it is.

use super::{AppState, Problem, auth::Caller, request::blocking};
use crate::identity::Action;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};

/// `GET /health/live`: the process answers.
pub async fn live() -> &'static str {
    "ok\n"
}

/// `GET /health/ready`: it takes readings and runs functions. 503 with the reasons while it does not.
pub async fn ready(State(state): State<AppState>) -> Response {
    let reasons = match blocking(&state, |state| Ok((state.unready)())).await {
        Ok(reasons) => reasons,
        Err(problem) => return problem.into_response(),
    };
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons }))).into_response()
}

/// `GET /api/v1/status`. Any valid token may see the version; the rest is for who may read.
pub async fn status(State(state): State<AppState>, caller: Caller) -> Result<Json<Value>, Problem> {
    let mut status = json!({
        "url": state.url,
        "version": env!("CARGO_PKG_VERSION"),
        "tenant": caller.0.tenant,
        "token": caller.0.name,
        "role": caller.0.role.to_string(),
    });
    if caller.may(Action::Read).is_ok() {
        let head = *state.ledger.head().borrow();
        let (reasons, dead) = blocking(&state, |state| Ok(((state.unready)(), state.ledger.dead_count()?))).await?;
        let (paused, lost) = blocking(&state, |state| Ok((state.ledger.paused()?.len(), state.ledger.lost(None)?))).await?;
        status["ready"] = if reasons.is_empty() { "yes".into() } else { reasons.join("; ").into() };
        status["ledger"] = match &state.config.ledger {
            crate::config::LedgerChoice::Embedded => "embedded".into(),
            // Without what may stand before an `@`: that is a password.
            crate::config::LedgerChoice::Jetstream(url) => url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host).into(),
        };
        status["events"] = head.into();
        status["oldest_event"] = state.ledger.first().into();
        status["history_behind"] = head.saturating_sub(state.history.position()).into();
        status["apps"] = state.store.apps().iter().filter(|app| app.tenant == caller.0.tenant).count().into();
        status["dead_letters"] = dead.into();
        status["paused_functions"] = paused.into();
        status["lost_events"] = lost.iter().map(|(_, lost)| lost.events).sum::<u64>().into();
        status["up_seconds"] = state.started.elapsed().as_secs().into();
    }
    Ok(Json(status))
}
