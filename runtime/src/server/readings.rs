//! Readings by HTTP: answered with 204 when they are durable, never before.

use super::{AppState, Problem, auth::Caller, request::idempotency_key};
use crate::{
    clock,
    identity::Action,
    ingest::{
        BodyError, RepeatKey, Stored, parse,
        payload::{self, Builtin},
    },
    model::{Tenant, limit::INGEST_BODY_BYTES_MAX},
    preprocess::{Envelope, Sample},
};
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Where the readings are in the log: `17` or `17-42`.
const SEQUENCE: &str = "tawi-sequence";
/// Told to who sent the same key before.
const DUPLICATE: &str = "tawi-duplicate";

/// `POST /api/v1/readings`
pub async fn batch(State(state): State<AppState>, caller: Caller, headers: HeaderMap, from: Body) -> Result<Response, Problem> {
    caller.may(Action::Send)?;
    let (body, _share) = refused(&state, state.bodies.read(&headers, from, INGEST_BODY_BYTES_MAX).await)?;
    let samples = match content_type(&headers).and_then(Builtin::of_content_type) {
        Some(format @ (Builtin::SenmlJson | Builtin::SenmlCbor)) => refused(&state, senml_samples(format, &body))?,
        _ => refused(&state, parse::readings(&body))?,
    };
    store(&state, &caller.0.tenant, &caller.0.token, samples, &["readings"], &headers).await
}

/// `POST /api/v1/senml`: as `/readings`, in JSON where the content type does not say that it is CBOR.
pub async fn senml(State(state): State<AppState>, caller: Caller, headers: HeaderMap, from: Body) -> Result<Response, Problem> {
    caller.may(Action::Send)?;
    let (body, _share) = refused(&state, state.bodies.read(&headers, from, INGEST_BODY_BYTES_MAX).await)?;
    let is_cbor =
        content_type(&headers).is_some_and(|text| matches!(payload::essence(text).as_str(), "application/senml+cbor" | "application/cbor"));
    let format = if is_cbor { Builtin::SenmlCbor } else { Builtin::SenmlJson };
    let samples = refused(&state, senml_samples(format, &body))?;
    store(&state, &caller.0.tenant, &caller.0.token, samples, &["senml"], &headers).await
}

fn senml_samples(format: Builtin, body: &[u8]) -> Result<Vec<Sample>, BodyError> {
    let records = if format == Builtin::SenmlCbor { payload::senml::cbor(body)? } else { payload::senml::json(body)? };
    payload::senml::samples(&records, clock::now())
}

pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok())
}

/// `target`: the route and what is named in it; a key counts for these alone, and for who sent it.
pub async fn store(
    state: &AppState,
    tenant: &Tenant,
    sender: &str,
    samples: Vec<Sample>,
    target: &[&str],
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let repeat = refused(state, idempotency_key(headers))?.map(|key| RepeatKey::http(sender, target, key));
    let envelope = Envelope { tenant: tenant.clone(), received: clock::now(), samples };
    let stored = refused(state, state.ingest.store(envelope, repeat).await)?;
    Ok(answer(&stored))
}

/// Counts a refusal under its problem's name.
pub(super) fn refused<T, E: Into<Problem>>(state: &AppState, result: Result<T, E>) -> Result<T, Problem> {
    result.map_err(|error| {
        let problem: Problem = error.into();
        state.metrics.refuse(problem.kind);
        problem
    })
}

pub(super) fn answer(stored: &Stored) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let sequence = match stored.seqs.as_slice() {
        [] => return response,
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
    };
    // Digits and a hyphen are always a header's value.
    if let Ok(sequence) = HeaderValue::from_str(&sequence) {
        response.headers_mut().insert(SEQUENCE, sequence);
    }
    if stored.duplicate {
        response.headers_mut().insert(DUPLICATE, HeaderValue::from_static("true"));
    }
    response
}
