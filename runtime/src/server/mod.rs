//! In: HTTP requests. Out: answers, problems, streams.
//! Never: keeps state of its own, runs a function, decides who may do what (`identity` does).
//!
//! One file per resource. Every handler names the action it needs; `docs/guide/api.md` lists the routes.

mod apps;
pub mod archive;
pub mod auth;
mod backup;
mod body;
mod clean;
mod dead;
mod event;
mod functions;
mod health;
mod history;
mod lag;
pub mod listen;
mod logs;
mod metrics;
mod observe;
mod problem;
mod problems;
mod readings;
mod redeploy;
mod releases;
mod replay;
mod replays;
mod request;
pub mod run;
mod runs;
mod sensors;
mod settings;
mod sources;
mod state;
mod subscribe;
mod tail;
mod tokens;
mod uplinks;
mod v2;
mod weight;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use problem::Problem;
pub use redeploy::Progress;

use crate::{
    config::NodeConfig,
    deploy::{Reconciler, Store},
    devices::{Connected, Devices, Registry},
    dispatch::Dispatch,
    history::History,
    identity::{Identify, Tokens},
    ingest::Ingest,
    ledger::Ledger,
    model::AppId,
    notify::Notify,
    replay::Replays,
    sources::Sources,
    telemetry::Metrics,
};
use axum::{
    Router, middleware,
    routing::{delete, get, post, put},
};
use futures::{future::BoxFuture, stream::BoxStream};
use std::{ops::Deref, sync::Arc, time::Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Builds what was pushed last, again; what it says, and how it ends.
pub type Redeploy = Arc<dyn Fn(AppId) -> BoxStream<'static, Progress> + Send + Sync>;
/// Forgets an app's repository and build cache.
pub type ForgetSource = Arc<dyn Fn(AppId) -> BoxFuture<'static, std::io::Result<()>> + Send + Sync>;
/// Sees to it that rules of pre-processing which changed are at work.
pub type RulesChanged = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;
/// What keeps the node from being ready, in words; empty: it is.
pub type Unready = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Everything the doors lead to; made by `node.rs`.
pub struct Rooms {
    pub config: NodeConfig,
    /// How others reach the node, without a slash at the end.
    pub url: String,
    pub started: Instant,
    pub ledger: Ledger,
    pub history: History,
    pub devices: Devices,
    pub registry: Registry,
    pub connected: Connected,
    pub store: Store,
    pub dispatch: Arc<Dispatch>,
    pub reconciler: Arc<Reconciler>,
    pub tokens: Tokens,
    pub identify: Identify,
    pub notify: Notify,
    pub sources: Sources,
    pub replays: Replays,
    pub ingest: Ingest,
    pub metrics: Metrics,
    pub redeploy: Redeploy,
    pub forget_source: ForgetSource,
    pub rules_changed: RulesChanged,
    pub unready: Unready,
    /// Ends the streams, so that a shutdown does not wait for who only listens.
    pub stopping: CancellationToken,
}

/// Streams at a time: each holds a socket and reads the log as often as it grows.
const STREAMS_MAX: usize = 1_000;

/// What handlers share: the rooms, and how much may go on at once.
#[derive(Clone)]
pub struct AppState {
    rooms: Arc<Rooms>,
    streams: Arc<Semaphore>,
    bodies: body::Room,
    answers: weight::Room,
}

impl Deref for AppState {
    type Target = Rooms;
    fn deref(&self) -> &Rooms {
        &self.rooms
    }
}

/// All routes of the API. What is merged with it before [`observed`] is measured as it is (`/git`). Requests to functions pass neither:
/// `door` takes them out before, and they are counted and timed as calls, by function (`dispatch::App::http_stats`).
pub fn router(rooms: Arc<Rooms>) -> Router {
    let state =
        AppState { rooms, streams: Arc::new(Semaphore::new(STREAMS_MAX)), bodies: body::Room::default(), answers: weight::Room::default() };
    Router::new()
        .nest("/api/v1", v1())
        .nest(v2::PREFIX, v2::routes())
        .route("/docs", get(v2::openapi::page))
        .route("/docs/openapi.json", get(v2::openapi::json))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::page))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(state)
}

/// Counts and times every request by its route.
pub fn observed(router: Router, metrics: Metrics) -> Router {
    router.layer(middleware::from_fn_with_state(metrics, observe::observe))
}

/// Tawi's own interface.
fn v1() -> Router<AppState> {
    Router::new()
        .route("/status", get(health::status))
        .route("/readings", post(readings::batch))
        .route("/sensors", get(sensors::select))
        .route("/clean", get(clean::list))
        .route("/clean/{name}", get(clean::show).put(clean::put).delete(clean::remove))
        .route("/senml", post(readings::senml))
        .route("/devices/{device}/uplink", post(uplinks::raw))
        .route("/uplinks/chirpstack", post(uplinks::chirpstack))
        .route("/uplinks/ttn", post(uplinks::ttn))
        .route("/history", get(history::search))
        .route("/history/count", get(history::count))
        .route("/runs", get(runs::search))
        .route("/runs/count", get(runs::count))
        .route("/subscribe", get(subscribe::subscribe))
        .route("/dead", get(dead::list))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{token}", delete(tokens::revoke))
        .route("/backup", get(backup::backup))
        .route("/apps", get(apps::list))
        .route("/sources/{app}/{source}", post(sources::deliver))
        .nest("/apps/{app}", app())
}

fn app() -> Router<AppState> {
    Router::new()
        .route("/", get(apps::show).delete(apps::delete))
        .route("/owner", put(apps::set_owner))
        .route("/releases", get(releases::list))
        .route("/rollback", post(releases::rollback))
        .route("/replay", post(replay::replay))
        .route("/replays", get(replays::list).post(replays::start))
        .route("/replays/{replay}", get(replays::show).delete(replays::forget))
        .route("/replays/{replay}/output", get(replays::output))
        .route("/redeploy", post(redeploy::redeploy))
        .route("/sources", get(sources::list))
        .route("/functions", get(functions::list))
        .route("/functions/{function}/resume", post(lag::resume))
        .route("/functions/{function}/lost", delete(lag::forget))
        .route("/logs", get(logs::logs))
        .route("/state", get(state::list))
        .route("/state/{*key}", get(state::get))
        .route("/config", get(settings::list_config))
        .route("/config/{key}", put(settings::set_config).delete(settings::unset_config))
        .route("/secrets", get(settings::list_secrets))
        .route("/secrets/{key}", put(settings::set_secret).delete(settings::unset_secret))
        .route("/dead/{function}/{sequence}", get(dead::show).delete(dead::drop_letter))
        .route("/dead/{function}/{sequence}/replay", post(dead::replay))
}

async fn no_route(uri: http::Uri) -> Problem {
    Problem::unknown("unknown-route", format!("there is nothing at `{}`", uri.path()))
}

async fn no_method(method: http::Method, uri: http::Uri) -> Problem {
    let detail = format!("`{}` can't be asked with {method}", uri.path());
    Problem::new(http::StatusCode::METHOD_NOT_ALLOWED, "method", "The method does not fit", detail)
}
