//! In: components, and messages for them. Out: loaded functions, and what each call asked for, or how it failed.
//! Never: reads or writes the ledger, retries, knows a route.

mod answer;
mod call;
mod check;
mod concurrent;
mod core;
mod decode;
mod http;
mod machine;
mod pool;
mod ticker;
mod trigger;
mod warm;
mod wasi;

pub use call::{Attempt, Failure, Outcome};
pub use check::Exports;
pub use decode::Decoding;
pub use http::{Head, HttpCall, Responded};
pub use ticker::TICK;
pub use warm::WARM_MAX;
pub use wasi::Wasi;

use crate::{
    host::{self, Call, MemoryBudget, NodeSecret, codec, event_handler},
    model::{AppId, Manifest, Release},
};
use arc_swap::ArcSwap;
use concurrent::Second;
use core::Core;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use ticker::Ticker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warm::{AllWarms, Warms};
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
    core: Arc<ArcSwap<Core>>,
    /// For components with a handler of WASI 0.3. Permits and memory are one for both.
    second: Arc<Second>,
    permits: Arc<Semaphore>,
    ticker: Arc<Ticker>,
    shared: host::Shared,
    warms: Arc<AllWarms>,
    pub instances_max: u32,
}

/// One call's right to an instance. The pool answers "full" with an error, so nobody asks it without one.
pub type Permit = OwnedSemaphorePermit;

/// A release that can be called.
pub struct Loaded {
    pub app: AppId,
    pub release: Arc<Release>,
    core: Arc<Core>,
    pre: InstancePre<Call>,
    /// What an instance has before it runs.
    initial_bytes: usize,
    event: Option<event_handler::GuestIndices>,
    codec: Option<codec::GuestIndices>,
    http: Option<ProxyIndices>,
    /// None: it handles no trigger of time.
    timed: Option<trigger::Indices>,
    /// The HTTP handler, where it is one of WASI 0.3.
    service: Option<ServiceIndices>,
    warms: Arc<Warms>,
}

impl Engine {
    pub fn open(options: &EngineOptions) -> Result<Engine, EngineError> {
        let core = Arc::new(Core::open(Wasi::P2, options.instances_max, machine::pages_stay()).map_err(EngineError::Setup)?);
        let warms = Arc::new(AllWarms::default());
        let bytes_max = options.guest_memory_bytes_max.unwrap_or_else(machine::guest_memory_bytes_max);
        let idle = warms.clone();
        let memory = MemoryBudget::reclaiming(bytes_max, move || idle.clear());
        let ticker =
            Ticker::start(warms.clone()).map_err(|source| EngineError::File { doing: "start the thread", path: "epoch".into(), source })?;
        ticker.tick(&core.wasm);
        Ok(Engine {
            core: Arc::new(ArcSwap::new(core)),
            second: Arc::default(),
            permits: Arc::new(Semaphore::new(options.instances_max as usize)),
            ticker: Arc::new(ticker),
            shared: host::Shared { memory, secret: options.secret.clone() },
            warms,
            instances_max: options.instances_max,
        })
    }

    /// Whether slots keep pages that may no longer be told dirty from clean: [`Engine::fall_back`] then.
    pub fn is_unsafe_now(&self) -> bool {
        self.keeps_pages() && !machine::pages_stay()
    }

    fn keeps_pages(&self) -> bool {
        self.core.load().keeps_pages || self.second.keeps_pages()
    }

    /// From here on releases are loaded into slots that are given back to the kernel whole after each call. Those that are loaded
    /// already stay as they are: load them again. Returns false when there was nothing to do.
    ///
    /// # Errors
    /// When there is no address space for a second pool beside the one in use.
    pub fn fall_back(&self) -> Result<bool, EngineError> {
        if !self.keeps_pages() {
            return Ok(false);
        }
        // This one first: the second is opened as the first is.
        if self.core.load().keeps_pages {
            self.core.store(self.open_core(Wasi::P2, false)?);
        }
        self.second.renew(|| self.open_core(Wasi::P3, false))?;
        Ok(true)
    }

    fn open_core(&self, wasi: Wasi, keeps_pages: bool) -> Result<Arc<Core>, EngineError> {
        let core = Arc::new(Core::open(wasi, self.instances_max, keeps_pages).map_err(EngineError::Setup)?);
        self.ticker.tick(&core.wasm);
        Ok(core)
    }

    /// The engine that components of this kind run on; the second one is opened here.
    fn core(&self, wasi: Wasi) -> Result<Arc<Core>, EngineError> {
        match wasi {
            Wasi::P2 => Ok(self.core.load_full()),
            Wasi::P3 => self.second.get(|| self.open_core(Wasi::P3, self.core.load().keeps_pages)),
        }
    }

    /// Whether the engine for handlers of WASI 0.3 was opened: not before a component that has one comes.
    pub fn has_second(&self) -> bool {
        self.second.is_open()
    }

