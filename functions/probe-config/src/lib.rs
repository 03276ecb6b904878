//! Settings by HTTP: `/?key=greeting` is one of them, `/` all.

use std::collections::BTreeMap;
use tawi::config;
use tawi::http::{self, Request, Response};

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    match http::query(request.uri(), "key") {
        Some(key) => http::json(&config::get::<String>(&key)?),
        None => http::json(&config::all()?.into_iter().collect::<BTreeMap<_, _>>()),
    }
}
