//! What the simulation of ledger and dispatch calls: does as an event's value says, and leaves traces of every effect.
//!
//! Each call that counts writes the event's sequence behind the others of its device (`seen/FUNCTION/DEVICE`), publishes
//! `out.FUNCTION`, and, if it is told to, counts in one key that everybody reads and writes.

use serde::Deserialize;
use std::time::Duration;
use tawi::{Batch, Change, Crossing, Error, Event, Json, Silence, Window, json, publish, state, trigger::Delivery};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Order {
    /// `retry`, `reject` or `trap`.
    then: String,
    /// All is well from this attempt on.
    until: Option<u32>,
    after_ms: Option<u64>,
    /// Count in the key of all.
    hot: bool,
    /// What whoever listens to this function is to do.
    next: Json,
}

#[tawi::event]
fn script(event: Event) -> tawi::Result {
    let order: Order = event.value().unwrap_or_default();
    see(event.function(), event.device(), event.sequence())?;
    let mut out = if order.next.is_object() { order.next.clone() } else { json!({}) };
    if order.hot {
        let count = state::get::<u64>("hot")?.unwrap_or(0) + 1;
        state::set("hot", &count)?;
        out["count"] = json!(count);
    }
    publish(&format!("out.{}", event.function()), &out)?;
    // Only now: nothing of what a call did before it failed may be left.
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

/// Writes it behind the others of its device.
fn see(function: &str, device: Option<&str>, sequence: u64) -> tawi::Result {
    let seen = format!("seen/{function}/{}", device.unwrap_or("none"));
    let mut all = state::get::<Vec<u64>>(&seen)?.unwrap_or_default();
    all.push(sequence);
    state::set(&seen, &all)
}

#[tawi::window]
fn window(window: Window) -> tawi::Result {
    told(&window.delivery, window.device.as_deref())
}

#[tawi::batch]
fn batch(batch: Batch) -> tawi::Result {
    told(&batch.delivery, None)
}

#[tawi::silence]
fn silence(silence: Silence) -> tawi::Result {
    told(&silence.delivery, silence.device.as_deref())
}

#[tawi::change]
fn change(change: Change) -> tawi::Result {
    told(&change.delivery, change.reading.device.as_deref())
}

#[tawi::threshold]
fn threshold(crossing: Crossing) -> tawi::Result {
    told(&crossing.delivery, crossing.reading.device.as_deref())
}

/// What time tells has no order in it: some is tried again, some is refused.
fn told(delivery: &Delivery, device: Option<&str>) -> tawi::Result {
    see(&delivery.function, device, delivery.sequence)?;
    publish(&format!("out.{}", delivery.function), &json!({}))?;
    match (delivery.sequence % 7, delivery.attempt) {
        (0, 1) => Err(Error::retry("once more").retry_after(Duration::from_millis(20))),
        (1, _) if delivery.sequence % 5 == 0 => Err(Error::reject("not this one")),
        _ => Ok(()),
    }
}
