//! A node without doors: embedded ledger, engine, dispatch, in a temporary folder.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::{path::PathBuf, sync::Arc, time::Duration};
use tawi_runtime::{
    clock,
    deploy::{Draft, Reconciler, Store},
    devices::{Devices, Registry},
    dispatch::{Dispatch, Fits, HistorySource},
    engine::{Engine, EngineOptions},
    host::HistoryPage,
    identity::{Principal, Users},
    ledger::{Append, Ledger, LedgerConfig, LedgerOptions, Op, Outcome},
    model::{AppId, Event, FunctionId, Id, Kind, Manifest, NewEvent, Seq, Value, id::default_tenant},
    node::Owners,
    records::{Records, Space},
};

pub struct Floor {
    pub dir: tempfile::TempDir,
    pub ledger: Ledger,
    pub store: Store,
    pub engine: Engine,
    pub dispatch: Arc<Dispatch>,
    pub reconciler: Arc<Reconciler>,
}

/// A component that `functions/build` made.
pub fn guest(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../functions/target/guests").join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run functions/build first (make test does)", path.display()))
}

/// A component that handles events as far as anybody can see, with this in its core module.
pub fn handler(more: &str) -> Vec<u8> {
    wat::parse_str(format!(
        "(component (core module $m (func (export \"handle\")) {more}) (core instance $i (instantiate $m))
           (func $h (canon lift (core func $i \"handle\"))) (instance $e (export \"handle\" (func $h)))
           (export \"tawi:app/event-handler@0.1.0\" (instance $e)))"
    ))
    .unwrap()
}

pub fn app(name: &str) -> AppId {
    AppId::new(default_tenant(), Id::new(name).unwrap())
}

pub fn function(app_name: &str, name: &str) -> FunctionId {
    FunctionId { app: app(app_name), function: Id::new(name).unwrap() }
}

pub fn reading(device: &str, sensor: &str, value: &str) -> NewEvent {
    let (device, sensor) = (Id::new(device).unwrap(), Id::new(sensor).unwrap());
    let now = clock::now();
    NewEvent::reading(&default_tenant(), &device, &sensor, now, now, Value::json(value).unwrap())
}

/// Resident memory of this process in bytes: of a test binary with one test in it, that test's.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Moments at which to look whether something is so.
pub fn looks() -> tokio::time::Interval {
    tokio::time::interval(Duration::from_millis(1))
}

/// Waits for a fact that nothing tells of.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        let mut looks = looks();
        while !is_so() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), wait).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

impl Floor {
    pub async fn open() -> Floor {
        Floor::open_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn open_in(dir: tempfile::TempDir) -> Floor {
        let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
        Floor::open_on(dir, config).await
    }

    pub async fn open_on(dir: tempfile::TempDir, config: LedgerConfig) -> Floor {
        Floor::open_with(dir, config, EngineOptions { instances_max: 32, ..EngineOptions::default() }).await
    }

    pub async fn open_with(dir: tempfile::TempDir, config: LedgerConfig, options: EngineOptions) -> Floor {
        Floor::open_of(dir, config, options, Arc::new(|_, _| Box::pin(async { Ok(HistoryPage::default()) }))).await
    }

    pub async fn open_with_history(history: HistorySource) -> Floor {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
        Floor::open_of(dir, config, EngineOptions { instances_max: 32, ..EngineOptions::default() }, history).await
    }

    /// With a registry that says which sensors fit what a function selects.
    /// Apps that are given to somebody see with the eyes of their owners.
    pub async fn open_with_registry(dir: tempfile::TempDir, devices: Devices) -> (Floor, Registry, Users) {
        let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
        let ledger = Ledger::open(&config).await.unwrap();
        let registry = Registry::open(ledger.clone(), devices.clone(), &default_tenant()).unwrap();
        let users = Users::new(Records::new(ledger.clone(), &default_tenant(), Space::Identity));
        let owners = Owners { registry: registry.clone(), devices, users: users.clone(), ledger: ledger.clone() };
        let (of, operator) = (registry.clone(), Principal::operator(&default_tenant()));
        let fits: Fits =
            Arc::new(move |selector, event| of.fits(selector, &operator, event.device.as_ref().unwrap(), event.sensor.as_ref().unwrap()));
        let engine = Engine::open(&EngineOptions { instances_max: 32, ..EngineOptions::default() }).unwrap();
        let history: HistorySource = Arc::new(|_, _| Box::pin(async { Ok(HistoryPage::default()) }));
        let dispatch = Arc::new(Dispatch::seeing(engine.clone(), ledger.clone(), history, fits, owners.sight()));
        (Floor::of(dir, ledger, engine, dispatch), registry, users)
    }

    fn of(dir: tempfile::TempDir, ledger: Ledger, engine: Engine, dispatch: Arc<Dispatch>) -> Floor {
        let store = Store::open(&dir.path().join("deploy")).unwrap();
        let reconciler = Arc::new(Reconciler::new(store.clone(), engine.clone(), dispatch.clone()));
        Floor { dir, ledger, store, engine, dispatch, reconciler }
    }

    async fn open_of(dir: tempfile::TempDir, config: LedgerConfig, options: EngineOptions, history: HistorySource) -> Floor {
        let ledger = Ledger::open(&config).await.unwrap();
        let engine = Engine::open(&options).unwrap();
        let dispatch = Arc::new(Dispatch::new(engine.clone(), ledger.clone(), history));
        Floor::of(dir, ledger, engine, dispatch)
    }

    /// Deploys a guest with this manifest; live when it returns.
    pub async fn deploy(&self, guest_name: &str, manifest: &str) -> u64 {
        self.deploy_component(&guest(guest_name), manifest).await
    }

    pub async fn deploy_component(&self, component: &[u8], manifest: &str) -> u64 {
        let number = self.release(component, manifest);
        self.reconciler.round().await;
        assert_eq!(self.reconciler.failing(&AppId::new(default_tenant(), Manifest::parse(manifest).unwrap().app)), None);
        number
    }

    /// Makes a release, and nothing more.
    pub fn release(&self, component: &[u8], manifest: &str) -> u64 {
        let manifest = Manifest::parse(manifest).unwrap();
        let id = AppId::new(default_tenant(), manifest.app.clone());
        self.engine.verify(component, &manifest).unwrap();
        let artifact = self.store.put_artifact(component).unwrap();
        let draft = Draft { artifact, manifest, commit: "0".repeat(40), summary: "test".into(), created: clock::now(), rollback_of: None };
        self.store.add_release(&id, draft).unwrap().number
    }

    pub async fn append(&self, events: Vec<NewEvent>) -> Vec<Seq> {
        let op = Op::Append(Append { tenant: default_tenant(), events, dedup: None, intake: None });
        match self.ledger.apply(op).await.unwrap() {
            Outcome::Applied { seqs, .. } => seqs,
            other => panic!("{other:?}"),
        }
    }

    /// Everything in the log of one kind, once there are `count` of them.
    pub async fn events(&self, kind: Kind, count: usize) -> Vec<Arc<Event>> {
        let mut head = self.ledger.head();
        let mut last = 0;
        let wait = async {
            loop {
                head.mark_unchanged();
                let found = self.all(kind);
                last = found.len();
                if found.len() >= count {
                    return found;
                }
                head.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(60), wait).await {
            Ok(found) => found,
            Err(_) => panic!("waited for {count} events of {kind:?}, saw {last}"),
        }
    }

    pub fn all(&self, kind: Kind) -> Vec<Arc<Event>> {
        let mut from = 1;
        let mut found = Vec::new();
        loop {
            let page = self.ledger.events(from, 10_000, 64 << 20).unwrap();
            let Some(last) = page.last() else { return found };
            from = last.seq + 1;
            found.extend(page.into_iter().filter(|event| event.kind == kind));
        }
    }

    /// Waits until a function has durably settled everything in the log.
    pub async fn settled(&self, id: &FunctionId) {
        let wait = async {
            loop {
                let told = *self.ledger.told().borrow();
                let shared = self.dispatch.consumer(id).unwrap();
                if shared.scanned() >= told && shared.open() == 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the function settles what is in the log");
    }

    /// Waits until a function says that it has parked so many.
    pub async fn counts_parked(&self, id: &FunctionId, count: usize) {
        let wait = async {
            while self.dispatch.consumer(id).unwrap().parked() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .unwrap_or_else(|_| panic!("the function never had {count} events parked"));
    }

    /// Waits until there are so many dead letters.
    pub async fn counts_dead(&self, count: u64) {
        let mut head = self.ledger.head();
        let wait = async {
            // A commit without events leaves the log's end where it is, so the head alone does not tell.
            while self.ledger.dead_count().unwrap() < count {
                let _ = tokio::time::timeout(Duration::from_millis(20), head.changed()).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        waited.unwrap_or_else(|_| panic!("waited for {count} dead letters, saw {:?}", self.ledger.dead_count()));
    }

    /// Stops as a crash would: without a word to the ledger. The folder stays.
    pub async fn crash(self) -> tempfile::TempDir {
        let Floor { dir, ledger, dispatch, .. } = self;
        dispatch.stop().await;
        ledger.close().await;
        dir
    }
}
