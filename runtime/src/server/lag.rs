//! Functions that are paused because they are too far behind, and what they lost.

use super::{
    AppState, Problem,
    auth::Caller,
    event::time,
    request::{Params, Path, blocking},
};
use crate::{
    identity::Action,
    ledger::{Lost, Op, Outcome, Paused},
    model::FunctionId,
};
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

/// `POST /api/v1/apps/{app}/functions/{function}/resume`: on with the oldest event that is there.
pub async fn resume(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    let function = function(&caller, &path)?;
    if !state.dispatch.resume(&function).await? {
        let id = function.clone();
        let is_there = blocking(&state, move |state| Ok(state.ledger.position(&id)?.is_some())).await?;
        return Err(if is_there { not_paused(&function) } else { unknown(&function) });
    }
    tracing::info!(%function, by = caller.0.name, "function resumed");
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/apps/{app}/functions/{function}/lost?through`: somebody has taken note of what ends there or before.
pub async fn forget(State(state): State<AppState>, caller: Caller, path: Path, mut params: Params) -> Result<StatusCode, Problem> {
    let function = function(&caller, &path)?;
    let Some(through) = params.parse("through")? else {
        return Err(
            Problem::bad_request("`through` says up to which event you have taken note: the last `to` that was shown").field("through")
        );
    };
    params.done()?;
    match state.ledger.apply(Op::ForgetLost { function: function.clone(), through }).await? {
        Outcome::Missing => {
            Err(Problem::unknown("nothing-lost", format!("nothing up to event {through} is noted as lost to `{}`", words(&function)))
                .hint("what is lost while you look makes its range longer: `tawi lost APP` shows it as it is now"))
        }
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

pub fn paused(paused: &Paused) -> Value {
    json!({ "since": time(paused.since), "through": paused.through })
}

pub fn lost(lost: &Lost) -> Value {
    json!({
        "from": lost.from,
        "to": lost.to,
        "events": lost.events,
        "bytes": lost.bytes,
        "received_from": time(lost.received_from),
        "received_to": time(lost.received_to),
        "paused": time(lost.paused),
    })
}

fn function(caller: &Caller, path: &Path) -> Result<FunctionId, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Operate(&app))?;
    Ok(FunctionId { app: caller.app(app), function: path.id("function")? })
}

fn words(function: &FunctionId) -> String {
    format!("{}/{}", function.app.app, function.function)
}

fn not_paused(function: &FunctionId) -> Problem {
    Problem::conflict(format!("`{}` is not paused", words(function)))
        .hint("`tawi functions APP` shows how far behind it is, `tawi logs APP` why")
}

fn unknown(function: &FunctionId) -> Problem {
    Problem::unknown("unknown-function", format!("there is no function `{}` that handles events", words(function)))
        .hint("`tawi functions APP` shows what there is")
}
