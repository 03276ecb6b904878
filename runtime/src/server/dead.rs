//! Dead letters: events that a function could not handle.

use super::{
    AppState, Problem,
    auth::Caller,
    event::{EventJson, time},
    request::{Params, Path, blocking},
};
use crate::{
    clock,
    identity::Action,
    ledger::{DeadLetter, Ledger, LedgerError, Op, Outcome},
    model::{AppId, FunctionId, Id, Seq, Tenant, Uplink},
};
use axum::{Json, extract::State};
use http::StatusCode;
use serde_json::{Value, json};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// Letters read at a time.
const STEP: usize = 256;

/// `GET /api/v1/dead?app&after&limit`: without their events, by app, function and sequence; the next page begins after the last.
pub async fn list(State(state): State<AppState>, caller: Caller, mut params: Params) -> Result<Json<Value>, Problem> {
    let app = params.text("app").map(|app| Id::new(&app)).transpose();
    let app = app.map_err(|e| Problem::bad_request(e.to_string()).field("app"))?;
    match &app {
        Some(app) => caller.may(Action::Inspect(app))?,
        None => caller.may(Action::Read)?,
    }
    let after = params.text("after").map(|text| place(&caller, &text)).transpose()?;
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    params.done()?;
    let (app, tenant) = (app.map(|app| caller.app(app)), caller.0.tenant);
    let page = blocking(&state, move |state| Ok(page(&state.ledger, &tenant, app.as_ref(), after, limit)?)).await?;
    Ok(Json(page.iter().map(summary).collect()))
}

/// What stands before and after the tenant's letters is passed over, so that a page is full as long as there are more.
fn page(
    ledger: &Ledger,
    tenant: &Tenant,
    app: Option<&AppId>,
    mut after: Option<(FunctionId, Seq)>,
    limit: usize,
) -> Result<Vec<DeadLetter>, LedgerError> {
    let mut found = Vec::new();
    while found.len() < limit {
        let letters = ledger.dead(app, after.as_ref(), STEP)?;
        let is_last = letters.len() < STEP;
        after = letters.last().map(|letter| (letter.function.clone(), letter.seq));
        found.extend(letters.into_iter().filter(|letter| letter.function.app.tenant == *tenant).take(limit - found.len()));
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// `APP/FUNCTION/SEQUENCE`.
fn place(caller: &Caller, text: &str) -> Result<(FunctionId, Seq), Problem> {
    let read = || {
        let (function, seq) = text.rsplit_once('/')?;
        let (app, function) = function.split_once('/')?;
        Some((FunctionId { app: caller.app(Id::new(app).ok()?), function: Id::new(function).ok()? }, seq.parse().ok()?))
    };
    read().ok_or_else(|| Problem::bad_request(format!("`{text}` is not a dead letter: it is APP/FUNCTION/SEQUENCE")).field("after"))
}

/// `GET /api/v1/apps/{app}/dead/{function}/{sequence}`: with the event and the last log lines.
pub async fn show(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let (function, seq) = letter(&caller, &path, |app| Action::Inspect(app))?;
    let asked = function.clone();
    let found = blocking(&state, move |state| Ok(state.ledger.dead_letter(&asked, seq)?)).await?;
    let found = found.ok_or_else(|| missing(&function, seq))?;
    let mut shown = summary(&found);
    shown["log_tail"] = found.log_tail.clone().into();
    shown["event"] = serde_json::to_value(EventJson::new(seq, &found.event)).unwrap_or_default();
    Ok(Json(shown))
}

/// `POST /api/v1/apps/{app}/dead/{function}/{sequence}/replay`: due at once, out of order. An uplink is decoded again at once.
pub async fn replay(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    let (function, seq) = letter(&caller, &path, |app| Action::Operate(app))?;
    let asked = function.clone();
    let found = blocking(&state, move |state| Ok(state.ledger.dead_letter(&asked, seq)?)).await?;
    if let Some(letter) = found
        && let Some(uplink) = Uplink::of(&letter.event, &function)
    {
        state.ingest.decode_again(&letter, uplink).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let (asked, op) = (function.clone(), Op::ReplayDead { function: function.clone(), seq, now: clock::now() });
    if state.ledger.apply(op).await? == Outcome::Missing {
        let is_there = blocking(&state, move |state| Ok(state.ledger.dead_letter(&asked, seq)?.is_some())).await?;
        return Err(if is_there { nobody(&function) } else { missing(&function, seq) });
    }
    if let Some(consumer) = state.dispatch.consumer(&function) {
        consumer.replayed(seq);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/apps/{app}/dead/{function}/{sequence}`
pub async fn drop_letter(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    let (function, seq) = letter(&caller, &path, |app| Action::Operate(app))?;
    match state.ledger.apply(Op::DropDead { function: function.clone(), seq }).await? {
        Outcome::Missing => Err(missing(&function, seq)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

fn letter(caller: &Caller, path: &Path, action: impl Fn(&Id) -> Action<'_>) -> Result<(FunctionId, Seq), Problem> {
    let app = path.id("app")?;
    caller.may(action(&app))?;
    Ok((FunctionId { app: caller.app(app), function: path.id("function")? }, path.number("sequence")?))
}

fn nobody(function: &FunctionId) -> Problem {
    let FunctionId { app, function } = function;
    Problem::conflict(format!("`{}` has no function `{function}` now, so nobody to replay to", app.app))
        .hint("push or roll back to a release with that `[[on]]` entry first")
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
