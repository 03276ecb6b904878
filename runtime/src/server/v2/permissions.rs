//! What somebody may do with what there is.

use super::super::{
    AppState, Problem,
    auth::Asker,
    request::{Params, Path, blocking},
};
use crate::{
    devices::Query,
    identity::{Principal, Resource, ResourceKind, scopes},
    model::{Id, Owned},
};
use axum::{Json, extract::State};
use serde_json::{Value, json};

/// The original lists everything; so does this, for most.
const LIMIT: usize = 10_000;

/// `GET /api/v2/auth/permissions/{kind}?limit&offset`, of `devices`, `projects` or `gateways` that who asks may see.
pub async fn list(State(state): State<AppState>, Asker(who): Asker, path: Path, mut params: Params) -> Result<Json<Value>, Problem> {
    let (limit, offset) = (params.limit(LIMIT, LIMIT)?, params.parse("offset")?.unwrap_or(0));
    params.done()?;
    let kind = path.text("kind").to_owned();
    let listed = blocking(&state, move |state| {
        let registry = &state.registry;
        let page = Page { who: &who, limit, offset };
        Ok(match kind.as_str() {
            "devices" => {
                let devices = registry.list(&who, &Query::all(), limit, offset).0;
                Page { offset: 0, ..page }.show(ResourceKind::Device, devices.iter().map(|device| (&device.id, &device.owned)))
            }
            "gateways" => page.show(ResourceKind::Gateway, registry.gateways(&who).iter().map(|gateway| (&gateway.id, &gateway.owned))),
            "projects" => page.show(ResourceKind::Project, registry.projects(&who).iter().map(|project| (&project.id, &project.owned))),
            other => {
                let what = format!("there are permissions for devices, projects and gateways, and not for `{other}`");
                return Err(Problem::unknown("unknown-route", what));
            }
        })
    });
    listed.await.map(Json)
}

struct Page<'a> {
    who: &'a Principal,
    limit: usize,
    offset: usize,
}

impl Page<'_> {
    fn show<'r>(&self, kind: ResourceKind, all: impl Iterator<Item = (&'r Id, &'r Owned)>) -> Value {
        let page = all.skip(self.offset).take(self.limit);
        page.map(|(id, owned)| json!({ "resource": id, "scopes": scopes(self.who, Resource { kind, id, owned }) })).collect()
    }
}
