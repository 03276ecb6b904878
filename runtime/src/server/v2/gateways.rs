//! Gateways: what devices are behind.

use super::{
    super::{
        AppState, Problem,
        auth::Asker,
        request::{Params, Path},
    },
    answer::{Answer, done, end, fresh, json, page, read_large, switch, window_of_all},
    devices::{currents, new_owner, shapes},
    input::{self, NewGateway, Scalar},
    shape::{GatewayShape, LocationShape},
    table::{LIMIT_ALL, Looks, OFFSET, Param, Routes, Says},
};
use crate::{
    clock,
    identity::{Deed, Principal, Resource, ResourceKind, may},
    model::{Device, Gateway, Id, Location, Micros, limit::FULL_DEVICES_MAX},
};
use axum::{body::Body, extract::State};
use http::HeaderMap;
use std::{collections::HashMap, sync::Arc};

/// A gateway that said that it lives within this is taken to be there: it says so each minute, and may miss one or two.
const CONNECTED_SECONDS: i64 = 180;
pub const FULL: Param = Param("full", "with those of its devices that who asks may see", Looks::Yes);

pub fn routes() -> Routes {
    let put = |summary, looks| Says::new(summary).takes_scalar(looks).done();
    Routes::of("Gateways")
        .get("/gateways", list, Says::new("Gateways that who asks may see, by id").query(&[FULL, LIMIT_ALL, OFFSET]).list::<GatewayShape>())
        .post("/gateways", create, Says::new("Registers a gateway").takes::<NewGateway>().makes())
        .get("/gateways/{gateway}", show, Says::new("A gateway").query(&[FULL]).one::<GatewayShape>())
        .delete("/gateways/{gateway}", delete, Says::new("Deletes a gateway; its devices stay").done())
        .put("/gateways/{gateway}/heartbeat", heartbeat, Says::new("It lives").done())
        .put("/gateways/{gateway}/name", set_name, put("Its name", Looks::Text))
        .put("/gateways/{gateway}/owner", set_owner, put("Whose it is", Looks::Text))
        .put("/gateways/{gateway}/visibility", set_visibility, put("Who sees it", Looks::OneOf(&["public", "private"])))
        .put("/gateways/{gateway}/location", set_location, Says::new("Where it is; null: nowhere").takes::<LocationShape>().done())
        .get(
            "/gateways/{gateway}/vpn",
            vpn,
            Says::new("A way into the gateway, which there is not: see the guide").refuses("404", "always"),
        )
}

async fn list(State(state): State<AppState>, Asker(who): Asker, mut params: Params) -> Answer {
    let (full, (limit, offset)) = (switch(&mut params, "full")?, window_of_all(&mut params)?);
    end(params)?;
    read_large(&state, move |state| {
        let gateways = state.registry.gateways(&who);
        let total = gateways.len();
        let shown: Vec<_> = gateways.into_iter().skip(offset).take(limit).collect();
        with_devices(state, &who, &shown, full, |shapes| page(shapes.iter().map(Ok), total))
    })
    .await
}

async fn create(State(state): State<AppState>, Asker(who): Asker, headers: HeaderMap, from: Body) -> Answer {
    let (new, now): (NewGateway, Micros) = (input::json(&headers, from).await?, clock::now());
    state.registry.create_gateway(&who, new.into_gateway(now), now).await?;
    done()
}

async fn show(State(state): State<AppState>, Asker(who): Asker, path: Path, mut params: Params) -> Answer {
    let (id, full) = (path.id("gateway")?, switch(&mut params, "full")?);
    end(params)?;
    read_large(&state, move |state| {
        let gateway = [known(state, &who, &id)?];
        with_devices(state, &who, &gateway, full, |shapes| json(&shapes[0]))
    })
    .await
}

fn known(state: &AppState, who: &Principal, id: &Id) -> Result<Arc<Gateway>, Problem> {
    let unknown = || Problem::unknown("unknown-gateway", format!("there is no gateway `{id}`")).field("gateway");
    let gateway = state.registry.gateway(id).filter(|_| who.tenant() == state.registry.tenant()).ok_or_else(unknown)?;
    match may(who, Deed::View, Resource { kind: ResourceKind::Gateway, id, owned: &gateway.owned }) {
        true => Ok(gateway),
        false => Err(Problem::forbidden(format!("who asks may not see the gateway `{id}`: its owner and administrators may"))),
    }
}

