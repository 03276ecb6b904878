//! Makes what runs what the store says, at start, after every change, and again while something fails.

use super::{
    Store, StoreError,
    plan::{State, Step, plan},
};
use crate::{
    dispatch::{Dispatch, Settings},
    engine::{Engine, EngineError, Loaded},
    ledger::{LedgerError, Op},
    model::{AppId, Digest, Release, Tenant},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error("can't load release {release} of `{app}`")]
    Load { app: AppId, release: u64, source: EngineError },
    #[error("can't read or keep the artifact `{artifact}`")]
    Artifact { artifact: Digest, source: StoreError },
    #[error("can't compile `{artifact}` for this machine")]
    Compile { artifact: Digest, source: EngineError },
    #[error("can't register the functions of `{app}`")]
    Ledger { app: AppId, source: LedgerError },
    #[error("the task that loads ended early")]
    Task(#[from] tokio::task::JoinError),
}

pub struct Reconciler {
    store: Store,
    engine: Engine,
    dispatch: Arc<Dispatch>,
    actual: Mutex<BTreeMap<AppId, State>>,
    /// What could not be done at the last try, by app.
    failing: Mutex<BTreeMap<AppId, String>>,
    /// Counts rounds; somebody who waits for a release looks after each.
    rounds: watch::Sender<u64>,
}

impl Reconciler {
    pub fn new(store: Store, engine: Engine, dispatch: Arc<Dispatch>) -> Reconciler {
        let rounds = watch::Sender::new(0);
        Reconciler { store, engine, dispatch, actual: Mutex::default(), failing: Mutex::default(), rounds }
    }

    /// Follows the store until stopped. One app that can't be loaded keeps none of the others waiting.
    pub async fn run(&self, stop: CancellationToken) {
        let mut changed = self.store.changed();
        loop {
            changed.mark_unchanged();
            let failing = self.round().await;
            let retry = async {
                match failing {
                    true => tokio::time::sleep(RETRY).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changed.changed() => if changed.is_err() { return },
                () = retry => {}
            }
        }
    }

    /// One pass. True when something failed.
    pub async fn round(&self) -> bool {
        let desired = self.desired();
        let steps = plan(&desired, &self.actual.lock());
        for step in steps {
            let app = match &step {
                Step::Serve { app, .. } | Step::Settings { app } | Step::Remove { app } => app.clone(),
            };
            match self.step(step).await {
                Ok(()) => {
                    self.failing.lock().remove(&app);
                    match desired.get(&app) {
                        Some(state) => self.actual.lock().insert(app, *state),
                        None => self.actual.lock().remove(&app),
                    };
                }
                Err(error) => {
                    let text = crate::telemetry::chain(&error);
                    tracing::error!(%app, error = %text, "the app is not as desired, the old release serves on");
                    self.failing.lock().insert(app, text);
                }
            }
        }
        self.rounds.send_modify(|rounds| *rounds += 1);
        !self.failing.lock().is_empty()
    }

    /// The release of an app that serves.
    pub fn live(&self, app: &AppId) -> Option<u64> {
        self.actual.lock().get(app).map(|state| state.release)
    }

    pub fn failing(&self, app: &AppId) -> Option<String> {
        self.failing.lock().get(app).cloned()
    }

    /// Whether every app has been looked at once.
    pub fn is_ready(&self) -> bool {
        *self.rounds.borrow() > 0
    }

    /// Waits until `release` or a later one serves.
    ///
    /// # Errors
    /// What keeps it from serving, or that it took longer than `limit`.
    pub async fn wait_live(&self, app: &AppId, release: u64, limit: Duration) -> Result<(), String> {
        let mut rounds = self.rounds.subscribe();
        let wait = async {
            loop {
                if self.live(app).is_some_and(|live| live >= release) {
                    return Ok(());
                }
                if let Some(error) = self.failing(app) {
                    return Err(error);
                }
                if rounds.changed().await.is_err() {
                    return Err("the node is stopping".to_owned());
                }
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or_else(|_| Err(format!("release {release} did not serve within {limit:?}")))
    }

    fn desired(&self) -> BTreeMap<AppId, State> {
        let state = |app: AppId| {
            let release = self.store.current(&app)?.number;
            let mut hasher = DefaultHasher::new();
            (self.store.config(&app), self.store.secrets(&app)).hash(&mut hasher);
            Some((app, State { release, settings: hasher.finish() }))
        };
        self.store.apps().into_iter().filter_map(state).collect()
    }

    async fn step(&self, step: Step) -> Result<(), DeployError> {
        match step {
            Step::Serve { app, release } => {
                let Some(release) = self.store.release(&app, release) else { return Ok(()) };
                let loaded = self.load(app.clone(), release.clone()).await?;
                let failed = |source| DeployError::Load { app: app.clone(), release: release.number, source };
                self.engine.probe(&loaded).await.map_err(failed)?;
                let set = self.dispatch.set(Arc::new(loaded), self.settings(&app)).await;
                set.map_err(|source| DeployError::Ledger { app, source })
            }
            Step::Settings { app } => {
                self.dispatch.set_settings(&app, self.settings(&app));
                Ok(())
            }
            Step::Remove { app } => {
                self.dispatch.remove(&app).await;
                let removed = self.dispatch.context.ledger.apply(Op::DeleteApp { app: app.clone() }).await;
                removed.map(drop).map_err(|source| DeployError::Ledger { app, source })
            }
        }
    }

    fn settings(&self, app: &AppId) -> Settings {
        Settings { config: Arc::new(self.store.config(app)), secrets: Arc::new(self.store.secrets(app)) }
    }

    async fn load(&self, app: AppId, release: Arc<Release>) -> Result<Loaded, DeployError> {
        let (store, engine) = (self.store.clone(), self.engine.clone());
        tokio::task::spawn_blocking(move || {
            let path = prepare(&store, &engine, &release.artifact, || store.artifact(&release.artifact))?;
            let failed = |source| DeployError::Load { app: app.clone(), release: release.number, source };
            engine.load(&path, app.clone(), release.clone()).map_err(failed)
        })
        .await?
    }
}

/// Apps that were deleted while their removal from the ledger failed or the node went down: what the ledger holds and the store
/// does not know.
pub fn orphans(store: &Store, ledger: &crate::ledger::Ledger, tenant: &Tenant) -> Result<Vec<AppId>, LedgerError> {
    let known = store.apps();
    let mut apps: Vec<AppId> = ledger.functions()?.into_iter().map(|(function, _)| function.app).collect();
    apps.dedup();
    apps.retain(|app| app.tenant == *tenant && !known.contains(app));
    Ok(apps)
}

/// The path of an artifact's precompiled code for this engine; made from `component` when there is none.
pub fn prepare(
    store: &Store,
    engine: &Engine,
    artifact: &Digest,
    component: impl FnOnce() -> Result<Vec<u8>, StoreError>,
) -> Result<PathBuf, DeployError> {
    let compatibility = engine.compatibility();
    let path = store.cache_path(artifact, &compatibility);
    if path.exists() {
        return Ok(path);
    }
    let component = component().map_err(|source| DeployError::Artifact { artifact: *artifact, source })?;
    let code = engine.precompile(&component).map_err(|source| DeployError::Compile { artifact: *artifact, source })?;
    store.put_cache(artifact, &compatibility, &code).map_err(|source| DeployError::Artifact { artifact: *artifact, source })
}
