//! Logging in.

use super::super::{AppState, Problem, auth::Credentials, request::json};
use crate::clock;
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Login {
    username: Option<String>,
    password: Option<String>,
}

/// `POST /api/v2/auth/token {"username", "password"}`: a session, as text or as a JSON string. Without a body: another one for who sends a session
/// that is still good as its bearer.
pub async fn token(State(state): State<AppState>, headers: HeaderMap, from: Body) -> Result<Response, Problem> {
    let login: Login = json(&headers, from).await?;
    let now = clock::now();
    let missing = |field: &'static str| Problem::bad_request(format!("`{field}` is missing")).field(field);
    let session = match (login.username, login.password) {
        (Some(name), Some(password)) => state.identify.begin(&name, &password, now).await?,
        (Some(_), None) => return Err(missing("password")),
        (None, Some(_)) => return Err(missing("username")),
        (None, None) => match Credentials::of(&headers)? {
            Credentials::Bearer(session) => state.identify.renew(&session, now)?,
            Credentials::Pair(name, password) => state.identify.begin(&name, &password, now).await?,
            Credentials::None => return Err(missing("username")),
        },
    };
    Ok(answer(&headers, session))
}

fn answer(headers: &HeaderMap, session: String) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    // Text unless JSON is all that is wanted: clients send both, in any order.
    match accepts.contains("application/json") && !accepts.contains("text/plain") && !accepts.contains("*/*") {
        true => (no_store, Json(session)).into_response(),
        false => (no_store, [(header::CONTENT_TYPE, "text/plain;charset=utf-8")], session).into_response(),
    }
}