/// Hands on the gateways as they are shown, with their devices where these are wanted.
pub fn with_devices<T>(
    state: &AppState,
    who: &Principal,
    gateways: &[Arc<Gateway>],
    full: bool,
    then: impl FnOnce(Vec<GatewayShape<'_>>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let devices = if full { behind(state, who, gateways)? } else { Vec::new() };
    let currents = currents(state, who, &devices)?;
    let mut by_gateway: HashMap<&Id, Vec<_>> = HashMap::new();
    for (device, shape) in devices.iter().zip(shapes(&devices, &currents)) {
        if let Some(gateway) = &device.gateway_id {
            by_gateway.entry(gateway).or_default().push(shape);
        }
    }
    let now = clock::now();
    let shown = gateways.iter().map(|gateway| {
        let devices = full.then(|| by_gateway.remove(&gateway.id).unwrap_or_default());
        GatewayShape::of(gateway, state.connected.is(gateway) || lives(gateway, now), devices)
    });
    then(shown.collect())
}

/// The devices behind some gateways that somebody may see.
fn behind(state: &AppState, who: &Principal, gateways: &[Arc<Gateway>]) -> Result<Vec<Arc<Device>>, Problem> {
    let devices = state.registry.behind(who, &gateways.iter().map(|gateway| gateway.id.clone()).collect::<Vec<_>>(), FULL_DEVICES_MAX + 1);
    if devices.len() > FULL_DEVICES_MAX {
        let why = format!(
            "more than {FULL_DEVICES_MAX} devices are behind these gateways: ask for fewer of them with `limit`, or for devices with `q`"
        );
        return Err(Problem::bad_request(why).field("full"));
    }
    Ok(devices)
}

fn lives(gateway: &Gateway, now: Micros) -> bool {
    gateway.heartbeat.is_some_and(|last| now.0.saturating_sub(last.0) <= CONNECTED_SECONDS * Micros::SECOND)
}

async fn delete(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    fresh(&state).await?;
    state.registry.delete_gateway(&who, &path.id("gateway")?, clock::now()).await?;
    done()
}

async fn heartbeat(State(state): State<AppState>, asker: Asker, path: Path) -> Answer {
    let now = clock::now();
    change(&state, asker, &path, |gateway| gateway.heartbeat = Some(now)).await
}

async fn set_name(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let name = Scalar::read(&headers, from).await?.text("name")?;
    change(&state, asker, &path, |gateway| gateway.name = name.clone()).await
}

async fn set_owner(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let owner = Scalar::read(&headers, from).await?.id("owner")?;
    let owner = new_owner(&state, &asker.0, owner)?;
    change(&state, asker, &path, |gateway| gateway.owned.owner = owner.clone()).await
}

async fn set_visibility(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let visibility = Scalar::read(&headers, from).await?.visibility()?;
    change(&state, asker, &path, |gateway| gateway.owned.visibility = visibility).await
}

async fn set_location(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let location: Option<Location> = Scalar::read(&headers, from).await?.shape("location")?;
    change(&state, asker, &path, |gateway| gateway.location = location).await
}

async fn change(state: &AppState, asker: Asker, path: &Path, mut change: impl FnMut(&mut Gateway) + Send) -> Answer {
    let id = path.id("gateway")?;
    fresh(state).await?;
    let changed = state.registry.update_gateway(&asker.0, &id, clock::now(), |gateway| {
        change(gateway);
        Ok(())
    });
    changed.await?;
    done()
}

/// `GET /gateways/{gateway}/vpn`
async fn vpn(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    let id = path.id("gateway")?;
    known(&state, &who, &id)?;
    let hint = "gateways reach the node, by HTTP or MQTT, and the node never has to reach them";
    Err(Problem::unknown("no-vpn", format!("there is no VPN to the gateway `{id}`, and none to any other")).hint(hint))
}
