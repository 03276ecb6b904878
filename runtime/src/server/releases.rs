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
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// `GET /api/v1/apps/{app}/releases`: newest first.
pub async fn list(State(state): State<AppState>, caller: Caller, path: Path) -> Result<Json<Value>, Problem> {
    let app = path.id("app")?;
    caller.may(Action::Inspect(&app))?;
    let app = known(&state, caller.app(app))?;
    let releases = state.store.releases(&app);
    let current = releases.last().map(|release| release.number);
    let live = state.reconciler.live(&app);
    let show = |release: &Arc<Release>| show(release, current == Some(release.number), live == Some(release.number));
    Ok(Json(releases.iter().rev().map(show).collect()))
}

/// How long a rollback waits for its release: its code was compiled when it served before.
const LIVE_MAX: Duration = Duration::from_secs(30);

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
    let (store, desired) = (state.store.clone(), app.clone());
    let release = tokio::task::spawn_blocking(move || store.rollback(&desired, to, clock::now())).await??;
    state.reconciler.wait_live(&app, release.number, LIVE_MAX).await.map_err(|why| not_live(&release, &why))?;
    Ok(Json(show(&release, true, true)))
}

/// Made, and yet what served before it still does.
fn not_live(release: &Release, why: &str) -> Problem {
    let detail = format!("release {} is made, but it does not serve: {why}", release.number);
    Problem::new(StatusCode::CONFLICT, "not-live", "The release does not serve", detail).hint("`tawi releases` shows which one does")
}

/// The newest release that holds other code than the current one: twice "back" is not forward again.
fn before(releases: &[Arc<Release>]) -> Option<u64> {
    let current = releases.last()?;
    let origin = current.rollback_of.unwrap_or(current.number);
    releases.iter().rev().find(|release| release.rollback_of.is_none() && release.number < origin).map(|release| release.number)
}

fn show(release: &Release, current: bool, live: bool) -> Value {
    serde_json::json!({
        "number": release.number,
        "current": current,
        "live": live,
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
