//! The composition root: the only file that knows every room. `open` binds and reads, `run` owns the loop and its end.

use crate::{
    clock,
    config::{LedgerChoice, NodeConfig},
    deploy::{Reconciler, Store, StoreError, orphans},
    devices::{Connected, Devices, DevicesError, Registry, RegistryError},
    dispatch::{Dispatch, Fits, HistorySource},
    engine::{Engine, EngineError, EngineOptions},
    history::{History, HistoryError, HistoryOptions, Query},
    host::{HistoryPage, HistoryQuery, NodeSecret},
    identity::{AccountError, Identify, IdentityError, Principal, Tokens, node_secret},
    ingest::{Codecs, Ingest},
    ledger::{Cleaner, JetstreamOptions, Ledger, LedgerConfig, LedgerError, LedgerOptions},
    model::{AppId, Id, Kind, Tenant},
    notify::{Notify, NotifyError},
    records::{Records, Space},
    replay::{Parts, Replays},
    server::{
        self, ForgetSource, Redeploy, Rooms,
        listen::Doorway,
        run::{Doors, Runs},
    },
    shutdown::Tasks,
    sources::Sources,
    telemetry::Metrics,
};
use axum::Router;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod around;
mod derive;
mod eyes;
mod mqtt;
mod upkeep;
use derive::Deriver;
use upkeep::Upkeep;

