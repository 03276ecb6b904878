//! In: the log, HTTP requests, the releases that are live. Out: commits; answers to HTTP requests.
//! Never: stores anything itself, knows a socket, loads a component.
//!
//! One [`Lane`] an app makes its calls serializable and commits them; one consumer a function walks the log.

mod again;
mod answer;
mod batch;
mod body;
mod commit;
mod consumer;
mod decode;
mod eyes;
mod http;
mod lag;
mod lane;
mod outgoing;
mod parking;
mod queues;
mod record;
mod replay;
mod run;
mod shared;
pub mod stats;
mod tracker;
mod triggers;
mod verdict;
mod work;
mod world;

pub use again::{Again, PastLedgers};
pub use eyes::{Eyes, Sight};
pub use http::{HttpFailure, HttpResponse};
pub use lane::Lane;
pub use replay::{Replay, ReplayError, Replayed};
pub use shared::Shared;
pub use triggers::{Derivation, DerivedPlace, End, Takes, seen};
pub use world::HistorySource;

use crate::{
    engine::{Engine, Loaded},
    host::World,
    ledger::{Ledger, LedgerError, Op},
    model::{
        AppId, Event, FunctionId, Kind, Pattern,
        limit::{EVENT_CALLS_PER_APP_PERCENT, EVENT_CALLS_PERCENT, HTTP_CALLS_PER_APP_PERCENT, HTTP_CALLS_PERCENT},
        manifest::{Function, Order, Trigger},
        selector::Selector,
    },
};
use arc_swap::ArcSwap;
use consumer::Consumer;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinHandle},
};
use tokio_util::sync::CancellationToken;
use triggers::{Deriving, Evaluating};
use work::Slow;

/// How long a release waits for what its app's functions have done to be durable, before it is tried again.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// Whether a reading is of a sensor that fits, now; the node wires it to the registry.
pub type Fits = Arc<dyn Fn(&Selector, &Event) -> bool + Send + Sync>;

/// What every call needs.
pub struct Context {
    pub engine: Engine,
    pub ledger: Ledger,
    /// Rules of time are looked at here; not where what they have to tell is told already.
    evaluates: bool,
    pub history: HistorySource,
    fits: Fits,
    sight: Sight,
    /// Runs of one function at once: a slow one leaves instances for the others.
    pub calls_per_function_max: usize,
    /// Workers of event functions that are active, all over the node.
    workers: Arc<AtomicUsize>,
    /// Calls for events that wait for something: the other instances are for requests.
    slow: Arc<Slow>,
    slow_per_app_max: usize,
    /// Room for HTTP calls: the other instances are for events.
    http_calls: Arc<Semaphore>,
    http_calls_per_app_max: usize,
}

/// What an operator set for an app; over the manifest's own.
#[derive(Debug, Default)]
pub struct Settings {
    pub config: Arc<BTreeMap<String, String>>,
    pub secrets: Arc<BTreeMap<String, String>>,
}

/// An app that is live.
pub struct App {
    pub id: AppId,
    pub loaded: ArcSwap<Loaded>,
    pub settings: ArcSwap<Settings>,
    pub lane: Arc<Lane>,
    http_stats: Mutex<HashMap<String, Arc<stats::Stats>>>,
    /// Its calls for events that wait for something: slow functions of one app leave instances for the others.
    slow: Slow,
    /// Room for its HTTP calls: slow clients of one app leave instances for the others.
    http_calls: Arc<Semaphore>,
}

struct Running {
    shared: Arc<Shared>,
    trigger: Trigger,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// False once its task has ended, which it does by itself when the ledger has forgotten the function.
    fn goes_on(&self) -> bool {
        !self.task.is_finished()
    }
}

