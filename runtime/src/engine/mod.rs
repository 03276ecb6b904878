//! In: components, and messages for them. Out: loaded functions, and what each call asked for, or how it failed.
//! Never: reads or writes the ledger, retries, knows a route.

mod answer;
mod call;
mod check;
mod concurrent;
mod http;
mod machine;
mod pool;
mod wasi;

pub use call::{Attempt, Failure, Outcome};
pub use check::Exports;
pub use http::{Head, HttpCall, Responded};
pub use wasi::Wasi;

use crate::{
    host::{self, Call, MemoryBudget, NodeSecret, event_handler},
    model::{AppId, Manifest, Release},
};
use concurrent::{Second, Side};
use parking_lot::Mutex;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasi::Names;
use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi_http::{p2::bindings::ProxyIndices, p3::bindings::ServiceIndices};

#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Calls at once; each holds one instance with its memory.
    pub instances_max: u32,
    /// Memory of all instances together; none: derived from the machine's.
    pub guest_memory_bytes_max: Option<usize>,
    /// What the randomness of calls is made from.
    pub secret: NodeSecret,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions { instances_max: 128, guest_memory_bytes_max: None, secret: NodeSecret::default() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("can't set up the engine")]
    Setup(#[source] wasmtime::Error),
    #[error("this is not a component that this node can run: {0:#}")]
    Compile(wasmtime::Error),
    #[error("the component does not fit its manifest:\n{}", .0.join("\n"))]
    Refused(Vec<String>),
    #[error("can't load `{path}`")]
    Load { path: PathBuf, source: wasmtime::Error },
    #[error("can't {doing} `{path}`")]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("an instance can't be made: it {0}")]
    Instance(Failure),
}

/// Compiles, loads and calls components. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    first: Side,
    /// For handlers of WASI 0.3. Permits and memory are one for both.
    second: Arc<Second>,
    permits: Arc<Semaphore>,
    ticker: Arc<Ticker>,
    shared: host::Shared,
    pub instances_max: u32,
}

/// One call's right to an instance. The pool answers "full" with an error, so nobody asks it without one.
pub type Permit = OwnedSemaphorePermit;

/// A release that can be called.
pub struct Loaded {
    pub app: AppId,
    pub release: Arc<Release>,
    pre: InstancePre<Call>,
    /// What an instance has before it runs.
    initial_bytes: usize,
    event: Option<event_handler::GuestIndices>,
    http: Option<Handler>,
}

/// How its HTTP handler is entered.
enum Handler {
    P2(ProxyIndices),
    P3(ServiceIndices),
}

/// How often running guests are looked at: a guest overstays its time by one tick at most.
pub const TICK: Duration = Duration::from_millis(10);

impl Engine {
    pub fn open(options: &EngineOptions) -> Result<Engine, EngineError> {
        let first = Side::open(options, Wasi::P2).map_err(EngineError::Setup)?;
        let memory = options.guest_memory_bytes_max.unwrap_or_else(machine::guest_memory_bytes_max);
        let ticker = Ticker::start(first.wasm.clone()).map_err(|source| EngineError::File {
            doing: "start the thread",
            path: "epoch".into(),
            source,
        })?;
        Ok(Engine {
            first,
            second: Arc::new(Second::new(options.clone())),
            permits: Arc::new(Semaphore::new(options.instances_max as usize)),
            ticker: Arc::new(ticker),
            shared: host::Shared { memory: MemoryBudget::new(memory), secret: options.secret.clone() },
            instances_max: options.instances_max,
        })
    }

    /// Whether the component imports only what exists and is granted, and exports what the manifest's entries need.
    pub fn verify(&self, component: &[u8], manifest: &Manifest) -> Result<Exports, EngineError> {
        let wasi = Wasi::of(component);
        let early = if wasi == Wasi::P2 { Names::of(component).complaints() } else { Vec::new() };
        if !early.is_empty() {
            return Err(EngineError::Refused(early));
        }
        let side = self.side(wasi)?;
        let component = Component::new(&side.wasm, component).map_err(EngineError::Compile)?;
        let exports = check::fits(&side.wasm, &component, manifest).map_err(EngineError::Refused)?;
        check::share(&component).map_err(EngineError::Refused)?;
        // What the names promise, the types must keep: this fails for an interface of the right name and another shape.
        side.linker.instantiate_pre(&component).map_err(EngineError::Compile)?;
        Ok(exports)
    }

    /// The engine that components of this kind run on; the second one is opened here.
    fn side(&self, wasi: Wasi) -> Result<Side, EngineError> {
        match wasi {
            Wasi::P2 => Ok(self.first.clone()),
            Wasi::P3 => self.second.open(&self.ticker),
        }
    }

