//! `/api/v2`: what the WAZIUP cloud speaks, and what goes with it.

mod auth;
mod notifications;
mod socials;
mod users;

use super::AppState;
use axum::{
    Router,
    routing::{get, post, put},
};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/auth/token", post(auth::token))
        .route("/users", get(users::list).post(users::create))
        .route("/users/me", get(users::me))
        .route("/users/{user}", get(users::show_one).delete(users::delete))
        .route("/users/{user}/sms_credit", put(users::set_sms_credit))
        .route("/users/{user}/password", put(users::set_password))
        .merge(notifications::routes())
        .merge(socials::routes())
}
