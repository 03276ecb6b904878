//! In: requests in the words of the WAZIUP cloud. Out: its answers and status codes.
//! Never: decides who may do what (`identity` does), knows how anything is stored.
//!
//! One file per resource, and in each the table of its routes, of which the router and the OpenAPI document are made.
//! `docs/guide/waziup.md` says where we differ from the cloud and why.

mod actuators;
mod answer;
mod auth;
mod command;
mod csv;
mod datapoints;
mod devices;
mod gateways;
mod input;
mod notifications;
mod ontologies;
pub mod openapi;
mod permissions;
mod projects;
mod secrets;
mod sensors;
mod shape;
mod socials;
mod table;
mod users;
mod values;

pub use values::sender_name;

use super::AppState;
use axum::Router;
use table::{LIMIT, Looks, OFFSET, Param, Routes, Says};

/// Everything there is under [`PREFIX`].
pub fn tables() -> Vec<Routes> {
    vec![
        devices::routes(),
        sensors::routes(),
        values::routes(),
        datapoints::routes(),
        actuators::routes(),
        gateways::routes(),
        projects::routes(),
        permissions::routes(),
        ontologies::routes(),
        accounts(),
        secrets(),
        notifications::routes(),
        socials::routes(),
    ]
}

pub const PREFIX: &str = "/api/v2";

pub fn routes() -> Router<AppState> {
    tables().into_iter().fold(Router::new(), |router, table| table.add_to(router))
}

/// What `auth` and `users` serve.
fn accounts() -> Routes {
    const NAMES: Param = Param("username", "those whose name holds this", Looks::Text);
    Routes::of("Users")
        .post(
            "/auth/token",
            auth::token,
            Says::new("A session of ten minutes, for a name and a password, or for one that is still good")
                .takes::<input::Login>()
                .text("the session, for `authorization: Bearer`"),
        )
        .get("/users", users::list, Says::new("Users").query(&[LIMIT, OFFSET, NAMES]).list::<input::User>())
        .post(
            "/users",
            users::create,
            Says::new("Makes a user")
                .takes::<input::User>()
                .text("the name, as JSON")
                .refuses("422", "there is one with this name already"),
        )
        .get("/users/me", users::me, Says::new("Who asks").one::<input::User>())
        .get("/users/{user}", users::show_one, Says::new("A user").one::<input::User>())
        .delete("/users/{user}", users::delete, Says::new("Deletes a user; what she owns stays").done())
        .put(
            "/users/{user}/sms_credit",
            users::set_sms_credit,
            Says::new("How many short messages she may send").takes_scalar(Looks::Number).done(),
        )
        .put(
            "/users/{user}/email",
            users::set_email,
            Says::new("The mail address that she gets messages at; for administrators").takes_scalar(Looks::Text).done(),
        )
        .put(
            "/users/{user}/password",
            users::set_password,
            Says::new("A new password, which ends her sessions").takes::<input::NewPassword>().done(),
        )
}

/// What `secrets` serves.
fn secrets() -> Routes {
    Routes::of("Secrets of devices")
        .get("/devices/{device}/secrets", secrets::list, Says::new("The secrets of a device, without their texts").list::<input::Secret>())
        .post("/devices/{device}/secrets", secrets::create, Says::new("A new secret, shown this once").makes_one::<input::Secret>())
        .delete("/devices/{device}/secrets/{secret}", secrets::revoke, Says::new("Takes a secret away").done())
        .post(
            "/devices/{device}/claim",
            secrets::offer,
            Says::new("A code by which somebody becomes its owner").makes_one::<input::Claim>(),
        )
        .post(
            "/claims",
            secrets::claim,
            Says::new("Becomes the owner of the device that a code is for").takes::<input::Claim>().one::<input::Claim>(),
        )
}
