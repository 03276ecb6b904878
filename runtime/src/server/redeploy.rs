//! Building again, on request.

use super::{AppState, Problem, apps::known, auth::Caller, request::Path, tail::ndjson};
use crate::identity::Action;
use axum::{extract::State, response::Response};
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;

/// What a build says: lines, and at the end one of the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    Line(String),
    /// It is live as this release.
    Release(u64),
    /// It is not, and this is why; what was live still is.
    Error(String),
}

/// `POST /api/v1/apps/{app}/redeploy`: one object a line, as [`Progress`] says.
pub async fn redeploy(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Response, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Operate(&app))?;
    let app = known(&state, caller.app(app))?;
    let lines = (state.redeploy)(app).map(|progress| {
        let mut line = serde_json::to_vec(&progress).unwrap_or_default();
        line.push(b'\n');
        Bytes::from(line)
    });
    Ok(ndjson(lines))
}