pub struct Dispatch {
    pub context: Arc<Context>,
    apps: ArcSwap<HashMap<AppId, Arc<App>>>,
    /// In an order, so that they are stopped in one.
    consumers: Mutex<BTreeMap<FunctionId, Running>>,
    /// By the function whose triggers they make.
    evaluators: Mutex<BTreeMap<FunctionId, Evaluating>>,
    /// By the rule whose readings they make.
    deriving: tokio::sync::Mutex<BTreeMap<FunctionId, Deriving>>,
}

impl App {
    fn world(self: &Arc<App>, context: &Context) -> Arc<dyn World> {
        Arc::new(world::AppWorld {
            app: self.clone(),
            settings: self.settings.load_full(),
            history: context.history.clone(),
            sight: context.sight.clone(),
        })
    }

    /// Counts of the HTTP functions that were called since the start.
    pub fn all_http_stats(&self) -> Vec<(String, Arc<stats::Stats>)> {
        self.http_stats.lock().iter().map(|(name, stats)| (name.clone(), stats.clone())).collect()
    }

    pub fn http_stats(&self, function: &str) -> Arc<stats::Stats> {
        let mut all = self.http_stats.lock();
        match all.get(function) {
            Some(stats) => stats.clone(),
            None => all.entry(function.to_owned()).or_default().clone(),
        }
    }
}

impl Dispatch {
    /// Without a registry: no sensor fits what a function selects.
    pub fn new(engine: Engine, ledger: Ledger, history: HistorySource) -> Dispatch {
        Dispatch::selecting(engine, ledger, history, Arc::new(|_, _| false))
    }

    /// With a registry, and apps that see all of it.
    pub fn selecting(engine: Engine, ledger: Ledger, history: HistorySource, fits: Fits) -> Dispatch {
        Dispatch::seeing(engine, ledger, history, fits, Arc::new(|_| None))
    }

    pub fn seeing(engine: Engine, ledger: Ledger, history: HistorySource, fits: Fits, sight: Sight) -> Dispatch {
        let share = |percent: usize| (engine.instances_max as usize * percent / 100).max(1);
        let (calls_per_function_max, http_calls_per_app_max) = (share(25), share(HTTP_CALLS_PER_APP_PERCENT));
        let http_calls = Arc::new(Semaphore::new(share(HTTP_CALLS_PERCENT)));
        let context = Context {
            slow: Arc::new(Slow::new(share(EVENT_CALLS_PERCENT))),
            slow_per_app_max: share(EVENT_CALLS_PER_APP_PERCENT),
            engine,
            evaluates: true,
            ledger,
            history,
            fits,
            sight,
            calls_per_function_max,
            workers: Arc::default(),
            http_calls,
            http_calls_per_app_max,
        };
        Dispatch {
            context: Arc::new(context),
            apps: ArcSwap::default(),
            consumers: Mutex::default(),
            evaluators: Mutex::default(),
            deriving: tokio::sync::Mutex::default(),
        }
    }

    pub fn app(&self, id: &AppId) -> Option<Arc<App>> {
        self.apps.load().get(id).cloned()
    }

    pub fn apps(&self) -> Vec<Arc<App>> {
        self.apps.load().values().cloned().collect()
    }

    /// The event functions that run, for metrics and for what concerns one of them.
    pub fn consumers(&self) -> Vec<Arc<Shared>> {
        self.consumers.lock().values().filter(|running| running.goes_on()).map(|running| running.shared.clone()).collect()
    }

    pub fn consumer(&self, id: &FunctionId) -> Option<Arc<Shared>> {
        self.consumers.lock().get(id).filter(|running| running.goes_on()).map(|running| running.shared.clone())
    }

    /// Makes a release the one that serves. Calls that run end in the release they began in; every later one is in this.
    pub async fn set(&self, loaded: Arc<Loaded>, settings: Settings) -> Result<(), LedgerError> {
        let id = loaded.app.clone();
        // Before their rules are others in the ledger.
        self.end_evaluators(&id, &loaded).await;
        // Before anything of the new release runs: a function that is new begins after what is in the log now.
        self.register(&loaded).await?;
        let app = match self.app(&id) {
            Some(app) => {
                app.settings.store(Arc::new(settings));
                app.loaded.store(loaded.clone());
                app
            }
            None => self.insert(loaded.clone(), settings)?,
        };
        self.stop_others(&app, &loaded).await?;
        self.start_missing(&app, &loaded);
        Ok(())
    }

