//! `/api/v2`: what the WAZIUP cloud speaks, and what goes with it.

mod auth;
mod notifications;
mod permissions;
mod secrets;
mod socials;
mod users;

use super::AppState;
use axum::{
    Router,
    routing::{delete, get, post, put},
};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/auth/token", post(auth::token))
        .route("/auth/permissions/{kind}", get(permissions::list))
        .route("/devices/{device}/secrets", get(secrets::list).post(secrets::create))
        .route("/devices/{device}/secrets/{secret}", delete(secrets::revoke))
        .route("/devices/{device}/claim", post(secrets::offer))
        .route("/claims", post(secrets::claim))
        .route("/users", get(users::list).post(users::create))
        .route("/users/me", get(users::me))
        .route("/users/{user}", get(users::show_one).delete(users::delete))
        .route("/users/{user}/sms_credit", put(users::set_sms_credit))
        .route("/users/{user}/password", put(users::set_password))
        .merge(notifications::routes())
        .merge(socials::routes())
}
