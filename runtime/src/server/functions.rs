//! Functions of an app: their triggers, and how far they are.

use super::{
    AppState, Problem,
    apps::known,
    auth::Caller,
    metrics::lag,
    request::{Path, blocking},
};
use crate::{
    identity::Action,
    ledger::Lost,
    model::{
        AppId, FunctionId, Id,
        manifest::{Auth, Function, Order, Trigger},
        uplink::CODEC,
    },
};
use axum::{Json, extract::State};
use serde_json::{Value, json};

/// Dead letters that are counted per function; an operator with more has another problem.
const DEAD_COUNTED_MAX: usize = 10_000;

/// `GET /api/v1/apps/{app}/functions`: those of the current release, and those that lost something.
pub async fn list(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Inspect(&app))?;
    let app = caller.app(app);
    blocking(&state, move |state| listed(state, app)).await.map(Json)
}

fn listed(state: &AppState, app: AppId) -> Result<Value, Problem> {
    let app = known(state, app)?;
    let release = state.store.current(&app);
    let functions = release.as_ref().map_or(&[][..], |release| &release.manifest.functions);
    let lost = state.ledger.lost(Some(&app))?;
    let dead = state.ledger.dead(Some(&app), None, DEAD_COUNTED_MAX)?;
    let show = |function: &Function| -> Result<Value, Problem> {
        let mut shown = json!({ "function": function.name, "trigger": words(&function.trigger) });
        if let Some(order) = order(&function.trigger) {
            let blocks = matches!(order, Order::Device).then(|| function.delivery.blocks_at_most(function.timeout).as_millis());
            shown["blocks_at_most_ms"] = blocks.and_then(|millis| u64::try_from(millis).ok()).into();
            let id = FunctionId { app: app.clone(), function: function.name.clone() };
            // One that does not run counts nothing, but what it has parked waits in the ledger.
            let parked = match state.dispatch.consumer(&id) {
                Some(consumer) => consumer.parked(),
                None => state.ledger.parked(&id)?.len(),
            };
            shown["parked"] = parked.into();
            shown["lag"] = lag(state, &id).map_or(Value::Null, |behind| (behind + parked as u64).into());
            shown["behind_bytes"] = behind_bytes(state, &id)?.into();
            let pause = state.ledger.pause(&id)?;
            let pause = if pause.is_none() { state.ledger.pause(&id.evaluator())? } else { pause };
            shown["paused"] = pause.map_or(Value::Null, |pause| super::lag::paused(&pause));
            shown["lost"] = lost_to(&lost, &id);
            shown["dead"] = dead.iter().filter(|letter| letter.function == id).count().into();
        }
        Ok(shown)
    };
    let mut all = functions.iter().map(show).collect::<Result<Vec<Value>, Problem>>()?;
    let codec = release.as_ref().and_then(|release| release.manifest.codec.as_ref());
    let letters = dead.iter().filter(|letter| letter.function.function.as_str() == CODEC).count();
    if codec.is_some() || letters > 0 {
        let trigger = codec.map_or("not in the app any more".to_owned(), |codec| uplinks(&app, &codec.name));
        all.push(json!({ "function": CODEC, "trigger": trigger, "dead": letters }));
    }
    // What a function lost does not go with it.
    let mut gone: Vec<&FunctionId> = lost.iter().map(|(id, _)| id).collect();
    gone.retain(|id| functions.iter().all(|function| function.name != id.function));
    gone.dedup();
    all.extend(gone.iter().map(|id| json!({ "function": id.function, "trigger": "not in the app any more", "lost": lost_to(&lost, id) })));
    Ok(all.into())
}

fn lost_to(lost: &[(FunctionId, Lost)], id: &FunctionId) -> Value {
    lost.iter().filter(|(of, _)| of == id).map(|(_, lost)| super::lag::lost(lost)).collect()
}

/// Bytes of the log behind what it has settled without a gap.
fn behind_bytes(state: &AppState, id: &FunctionId) -> Result<Option<u64>, Problem> {
    let Some(position) = state.ledger.position(id)? else { return Ok(None) };
    let through = state.ledger.position(&id.evaluator())?.map_or(position.through, |evaluator| evaluator.through.min(position.through));
    Ok(Some(state.ledger.log_bytes(through + 1, *state.ledger.head().borrow() + 1)?))
}

fn uplinks(app: &AppId, name: &Id) -> String {
    format!("uplinks of devices whose codec is `{}` or `{}/{name}`", app.app, app.app)
}

/// None for what is called by no event.
fn order(trigger: &Trigger) -> Option<Order> {
    match trigger {
        Trigger::Event { order, .. } => Some(*order),
        Trigger::Schedule(_) => Some(Order::Device),
        Trigger::Http { .. } => None,
    }
}

fn words(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Schedule(schedule) => format!("schedule {} ({})", schedule.cron, schedule.zone),
        Trigger::Event { subject, order, select, rule } => {
            let rule = rule.as_ref().map_or_else(String::new, |rule| format!("{rule} of "));
            let what = select.as_ref().map_or_else(|| subject.to_string(), |select| format!("sensors with {select}"));
            format!("{rule}{what}, {}", if matches!(order, Order::Device) { "in order per device" } else { "in any order" })
        }
        Trigger::Http { path, auth: Auth::Public } => format!("HTTP {path}, public"),
        Trigger::Http { path, auth: Auth::Token } => format!("HTTP {path}, with a token"),
    }
}