    pub fn set_settings(&self, id: &AppId, settings: Settings) {
        if let Some(app) = self.app(id) {
            app.settings.store(Arc::new(settings));
        }
    }

    /// Stops an app. What it holds in the ledger stays.
    pub async fn remove(&self, id: &AppId) {
        let Some(app) = self.app(id) else { return };
        join_evaluators(self.take_evaluators(|function, _| function.app == *id)).await;
        let stopping: Vec<Running> = self.take_consumers(|function, _| function.app == *id);
        join(stopping).await;
        self.apps.rcu(|apps| {
            let mut apps = HashMap::clone(apps);
            apps.remove(id);
            apps
        });
        app.lane.stop().await;
    }

    /// Stops every function; what was folded is durable when this returns.
    pub async fn stop(&self) {
        self.stop_deriving().await;
        join_evaluators(self.take_evaluators(|_, _| true)).await;
        join(self.take_consumers(|_, _| true)).await;
        for app in self.apps() {
            app.lane.stop().await;
        }
    }

    /// Functions whose triggers are made here.
    fn timed<'a>(&self, loaded: &'a Loaded) -> impl Iterator<Item = (FunctionId, &'a Trigger)> + use<'a> {
        let evaluates = self.context.evaluates;
        timed(loaded).filter(move |_| evaluates)
    }

    async fn register(&self, loaded: &Loaded) -> Result<(), LedgerError> {
        for (function, _, _) in events(loaded) {
            let start = *self.context.ledger.head().borrow();
            self.context.ledger.apply(Op::Register { function, start }).await?;
        }
        // Behind the functions: what they make is not missed.
        for (function, trigger) in self.timed(loaded) {
            triggers::register(&self.context.ledger, &function, trigger).await?;
        }
        Ok(())
    }

    fn insert(&self, loaded: Arc<Loaded>, settings: Settings) -> Result<Arc<App>, LedgerError> {
        let id = loaded.app.clone();
        let app = Arc::new(App {
            id: id.clone(),
            loaded: ArcSwap::new(loaded),
            settings: ArcSwap::from_pointee(settings),
            lane: Lane::new(id.clone(), self.context.ledger.clone())?,
            http_stats: Mutex::default(),
            slow: Slow::new(self.context.slow_per_app_max),
            http_calls: Arc::new(Semaphore::new(self.context.http_calls_per_app_max)),
        });
        self.apps.rcu(|apps| {
            let mut apps = HashMap::clone(apps);
            apps.insert(id.clone(), app.clone());
            apps
        });
        Ok(app)
    }

    /// Ends consumers whose entry is gone or asks for other events. A gone one is forgotten by the ledger too.
    async fn stop_others(&self, app: &App, loaded: &Loaded) -> Result<(), LedgerError> {
        let wanted: HashMap<FunctionId, &Function> = events(loaded).map(|(id, function, _)| (id, function)).collect();
        let differs = |function: &FunctionId, running: &Running| {
            let same = wanted.get(function).is_some_and(|wanted| wanted.trigger == running.trigger);
            function.app == app.id && !(same && running.goes_on())
        };
        join(self.take_consumers(differs)).await;
        self.forget_evaluators(app, loaded).await?;
        let known = self.context.ledger.functions()?.into_iter().map(|(function, _)| function);
        let gone: Vec<FunctionId> = known.filter(|function| function.app == app.id && !wanted.contains_key(function)).collect();
        if !gone.is_empty() {
            // What they did counts before they are forgotten, so that it can't come after one of the same name is new.
            let settled = tokio::time::timeout(SETTLED_WITHIN, app.lane.settled()).await;
            settled.map_err(|_| LedgerError::Unavailable(format!("what `{}` did is not durable after {SETTLED_WITHIN:?}", app.id.app)))?;
        }
        for function in gone {
            self.context.ledger.apply(Op::Unregister { function }).await?;
        }
        Ok(())
    }

    fn start_missing(&self, app: &Arc<App>, loaded: &Loaded) {
        let mut consumers = self.consumers.lock();
        for (id, function, feed) in events(loaded) {
            consumers.entry(id.clone()).or_insert_with(|| {
                let (shared, stop) = (Shared::new(id, self.context.workers.clone()), CancellationToken::new());
                let consumer = Consumer::new(self.context.clone(), app.clone(), shared.clone(), feed, stop.clone());
                Running { shared, trigger: function.trigger.clone(), stop, task: tokio::spawn(consumer.run()) }
            });
        }
        drop(consumers);
        let mut evaluators = self.evaluators.lock();
        for (id, trigger) in self.timed(loaded) {
            if !evaluators.contains_key(&id)
                && let Some(evaluating) = triggers::start(&self.context, &id, trigger)
            {
                evaluators.insert(id, evaluating);
            }
        }
    }

    /// Ends evaluators whose rule is gone or another; what they have looked at counts by the rule that they had.
    async fn end_evaluators(&self, app: &AppId, loaded: &Loaded) {
        let wanted: HashMap<FunctionId, &Trigger> = self.timed(loaded).collect();
        let differs = |function: &FunctionId, running: &Evaluating| {
            let differs = wanted.get(function).is_none_or(|trigger| **trigger != running.trigger);
            function.app == *app && (differs || running.task.is_finished())
        };
        join_evaluators(self.take_evaluators(differs)).await;
    }

    /// Has the ledger forget evaluators whose function is gone.
    async fn forget_evaluators(&self, app: &App, loaded: &Loaded) -> Result<(), LedgerError> {
        let wanted: HashMap<FunctionId, &Trigger> = self.timed(loaded).collect();
        let known = self.context.ledger.functions()?.into_iter().filter_map(|(function, _)| Some((function.evaluates()?, function.app)));
        for (_, place) in known.filter(|(function, _)| function.app == app.id && !wanted.contains_key(function)) {
            self.context.ledger.apply(Op::DeleteApp { app: place }).await?;
        }
        Ok(())
    }

    /// Forgets all that the ledger holds of an app, which must have been removed.
    pub async fn forget(&self, app: &AppId) -> Result<(), LedgerError> {
        forget(&self.context.ledger, app).await
    }

    /// How far the evaluator of a function has come, where there is one that follows the log.
    pub fn evaluated(&self, function: &FunctionId) -> Option<crate::model::Seq> {
        let evaluators = self.evaluators.lock();
        let running = evaluators.get(function).filter(|running| !matches!(running.trigger, Trigger::Schedule(_)));
        running.map(|running| running.progress.scanned())
    }

    fn take_evaluators(&self, which: impl Fn(&FunctionId, &Evaluating) -> bool) -> Vec<Evaluating> {
        let mut evaluators = self.evaluators.lock();
        let ids: Vec<FunctionId> = evaluators.iter().filter(|(id, running)| which(id, running)).map(|(id, _)| id.clone()).collect();
        ids.iter().filter_map(|id| evaluators.remove(id)).collect()
    }

    fn take_consumers(&self, which: impl Fn(&FunctionId, &Running) -> bool) -> Vec<Running> {
        let mut consumers = self.consumers.lock();
        let ids: Vec<FunctionId> = consumers.iter().filter(|(id, running)| which(id, running)).map(|(id, _)| id.clone()).collect();
        ids.iter().filter_map(|id| consumers.remove(id)).collect()
    }
}

