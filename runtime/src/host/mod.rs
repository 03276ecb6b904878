//! In: a call's imports. Out: entries in the call's list of effects, and answers from the world it was given.
//! Never: writes anywhere, knows a ledger, decides what a failure means.
//!
//! One file per interface of the contract, under the interface's name.

mod clock;
mod command;
mod config;
pub mod fetch;
mod history;
mod keyvalue;
mod link;
mod log;
mod memory;
mod meter;
mod p3;
mod publish;
mod secrets;
mod state;
mod stdio;

use crate::model::{
    AppId, Effects, Id, LogLine, Micros, Release,
    limit::{EFFECTS_BYTES_MAX, EFFECTS_MAX, LOG_BYTES_MAX, READS_BYTES_MAX, READS_MAX},
    manifest::Limits,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

pub mod bindings {
    //! Generated from `sdk/wit`.
    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        inline: "
            package tawi:node;
            world node {
                include tawi:app/imports@0.1.0;
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
                export tawi:app/event-handler@0.1.0;
                export tawi:app/codec@0.1.0;
                export tawi:app/schedule-handler@0.1.0;
                export tawi:app/batch-handler@0.1.0;
                export tawi:app/window-handler@0.1.0;
                export tawi:app/silence-handler@0.1.0;
                export tawi:app/change-handler@0.1.0;
                export tawi:app/threshold-handler@0.1.0;
            }
        ",
        world: "tawi:node/node",
        imports: {
            "tawi:app/history.search": async,
            "tawi:app/history.count": async,
            "tawi:app/state.entries": async,
            "wasi:keyvalue/store.[method]bucket.list-keys": async,
            "wasi:keyvalue/store.[drop]bucket": trappable,
        },
        exports: { default: async },
        with: { "wasi:keyvalue/store.bucket": crate::host::keyvalue::Bucket },
    });
}

pub use bindings::exports::tawi::app::{
    batch_handler, change_handler, codec, event_handler, schedule_handler, silence_handler, threshold_handler, window_handler,
};
pub use bindings::tawi::app::trigger;
pub use bindings::tawi::app::types::{Error as HostError, Value as HostValue};
pub use clock::NodeSecret;
pub use link::add_to_linker;
pub(crate) use log::cut;
pub use memory::{CallMemory, MemoryBudget, MemoryRefusal, TABLE_ELEMENTS_MAX};
pub use meter::{Meter, Metered};
pub use p3::add_p3_to_linker;

/// What a call may look at. Dispatch gives the ledger's state with pending writes over it; a health check gives nothing.
pub trait World: Send + Sync {
    fn state(&self, key: &str) -> Result<Seen<Option<Bytes>>, String>;
    /// Entries with `prefix`, after `after`, in byte order, at most `limit`.
    fn state_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Seen<Vec<(String, Bytes)>>, String>;
    fn history(&self, query: HistoryQuery) -> BoxFuture<'static, Result<HistoryPage, String>>;
    /// Whether the app's owner may command a device.
    fn may_command(&self, device: &Id) -> bool;
    fn config(&self) -> Arc<BTreeMap<String, String>>;
    fn secrets(&self) -> Arc<BTreeMap<String, String>>;
}

/// The world of a component that is only being looked at, or that waits for its next call: empty.
pub struct Nothing;

static NOTHING: LazyLock<Arc<dyn World>> = LazyLock::new(|| Arc::new(Nothing));

impl World for Nothing {
    fn state(&self, _: &str) -> Result<Seen<Option<Bytes>>, String> {
        Ok(Seen { value: None, at: 0 })
    }

    fn state_entries(&self, _: &str, _: Option<&str>, _: usize) -> Result<Seen<Vec<(String, Bytes)>>, String> {
        Ok(Seen { value: Vec::new(), at: 0 })
    }

