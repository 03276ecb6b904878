//! The API asked in the process, on a real ledger in a folder of its own.

mod apps;
mod backup;
mod clean;
mod ingest;
mod lag;
mod live;
mod notify;
mod replays;
mod runs;
mod uplinks;
mod users;
mod v2;
mod who;

use super::{Progress, Rooms, observed, router};
use crate::{
    config::NodeConfig,
    deploy::{Reconciler, Store},
    devices::{Devices, Registry},
    dispatch::Dispatch,
    engine::{Engine, EngineOptions},
    history::{History, HistoryOptions},
    identity::{Identify, Role, Tokens},
    ingest::Ingest,
    ledger::{Ledger, LedgerConfig, LedgerOptions},
    model::{AppId, Id, Micros, id::default_tenant},
    notify::{Channels, Lookup, Notify, Pace},
    records::{Records, Space},
    replay::{Parts, Replays},
    sources::Sources,
    telemetry::Metrics,
};
use axum::{Router, body::Body};
use futures::{FutureExt, StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// While there is a file of this name, no source can be forgotten.
pub const STUCK: &str = "stuck";

/// Notifications that know no device and no user.
fn notify_alone(ledger: &Ledger) -> Notify {
    let lookup = Lookup { registered: Arc::new(|_| None), person: Arc::new(|_| None), current: Arc::new(|_, _, _| None) };
    Notify::open(ledger.clone(), &default_tenant(), lookup, Channels::default(), Pace::default()).unwrap()
}

/// A node's rooms behind its API.
pub struct Node {
    pub dir: TempDir,
    pub rooms: Arc<Rooms>,
    router: Router,
    pub admin: String,
}

impl Node {
    pub async fn start() -> Node {
        Node::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut NodeConfig)) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let mut config = NodeConfig::new(dir.path());
        change(&mut config);
        let ledger = LedgerConfig::Embedded { dir: config.ledger_dir(), options: LedgerOptions::default() };
        let ledger = Ledger::open(&ledger).await.unwrap();
        let history =
            History::open(&config.history_dir(), HistoryOptions { commit_interval: Duration::ZERO, ..HistoryOptions::default() }).unwrap();
        let devices = Devices::open(&config.devices_dir()).unwrap();
        let registry = Registry::open(ledger.clone(), devices.clone(), &config.tenant).unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        let admin = tokens.first_admin(&default_tenant(), Micros(1)).unwrap().unwrap();
        let records = Records::new(ledger.clone(), &default_tenant(), Space::Identity);
        let identify = Identify::new(records, tokens.clone(), &[1; 32], &default_tenant(), config.guests).unwrap();
        let notify = notify_alone(&ledger);
        let metrics = Metrics::new();
        let ingest = Ingest::new(ledger.clone(), registry.clone(), metrics.clone(), config.auto_register);
        let engine = Engine::open(&EngineOptions { instances_max: 2, ..EngineOptions::default() }).unwrap();
        let no_history = Arc::new(|_, _| async { Err("no history here".to_owned()) }.boxed());
        let store = Store::open(dir.path()).unwrap();
        let dispatch = Arc::new(Dispatch::new(engine.clone(), ledger.clone(), no_history));
        let sources = Sources::new(ledger.clone(), &default_tenant(), store.clone(), registry.clone(), ingest.clone());
        let stuck = dir.path().join(STUCK);
        let reconciler = Arc::new(Reconciler::new(store.clone(), engine, dispatch.clone()));
        let parts = Parts {
            ledger: ledger.clone(),
            history: history.clone(),
            dispatch: dispatch.clone(),
            store: store.clone(),
            reconciler: reconciler.clone(),
            disk_free_bytes_min: 0,
        };
        let rooms = Arc::new(Rooms {
            url: "http://node".to_owned(),
            started: Instant::now(),
            reconciler,
            replays: Replays::open(&dir.path().join("replays"), parts).unwrap(),
            store,
            dispatch,
            ingest,
            sources,
            redeploy: Arc::new(|_| stream::iter([Progress::Line("building".into()), Progress::Error("no source".into())]).boxed()),
            forget_source: Arc::new(move |_| {
                let is_stuck = stuck.exists();
                async move { if is_stuck { Err(std::io::Error::other("stuck")) } else { Ok(()) } }.boxed()
            }),
            rules_changed: Arc::new(|| async {}.boxed()),
            unready: Arc::new(Vec::new),
            stopping: CancellationToken::new(),
            config,
            ledger,
            history,
            devices,
            registry,
            connected: Default::default(),
            tokens,
            identify,
            notify,
            metrics: metrics.clone(),
        });
        Node { dir, router: observed(router(rooms.clone()), metrics), rooms, admin }
    }

    /// A token with this role.
    pub fn token(&self, role: Role) -> String {
        self.rooms.tokens.create(&default_tenant(), "test", role, Micros(1)).unwrap().1
    }

    pub fn app(&self, name: &str) -> AppId {
        AppId::new(default_tenant(), Id::new(name).unwrap())
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// A request of the admin's, answered whole.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_as(&self.admin, method, path, &[], body).await
    }

    pub async fn ask_as(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, body) = self.send(request.body(Body::from(body.to_owned())).unwrap()).await.into_parts();
        Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    }

    /// Lets history take everything that is in the log.
    pub fn index(&self) {
        let events = self.rooms.ledger.events(self.rooms.history.next(), usize::MAX, usize::MAX).unwrap();
        self.rooms.history.index(&events).unwrap();
        self.rooms.history.commit().unwrap();
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn is(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A problem with this status; its name and field.
    #[track_caller]
    pub fn problem(self, status: u16) -> (String, String) {
        let answer = self.is(status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        (text("type").trim_start_matches("urn:tawi:problem:").to_owned(), text("field"))
    }
}
