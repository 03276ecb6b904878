//! Commands: what an actuator is told goes into the log, and with that to the device, to functions, and into its current value.

use super::{
    super::{
        AppState, Problem,
        auth::Asker,
        body,
        readings::answer,
        request::{Path, blocking, idempotency_key},
    },
    actuators::unknown,
    answer::{Answer, fresh, short},
    values::sender_name,
};
use crate::{
    clock,
    identity::{Deed, Principal},
    ingest::{BodyError, Format, IngestError, Stored, parse},
    ledger::{Append, Dedup, Op, Outcome},
    model::{Event, Id, NewEvent, Seq, Value, limit::VALUE_BYTES_MAX, payload},
};
use axum::{body::Body, extract::State};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::value::RawValue;

/// The command's id, by which its fate can be asked for.
const COMMAND: &str = "tawi-command";

/// `PUT /devices/{device}/actuators/{actuator}/value`: the whole body is the value, an object too. In the log when it is answered.
pub async fn give(State(state): State<AppState>, Asker(who): Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let (device, actuator) = (path.id("device")?, path.id("actuator")?);
    let bytes = body::whole(&headers, from, VALUE_BYTES_MAX).await?;
    let value = value(&headers, &bytes)?;
    fresh(&state).await?;
    let known = state.registry.device_for(&who, Deed::CreateData, &device)?;
    if !known.actuators.iter().any(|known| known.id == actuator) {
        return Err(unknown(&device, &actuator));
    }
    let now = clock::now();
    let dedup = idempotency_key(&headers)?.map(|key| Dedup { key: repeat(&who, &device, &actuator, key), now });
    let id = id();
    let event = NewEvent::command(who.tenant(), &device, &actuator, &id, &value, now);
    let append = Append { tenant: who.tenant().clone(), events: vec![event], dedup, intake: None };
    let (stored, id) = match state.ledger.apply(Op::Append(append)).await? {
        Outcome::Duplicate { seqs } => repeated(&state, seqs, value).await?,
        Outcome::Applied { seqs, .. } => (Stored { seqs, duplicate: false }, id),
        other => return Err(Problem::unavailable(format!("the command came to {other:?}"))),
    };
    let mut response = answer(&stored);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(COMMAND, id);
    }
    Ok(response)
}

/// Any JSON, a text, or bytes.
fn value(headers: &HeaderMap, body: &Bytes) -> Result<Value, BodyError> {
    let format = Format::of(headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()));
    if format != Format::Json {
        return Ok(parse::value(format, body)?.1);
    }
    let raw: &RawValue = serde_json::from_slice(body).map_err(|error| BodyError::syntax(&error))?;
    payload::json(raw)
}

/// One for each command, whoever gives it, whatever the clock says.
fn id() -> String {
    format!("api-{:032x}", rand::random::<u128>())
}

/// A list in JSON, so that no part of it can pass for two others.
fn repeat(who: &Principal, device: &Id, actuator: &Id, key: &str) -> String {
    serde_json::json!(["http", sender_name(who), "command", device, actuator, key]).to_string()
}

/// What was stored under the key, if it is the same command; another one is refused, and not stored.
async fn repeated(state: &AppState, seqs: Vec<Seq>, value: Value) -> Result<(Stored, String), Problem> {
    let first = seqs.first().copied().unwrap_or_default();
    let event = blocking(state, move |state| Ok(state.ledger.event(first)?)).await?.ok_or(IngestError::KeyForgotten)?;
    let (id, before) = parts(&event).ok_or(IngestError::KeyForgotten)?;
    if before != value.to_json() {
        return Err(IngestError::KeyReused.into());
    }
    Ok((Stored { seqs, duplicate: true }, id))
}

fn parts(event: &Event) -> Option<(String, serde_json::Value)> {
    let mut command = event.value.to_json();
    let id = short(command.get("id")?.as_str()?);
    Some((id, command.get_mut("value")?.take()))
}