    /// Machine code for the very engine that runs it: its version, its settings, this processor.
    pub fn precompile(&self, component: &[u8]) -> Result<Vec<u8>, EngineError> {
        self.side(Wasi::of(component))?.wasm.precompile_component(component).map_err(EngineError::Compile)
    }

    /// Changes whenever precompiled code of another engine can't be used by that for components of this kind.
    pub fn compatibility(&self, wasi: Wasi) -> Result<String, EngineError> {
        use std::hash::{Hash, Hasher};
        // The hash wasmtime offers is of its own hashing scheme; the hasher only has to be the same for each process.
        let mut hasher = std::hash::DefaultHasher::new();
        self.side(wasi)?.wasm.precompile_compatibility_hash().hash(&mut hasher);
        Ok(format!("{:016x}", hasher.finish()))
    }

    /// Loads a release of this kind from its precompiled code, which [`Engine::precompile`] of an engine with the same
    /// [`Engine::compatibility`] must have written.
    pub fn load(&self, wasi: Wasi, path: &Path, app: AppId, release: Arc<Release>) -> Result<Loaded, EngineError> {
        let side = self.side(wasi)?;
        let failed = |source| EngineError::Load { path: path.to_owned(), source };
        // SAFETY: the file is our own output, in a directory only the node's user can write to, written to a temporary
        // name, synced and renamed, so it is whole; wasmtime itself refuses one of another version or other settings.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize_file(&side.wasm, path) }.map_err(failed)?;
        let pre = side.linker.instantiate_pre(&component).map_err(failed)?;
        let exports = check::exports(&side.wasm, &component);
        let event = exports.event.then(|| event_handler::GuestIndices::new(&pre)).transpose().map_err(failed)?;
        let handler = || match wasi {
            Wasi::P2 => ProxyIndices::new(&pre).map(Handler::P2),
            Wasi::P3 => ServiceIndices::new(&pre).map(Handler::P3),
        };
        let http = exports.http.then(handler).transpose().map_err(failed)?;
        let initial_bytes = check::share(&component).map_err(EngineError::Refused)?;
        let (most, key) = (self.shared.memory.bytes_max(), "`guest-memory-bytes-max` under [limits] of the node's configuration");
        if initial_bytes > most {
            let text =
                format!("an instance begins with {initial_bytes} bytes of memory, all calls of this node together have {most} ({key})");
            return Err(EngineError::Refused(vec![text]));
        }
        Ok(Loaded { app, release, pre, initial_bytes, event, http })
    }

    /// Waits for room for one more call.
    pub async fn permit(&self) -> Permit {
        match self.permits.clone().acquire_owned().await {
            Ok(permit) => permit,
            Err(_) => unreachable!("the engine's semaphore is never closed"),
        }
    }

    pub fn permits_free(&self) -> usize {
        self.permits.available_permits()
    }

    /// The engine below, for benches that compare a call with what it stands on.
    pub fn wasm(&self) -> &wasmtime::Engine {
        &self.first.wasm
    }

    /// Whether the engine for handlers of WASI 0.3 was opened: not before a release that has one comes.
    pub fn has_second(&self) -> bool {
        self.second.is_open()
    }

    /// False when the thread that ends endless loops has stopped: the node is not healthy then.
    pub fn is_ticking(&self) -> bool {
        self.ticker.is_alive()
    }
}

/// Advances the epoch from a thread of its own: a guest can pin the runtime's worker that owns the timers, but not this.
struct Ticker {
    stop: Arc<AtomicBool>,
    beats: Arc<AtomicU64>,
    engines: Arc<Mutex<Vec<wasmtime::Engine>>>,
    started: std::time::Instant,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Ticker> {
        let (stop, beats) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let started = std::time::Instant::now();
        let engines = Arc::new(Mutex::new(vec![engine]));
        let (stopping, beating, ticking) = (stop.clone(), beats.clone(), engines.clone());
        let tick = move || {
            while !stopping.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                ticking.lock().iter().for_each(wasmtime::Engine::increment_epoch);
                beating.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("epoch".into()).spawn(tick)?;
        Ok(Ticker { stop, beats, engines, started, thread: Some(thread) })
    }

    /// One thread ticks for every engine.
    fn also(&self, engine: wasmtime::Engine) {
        self.engines.lock().push(engine);
    }

    fn is_alive(&self) -> bool {
        let now = self.started.elapsed().as_millis() as u64;
        now.saturating_sub(self.beats.load(Ordering::Relaxed)) < 1_000
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread only sleeps and counts; it can't have panicked.
            let _ = thread.join();
        }
    }
}

impl Loaded {
    pub fn exports(&self) -> Exports {
        Exports { event: self.event.is_some(), http: self.http.is_some() }
    }
}
