//! Makes what runs what the store says, at start, after every change, and again while something fails.

use super::{
    Store, StoreError,
    plan::{State, Step, can_stand_in, plan},
    prepare::prepare,
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
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often the machine is asked whether it has begun to swap or move pages.
const PAGES_EVERY: Duration = Duration::from_secs(1);
/// Older releases that are tried when the current one does not load at the start: each may take seconds, and the node is not up yet.
const STAND_INS_MAX: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error("can't load release {release} of `{app}`")]
    Load { app: AppId, release: u64, source: EngineError },
    #[error("the component does not start")]
    Start { source: EngineError },
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
    failing: Mutex<BTreeMap<AppId, Trouble>>,
    /// Counts rounds; somebody who waits for a release looks after each.
    rounds: watch::Sender<u64>,
}

/// Why an app is not as desired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The release that was to serve; none: the app was to be removed.
    pub release: Option<u64>,
    pub why: String,
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
                () = self.unsafe_pages() => {}
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
                Err(error) => self.failed(app, &desired, &error).await,
            }
        }
        self.rounds.send_modify(|rounds| *rounds += 1);
        !self.failing.lock().is_empty()
    }

    /// Has every release loaded again into slots that are given back whole, once the machine swaps or moves pages. True when there is
    /// something to do.
    fn falls_back(&self) -> bool {
        if !self.engine.is_unsafe_now() {
            return false;
        }
        match self.engine.fall_back() {
            Ok(fell) => {
                tracing::warn!(
                    "this machine swaps or moves pages of memory now: calls get memory that the kernel gives out anew, which takes longer"
                );
                // No release has this number, so none is as desired.
                self.actual.lock().values_mut().for_each(|state| state.release = 0);
                fell
            }
            Err(error) => {
                tracing::error!(
                    error = crate::telemetry::chain(&error),
                    "this machine swaps or moves pages of memory now, and there is no room for calls that are safe from that: restart the node"
                );
                false
            }
        }
    }

    /// Returns when what is loaded has to be loaded again.
    async fn unsafe_pages(&self) {
        loop {
            tokio::time::sleep(PAGES_EVERY).await;
            if self.falls_back() {
                return;
            }
        }
    }

    async fn failed(&self, app: AppId, desired: &BTreeMap<AppId, State>, error: &DeployError) {
        let trouble = Trouble { release: desired.get(&app).map(|state| state.release), why: crate::telemetry::chain(error) };
        // Tried again and again, but said once.
        if self.failing(&app).as_ref() != Some(&trouble) {
            tracing::error!(%app, error = %trouble.why, serving = self.live(&app), "the app is not as desired");
        }
        self.failing.lock().insert(app.clone(), trouble);
        // Between start and the first round's end nothing serves that is not as desired.
        if let Some(state) = desired.get(&app).filter(|_| !self.is_ready()) {
            self.stand_in(&app, *state).await;
        }
    }

    /// Has the newest older release serve that loads, until the current one does: what it served yesterday is better than nothing.
    async fn stand_in(&self, app: &AppId, wanted: State) {
        let Some(current) = self.store.release(app, wanted.release) else { return };
        let releases = self.store.releases(app);
        for older in releases.iter().rev().filter(|older| can_stand_in(older, &current)).take(STAND_INS_MAX) {
            match self.serve(app.clone(), older.clone()).await {
                Ok(()) => {
                    tracing::warn!(%app, release = older.number, instead_of = current.number, "an older release serves, the current one does not load");
                    self.actual.lock().insert(app.clone(), State { release: older.number, ..wanted });
                    return;
                }
                Err(error) => {
                    tracing::warn!(%app, release = older.number, error = crate::telemetry::chain(&error), "nor does an older release load")
                }
            }
        }
    }

    /// The release of an app that serves.
    pub fn live(&self, app: &AppId) -> Option<u64> {
        self.actual.lock().get(app).map(|state| state.release)
    }

    pub fn failing(&self, app: &AppId) -> Option<Trouble> {
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
                // What kept an older release from serving says nothing about this one.
                if let Some(trouble) = self.failing(app).filter(|trouble| trouble.release.is_none_or(|failing| failing >= release)) {
                    return Err(trouble.why);
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
                let served = self.serve(app.clone(), release).await;
                if served.is_err() {
                    // Whatever serves meanwhile has the settings of today.
                    self.dispatch.set_settings(&app, self.settings(&app));
                }
                served
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

    async fn serve(&self, app: AppId, release: Arc<Release>) -> Result<(), DeployError> {
        let loaded = self.load(app.clone(), release.clone()).await?;
        let failed = |source| DeployError::Load { app: app.clone(), release: release.number, source };
        self.engine.probe(&loaded).await.map_err(failed)?;
        let set = self.dispatch.set(Arc::new(loaded), self.settings(&app)).await;
        set.map_err(|source| DeployError::Ledger { app, source })
    }

    fn settings(&self, app: &AppId) -> Settings {
        Settings { config: Arc::new(self.store.config(app)), secrets: Arc::new(self.store.secrets(app)) }
    }

    async fn load(&self, app: AppId, release: Arc<Release>) -> Result<Loaded, DeployError> {
        let (store, engine) = (self.store.clone(), self.engine.clone());
        tokio::task::spawn_blocking(move || {
            let code = prepare(&store, &engine, &release.artifact, || store.artifact(&release.artifact))?;
            let failed = |source| DeployError::Load { app: app.clone(), release: release.number, source };
            engine.load(code.wasi, &code.path, app.clone(), release.clone()).map_err(failed)
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
