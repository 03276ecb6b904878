//! Dead letters: events that a function could not handle.

use super::{
    AppState, Problem,
    auth::Caller,
    event::{EventJson, time},
    request::{Params, Path},
};
use crate::{
    clock,
    identity::Action,
    ledger::{DeadLetter, Op, Outcome},
    model::{FunctionId, Id, Seq},
};
use axum::{Json, extract::State};
use http::StatusCode;
use serde_json::{Value, json};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// `GET /api/v1/dead?app&limit`: without their events.
pub async fn list(State(state): State<AppState>, caller: Caller, mut params: Params) -> Result<Json<Value>, Problem> {
    let app = params.text("app").map(|app| Id::new(&app)).transpose();
    let app = app.map_err(|e| Problem::bad_request(e.to_string()).field("app"))?;
    match &app {
        Some(app) => caller.may(Action::Inspect(app))?,
        None => caller.may(Action::Read)?,
    }
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    params.done()?;
    let app = app.map(|app| caller.app(app));
    let letters = state.ledger.dead(app.as_ref(), None, limit)?;
    let ours = letters.iter().filter(|letter| letter.function.app.tenant == caller.0.tenant);
    Ok(Json(ours.map(summary).collect()))
}

/// `GET /api/v1/apps/{app}/dead/{function}/{sequence}`: with the event and the last log lines.
pub async fn show(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let (function, seq) = letter(&caller, &path, |app| Action::Inspect(app))?;
    let found = state.ledger.dead_letter(&function, seq)?.ok_or_else(|| missing(&function, seq))?;
    let mut shown = summary(&found);
    shown["log_tail"] = found.log_tail.clone().into();
    shown["event"] = serde_json::to_value(EventJson::new(seq, &found.event)).unwrap_or_default();
    Ok(Json(shown))
}

/// `POST /api/v1/apps/{app}/dead/{function}/{sequence}/replay`: due at once, out of order.
pub async fn replay(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    let (function, seq) = letter(&caller, &path, |app| Action::Operate(app))?;
    apply(&state, Op::ReplayDead { function: function.clone(), seq, now: clock::now() }, &function, seq).await?;
    if let Some(consumer) = state.dispatch.consumer(&function) {
        consumer.replayed(seq);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/apps/{app}/dead/{function}/{sequence}`
pub async fn drop_letter(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    let (function, seq) = letter(&caller, &path, |app| Action::Operate(app))?;
    apply(&state, Op::DropDead { function: function.clone(), seq }, &function, seq).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn apply(state: &AppState, op: Op, function: &FunctionId, seq: Seq) -> Result<(), Problem> {
    match state.ledger.apply(op).await? {
        Outcome::Missing => Err(missing(function, seq)),
        _ => Ok(()),
    }
}

fn letter(caller: &Caller, path: &Path, action: impl Fn(&Id) -> Action<'_>) -> Result<(FunctionId, Seq), Problem> {
    let app = path.id("app")?;
    caller.may(action(&app))?;
    Ok((FunctionId { app: caller.app(app), function: path.id("function")? }, path.number("sequence")?))
}

fn missing(function: &FunctionId, seq: Seq) -> Problem {
    Problem::unknown("unknown-dead-letter", format!("`{}/{}` has no dead letter {seq}", function.app.app, function.function))
}

fn summary(letter: &DeadLetter) -> Value {
    json!({
        "app": letter.function.app.app,
        "function": letter.function.function,
        "sequence": letter.seq,
        "subject": letter.event.subject,
        "attempts": letter.attempts,
        "error": letter.error,
        "time": time(letter.time),
        "release": letter.release,
    })
}
