//! In: requests in the words of the WAZIUP cloud. Out: its answers and status codes.
//! Never: decides who may do what (`identity` does), knows how anything is stored.
//!
//! One file per resource, and in each the table of its routes, of which the router and the OpenAPI document are made.
//! `docs/guide/waziup.md` says where we differ from the cloud and why.

mod actuators;
mod answer;
mod command;
mod csv;
mod datapoints;
mod devices;
mod gateways;
mod input;
mod ontologies;
pub mod openapi;
mod permissions;
mod projects;
mod sensors;
mod shape;
mod table;
mod values;

use super::AppState;
use axum::Router;
use table::Routes;

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
    ]
}

pub const PREFIX: &str = "/api/v2";

pub fn routes() -> Router<AppState> {
    tables().into_iter().fold(Router::new(), |router, table| table.add_to(router))
}
