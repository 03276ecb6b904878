//! Releases of an app, and the way back to one.

use super::{
    AppState, Problem,
    apps::known,
    auth::Caller,
    event::time,
    request::{Path, json},
};
use crate::{clock, identity::Action, model::Release};
use axum::{Json, body::Body, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

/// `GET /api/v1/apps/{app}/releases`: newest first.
pub async fn list(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Inspect(&app))?;
    let releases = state.store.releases(&known(&state, caller.app(app))?);
    let current = releases.last().map(|release| release.number);
    Ok(Json(releases.iter().rev().map(|release| show(release, current == Some(release.number))).collect()))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollback {
    to: Option<u64>,
}

/// `POST /api/v1/apps/{app}/rollback {"to": 3}`: makes a new release of an old one, of the one before without a number.
pub async fn rollback(
    State(state): State<AppState>,
    caller: Caller,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<Json<Value>, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Operate(&app))?;
    let Rollback { to } = json(&headers, from).await?;
    let app = known(&state, caller.app(app))?;
    let to = to.or_else(|| before(&state.store.releases(&app))).ok_or_else(|| {
        Problem::conflict(format!("`{}` has no release to go back to", app.app)).hint("`tawi releases` shows what there is")
    })?;
    let store = state.store.clone();
    let release = tokio::task::spawn_blocking(move || store.rollback(&app, to, clock::now())).await??;
    Ok(Json(show(&release, true)))
}

/// The newest release that holds other code than the current one: twice "back" is not forward again.
fn before(releases: &[std::sync::Arc<Release>]) -> Option<u64> {
    let current = releases.last()?;
    let origin = current.rollback_of.unwrap_or(current.number);
    releases.iter().rev().find(|release| release.rollback_of.is_none() && release.number < origin).map(|release| release.number)
}

fn show(release: &Release, current: bool) -> Value {
    serde_json::json!({
        "number": release.number,
        "current": current,
        "commit": release.commit,
        "summary": release.summary,
        "created": time(release.created),
        "artifact": release.artifact.to_string(),
        "rollback_of": release.rollback_of,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Digest, Manifest, Micros};
    use std::sync::Arc;

    #[test]
    fn back_twice_goes_back_two_releases() {
        let manifest = Manifest::parse("[app]\nname = \"a\"\n[[on]]\nname = \"x\"\nsubject = \"a.b\"\n").unwrap();
        let release = |number, rollback_of| {
            let (artifact, manifest) = (Digest::of(b""), manifest.clone());
            Arc::new(Release { number, artifact, manifest, commit: String::new(), summary: String::new(), created: Micros(0), rollback_of })
        };
        let mut releases = vec![release(1, None)];
        assert_eq!(before(&releases), None);
        releases.extend([release(2, None), release(3, None)]);
        assert_eq!(before(&releases), Some(2));
        releases.push(release(4, Some(2)));
        assert_eq!(before(&releases), Some(1));
        releases.push(release(5, Some(1)));
        assert_eq!(before(&releases), None);
        releases.push(release(6, None));
        assert_eq!(before(&releases), Some(3));
    }
}
