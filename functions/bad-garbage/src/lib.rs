//! Says what makes no sense. A reading's value chooses the nonsense, a request's path does.

use tawi::http::{HeaderValue, Request, Response, StatusCode, header};
use tawi::{Error, Event, Value, json, log, publish};

#[tawi::event]
fn event(event: Event) -> tawi::Result {
    match event.value::<String>()?.as_str() {
        "json" => publish::value("garbage.json", Value::Json("{,}".to_owned())),
        "subject" => publish("garbage..*.>", &1),
        "reserved" => publish("reading.fridge1.temp", &1),
        "long" => publish("garbage.long", &"x".repeat(1 << 20)),
        "many" => (0..100_000).try_for_each(|i| publish("garbage.many", &json!({ "i": i }))),
        "reason" => Err(Error::reject("\u{1b}[31m\0\r\n".repeat(1 << 18))),
        other => {
            log::warn!("`{other}` makes sense");
            Ok(())
        }
    }
}

#[tawi::http]
fn serve(request: Request) -> Response {
    let mut response = Response::new("ten bytes.".into());
    match request.uri().path() {
        "/status" => *response.status_mut() = StatusCode::from_u16(999).unwrap_or_default(),
        "/switch" => *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
        "/length" => set(&mut response, header::CONTENT_LENGTH, "100"),
        "/hop" => set(&mut response, header::TRANSFER_ENCODING, "gzip"),
        "/header" => set(&mut response, header::SERVER, &"x".repeat(1 << 20)),
        _ => {}
    }
    response
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("")));
}
