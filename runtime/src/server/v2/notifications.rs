//! Notifications, in the shape of the WAZIUP API.

use super::{
    super::{
        AppState, Problem,
        auth::Asker,
        body,
        request::{Params, Path, blocking, json},
    },
    answer::{end, window},
    input::Notification,
    table::{LIMIT, Looks, OFFSET, Routes, Says},
};
use crate::{
    clock,
    notify::{self, Wish},
};
use axum::{Json, body::Body, extract::State};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

/// `active` or `inactive`, quoted or not.
const STATUS_BYTES_MAX: usize = 64;

pub fn routes() -> Routes {
    Routes::of("Notifications")
        .get("/notifications", list, Says::new("One's own notifications").query(&[LIMIT, OFFSET]).list::<Notification>())
        .post("/notifications", create, Says::new("Makes a notification").takes::<Notification>().text("its id"))
        .get("/notifications/{notification}", show, Says::new("A notification, and how it went").one::<Notification>())
        .patch("/notifications/{notification}", change, Says::new("Changes what is there; the rest stays").takes::<Notification>().done())
        .delete("/notifications/{notification}", delete, Says::new("Deletes a notification").done())
        .put(
            "/notifications/{notification}/status",
            set_status,
            Says::new("Switches it on or off").takes_scalar(Looks::OneOf(&["active", "inactive"])).done(),
        )
}

/// `GET /api/v2/notifications?limit&offset`: one's own, and an administrator's are all.
async fn list(State(state): State<AppState>, Asker(who): Asker, mut params: Params) -> Result<Json<Value>, Problem> {
    let (limit, offset) = window(&mut params)?;
    end(params)?;
    let now = clock::now();
    Ok(Json(state.notify.list(&who).iter().skip(offset).take(limit).map(|one| one.to_json(now)).collect()))
}

/// `POST /api/v2/notifications`: its id, as text.
async fn create(
    State(state): State<AppState>,
    Asker(who): Asker,
    headers: HeaderMap,
    from: Body,
) -> Result<impl axum::response::IntoResponse, Problem> {
    let wish: Wish = json(&headers, from).await?;
    let id = state.notify.create(&who, wish, clock::now()).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain;charset=utf-8")], id.to_string()))
}

/// `GET /api/v2/notifications/{notification}`
async fn show(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<Json<Value>, Problem> {
    let id = path.id("notification")?;
    let found = blocking(&state, move |state| Ok(state.notify.get(&who, &id)?)).await?;
    Ok(Json(found.to_json(clock::now())))
}

/// `PATCH /api/v2/notifications/{notification}`: what is missing stays.
async fn change(
    State(state): State<AppState>,
    Asker(who): Asker,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<StatusCode, Problem> {
    let wish: Wish = json(&headers, from).await?;
    state.notify.change(&who, &path.id("notification")?, wish, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /api/v2/notifications/{notification}/status`: `active` or `inactive`, as text or as a JSON string.
async fn set_status(
    State(state): State<AppState>,
    Asker(who): Asker,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<StatusCode, Problem> {
    let sent = body::whole(&headers, from, STATUS_BYTES_MAX).await?;
    let text = String::from_utf8_lossy(&sent);
    let status = serde_json::from_str::<String>(&text).unwrap_or_else(|_| text.trim().to_owned());
    notify::status(&status)?;
    let wish = Wish { status: Some(status), ..Wish::default() };
    state.notify.change(&who, &path.id("notification")?, wish, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v2/notifications/{notification}`
async fn delete(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<StatusCode, Problem> {
    state.notify.delete(&who, &path.id("notification")?, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
