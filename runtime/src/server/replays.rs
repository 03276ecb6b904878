//! Ranges of the past, run again beside what is live.

use super::{
    AppState, Problem,
    apps::known,
    auth::Caller,
    request::{Params, Path, blocking, json},
};
use crate::{
    history::{Query, Sort},
    identity::Action,
    model::{Id, Micros, Tenant, limit::REPLAY_PAGE_BYTES_MAX},
    replay::{Failure, Job, State as Standing, Wanted},
};
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    function: Id,
    /// The one that is current, without a number.
    release: Option<u64>,
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    by_measured: bool,
}

/// `POST /api/v1/apps/{app}/replays {"function", "release", "from", "to", "by_measured"}`: 201; it runs when it is its turn.
pub async fn start(
    State(state): State<AppState>,
    caller: Caller,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = path.id("app")?;
    caller.may(Action::Operate(&name))?;
    let Asked { function, release, from, to, by_measured } = json(&headers, from).await?;
    let app = known(&state, caller.app(name))?;
    let none = || Problem::conflict(format!("`{}` has no release", app.app));
    let release = match release {
        Some(number) => number,
        None => state.store.current(&app).ok_or_else(none)?.number,
    };
    let (from, to) = (time("from", from)?, time("to", to)?);
    still_there(&state, &app.tenant, to).await?;
    let wanted = Wanted { app, function, release, from, to, by_measured };
    let job = blocking(&state, move |state| Ok(state.replays.start(wanted)?)).await?;
    Ok((StatusCode::CREATED, Json(shown(&job))))
}

/// Refuses a range that ends before anything begins that is there.
async fn still_there(state: &AppState, tenant: &Tenant, to: Option<Micros>) -> Result<(), Problem> {
    let Some(to) = to else { return Ok(()) };
    let oldest = Query { limit: 1, sort: Sort::OldestFirst, ..Query::new(tenant.clone(), "") };
    match state.history.ask(oldest).await?.hits.pop() {
        Some(oldest) if to <= oldest.measured => {
            let text = format!("nothing of that is there: the history begins with what was measured at {}", oldest.measured);
            Err(Problem::conflict(text).field("to").hint("`history-retention` says how long events are kept"))
        }
        _ => Ok(()),
    }
}

fn time(name: &str, text: Option<String>) -> Result<Option<Micros>, Problem> {
    let parsed = text.map(|text| Micros::parse(&text).map_err(|e| Problem::bad_request(e.to_string()).field(name)));
    parsed.transpose()
}

/// `GET /api/v1/apps/{app}/replays`: oldest first.
pub async fn list(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let name = path.id("app")?;
    caller.may(Action::Inspect(&name))?;
    let app = known(&state, caller.app(name))?;
    let jobs = state.replays.list(&app.tenant);
    Ok(Json(jobs.iter().filter(|job| job.wanted.app == app).map(shown).collect()))
}

/// `GET /api/v1/apps/{app}/replays/{replay}`
pub async fn show(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let name = path.id("app")?;
    caller.may(Action::Inspect(&name))?;
    Ok(Json(shown(&state.replays.get(&caller.app(name), path.number("replay")?)?)))
}

/// `GET /api/v1/apps/{app}/replays/{replay}/output?offset`: some of its lines' bytes, and in `tawi-replay` how it stood before they were read:
/// when it is over and there are none, that was all.
pub async fn output(State(state): State<AppState>, caller: Caller, path: Path, mut params: Params) -> Result<Response, Problem> {
    let name = path.id("app")?;
    caller.may(Action::Inspect(&name))?;
    let (app, number, offset) = (caller.app(name), path.number("replay")?, params.parse("offset")?.unwrap_or(0));
    params.done()?;
    let read = blocking(&state, move |state| Ok(state.replays.output(&app, number, offset, REPLAY_PAGE_BYTES_MAX)?));
    let (bytes, job) = read.await?;
    let headers = [("content-type", "application/x-ndjson"), ("tawi-replay", standing(&job).0)];
    Ok((headers, bytes).into_response())
}

/// `DELETE /api/v1/apps/{app}/replays/{replay}`: stopped where it runs, and forgotten with its output.
pub async fn forget(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    let name = path.id("app")?;
    caller.may(Action::Operate(&name))?;
    let (app, number) = (caller.app(name), path.number("replay")?);
    blocking(&state, move |state| Ok(state.replays.remove(&app, number)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn standing(job: &Job) -> (&'static str, Option<&str>) {
    match &job.state {
        Standing::Waiting => ("waiting", None),
        Standing::Running => ("running", None),
        Standing::Done => ("done", None),
        Standing::Failed(why) => ("failed", Some(why)),
    }
}

fn shown(job: &Job) -> Value {
    let (state, error) = standing(job);
    let time = |time: Option<Micros>| time.map(|time| time.to_string());
    let Job { number, wanted, created, ended, last, through, lines, failed, bytes, .. } = job;
    json!({
        "replay": number, "app": wanted.app.app, "function": wanted.function, "release": wanted.release,
        "from": time(wanted.from), "to": time(wanted.to), "by_measured": wanted.by_measured,
        "state": state, "error": error, "created": created.to_string(), "ended": time(*ended),
        "through": through, "last": last, "lines": lines, "failed": failed, "bytes": bytes,
    })
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let text = failure.to_string();
        match failure {
            Failure::NoRelease { .. } => Problem::unknown("unknown-release", text).field("release"),
            Failure::NoFunction { .. } => Problem::conflict(text).field("function"),
            Failure::NotOfEvents { .. } => Problem::conflict(text).field("function").hint("`--event` runs one of its calls again"),
            Failure::Empty => Problem::bad_request(text).field("to"),
            Failure::Busy => Problem::unavailable(text),
            Failure::Unknown(_) => Problem::unknown("unknown-replay", text),
            Failure::Ledger(error) => error.into(),
            Failure::History(error) => error.into(),
            failure => Problem::internal(&failure),
        }
    }
}
