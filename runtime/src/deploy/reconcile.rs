//! Makes what runs what the store says, at start, after every change, and again while something fails.

use super::{
    Store, StoreError,
    plan::{State, Step, can_stand_in, plan},
    prepare::prepare,
};
use crate::{
    dispatch::{Dispatch, Settings},
    engine::{Engine, EngineError, Loaded},
    ledger::LedgerError,
    model::{AppId, Digest, Release, Tenant, manifest::Clean},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often the machine is asked whether it has begun to swap or move pages.
const PAGES_EVERY: Duration = Duration::from_secs(1);
/// Older releases that are tried when the current one does not load at the start: each may take seconds, and the node is not up yet.
const STAND_INS_MAX: usize = 5;
/// Releases that are compiled, loaded and tried at a time: what serves needs the processors too.
const LOADS_MAX: usize = 2;

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
    #[error("can't set the rules of pre-processing of `{app}`: {why}")]
    Rules { app: AppId, why: String },
    #[error("the task that loads ended early")]
    Task(#[from] tokio::task::JoinError),
}

/// Makes the rules of an app the ones that its release says. Why not, if it can't be.
pub type SetRules = Arc<dyn Fn(AppId, Vec<Clean>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

pub struct Reconciler {
    store: Store,
    engine: Engine,
    dispatch: Arc<Dispatch>,
    actual: Mutex<BTreeMap<AppId, State>>,
    /// What could not be done at the last try, by app.
    failing: Mutex<BTreeMap<AppId, Trouble>>,
    /// Counts what was done; somebody who waits for a release looks after each.
    rounds: watch::Sender<u64>,
    loads: Semaphore,
    /// Counts the engine's pools: what is loaded into one before this is to be loaded again.
    pool: AtomicU32,
    rules: SetRules,
}

/// Steps that are being done, one an app at most.
#[derive(Default)]
struct UnderWay<'a> {
    steps: FuturesUnordered<BoxFuture<'a, AppId>>,
    apps: BTreeSet<AppId>,
    /// Apps for which there is more to do when their step has ended.
    again: BTreeSet<AppId>,
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
        let (loads, pool) = (Semaphore::new(LOADS_MAX), AtomicU32::new(0));
        let rules: SetRules = Arc::new(|_, _| futures::future::ready(Ok(())).boxed());
        Reconciler { store, engine, dispatch, actual: Mutex::default(), failing: Mutex::default(), rounds, loads, pool, rules }
    }

    pub fn with_rules(self, rules: SetRules) -> Reconciler {
        Reconciler { rules, ..self }
    }

    /// Follows the store until stopped, then ends what it has begun. An app that can't be loaded, or whose functions take long to end,
    /// keeps none of the others waiting.
    pub async fn run(&self, stop: CancellationToken) {
        let mut changed = self.store.changed();
        changed.mark_unchanged();
        let mut under_way = UnderWay::default();
        self.begin(&mut under_way);
        let mut look = tokio::time::interval(PAGES_EVERY);
        let mut retry_at: Option<Instant> = None;
        loop {
            let retry = async {
                match retry_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let begins = tokio::select! {
                () = stop.cancelled() => break,
                changed = changed.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => break,
                },
                Some(app) = under_way.steps.next() => self.ended(&mut under_way, &app),
                () = retry => true,
                _ = look.tick() => self.falls_back(),
            };
            if begins {
                retry_at = None;
                self.begin(&mut under_way);
            }
            if !self.failing.lock().is_empty() {
                retry_at = retry_at.or_else(|| Some(Instant::now() + RETRY));
            }
        }
        while under_way.steps.next().await.is_some() {}
    }

    /// One pass over all apps. True when something failed.
    pub async fn round(&self) -> bool {
        let mut under_way = UnderWay::default();
        self.begin(&mut under_way);
        while under_way.steps.next().await.is_some() {}
        self.rounds.send_modify(|rounds| *rounds += 1);
        !self.failing.lock().is_empty()
    }

    /// Begins whatever there is to do, app by app. One that has a step under way comes when that has ended.
    fn begin<'a>(&'a self, under_way: &mut UnderWay<'a>) {
        let desired = self.desired();
        for step in plan(&desired, &self.actual.lock()) {
            let app = step.app().clone();
            match under_way.apps.insert(app.clone()) {
                true => under_way.steps.push(self.one(step, desired.get(&app).copied()).boxed()),
                false => drop(under_way.again.insert(app)),
            }
        }
    }

    /// True when there is more to do for the app.
    fn ended(&self, under_way: &mut UnderWay<'_>, app: &AppId) -> bool {
        under_way.apps.remove(app);
        self.rounds.send_modify(|rounds| *rounds += 1);
        under_way.again.remove(app)
    }

    async fn one(&self, step: Step, wanted: Option<State>) -> AppId {
        let app = step.app().clone();
        match self.step(step).await {
            Ok(()) => {
                self.failing.lock().remove(&app);
                match wanted {
                    Some(state) => self.actual.lock().insert(app.clone(), state),
                    None => self.actual.lock().remove(&app),
                };
            }
            Err(error) => self.failed(&app, wanted, &error).await,
        }
        app
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
                self.pool.fetch_add(u32::from(fell), Ordering::Relaxed);
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

    async fn failed(&self, app: &AppId, wanted: Option<State>, error: &DeployError) {
        let trouble = Trouble { release: wanted.map(|state| state.release), why: crate::telemetry::chain(error) };
        // Tried again and again, but said once.
        if self.failing(app).as_ref() != Some(&trouble) {
            tracing::error!(%app, error = %trouble.why, serving = self.live(app), "the app is not as desired");
        }
        self.failing.lock().insert(app.clone(), trouble);
        // Between start and the first round's end nothing serves that is not as desired.
        if let Some(state) = wanted.filter(|_| !self.is_ready()) {
            self.stand_in(app, state).await;
        }
    }

    /// Has the newest older release serve that loads, until the current one does: what it served yesterday is better than nothing.
    async fn stand_in(&self, app: &AppId, wanted: State) {
        let Some(current) = self.store.release(app, wanted.release) else { return };
        let releases = self.store.releases(app);
        for older in releases.iter().rev().filter(|older| can_stand_in(older, &current)).take(STAND_INS_MAX) {
            match self.serve(app.clone(), older.clone(), true).await {
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
        let pool = self.pool.load(Ordering::Relaxed);
        let state = |app: AppId| {
            let release = self.store.current(&app)?.number;
            let mut hasher = DefaultHasher::new();
            (self.store.config(&app), self.store.secrets(&app)).hash(&mut hasher);
            Some((app, State { release, settings: hasher.finish(), pool }))
        };
        self.store.apps().into_iter().filter_map(state).collect()
    }

    async fn step(&self, step: Step) -> Result<(), DeployError> {
        match step {
            Step::Serve { app, release } => {
                let Some(release) = self.store.release(&app, release) else { return Ok(()) };
                let served = self.serve(app.clone(), release, false).await;
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
                self.set_rules(&app, Vec::new()).await?;
                self.dispatch.remove(&app).await;
                let removed = self.dispatch.forget(&app).await;
                removed.map_err(|source| DeployError::Ledger { app, source })
            }
        }
    }

    async fn serve(&self, app: AppId, release: Arc<Release>, stands_in: bool) -> Result<(), DeployError> {
        let loaded = {
            // Nobody closes it.
            let _turn = self.loads.acquire().await;
            let loaded = self.load(app.clone(), release.clone()).await?;
            let failed = |source| DeployError::Load { app: app.clone(), release: release.number, source };
            self.engine.probe(&loaded).await.map_err(failed)?;
            loaded
        };
        // Before its functions: they see no reading that its rules have not.
        // One that stands in leaves the rules alone: what is kept for those of the current one would be gone.
        if !stands_in {
            self.set_rules(&app, release.manifest.clean.clone()).await?;
        }
        let set = self.dispatch.set(Arc::new(loaded), self.settings(&app)).await;
        set.map_err(|source| DeployError::Ledger { app, source })
    }

    async fn set_rules(&self, app: &AppId, rules: Vec<Clean>) -> Result<(), DeployError> {
        let set = (self.rules)(app.clone(), rules).await;
        set.map_err(|why| DeployError::Rules { app: app.clone(), why })
    }

    /// A release of an app, whichever, to run an event of the past with: it asks nobody outside, because the past can't be asked.
    pub async fn load_for_replay(&self, app: AppId, release: &Release) -> Result<Loaded, DeployError> {
        let mut release = release.clone();
        release.manifest.grant.http.clear();
        release.manifest.grant.http_private.clear();
        // Nobody closes it.
        let _turn = self.loads.acquire().await;
        self.load(app, Arc::new(release)).await
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
    // What makes the readings of derived sensors goes with its rule.
    let functions = ledger.functions()?.into_iter().map(|(function, _)| function).filter(|function| function.derives().is_none());
    let mut apps: Vec<AppId> = functions.map(|function| function.evaluates().unwrap_or(function).app).collect();
    apps.sort();
    apps.dedup();
    apps.retain(|app| app.tenant == *tenant && !known.contains(app));
    Ok(apps)
}
