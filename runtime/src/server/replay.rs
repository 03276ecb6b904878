//! One event of the past, run again against any release, beside what came of it then.

use super::{
    AppState, Problem,
    apps::known,
    auth::Caller,
    event::EventJson,
    request::{Path, blocking, json},
};
use crate::{
    dispatch::{Dispatch, Replay, ReplayError},
    history::{Hit, Query, RunHit, RunQuery},
    identity::Action,
    model::{Event, Id, Kind, Release, Run, Seq, Tenant, limit::HISTORY_HITS_MAX, run::RunEffect},
    telemetry::chain,
};
use axum::{Json, body::Body, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    event: EventId,
    function: Option<Id>,
    /// The one that is current, without a number.
    release: Option<u64>,
    #[serde(default)]
    apply: bool,
}

/// A sequence, or the id that a function knows an event by.
#[derive(Deserialize)]
#[serde(untagged)]
enum EventId {
    Seq(Seq),
    Text(String),
}

impl EventId {
    fn seq(&self, tenant: &Tenant) -> Result<Seq, Problem> {
        match self {
            EventId::Seq(seq) => Ok(*seq),
            EventId::Text(text) => {
                let digits = text.strip_prefix(tenant.as_str()).and_then(|rest| rest.strip_prefix('-')).unwrap_or(text);
                let wrong = || Problem::bad_request(format!("`{text}` is not an event: it is its sequence, or {tenant}-SEQUENCE"));
                digits.parse().map_err(|_| wrong().field("event"))
            }
        }
    }
}

/// What is known of the call as it was.
struct Then {
    run: Option<RunHit>,
    effects: Vec<RunEffect>,
    /// None is missing.
    whole: bool,
}

/// `POST /api/v1/apps/{app}/replay {"event", "function", "release", "apply"}`
pub async fn replay(
    State(state): State<AppState>,
    caller: Caller,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<Json<Value>, Problem> {
    let name = path.id("app")?;
    caller.may(Action::Operate(&name))?;
    let asked: Asked = json(&headers, from).await?;
    let tenant = caller.0.tenant.clone();
    let app = known(&state, caller.app(name))?;
    let event = event(&state, &tenant, asked.event.seq(&tenant)?).await?;
    let (of, shown) = (app.clone(), event.clone());
    if !blocking(&state, move |state| Ok(state.dispatch.shows(&of, &shown))).await? {
        return Err(none_of_its(event.seq));
    }
    let release = match asked.release {
        Some(number) => state.store.release(&app, number).ok_or_else(|| no_release(&state.store.releases(&app), number))?,
        None => state.store.current(&app).ok_or_else(|| Problem::conflict(format!("`{}` has no release", app.app)))?,
    };
    let loaded = state.reconciler.load_for_replay(app, &release).await;
    let loaded =
        Arc::new(loaded.map_err(|error| Problem::conflict(format!("release {} does not load: {}", release.number, chain(&error))))?);
    let function = chosen(Dispatch::concerned(&loaded, &event), asked.function, &release, &event)?;
    let replayed = state.dispatch.replay(Replay { loaded, function, event: event.clone(), apply: asked.apply }).await?;
    let then = then(&state, tenant, &replayed.run).await?;
    let logs: Vec<Value> = replayed.logs.iter().map(|line| json!({ "level": line.level, "message": line.message })).collect();
    Ok(Json(json!({
        "event": EventJson::of(&event),
        "applied": asked.apply && replayed.run.error.is_none(),
        "now": RunHit { seq: 0, run: replayed.run }.to_json(),
        "then": then.run.as_ref().map(RunHit::to_json),
        "then_is_whole": then.whole,
        "effects": difference(then.effects, replayed.effects),
        "logs": logs,
    })))
}

/// From the log, or from the history when the log has it no more.
async fn event(state: &AppState, tenant: &Tenant, seq: Seq) -> Result<Arc<Event>, Problem> {
    let logged = blocking(state, move |state| Ok(state.ledger.event(seq)?)).await?;
    if let Some(event) = logged {
        return match event.kind {
            Kind::Reading | Kind::Message | Kind::Command | Kind::Trigger if event.tenant == *tenant => Ok(event),
            _ => Err(none_of_its(seq)),
        };
    }
    let kinds = Some(vec![Kind::Reading, Kind::Message, Kind::Command]);
    let query = Query { kinds, limit: 1, ..Query::new(tenant.clone(), &format!("seq:{seq}")) };
    match state.history.ask(query).await?.hits.pop().and_then(|hit| hit.into_event(tenant)) {
        Some(event) => Ok(Arc::new(event)),
        None => Err(gone(state, tenant, seq).await),
    }
}

/// It is not said why: whose device it is, is nobody's business.
fn none_of_its(seq: Seq) -> Problem {
    Problem::unknown("unknown-event", format!("event {seq} is none that a function of this app gets"))
}

async fn gone(state: &AppState, tenant: &Tenant, seq: Seq) -> Problem {
    let (first, head) = (state.ledger.first(), *state.ledger.head().borrow());
    if seq == 0 || seq > head {
        return Problem::unknown("unknown-event", format!("there is no event {seq}: the last one is {head}"));
    }
    let oldest = Query { limit: 1, sort: crate::history::Sort::OldestFirst, ..Query::new(tenant.clone(), "") };
    let oldest = state.history.ask(oldest).await.ok().and_then(|mut page| page.hits.pop());
    let history = oldest.map_or("is empty".to_owned(), |hit| format!("begins with what was measured at {}", hit.measured));
    Problem::unknown("unknown-event", format!("event {seq} is gone: the log begins with event {first}, and the history {history}"))
        .hint("`log-retention` and `history-retention` say how long events are kept")
}

fn no_release(releases: &[Arc<Release>], number: u64) -> Problem {
    let there: Vec<String> = releases.iter().map(|release| release.number.to_string()).collect();
    Problem::unknown("unknown-release", format!("there is no release {number}, only {}", there.join(", "))).field("release")
}

/// The one function that the event is for, or that of them which was asked for.
fn chosen(concerned: Vec<Id>, asked: Option<Id>, release: &Release, event: &Event) -> Result<Id, Problem> {
    let names = concerned.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let of = format!("`{}` in release {}", event.subject, release.number);
    match (asked, concerned.as_slice()) {
        (Some(asked), concerned) if concerned.contains(&asked) => Ok(asked),
        (_, []) => Err(Problem::conflict(format!("no function is for {of}"))),
        (Some(asked), _) => Err(Problem::conflict(format!("`{asked}` is not for {of}, only {names}")).field("function")),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Problem::bad_request(format!("several functions are for {of}: {names}")).field("function")),
    }
}

