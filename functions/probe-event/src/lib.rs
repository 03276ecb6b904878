//! Publishes all that an event is, on `probe.echo.FUNCTION`, and then does as its value says: `{"then": "retry", "until": 3}`.

use serde::Deserialize;
use std::time::Duration;
use tawi::{Error, Event, json, publish};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Order {
    /// `retry`, `reject` or `trap`.
    then: String,
    /// All is well from this attempt on.
    until: Option<u32>,
    /// How long to wait before the next attempt.
    after_ms: Option<u64>,
}

#[tawi::event]
fn echo(event: Event) -> tawi::Result {
    publish(
        &format!("probe.echo.{}", event.function()),
        &json!({
            "function": event.function(), "id": event.id(), "subject": event.subject(),
            "device": event.device(), "sensor": event.sensor(),
            "value": event.payload().json(), "bytes": event.payload().bytes(), "number": event.number(),
            "measured": event.measured(), "received": event.received(),
            "sequence": event.sequence(), "attempt": event.attempt(),
        }),
    )?;
    // What is no order is only echoed.
    let order: Order = event.value().unwrap_or_default();
    if order.until.is_some_and(|until| event.attempt() >= until) {
        return Ok(());
    }
    match (order.then.as_str(), order.after_ms) {
        ("retry", None) => Err(Error::retry("as told")),
        ("retry", Some(wait)) => Err(Error::retry("as told").retry_after(Duration::from_millis(wait))),
        ("reject", _) => Err(Error::reject("as told")),
        ("trap", _) => panic!("as told"),
        _ => Ok(()),
    }
}
