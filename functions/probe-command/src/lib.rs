//! Commands what it is told to, by a reading or by a request: `{"device": "pump1", "actuator": "valve", "value": "open"}`.

use serde::Deserialize;
use tawi::http::{self, Request, Response};
use tawi::{Event, Json, command, json};

#[derive(Deserialize)]
struct Order {
    device: String,
    actuator: String,
    #[serde(default)]
    value: Json,
}

#[tawi::event]
fn event(event: Event) -> tawi::Result {
    let order: Order = event.value()?;
    command::send(&order.device, &order.actuator, &order.value)?;
    Ok(())
}

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    let order: Order = request.into_body().json()?;
    match command::send(&order.device, &order.actuator, &order.value) {
        Ok(id) => http::json(&json!({ "id": id })),
        Err(error) => http::json(&json!({ "kind": format!("{:?}", error.kind()), "reason": error.reason() })),
    }
}