pub use eyes::Owners;

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("can't {doing} `{path}`")]
    Folder { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("another node uses `{0}`; stop it, or choose another folder with --data")]
    InUse(PathBuf),
    #[error("can't listen on {addr}; is another node running there? --listen chooses another address")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error("can't listen for MQTT on {addr}; does a broker run there? --mqtt chooses another address, --no-mqtt does without")]
    ListenMqtt { addr: SocketAddr, source: std::io::Error },
    #[error("can't open TLS for MQTT")]
    MqttTls(#[from] crate::ingest::mqtt::TlsError),
    #[error("can't open the ledger")]
    Ledger(#[from] LedgerError),
    #[error("can't open the engine")]
    Engine(#[from] EngineError),
    #[error("can't open the releases")]
    Store(#[from] StoreError),
    #[error("can't open the history")]
    History(#[from] HistoryError),
    #[error("can't open the devices")]
    Devices(#[from] DevicesError),
    #[error("can't read what is registered")]
    Registry(#[from] RegistryError),
    #[error("can't open the node's tokens and secret")]
    Identity(#[from] IdentityError),
    #[error("can't open the users")]
    Users(#[from] AccountError),
    #[error("can't open the replays")]
    Replays(#[from] crate::replay::Failure),
    #[error("can't open the notifications")]
    Notify(#[from] NotifyError),
    #[error("can't set up the mail of notifications (`[smtp]`): {0}")]
    Smtp(String),
}

/// A node with everything open and nothing running.
pub struct Node {
    pub config: NodeConfig,
    pub ledger: Ledger,
    pub engine: Engine,
    pub store: Store,
    pub dispatch: Arc<Dispatch>,
    pub reconciler: Arc<Reconciler>,
    deriver: Arc<Deriver>,
    pub history: History,
    pub devices: Devices,
    pub registry: Registry,
    pub connected: Connected,
    pub tokens: Tokens,
    pub identify: Identify,
    pub notify: Notify,
    pub sources: Sources,
    pub replays: Replays,
    pub ingest: Ingest,
    pub metrics: Metrics,
    /// The first admin token, shown once; none when there is one already.
    pub first_token: Option<String>,
    /// The first administrator's name and password, shown once; none when there are users already.
    pub first_user: Option<(Id, String)>,
    /// Cancelled when the node begins to stop: long answers end then.
    pub stopping: CancellationToken,
    listener: TcpListener,
    addr: SocketAddr,
    mqtt: mqtt::Bound,
    _lock: std::fs::File,
}

/// How long requests that run may take to end when the node stops.
const DRAIN: Duration = Duration::from_secs(10);

impl Node {
    /// Binds the port and opens every room of the config. Nothing runs yet.
    pub async fn open(config: NodeConfig) -> Result<Node, NodeError> {
        let lock = lock(&config)?;
        server::listen::allow_many_files();
        let addr = config.listen;
        let listener = TcpListener::bind(addr).await.map_err(|source| NodeError::Listen { addr, source })?;
        let addr = listener.local_addr().map_err(|source| NodeError::Listen { addr, source })?;
        let mqtt = mqtt::bind(&config.mqtt).await?;
        let tokens = Tokens::open(&config.data)?;
        let first_token = match config.new_admin_token {
            true => Some(tokens.create(&config.tenant, "admin (made at start)", crate::identity::Role::Admin, clock::now())?.1),
            false => tokens.first_admin(&config.tenant, clock::now())?,
        };
        let cleaner = Cleaner::default();
        let ledger = Ledger::open(&ledger_config(&config, &cleaner)).await?;
        let secret = node_secret(&config.data)?;
        let records = Records::new(ledger.clone(), &config.tenant, Space::Identity);
        let identify = Identify::new(records, tokens.clone(), &secret, &config.tenant, config.guests)?;
        let first_user = identify.users.first_admin(clock::now()).await?;
        let history = History::open(&config.history_dir(), HistoryOptions::default())?;
        let devices = Devices::open(&config.devices_dir())?;
        let registry = Registry::open(ledger.clone(), devices.clone(), &config.tenant)?;
        registry.know(around::people(&identify, &config.tenant));
        let notify = around::notify(&config, &ledger, &devices, &registry, &identify)?;
        let engine = Engine::open(&EngineOptions {
            instances_max: u32::try_from(config.limits.calls_max).unwrap_or(u32::MAX),
            guest_memory_bytes_max: config.limits.guest_memory_bytes_max,
            secret: NodeSecret::new(secret),
        })?;
        let store = Store::open(&config.data)?;
        let owners = Owners { registry: registry.clone(), devices: devices.clone(), users: identify.users.clone(), ledger: ledger.clone() };
        let (history_of, fits) = (history_source(history.clone(), owners.clone()), fits(registry.clone()));
        let dispatch = Arc::new(Dispatch::seeing(engine.clone(), ledger.clone(), history_of, fits, owners.sight()));
        let deriver = Arc::new(Deriver {
            tenant: config.tenant.clone(),
            registry: registry.clone(),
            devices: devices.clone(),
            ledger: ledger.clone(),
            dispatch: dispatch.clone(),
            turn: Default::default(),
        });
        let reconciler = Arc::new(
            Reconciler::new(store.clone(), engine.clone(), dispatch.clone()).with_rules(around::set_rules(&registry, &deriver.changed())),
        );
        let (metrics, stopping) = (Metrics::new(), CancellationToken::new());
        let ingest = Ingest::new(ledger.clone(), registry.clone(), metrics.clone(), config.auto_register).with_codecs(codecs(&dispatch));
        cleaner.set(ingest.cleaner());
        let sources = Sources::new(ledger.clone(), &config.tenant, store.clone(), registry.clone(), ingest.clone());
        let parts = Parts {
            ledger: ledger.clone(),
            history: history.clone(),
            dispatch: dispatch.clone(),
            store: store.clone(),
            reconciler: reconciler.clone(),
            disk_free_bytes_min: config.limits.disk_free_bytes_min,
        };
        let replays = Replays::open(&config.data.join("replays"), parts)?;
        Ok(Node {
            config,
            ledger,
            engine,
            store,
            dispatch,
            reconciler,
            deriver,
            history,
            devices,
            registry,
            connected: Connected::default(),
            tokens,
            identify,
            notify,
            sources,
            replays,
            ingest,
            metrics,
            first_token,
            first_user,
            stopping,
            listener,
            addr,
            mqtt,
            _lock: lock,
        })
    }

    /// Where the node listens: the port is the real one when the config said 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the node listens for MQTT, if it does.
    pub fn mqtt_addr(&self) -> Option<SocketAddr> {
        self.mqtt.addr
    }

    /// How others reach it, without a slash at the end.
    pub fn url(&self) -> String {
        // Every address is no address that anybody can ask.
        let here = match self.addr.ip().is_unspecified() {
            true => SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, self.addr.port())),
            false => self.addr,
        };
        self.config.public_url.clone().unwrap_or_else(|| format!("http://{here}")).trim_end_matches('/').to_owned()
    }

    /// What the API works on. `redeploy` and `forget_source` are the builder's.
    pub fn rooms(&self, redeploy: Redeploy, forget_source: ForgetSource) -> Arc<Rooms> {
        let (reconciler, engine, ledger) = (self.reconciler.clone(), self.engine.clone(), self.ledger.clone());
        let standings = [self.history.standing(), self.devices.standing(), self.notify.standing()];
        let projections: Vec<_> = ["history", "devices", "notify"].into_iter().zip(standings.map(Clone::clone)).collect();
        let unready = move || {
            let reasons = [
                (!reconciler.is_ready(), "the apps are not loaded yet"),
                (!engine.is_ticking(), "the thread that ends endless functions has stopped; restart the node"),
                (ledger.version(&probe()).is_err(), "the ledger can't be read"),
                (!ledger.is_connected(), "the NATS server that holds the ledger is away; the node goes on when it is back"),
            ];
            let reasons = reasons.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reason)| reason.to_owned());
            let troubles = projections.iter().filter_map(|(name, standing)| Some((name, standing.trouble()?)));
            let troubles = troubles.map(|(name, why)| format!("the projection `{name}` does not follow the log, and tries again: {why}"));
            reasons.chain(troubles).collect()
        };
        Arc::new(Rooms {
            config: self.config.clone(),
            url: self.url(),
            started: Instant::now(),
            ledger: self.ledger.clone(),
            history: self.history.clone(),
            devices: self.devices.clone(),
            registry: self.registry.clone(),
            connected: self.connected.clone(),
            store: self.store.clone(),
            dispatch: self.dispatch.clone(),
            reconciler: self.reconciler.clone(),
            tokens: self.tokens.clone(),
            identify: self.identify.clone(),
            notify: self.notify.clone(),
            sources: self.sources.clone(),
            replays: self.replays.clone(),
            ingest: self.ingest.clone(),
            metrics: self.metrics.clone(),
            redeploy,
            forget_source,
            rules_changed: self.deriver.changed(),
            unready: Arc::new(unready),
            stopping: self.stopping.clone(),
        })
    }

    /// Every door in one: the API, `more` (the builder's git), and the functions, by path and by host name.
    pub fn doors(&self, rooms: Arc<Rooms>, more: Router) -> Doors {
        let runs = Runs { dispatch: self.dispatch.clone(), identify: self.identify.clone(), tenant: self.config.tenant.clone() };
        let api = server::observed(server::router(rooms).merge(more), self.metrics.clone());
        Doors { api, runs: Arc::new(runs) }
    }

    /// Serves until `stop`; then lets go in order: the door, the calls, the projections, the ledger.
    pub async fn run(self, doors: Doors, ready: impl FnOnce() + Send + 'static, stop: CancellationToken) {
        let Node {
            listener,
            mqtt,
            ledger,
            store,
            dispatch,
            reconciler,
            deriver,
            history,
            devices,
            registry,
            connected,
            identify,
            notify,
            sources,
            replays,
            ingest,
            metrics,
            config,
            stopping,
            ..
        } = self;
        let mut tasks = Tasks::default();
        let projections = CancellationToken::new();
        tasks.start("history", {
            let (history, ledger, end) = (history.clone(), ledger.clone(), projections.clone());
            follow(async move { history.run(ledger, end).await })
        });
        tasks.start("devices", {
            let (devices, ledger, end) = (devices.clone(), ledger.clone(), projections.clone());
            follow(async move { devices.run(ledger, end).await })
        });
        tasks.start("notify", {
            let (notify, end) = (notify.clone(), projections.clone());
            async move { notify.run(end).await }
        });
        // What is in a server may belong to apps that other nodes serve; what is in this folder belongs to this one.
        if config.ledger == LedgerChoice::Embedded {
            remove_orphans(&store, &ledger, &registry, &config.tenant).await;
        }
        reconciler.round().await;
        let deploys = stop.child_token();
        let mut control = Tasks::default();
        control.start("identity", {
            let (identify, stop) = (identify.clone(), deploys.clone());
            async move { identify.run(stop).await }
        });
        control.start("sources", {
            let stop = deploys.clone();
            async move { sources.run(stop).await }
        });
        control.start("replays", {
            let stop = deploys.clone();
            async move { replays.run(stop).await }
        });
        control.start("derive", {
            let stop = deploys.clone();
            async move { deriver.run(stop).await }
        });
        control.start("reconcile", {
            let (reconciler, stop) = (reconciler.clone(), deploys.clone());
            async move { reconciler.run(stop).await }
        });
        let upkeep = Upkeep {
            ledger: ledger.clone(),
            dispatch: dispatch.clone(),
            history: history.clone(),
            devices: devices.clone(),
            notify: notify.clone(),
            config: config.clone(),
        };
        control.start("trim", upkeep.run(deploys));
        let mut clients = Tasks::default();
        let behind = mqtt::Behind {
            tenant: config.tenant.clone(),
            identify: identify.clone(),
            ledger: ledger.clone(),
            devices: devices.clone(),
            registry,
            connected,
            ingest,
            metrics,
        };
        mqtt::start(&mut clients, mqtt, behind, &stop);
        ready();
        serve(listener, doors, stop, stopping).await;
        clients.join(DRAIN).await;
        control.join(DRAIN).await;
        // Calls that can't be committed now, because the server is away say, run again after the next start.
        if tokio::time::timeout(DRAIN, dispatch.stop()).await.is_err() {
            tracing::warn!("calls that were not committed within {DRAIN:?} are given up");
        }
        projections.cancel();
        tasks.join(DRAIN).await;
        ledger.close().await;
    }
}

/// Has apps decode what their devices send.
fn codecs(dispatch: &Arc<Dispatch>) -> Codecs {
    let dispatch = dispatch.clone();
    Arc::new(move |app, name, uplink| {
        let dispatch = dispatch.clone();
        Box::pin(async move { dispatch.decode(&app, name.as_ref(), &uplink).await })
    })
}

/// An app that nobody has: reading its state's version is the cheapest question to the ledger.
fn probe() -> AppId {
    AppId::new(crate::model::id::default_tenant(), crate::model::id::default_tenant())
}

/// One node a folder: two would each believe that they alone write the ledger.
fn lock(config: &NodeConfig) -> Result<std::fs::File, NodeError> {
    use std::os::unix::fs::DirBuilderExt;
    let path = config.data.clone();
    let folder = |doing| {
        let path = path.clone();
        move |source| NodeError::Folder { doing, path, source }
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(folder("make the folder"))?;
    let file = std::fs::File::create(path.join("lock")).map_err(folder("write to"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(NodeError::InUse(path)),
        Err(std::fs::TryLockError::Error(source)) => Err(folder("lock")(source)),
    }
}

fn ledger_config(config: &NodeConfig, cleaner: &Cleaner) -> LedgerConfig {
    let options = LedgerOptions {
        dedup_window: config.dedup_window,
        disk_reserve_bytes: config.limits.disk_free_bytes_min,
        ..LedgerOptions::default()
    };
    match &config.ledger {
        LedgerChoice::Embedded => LedgerConfig::Embedded { dir: config.ledger_dir(), options },
        LedgerChoice::Jetstream(url) => {
            let (tenant, cleaner) = (config.tenant.clone(), Some(cleaner.clone()));
            let jetstream = JetstreamOptions { tenant, cleaner, ..JetstreamOptions::default() };
            // A folder of its own: the view of a stream is not a ledger, and must not be taken for one.
            LedgerConfig::Jetstream { dir: config.data.join("view"), url: url.clone(), options, jetstream }
        }
    }
}

/// What an app without an owner selects, it selects for whoever runs the node: what it may see is up to who lets it run there.
fn fits(registry: Registry) -> Fits {
    let operator = Principal::operator(registry.tenant());
    Arc::new(move |selector, event| match (&event.device, &event.sensor) {
        (Some(device), Some(sensor)) => registry.fits(selector, &operator, device, sensor),
        _ => false,
    })
}

/// An app that has an owner finds what devices said and were told that the owner sees; what apps wrote can't be told apart by that.
fn history_source(history: History, owners: Owners) -> HistorySource {
    Arc::new(move |app: AppId, query: HistoryQuery| {
        let (history, owners, tenant) = (history.clone(), owners.clone(), app.tenant.clone());
        Box::pin(async move {
            let HistoryQuery { text, from, to, limit, offset } = query;
            let sources = owners.sources(&app, &text)?;
            if sources.as_ref().is_some_and(Vec::is_empty) {
                return Ok(HistoryPage::default());
            }
            // What a rule took out is for people: a function that asks for a sensor's values is to calculate with what it was told.
            let kinds = match &sources {
                Some(_) => vec![Kind::Reading, Kind::Command],
                None => vec![Kind::Reading, Kind::Message, Kind::Command, Kind::Log],
            };
            let query = Query { from, to, limit, offset, kinds: Some(kinds), sources, ..Query::new(tenant.clone(), &text) };
            let page = history.ask(query).await.map_err(|error| crate::telemetry::chain(&error))?;
            let events = page.hits.into_iter().filter_map(|hit| hit.into_event(&tenant)).collect();
            Ok(HistoryPage { total: page.total, events })
        })
    })
}

/// A projection ends with the node, whatever happens on the way; an error is that its last commit failed.
async fn follow<E: std::error::Error + 'static>(run: impl Future<Output = Result<(), E>>) {
    if let Err(error) = run.await {
        tracing::error!(
            error = crate::telemetry::chain(&error),
            "a projection stopped with something not committed; it is read from the log again"
        );
    }
}

/// Apps whose deletion a crash cut short.
async fn remove_orphans(store: &Store, ledger: &Ledger, registry: &Registry, tenant: &Tenant) {
    let known = store.apps();
    for app in registry.apps_with_rules().into_iter().filter(|app| !known.iter().any(|known| known.app == *app)) {
        if let Err(error) = registry.set_app_rules(&app, &[], clock::now()).await {
            tracing::warn!(%app, error = crate::telemetry::chain(&error), "the rules of a deleted app stay until the next start");
        }
    }
    let removed = async {
        for app in orphans(store, ledger, tenant)? {
            crate::dispatch::forget(ledger, &app).await?;
        }
        Ok::<(), LedgerError>(())
    };
    if let Err(error) = removed.await {
        tracing::warn!(error = crate::telemetry::chain(&error), "what deleted apps left behind stays until the next start");
    }
}

/// Until the requests under way when `stop` came have ended, for [`DRAIN`] at most.
async fn serve(listener: TcpListener, doors: Doors, stop: CancellationToken, stopping: CancellationToken) {
    let long = async {
        stop.cancelled().await;
        stopping.cancel();
        std::future::pending().await
    };
    tokio::select! {
        () = server::listen::serve_and_drain(listener, doors, Doorway::default(), stop.clone(), DRAIN) => {}
        () = long => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    #[tokio::test]
    async fn a_projection_that_fails_is_why_the_node_is_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        let config = NodeConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..NodeConfig::new(dir.path()) };
        let node = Node::open(config).await.unwrap();
        node.reconciler.round().await;
        let redeploy: Redeploy = Arc::new(|_| futures::stream::empty().boxed());
        let unready = node.rooms(redeploy, Arc::new(|_| async { Ok(()) }.boxed())).unready.clone();
        assert_eq!(unready(), Vec::<String>::new());
        node.history.standing().fails("it panicked".to_owned());
        let reasons = unready();
        assert!(reasons.len() == 1 && reasons[0].contains("`history`") && reasons[0].contains("it panicked"), "{reasons:?}");
        node.history.standing().is_well();
        assert_eq!(unready(), Vec::<String>::new());
    }
}
