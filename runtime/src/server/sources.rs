//! External sources: webhooks that bring values, and how each source of an app does.

use super::{
    AppState, Problem,
    apps::known,
    auth::Caller,
    readings,
    request::{Path, blocking, idempotency_key},
};
use crate::{
    clock,
    identity::Action,
    model::{AppId, limit::SOURCE_BODY_BYTES_MAX},
    sources::{HookError, SourceError},
};
use axum::{Json, body::Body, extract::State, response::Response};
use http::HeaderMap;
use serde_json::Value;

/// `GET /api/v1/apps/{app}/sources`
pub async fn list(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Inspect(&app))?;
    let app = known(&state, caller.app(app))?;
    Ok(Json(blocking(&state, move |state| Ok(state.sources.list(&app)?)).await?.into()))
}

/// `POST /api/v1/sources/{app}/{source}`: a webhook. It has no token but a secret of its own.
pub async fn deliver(State(state): State<AppState>, path: Path, headers: HeaderMap, from: Body) -> Result<Response, Problem> {
    let (app, source) = (AppId::new(state.config.tenant.clone(), path.id("app")?), path.id("source")?);
    // A stranger's body is not worth memory.
    let (known, of, shown) = (source.clone(), app.clone(), headers.clone());
    blocking(&state, move |state| Ok(state.sources.expects(&of, &known, &shown)?)).await?;
    let (body, _share) = state.bodies.read(&headers, from, SOURCE_BODY_BYTES_MAX).await?;
    let repeat = idempotency_key(&headers)?;
    let stored = state.sources.deliver(&app, &source, &headers, &body, repeat, clock::now()).await?;
    Ok(readings::answer(&stored))
}

impl From<HookError> for Problem {
    fn from(error: HookError) -> Problem {
        match error {
            HookError::Unknown(..) => Problem::unknown("unknown-source", error.to_string()).field("source"),
            HookError::Refused(header) => {
                Problem::forbidden(format!("the header `{header}` does not show that the sender knows the secret")).field(header)
            }
            HookError::NoSecret(_) => Problem::unavailable(error.to_string()),
            HookError::Body(why) => Problem::bad_request(why),
            HookError::Source(error) => error.into(),
        }
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Problem {
        match error {
            SourceError::Records(error) => error.into(),
            SourceError::Owned(_) => Problem::forbidden(error.to_string()),
            SourceError::Ingest(error) => error.into(),
        }
    }
}
