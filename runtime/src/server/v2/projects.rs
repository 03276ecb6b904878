//! Projects: devices and gateways that somebody works with together.

use super::{
    super::{
        AppState, Problem,
        auth::Asker,
        request::{Params, Path},
    },
    answer::{Answer, done, end, fresh, json, page, read_large, switch, window_of_all},
    devices::{currents, new_owner, shapes},
    gateways::{FULL, with_devices},
    input::{self, NewProject, Scalar},
    shape::ProjectShape,
    table::{LIMIT_ALL, Looks, OFFSET, Routes, Says},
};
use crate::{
    clock,
    devices::RegistryError,
    identity::{Deed, Principal, Resource, ResourceKind, may},
    model::{Device, Gateway, Id, Micros, Project, limit::FULL_DEVICES_MAX},
};
use axum::{body::Body, extract::State};
use http::HeaderMap;
use std::sync::Arc;

pub fn routes() -> Routes {
    let put = |summary, looks| Says::new(summary).takes_scalar(looks).done();
    Routes::of("Projects")
        .get("/projects", list, Says::new("Projects that who asks may see, by id").query(&[FULL, LIMIT_ALL, OFFSET]).list::<ProjectShape>())
        .post("/projects", create, Says::new("Makes a project").takes::<NewProject>().makes())
        .get("/projects/{project}", show, Says::new("A project").query(&[FULL]).one::<ProjectShape>())
        .delete("/projects/{project}", delete, Says::new("Deletes a project; what is in it stays").done())
        .put("/projects/{project}/name", set_name, put("Its name", Looks::Text))
        .put("/projects/{project}/owner", set_owner, put("Whose it is", Looks::Text))
        .put("/projects/{project}/visibility", set_visibility, put("Who sees it", Looks::OneOf(&["public", "private"])))
        .put("/projects/{project}/device_ids", set_devices, Says::new("The devices in it").takes_list::<String>().done())
        .put("/projects/{project}/gateway_ids", set_gateways, Says::new("The gateways in it").takes_list::<String>().done())
}

async fn list(State(state): State<AppState>, Asker(who): Asker, mut params: Params) -> Answer {
    let (full, (limit, offset)) = (switch(&mut params, "full")?, window_of_all(&mut params)?);
    end(params)?;
    read_large(&state, move |state| {
        let projects = state.registry.projects(&who);
        let total = projects.len();
        let shown = projects.iter().skip(offset).take(limit);
        if !full {
            return page(shown.map(|project| Ok(ProjectShape::of(project))), total);
        }
        let mut room = FULL_DEVICES_MAX;
        page(shown.map(|project| Contents::of(state, &who, project, &mut room)?.json(state, &who, project)), total)
    })
    .await
}

async fn show(State(state): State<AppState>, Asker(who): Asker, path: Path, mut params: Params) -> Answer {
    let (id, full) = (path.id("project")?, switch(&mut params, "full")?);
    end(params)?;
    read_large(&state, move |state| {
        let project = known(state, &who, &id)?;
        if !full {
            return json(&ProjectShape::of(&project));
        }
        let mut room = FULL_DEVICES_MAX;
        json(&Contents::of(state, &who, &project, &mut room)?.json(state, &who, &project)?)
    })
    .await
}

fn known(state: &AppState, who: &Principal, id: &Id) -> Result<Arc<Project>, Problem> {
    let unknown = || Problem::unknown("unknown-project", format!("there is no project `{id}`")).field("project");
    let project = state.registry.project(id).filter(|_| who.tenant() == state.registry.tenant()).ok_or_else(unknown)?;
    match may(who, Deed::View, Resource { kind: ResourceKind::Project, id, owned: &project.owned }) {
        true => Ok(project),
        false => Err(Problem::forbidden(format!("who asks may not see the project `{id}`: its owner and administrators may"))),
    }
}

/// What of a project somebody may see.
struct Contents {
    devices: Vec<Arc<Device>>,
    gateways: Vec<Arc<Gateway>>,
}

impl Contents {
    /// `room`: how many more may be in the answer.
    fn of(state: &AppState, who: &Principal, project: &Project, room: &mut usize) -> Result<Contents, Problem> {
        let devices: Vec<_> =
            project.device_ids.iter().filter_map(|id| state.registry.device_for(who, Deed::View, id).ok()).take(*room + 1).collect();
        let sees =
            |gateway: &Arc<Gateway>| may(who, Deed::View, Resource { kind: ResourceKind::Gateway, id: &gateway.id, owned: &gateway.owned });
        let gateways: Vec<_> =
            project.gateway_ids.iter().filter_map(|id| state.registry.gateway(id)).filter(sees).take(*room + 1).collect();
        let Some(left) = room.checked_sub(devices.len().max(gateways.len())) else {
            let why = format!("more than {FULL_DEVICES_MAX} devices are in these projects: ask for fewer of them with `limit`");
            return Err(Problem::bad_request(why).field("full"));
        };
        *room = left;
        Ok(Contents { devices, gateways })
    }

    fn json(&self, state: &AppState, who: &Principal, project: &Project) -> Result<serde_json::Value, Problem> {
        let currents = currents(state, who, &self.devices)?;
        with_devices(state, who, &self.gateways, false, |gateways| {
            let shape =
                ProjectShape { devices: Some(shapes(&self.devices, &currents)), gateways: Some(gateways), ..ProjectShape::of(project) };
            serde_json::to_value(&shape).map_err(|error| Problem::internal(&error))
        })
    }
}

async fn create(State(state): State<AppState>, Asker(who): Asker, headers: HeaderMap, from: Body) -> Answer {
    let (new, now): (NewProject, Micros) = (input::json(&headers, from).await?, clock::now());
    state.registry.create_project(&who, new.into_project(now), now).await?;
    done()
}

async fn delete(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Answer {
    fresh(&state).await?;
    state.registry.delete_project(&who, &path.id("project")?, clock::now()).await?;
    done()
}

async fn set_name(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let name = Scalar::read(&headers, from).await?.text("name")?;
    let name = name.ok_or_else(|| Problem::bad_request("a project has a name").field("name"))?;
    change(&state, asker, &path, |project| project.name = name.clone()).await
}

async fn set_owner(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let owner = Scalar::read(&headers, from).await?.id("owner")?;
    let owner = new_owner(&state, &asker.0, owner)?;
    change(&state, asker, &path, |project| project.owned.owner = owner.clone()).await
}

async fn set_visibility(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let visibility = Scalar::read(&headers, from).await?.visibility()?;
    change(&state, asker, &path, |project| project.owned.visibility = visibility).await
}

async fn set_devices(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let ids: Vec<Id> = Scalar::read(&headers, from).await?.shape("device_ids")?.unwrap_or_default();
    change(&state, asker, &path, |project| project.device_ids = ids.clone()).await
}

async fn set_gateways(State(state): State<AppState>, asker: Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let ids: Vec<Id> = Scalar::read(&headers, from).await?.shape("gateway_ids")?.unwrap_or_default();
    change(&state, asker, &path, |project| project.gateway_ids = ids.clone()).await
}

async fn change(state: &AppState, asker: Asker, path: &Path, mut change: impl FnMut(&mut Project) + Send) -> Answer {
    let id = path.id("project")?;
    fresh(state).await?;
    let changed = state.registry.update_project(&asker.0, &id, clock::now(), |project| {
        change(project);
        Ok::<(), RegistryError>(())
    });
    changed.await?;
    done()
}