/// By the record of the call where there is one that lists all it did, else by what is in the history of it: then what it wrote into its
/// state is not known.
async fn then(state: &AppState, tenant: Tenant, now: &Run) -> Result<Then, Problem> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    // Functions of two apps may have one name, and then their calls on an event have one id.
    let quoted = format!("call:{} AND app:{}", quoted(&now.call), quoted(now.app.as_str()));
    let runs = RunQuery { limit: 100, ..RunQuery::new(tenant.clone(), &quoted) };
    let mut runs = state.history.ask_runs(runs).await?.hits;
    runs.retain(|hit| !hit.run.replay);
    // The newest: after failed attempts, what came of it in the end.
    let run = runs.into_iter().next();
    let whole = |run: &Run| run.effects.len() as u64 == u64::from(run.writes) + u64::from(run.messages) + u64::from(run.commands);
    if let Some(effects) = run.as_ref().map(|hit| &hit.run).filter(|run| whole(run)).map(|run| run.effects.clone()) {
        return Ok(Then { effects, run, whole: true });
    }
    let query = Query { kinds: Some(vec![Kind::Message, Kind::Command]), limit: HISTORY_HITS_MAX, ..Query::new(tenant, &quoted) };
    let hits = state.history.ask(query).await?.hits;
    Ok(Then { effects: hits.iter().filter_map(effect).collect(), run, whole: false })
}

fn effect(hit: &Hit) -> Option<RunEffect> {
    match (hit.kind, &hit.device, &hit.sensor) {
        (Kind::Message, ..) => Some(RunEffect::published(&hit.subject, &hit.value)),
        (_, Some(device), Some(actuator)) => Some(RunEffect::commanded(device, actuator, &hit.value.to_json()["value"])),
        _ => None,
    }
}

/// Each effect, and whether it was there then, is now, or both.
fn difference(mut then: Vec<RunEffect>, now: Vec<RunEffect>) -> Vec<Value> {
    let said = |effect: &RunEffect, when: &str| {
        let mut shown = serde_json::to_value(effect).unwrap_or_default();
        shown["when"] = when.into();
        shown
    };
    let mut all = Vec::new();
    for effect in &now {
        match then.iter().position(|other| other == effect) {
            Some(at) => all.push(said(&then.remove(at), "both")),
            None => all.push(said(effect, "now")),
        }
    }
    all.extend(then.iter().map(|effect| said(effect, "then")));
    all
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Problem {
        match &error {
            ReplayError::NoFunction { .. } | ReplayError::NotLive(_) | ReplayError::Conflict => Problem::conflict(error.to_string()),
            ReplayError::Ledger(_) | ReplayError::Stopped => Problem::unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_and_what_is_are_told_apart_however_often_they_are_there() {
        let effect = |value: &str| RunEffect::published("a.b", &crate::model::Value::Json(value.into()));
        let (one, two, three) = (effect("1"), effect("2"), effect("3"));
        let told = difference(vec![one.clone(), one.clone(), two], vec![one, three]);
        let when: Vec<_> = told.iter().map(|effect| effect["when"].as_str().unwrap_or_default()).collect();
        assert_eq!(when, ["both", "now", "then", "then"]);
        assert_ne!(told[0]["hash"], told[1]["hash"]);
    }
}