    fn history(&self, _: HistoryQuery) -> BoxFuture<'static, Result<HistoryPage, String>> {
        Box::pin(async { Ok(HistoryPage::default()) })
    }

    fn may_command(&self, _: &Id) -> bool {
        false
    }

    fn config(&self) -> Arc<BTreeMap<String, String>> {
        Arc::default()
    }

    fn secrets(&self) -> Arc<BTreeMap<String, String>> {
        Arc::default()
    }
}

/// A value, and the moment (in the world's own count of writes) at which it was so.
#[derive(Debug, Clone)]
pub struct Seen<T> {
    pub value: T,
    pub at: u64,
}

#[derive(Debug, Clone)]
pub struct HistoryQuery {
    pub text: String,
    pub from: Option<Micros>,
    pub to: Option<Micros>,
    pub limit: usize,
    pub offset: usize,
}

#[derive(Debug, Clone, Default)]
pub struct HistoryPage {
    pub total: u64,
    pub events: Vec<crate::model::Event>,
}

/// What a call read of the state, for the check that nobody wrote it since.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    Key(String),
    Prefix(String),
}

impl Read {
    fn len_bytes(&self) -> usize {
        match self {
            Read::Key(text) | Read::Prefix(text) => text.len(),
        }
    }
}

/// Everything a call has asked for so far.
#[derive(Debug, Default)]
pub struct Collected {
    pub effects: Effects,
    /// The last write of this call by key, for reading its own writes. Survives an early commit.
    pub own: BTreeMap<String, Option<Bytes>>,
    /// Each read with the earliest moment it was made at.
    pub reads: BTreeMap<Read, u64>,
    read_bytes: usize,
    pub logs: Vec<LogLine>,
    log_bytes: usize,
    /// Lines over the limit, dropped.
    pub logs_dropped: u64,
    effect_count: usize,
    effect_bytes: usize,
    commands: u32,
    /// Outbound requests begun; part of the id of each.
    fetches: u32,
    most: Most,
    /// What the call has used; known when it has ended.
    pub spent: Spent,
}

/// What a call has used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Processor time of the guest.
    pub cpu: Duration,
    /// All memory that its instance had at the end.
    pub memory_bytes: usize,
}

/// What the manifest lets a call ask for.
#[derive(Debug, Clone, Copy)]
struct Most {
    effects: usize,
    log_bytes: usize,
}

impl Default for Most {
    fn default() -> Most {
        Most { effects: EFFECTS_MAX, log_bytes: LOG_BYTES_MAX }
    }
}

impl Collected {
    /// Nothing yet, and no more than this.
    pub fn within(limits: &Limits) -> Collected {
        let most = Most { effects: limits.effects.min(EFFECTS_MAX), log_bytes: limits.log_bytes.min(LOG_BYTES_MAX) };
        Collected { most, ..Collected::default() }
    }

    /// Nothing yet, and no effects at all.
    pub fn without_effects(limits: &Limits) -> Collected {
        let mut collected = Collected::within(limits);
        collected.most.effects = 0;
        collected
    }

    /// Whether the call may ask for something to be done. A manifest allows for one effect at least.
    fn has_effects(&self) -> bool {
        self.most.effects > 0
    }

    /// Counts one more effect of `bytes` against the call's limits.
    fn admit(&mut self, bytes: usize) -> Result<(), HostError> {
        if !self.has_effects() {
            return Err(HostError::Denied("a codec has no effects: what it found in an uplink is all that it gives".into()));
        }
        if self.effect_count + 1 > self.most.effects {
            return Err(HostError::Limit(format!(
                "a call has at most {} effects (`effects` under [limits] in tawi.toml)",
                self.most.effects
            )));
        }
        if self.effect_bytes + bytes > EFFECTS_BYTES_MAX {
            return Err(HostError::Limit(format!("the effects of a call have at most {EFFECTS_BYTES_MAX} bytes")));
        }
        self.effect_count += 1;
        self.effect_bytes += bytes;
        Ok(())
    }