    /// Whether the component imports only what exists and is granted, and exports what the manifest's entries need.
    pub fn verify(&self, component: &[u8], manifest: &Manifest) -> Result<Exports, EngineError> {
        let wasi = Wasi::of(component);
        let early = Names::of(component).complaints(wasi, manifest);
        if !early.is_empty() {
            return Err(EngineError::Refused(early));
        }
        let core = self.core(wasi)?;
        let component = Component::new(&core.wasm, component).map_err(EngineError::Compile)?;
        let exports = check::fits(&core.wasm, &component, manifest).map_err(EngineError::Refused)?;
        check::share(&component).map_err(EngineError::Refused)?;
        // What the names promise, the types must keep: this fails for an interface of the right name and another shape.
        core.linker.instantiate_pre(&component).map_err(EngineError::Compile)?;
        Ok(exports)
    }

    /// Machine code for the very engine that runs it: its version, its settings, this processor.
    pub fn precompile(&self, component: &[u8]) -> Result<Vec<u8>, EngineError> {
        self.core(Wasi::of(component))?.wasm.precompile_component(component).map_err(EngineError::Compile)
    }

    /// Changes whenever precompiled code of another engine can't be used by that for components of this kind.
    pub fn compatibility(&self, wasi: Wasi) -> Result<String, EngineError> {
        use std::hash::{Hash, Hasher};
        // The hash wasmtime offers is of its own hashing scheme; the hasher only has to be the same for each process.
        let mut hasher = std::hash::DefaultHasher::new();
        self.core(wasi)?.wasm.precompile_compatibility_hash().hash(&mut hasher);
        Ok(format!("{:016x}", hasher.finish()))
    }

    /// Loads a release of this kind from its precompiled code, which [`Engine::precompile`] of an engine with the same
    /// [`Engine::compatibility`] must have written.
    pub fn load(&self, wasi: Wasi, path: &Path, app: AppId, release: Arc<Release>) -> Result<Loaded, EngineError> {
        let failed = |source| EngineError::Load { path: path.to_owned(), source };
        let core = self.core(wasi)?;
        // SAFETY: the file is our own output, in a directory only the node's user can write to, written to a temporary
        // name, synced and renamed, so it is whole; wasmtime itself refuses one of another version or other settings.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize_file(&core.wasm, path) }.map_err(failed)?;
        let pre = core.linker.instantiate_pre(&component).map_err(failed)?;
        let exports = check::exports(&core.wasm, &component);
        let event = exports.event.then(|| event_handler::GuestIndices::new(&pre)).transpose().map_err(failed)?;
        let codec = exports.codec.then(|| codec::GuestIndices::new(&pre)).transpose().map_err(failed)?;
        let http = (exports.http && wasi == Wasi::P2).then(|| ProxyIndices::new(&pre)).transpose().map_err(failed)?;
        let timed = trigger::Indices::of(&exports, &pre).map_err(failed)?;
        let service = (wasi == Wasi::P3).then(|| ServiceIndices::new(&pre)).transpose().map_err(failed)?;
        let initial_bytes = check::share(&component).map_err(EngineError::Refused)?;
        let (most, key) = (self.shared.memory.bytes_max(), "`guest-memory-bytes-max` under [limits] of the node's configuration");
        if initial_bytes > most {
            let text =
                format!("an instance begins with {initial_bytes} bytes of memory, all calls of this node together have {most} ({key})");
            return Err(EngineError::Refused(vec![text]));
        }
        let warms = Warms::of(&self.warms);
        Ok(Loaded { app, release, core, pre, initial_bytes, event, codec, http, timed, service, warms })
    }

    /// Waits for room for one more call.
    pub async fn permit(&self) -> Permit {
        match self.permits.clone().acquire_owned().await {
            Ok(permit) => permit,
            Err(_) => unreachable!("the engine's semaphore is never closed"),
        }
    }

    /// Room for one more call, if there is some at once.
    pub fn try_permit(&self) -> Option<Permit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    pub fn permits_free(&self) -> usize {
        self.permits.available_permits()
    }

    /// The engine below, for benches that compare a call with what it stands on.
    pub fn wasm(&self) -> wasmtime::Engine {
        self.core.load().wasm.clone()
    }

    /// Instances that wait for another call.
    pub fn warm(&self) -> usize {
        self.warms.count()
    }

    /// No call is interrupted by the time of this machine any more.
    #[cfg(test)]
    pub(crate) fn stop_ticking(&self) {
        self.ticker.stop();
    }

    /// False when the thread that ends endless loops has stopped: the node is not healthy then.
    pub fn is_ticking(&self) -> bool {
        self.ticker.is_alive()
    }
}

impl Loaded {
    /// Whether it is in slots that keep pages from one call to the next.
    pub fn keeps_pages(&self) -> bool {
        self.core.keeps_pages
    }

    pub fn exports(&self) -> Exports {
        let timed = self.timed.as_ref().map(trigger::Indices::exports).unwrap_or_default();
        let http = self.http.is_some() || self.service.is_some();
        Exports { event: self.event.is_some(), http, codec: self.codec.is_some(), ..timed }
    }
}