async fn join(stopping: Vec<Running>) {
    stopping.iter().for_each(|running| running.stop.cancel());
    for running in stopping {
        if let Err(error) = running.task.await {
            tracing::error!(function = %running.shared.id, %error, "a consumer ended by panic");
        }
    }
}

async fn join_evaluators(stopping: Vec<Evaluating>) {
    stopping.iter().for_each(|running| running.stop.cancel());
    for running in stopping {
        if let Err(error) = running.task.await {
            tracing::error!(%error, "what makes triggers of time ended by panic");
        }
    }
}

/// Forgets all that the ledger holds of an app, what makes its triggers included.
pub async fn forget(ledger: &Ledger, app: &AppId) -> Result<(), LedgerError> {
    let known = ledger.functions()?.into_iter().filter_map(|(function, _)| Some((function.evaluates()?, function.app)));
    let places: Vec<AppId> = known.filter(|(function, _)| function.app == *app).map(|(_, place)| place).collect();
    // The app last: until it is forgotten, this is done again.
    for app in places.into_iter().chain([app.clone()]) {
        ledger.apply(Op::DeleteApp { app }).await?;
    }
    Ok(())
}

/// A number from 0 to 1, of which two nodes have different ones.
fn part() -> f64 {
    #[cfg(test)]
    if let Some(part) = tests::sim::part() {
        return part;
    }
    rand::random()
}

