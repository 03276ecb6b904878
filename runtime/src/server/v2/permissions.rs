//! What somebody may do with each thing that there is.

use super::{
    super::{AppState, auth::Asker, request::Params},
    answer::{Answer, end, page, read_large, window_of_permissions},
    table::{LIMIT_PERMISSIONS, OFFSET, Routes, Says},
};
use crate::{
    devices::Query,
    identity::{Principal, Resource, ResourceKind, scopes},
    model::{Id, Owned},
};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

pub fn routes() -> Routes {
    let says = || Says::new("What who asks may do with each").query(&[LIMIT_PERMISSIONS, OFFSET]).list::<Permission>();
    Routes::of("Permissions").get("/auth/permissions/devices", devices, says()).get("/auth/permissions/projects", projects, says()).get(
        "/auth/permissions/gateways",
        gateways,
        says(),
    )
}

#[derive(Serialize, ToSchema)]
pub struct Permission {
    #[schema(value_type = String)]
    resource: Id,
    scopes: Vec<&'static str>,
}

impl Permission {
    fn of(who: &Principal, kind: ResourceKind, id: &Id, owned: &Owned) -> Permission {
        Permission { resource: id.clone(), scopes: scopes(who, Resource { kind, id, owned }) }
    }
}

async fn devices(State(state): State<AppState>, Asker(who): Asker, mut params: Params) -> Answer {
    let (limit, offset) = window_of_permissions(&mut params)?;
    end(params)?;
    read_large(&state, move |state| {
        let (devices, total) = state.registry.list(&who, &Query::all(), limit, offset)?;
        let all = devices.iter().map(|device| Permission::of(&who, ResourceKind::Device, &device.id, &device.owned));
        page(all.map(Ok), total)
    })
    .await
}

async fn projects(State(state): State<AppState>, Asker(who): Asker, mut params: Params) -> Answer {
    let (limit, offset) = window_of_permissions(&mut params)?;
    end(params)?;
    read_large(&state, move |state| {
        let projects = state.registry.projects(&who);
        let shown = projects.iter().skip(offset).take(limit);
        let all = shown.map(|project| Permission::of(&who, ResourceKind::Project, &project.id, &project.owned));
        page(all.map(Ok), projects.len())
    })
    .await
}

async fn gateways(State(state): State<AppState>, Asker(who): Asker, mut params: Params) -> Answer {
    let (limit, offset) = window_of_permissions(&mut params)?;
    end(params)?;
    read_large(&state, move |state| {
        let gateways = state.registry.gateways(&who);
        let shown = gateways.iter().skip(offset).take(limit);
        let all = shown.map(|gateway| Permission::of(&who, ResourceKind::Gateway, &gateway.id, &gateway.owned));
        page(all.map(Ok), gateways.len())
    })
    .await
}