    /// Whether one more read can be remembered. Asked before it is made: a read that is not remembered can't be checked.
    fn admit_read(&self, read: &Read) -> Result<(), HostError> {
        if self.reads.contains_key(read) {
            return Ok(());
        }
        if self.reads.len() + 1 > READS_MAX {
            return Err(HostError::Limit(format!("a call reads at most {READS_MAX} keys and prefixes of its state")));
        }
        if self.read_bytes + read.len_bytes() > READS_BYTES_MAX {
            return Err(HostError::Limit(format!("the keys and prefixes that a call reads have at most {READS_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    fn read(&mut self, read: Read, at: u64) {
        let size = read.len_bytes();
        match self.reads.entry(read) {
            Entry::Occupied(mut earliest) => *earliest.get_mut() = at.min(*earliest.get()),
            Entry::Vacant(new) => {
                new.insert(at);
                self.read_bytes += size;
            }
        }
    }

    /// Whether there is something to commit since the last [`Collected::take`].
    pub fn has_more(&self) -> bool {
        !self.effects.is_empty() || !self.logs.is_empty() || self.logs_dropped > 0
    }

    /// Takes what there is to commit now. Reads stay, for what comes later may rest on them too.
    pub fn take(&mut self) -> Taken {
        self.log_bytes = 0;
        Taken {
            effects: std::mem::take(&mut self.effects),
            logs: std::mem::take(&mut self.logs),
            logs_dropped: std::mem::take(&mut self.logs_dropped),
            reads: self.reads.clone(),
        }
    }
}

/// What a call asked for up to some moment.
#[derive(Debug, Default)]
pub struct Taken {
    pub effects: Effects,
    pub logs: Vec<LogLine>,
    pub logs_dropped: u64,
    pub reads: BTreeMap<Read, u64>,
}

/// What all calls of a node have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    pub memory: MemoryBudget,
    pub secret: NodeSecret,
}

/// The data of one store: one call, or one after another where an instance is reused.
pub struct Call {
    pub id: Arc<str>,
    pub app: AppId,
    pub release: Arc<Release>,
    /// The wall clock of this attempt: fixed, so that the attempt can be run again.
    pub now: Micros,
    pub collected: Arc<Mutex<Collected>>,
    pub world: Arc<dyn World>,
    pub memory: CallMemory,
    pub meter: Arc<Meter>,
    /// When the call must have ended.
    pub end: Instant,
    secret: NodeSecret,
    table: ResourceTable,
    /// Handles that were left after the first call.
    held_first: Option<usize>,
    /// The last page of keys that ended early: its cursor and its last key.
    listed: Option<(u64, String)>,
    wasi: Option<WasiCtx>,
    /// Where standard output goes; none before the guest asked for a context.
    spoken: Option<stdio::Spoken>,
    http: WasiHttpCtx,
    egress: fetch::Egress,
}

/// What is new with each call.
pub struct CallStart {
    pub id: Arc<str>,
    pub now: Micros,
    pub world: Arc<dyn World>,
    pub end: Instant,
    pub collected: Arc<Mutex<Collected>>,
}

impl Call {
    pub fn new(start: CallStart, app: AppId, release: Arc<Release>, shared: &Shared) -> Call {
        let memory = CallMemory::new(release.manifest.limits.memory_bytes, shared.memory.clone());
        let egress = fetch::Egress::new(release.clone(), start.id.clone(), start.collected.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Call {
            id: start.id,
            app,
            release,
            now: start.now,
            collected: start.collected,
            world: start.world,
            memory,
            meter: Arc::default(),
            end: start.end,
            secret: shared.secret.clone(),
            table,
            held_first: None,
            listed: None,
            wasi: None,
            spoken: None,
            http: WasiHttpCtx::new(),
            egress,
        }
    }

    /// The next call of the same instance. What the guest holds stays: its memory, its handles.
    pub fn renew(&mut self, start: CallStart) {
        self.egress.renew(start.id.clone(), start.collected.clone());
        (self.id, self.now, self.world, self.end, self.collected) = (start.id, start.now, start.world, start.end, start.collected);
        self.memory.refused = None;
        // Whoever measured the last call may look at it still.
        match Arc::get_mut(&mut self.meter) {
            Some(meter) => *meter = Meter::default(),
            None => self.meter = Arc::default(),
        }
        self.listed = None;
        // Time and randomness are of one call.
        self.wasi = None;
        if let Some(spoken) = &self.spoken {
            spoken.turn(self.now, self.collected.clone());
        }
    }

    /// Whether the guest holds a body of HTTP, or what has one. A stream of a body can't be there without it.
    fn holds_bodies(&mut self) -> bool {
        use wasmtime_wasi_http::p2::{body, types};
        self.table.iter_mut().any(|held| {
            held.is::<body::HostOutgoingBody>()
                || held.is::<body::HostIncomingBody>()
                || held.is::<types::HostIncomingRequest>()
                || held.is::<types::HostOutgoingResponse>()
                || held.is::<types::HostIncomingResponse>()
                || held.is::<types::HostOutgoingRequest>()
                || held.is::<types::HostFutureIncomingResponse>()
        })
    }

    /// The call has ended, and its instance may go on: a last line without an end is a line, and the world is let go. False when it may
    /// not, because the guest holds more than after its first call: what hangs on a handle (a body, a connection) would outlive its
    /// call, and add up.
    pub fn ended(&mut self) -> bool {
        if let Some(spoken) = &self.spoken {
            spoken.finish();
        }
        self.world = NOTHING.clone();
        let held = self.table.iter_mut().count();
        // A body that the guest still holds would be open for ever, and for the next call to write to.
        !self.holds_bodies() && held <= *self.held_first.get_or_insert(held.min(HANDLES_KEPT_MAX))
    }
}

/// Handles (streams, requests, buckets, …) a call may hold at once, so that host memory stays bounded.
pub const RESOURCES_MAX: usize = 4_096;
/// Handles a guest may keep from one call to the next: its standard streams.
const HANDLES_KEPT_MAX: usize = 3;
/// Bytes one call for randomness may ask for.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// Built when the guest first asks: most event handlers never do, and a context costs more than their call.
impl WasiView for Call {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| {
            let mut builder = WasiCtx::builder();
            // Functions of two apps may have one name and one event.
            clock::fix(&mut builder, self.now, &format!("{}/{}", self.app, self.id), &self.secret);
            builder.max_random_size(RANDOM_BYTES_MAX);
            let spoken = self.spoken.get_or_insert_with(|| stdio::Spoken::new(self.now, self.collected.clone()));
            builder.stdout(spoken.lines(stdio::Stream::Out));
            builder.stderr(spoken.lines(stdio::Stream::Err));
            builder.build()
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Call {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.egress }
    }
}

/// A value of the contract as one of the model, checked.
pub(crate) fn value_in(value: HostValue) -> Result<crate::model::Value, HostError> {
    use crate::model::{Value, limit::VALUE_BYTES_MAX};
    let value = match value {
        HostValue::Json(text) => Value::json(&text).ok_or_else(|| HostError::Invalid("the value is not one JSON text".into()))?,
        HostValue::Bytes(bytes) => Value::Bytes(bytes.into()),
    };
    match value.len_bytes() {
        size if size > VALUE_BYTES_MAX => {
            Err(HostError::Limit(format!("a value has at most {VALUE_BYTES_MAX} bytes, this one has {size}")))
        }
        _ => Ok(value),
    }
}

/// A value of the model as one of the contract.
pub fn value_out(value: &crate::model::Value) -> HostValue {
    match value {
        crate::model::Value::Json(text) => HostValue::Json(text.to_string()),
        crate::model::Value::Bytes(bytes) => HostValue::Bytes(bytes.to_vec()),
    }
}

impl bindings::tawi::app::types::Host for Call {}
impl trigger::Host for Call {}
