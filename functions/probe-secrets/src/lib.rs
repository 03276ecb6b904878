//! A secret by HTTP: `/API_KEY`. Only a probe shows one.

use tawi::http::{self, Request, Response};
use tawi::{json, secrets};

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    match secrets::get(request.uri().path().trim_start_matches('/')) {
        Ok(secret) => http::json(&json!({ "secret": secret })),
        Err(error) => http::json(&json!({ "kind": format!("{:?}", error.kind()), "reason": error.reason() })),
    }
}
