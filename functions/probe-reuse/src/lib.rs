//! Tells how often its instance was called, and what time it is.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};
use tawi::{
    Event,
    http::{self, Request, Response},
    json, publish,
};

static CALLS: AtomicU64 = AtomicU64::new(0);

fn told(device: &str) -> tawi::Result<String> {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    println!("call {calls} for {device}");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let told = json!({ "calls": calls, "device": device, "now": now.to_string() });
    publish("probe.reuse", &told)?;
    Ok(told.to_string())
}

#[tawi::event]
fn event(event: Event) -> tawi::Result {
    if event.value::<String>().is_ok_and(|value| value == "trap") {
        panic!("as told");
    }
    told(event.device().unwrap_or("none")).map(drop)
}

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    let path = request.uri().path().to_owned();
    if path == "/forget" {
        // Its body is held for as long as the instance is there.
        std::mem::forget(request);
    }
    Ok(http::text(told(&path)?))
}
