//! Messages to users, in the shape of the WAZIUP API, with what became of each.

use super::{
    super::{
        AppState, Problem,
        auth::Asker,
        request::{Params, Path, blocking, json},
    },
    answer::{end, window},
    input::Social as Message,
    table::{LIMIT, OFFSET, Routes, Says},
};
use crate::{
    clock,
    notify::{Letter, Social},
};
use axum::{Json, body::Body, extract::State, response::IntoResponse};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

pub fn routes() -> Routes {
    Routes::of("Socials")
        .get("/socials", list, Says::new("One's own messages, newest first").query(&[LIMIT, OFFSET]).list::<Message>())
        .post("/socials", send, Says::new("Sends a message").takes::<Message>().text("its id"))
        .post("/socials/batch", send_batch, Says::new("Sends a message to several, on several channels").takes::<Message>().done())
        .get("/socials/{social}", show, Says::new("A message, and what became of it").one::<Message>())
        .delete("/socials/{social}", delete, Says::new("Deletes a message").done())
}

/// `GET /api/v2/socials?limit&offset`: one's own, newest first.
async fn list(State(state): State<AppState>, Asker(who): Asker, mut params: Params) -> Result<Json<Value>, Problem> {
    let (limit, offset) = window(&mut params)?;
    end(params)?;
    let found = blocking(&state, move |state| Ok(state.notify.socials(&who, limit, offset)?)).await?;
    Ok(Json(found.iter().map(Social::to_json).collect()))
}

/// `POST /api/v2/socials`: the id of the message, as text, once it is durable. It is sent as soon as it can be.
async fn send(State(state): State<AppState>, Asker(who): Asker, headers: HeaderMap, from: Body) -> Result<impl IntoResponse, Problem> {
    let letter: Letter = json(&headers, from).await?;
    if letter.count() != 1 {
        return Err(Problem::bad_request("one `username` and one `channel`; `/socials/batch` takes several").field("channel"));
    }
    let id = state.notify.send(&who, letter, clock::now()).await?.into_iter().next().map(|social| social.id.to_string());
    Ok(([(header::CONTENT_TYPE, "text/plain;charset=utf-8")], id.unwrap_or_default()))
}

/// `POST /api/v2/socials/batch`: each user on each channel.
async fn send_batch(State(state): State<AppState>, Asker(who): Asker, headers: HeaderMap, from: Body) -> Result<StatusCode, Problem> {
    let letter: Letter = json(&headers, from).await?;
    state.notify.send(&who, letter, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/v2/socials/{social}`
async fn show(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<Json<Value>, Problem> {
    let id = path.id("social")?;
    Ok(Json(blocking(&state, move |state| Ok(state.notify.social(&who, &id)?)).await?.to_json()))
}

/// `DELETE /api/v2/socials/{social}`
async fn delete(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<StatusCode, Problem> {
    state.notify.delete_social(&who, &path.id("social")?, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