/// On a thread that may block; in a simulation, which has one thread for everything, here and now.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(test)]
    if tests::sim::is_here() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// Which events are a function's, and in which order.
#[derive(Clone)]
struct Feed {
    /// What makes triggers writes them for one function alone; everything else is for whoever asks for its subject.
    triggers: bool,
    pattern: Pattern,
    order: Order,
    select: Option<Selector>,
}

impl Feed {
    /// `eyes`: none sees all.
    fn concerns(&self, event: &Event, fits: &Fits, eyes: Option<&dyn Eyes>) -> bool {
        let fits = |selector| event.kind == Kind::Reading && eyes.map_or_else(|| fits(selector, event), |eyes| eyes.fits(selector, event));
        let kind = match event.kind {
            Kind::Reading | Kind::Message | Kind::Command => !self.triggers,
            Kind::Trigger => self.triggers,
            _ => false,
        };
        kind && self.pattern.matches(event.subject.as_str())
            && self.select.as_ref().is_none_or(fits)
            && eyes.is_none_or(|eyes| eyes::reaches(eyes, event))
    }
}

/// Functions whose triggers time makes.
fn timed(loaded: &Loaded) -> impl Iterator<Item = (FunctionId, &Trigger)> {
    let is_timed = |trigger: &Trigger| matches!(trigger, Trigger::Event { rule: Some(_), .. } | Trigger::Schedule(_));
    let functions = loaded.release.manifest.functions.iter().filter(move |function| is_timed(&function.trigger));
    functions.map(|function| (FunctionId { app: loaded.app.clone(), function: function.name.clone() }, &function.trigger))
}

fn events(loaded: &Loaded) -> impl Iterator<Item = (FunctionId, &Function, Feed)> {
    loaded.release.manifest.functions.iter().filter_map(|function| match &function.trigger {
        Trigger::Event { subject, order, select, rule: None } => {
            let feed = Feed { triggers: false, pattern: subject.clone(), order: *order, select: select.clone() };
            Some((FunctionId { app: loaded.app.clone(), function: function.name.clone() }, function, feed))
        }
        Trigger::Event { order, .. } => Some(told(loaded, function, *order)),
        // The moments of a schedule come one after another.
        Trigger::Schedule(_) => Some(told(loaded, function, Order::Device)),
        Trigger::Http { .. } => None,
    })
}

/// A function that is told what its evaluator makes.
fn told<'a>(loaded: &Loaded, function: &'a Function, order: Order) -> (FunctionId, &'a Function, Feed) {
    let id = FunctionId { app: loaded.app.clone(), function: function.name.clone() };
    let pattern = Pattern::from(triggers::subject(&id));
    (id, function, Feed { triggers: true, pattern, order, select: None })
}

#[cfg(test)]
mod tests;
