//! Publishes all that a trigger of time tells, on `told.KIND.FUNCTION`, and then does as a value of it says: `{"then": "retry", "until": 3}`.

use serde::Deserialize;
use std::time::Duration;
use tawi::{Batch, Change, Crossing, Error, Event, Json, Silence, Tick, Value, Window, json, publish};
use tawi::{trigger::Delivery, trigger::Reading};

#[tawi::schedule]
fn schedule(tick: Tick) -> tawi::Result {
    told("schedule", &tick.delivery, json!({ "scheduled": tick.scheduled, "missed": tick.missed }))
}

#[tawi::batch]
fn batch(batch: Batch) -> tawi::Result {
    told("batch", &batch.delivery, json!({ "readings": all(&batch.readings) }))?;
    obey(&batch.delivery, &batch.readings)
}

#[tawi::window]
fn window(window: Window) -> tawi::Result {
    let of = &window.aggregate;
    let percentiles: Vec<Json> = of.percentiles.iter().map(|it| json!([it.percent, it.value])).collect();
    let aggregate = json!({
        "readings": of.readings, "count": of.count, "sum": of.sum, "mean": of.mean, "min": of.min, "max": of.max,
        "first": of.first, "last": of.last, "percentiles": percentiles,
    });
    let shown = json!({
        "device": window.device, "sensor": window.sensor, "start": window.start, "end": window.end,
        "revision": window.revision, "replaces": window.replaces, "aggregate": aggregate,
        "readings": window.readings.as_deref().map(all),
    });
    told("window", &window.delivery, shown)?;
    obey(&window.delivery, window.readings.iter().flatten())
}

#[tawi::silence]
fn silence(silence: Silence) -> tawi::Result {
    let back = silence.back.as_ref().map(one);
    let shown = json!({ "device": silence.device, "sensor": silence.sensor, "since": silence.since, "back": back });
    told("silence", &silence.delivery, shown)?;
    obey(&silence.delivery, &silence.back)
}

#[tawi::change]
fn change(change: Change) -> tawi::Result {
    let shown = json!({ "reading": one(&change.reading), "previous": change.previous.as_ref().map(one) });
    told("change", &change.delivery, shown)?;
    obey(&change.delivery, [&change.reading])
}

#[tawi::threshold]
fn threshold(crossing: Crossing) -> tawi::Result {
    let shown = json!({ "reading": one(&crossing.reading), "beyond": crossing.beyond, "since": crossing.since });
    told("threshold", &crossing.delivery, shown)?;
    obey(&crossing.delivery, [&crossing.reading])
}

/// One of every N, and plain events too.
#[tawi::event]
fn event(event: Event) -> tawi::Result {
    let delivery =
        Delivery { function: event.function().to_owned(), id: event.id().to_owned(), sequence: event.sequence(), attempt: event.attempt() };
    let reading = Reading::from(event);
    told("event", &delivery, json!({ "reading": one(&reading) }))?;
    obey(&delivery, [&reading])
}

/// All of it, on a subject of its kind.
fn told(kind: &str, delivery: &Delivery, mut shown: Json) -> tawi::Result {
    shown["delivery"] = json!({
        "function": delivery.function, "id": delivery.id, "sequence": delivery.sequence, "attempt": delivery.attempt,
    });
    publish(&format!("told.{kind}.{}", publish::token(&delivery.function)), &shown)
}

fn all(readings: &[Reading]) -> Vec<Json> {
    readings.iter().map(one).collect()
}

fn one(reading: &Reading) -> Json {
    let value = match &reading.value {
        Value::Json(text) => json!({ "json": text }),
        Value::Bytes(bytes) => json!({ "bytes": bytes }),
    };
    json!({
        "subject": reading.subject, "device": reading.device, "sensor": reading.sensor, "value": value,
        "measured": reading.measured, "received": reading.received, "sequence": reading.sequence,
    })
}

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

/// What is no order is only told.
fn obey<'a>(delivery: &Delivery, readings: impl IntoIterator<Item = &'a Reading>) -> tawi::Result {
    let orders = readings.into_iter().map(|reading| reading.value::<Order>().unwrap_or_default());
    let Some(order) = orders.into_iter().find(|order| !order.then.is_empty()) else { return Ok(()) };
    if order.until.is_some_and(|until| delivery.attempt >= until) {
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
