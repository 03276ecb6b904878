//! Keeps the latest value and the range of every sensor, and shows them.

use tawi::http::{self, Request, Response};
use tawi::{Event, Json, json, state};

const TITLE: &str = "This machine";

#[tawi::event]
fn keep(event: Event) -> tawi::Result {
    let reading = event.reading()?;
    let Some(value) = event.number() else { return Ok(()) };
    let key = format!("{}/{}", reading.device, reading.sensor);
    // Read, change, write: two readings at once can't both change the same old entry, and none counts twice.
    let old = state::get::<Json>(&key)?.unwrap_or(json!({}));
    let old = |member: &str| old[member].as_f64().unwrap_or(value);
    state::set(&key, &json!({ "latest": value, "min": value.min(old("min")), "max": value.max(old("max")) }))
}

#[tawi::http]
fn page(_request: Request) -> tawi::Result<Response> {
    let mut page = format!("{TITLE}\n");
    for entry in state::entries::<Json>("") {
        let (key, sensor) = entry?;
        let number = |member: &str| sensor[member].as_f64().unwrap_or_default();
        page += &format!("  {key:<24} {:>8}   from {} to {}\n", number("latest"), number("min"), number("max"));
    }
    Ok(http::text(page))
}
