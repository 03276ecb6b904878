//! State by HTTP: GET, PUT and DELETE of `/KEY`, POST adds one to it, and GET of `/?prefix=a/` lists. Readings are counted under
//! `count/DEVICE`, so that whoever reads it sees each of them once.

use tawi::http::{self, Method, Request, Response, StatusCode};
use tawi::{Event, Json, json, state};

#[tawi::event]
fn event(event: Event) -> tawi::Result {
    add_one(&format!("count/{}", event.reading()?.device)).map(|_| ())
}

/// A read and a write that depends on it: two calls at once must not both see the same number.
fn add_one(key: &str) -> tawi::Result<u64> {
    let count = state::get::<u64>(key)?.unwrap_or(0) + 1;
    state::set(key, &count)?;
    Ok(count)
}

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    let key = request.uri().path().trim_start_matches('/').to_owned();
    let answer = match (request.method(), http::query(request.uri(), "prefix")) {
        (&Method::GET, Some(prefix)) => state::entries::<Json>(&prefix).collect::<tawi::Result<Vec<_>>>().map(|all| json!(all)),
        (&Method::GET, None) => state::get::<Json>(&key).map(|value| json!(value)),
        (&Method::PUT, _) => {
            let value: Json = request.into_body().json()?;
            // Reads see the writes of the same call.
            state::set(&key, &value).and_then(|()| state::get::<Json>(&key)).map(|value| json!(value))
        }
        (&Method::POST, _) => add_one(&key).map(|count| json!(count)),
        (&Method::DELETE, _) => state::delete(&key).and_then(|()| state::get::<Json>(&key)).map(|value| json!(value)),
        _ => return Ok(http::status(StatusCode::METHOD_NOT_ALLOWED, "GET, PUT, POST, DELETE\n")),
    };
    match answer {
        Ok(answer) => http::json(&answer),
        Err(error) => http::json(&json!({ "kind": format!("{:?}", error.kind()), "reason": error.reason() })),
    }
}
