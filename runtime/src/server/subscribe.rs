//! Live events by subject.

use super::{
    AppState, Problem,
    auth::Caller,
    event::parse_kind,
    request::Params,
    tail::{ndjson, tail},
};
use crate::{
    identity::Action,
    model::{Kind, Pattern},
};
use axum::{extract::State, response::Response};

/// `GET /api/v1/subscribe?subject&after&kind`: from now on, or after a sequence. When the answer's head is sent, no later
/// event is missed.
pub async fn subscribe(State(state): State<AppState>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.may(Action::Read)?;
    let head = *state.ledger.head().borrow();
    let subject = params.text("subject").ok_or_else(|| Problem::bad_request("`subject` is missing").field("subject"))?;
    let pattern = Pattern::new(&subject).map_err(|e| Problem::bad_request(e.to_string()).field("subject"))?;
    let kinds = kinds(params.text("kind").as_deref(), &subject)?;
    let after = params.parse("after")?.unwrap_or(head);
    params.done()?;
    let tenant = caller.0.tenant.clone();
    Ok(ndjson(tail(&state, caller.1, after.saturating_add(1), move |event| {
        event.tenant == tenant && kinds.contains(&event.kind) && pattern.matches(event.subject.as_str())
    })?))
}

/// Log lines are no events to react to: they come only to who asks for them by name.
fn kinds(asked: Option<&str>, subject: &str) -> Result<Vec<Kind>, Problem> {
    let Some(asked) = asked else {
        let mut kinds = vec![Kind::Reading, Kind::Message, Kind::Command];
        kinds.extend(subject.starts_with("log.").then_some(Kind::Log));
        return Ok(kinds);
    };
    let kind = |name: &str| {
        parse_kind(name).ok_or_else(|| Problem::bad_request(format!("`{name}` is none of reading, message, command, log")).field("kind"))
    };
    asked.split(',').map(kind).collect()
}
