//! Publishes what it is told to, by a reading or by a request: `{"subject": "probe.x", "value": 1, "times": 3, "then": "reject"}`.

use serde::Deserialize;
use tawi::http::{self, Request, Response};
use tawi::{Error, Event, Json, json, publish};

#[derive(Deserialize)]
struct Order {
    subject: String,
    #[serde(default)]
    value: Json,
    #[serde(default = "once")]
    times: u32,
    /// What becomes of the call afterwards: `retry`, `reject` or `trap`.
    #[serde(default)]
    then: String,
}

fn once() -> u32 {
    1
}

#[tawi::event]
fn event(event: Event) -> tawi::Result {
    obey(event.value()?)
}

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    let order: Order = request.into_body().json()?;
    let then = order.then.clone();
    match obey(order) {
        Err(error) if then.is_empty() => http::json(&json!({ "kind": format!("{:?}", error.kind()), "reason": error.reason() })),
        result => http::json(&result.map(|()| "ok")?),
    }
}

fn obey(order: Order) -> tawi::Result {
    for _ in 0..order.times {
        publish(&order.subject, &order.value)?;
    }
    match order.then.as_str() {
        "retry" => Err(Error::retry("as told")),
        "reject" => Err(Error::reject("as told")),
        "trap" => panic!("as told"),
        _ => Ok(()),
    }
}
