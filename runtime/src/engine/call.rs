//! One event, one instance, one outcome.

use super::{Engine, EngineError, Loaded, Permit, TICK, trigger, warm::Warm};
use crate::{
    host::{Call, CallStart, Collected, MemoryRefusal, Metered, Nothing, RESOURCES_MAX, Spent, World, codec, event_handler, value_out},
    model::{Event, Id, Kind, Micros, limit::HOSTCALL_BYTES_MAX, manifest::Function, trigger::Fired},
};
use parking_lot::Mutex;
use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};
use wasmtime::{Store, StoreContextMut, Trap, UpdateDeadline, component::Instance};
use wasmtime_wasi_http::p2::bindings::Proxy;

/// What a call is told about itself.
pub struct Attempt<'a> {
    pub function: &'a Function,
    pub event: &'a Event,
    /// The id of the call: the same in every attempt.
    pub call: Arc<str>,
    /// 1 for the first.
    pub number: u32,
    pub now: Micros,
}

/// How a call ended. On a failure `collected` holds only logs and reads that count; its effects are never done.
pub struct Outcome {
    pub result: Result<(), Failure>,
    pub collected: Collected,
    pub took: Duration,
    pub spent: Spent,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The handler asked for another try.
    #[error("{reason}")]
    Retry { after: Option<Duration>, reason: String },
    /// The handler said that trying again is useless.
    #[error("rejected: {0}")]
    Reject(String),
    #[error("trapped: {0}")]
    Trap(String),
    #[error("did not end within its timeout of {0:?}")]
    Timeout(Duration),
    #[error("used all of its {0:?} of processor time (`cpu` under [limits] in tawi.toml)")]
    Cpu(Duration),
    /// `trap`: how it went on without.
    #[error("{refused}{}", trap.as_deref().map(|trap| format!("; then it trapped: {trap}")).unwrap_or_default())]
    Memory { refused: MemoryRefusal, trap: Option<String> },
}

/// The ways into an instance.
pub(super) struct Handlers {
    pub event: Option<event_handler::Guest>,
    pub codec: Option<codec::Guest>,
    pub http: Option<Proxy>,
    /// None: the component handles no trigger of time.
    pub timed: Option<trigger::Guests>,
}

/// Whose instances may serve another call, and how many.
pub(super) struct Seat<'a> {
    pub name: &'a Id,
    pub reuse: u32,
}

impl Seat<'_> {
    pub fn of(function: &Function) -> Seat<'_> {
        Seat { name: &function.name, reuse: function.reuse }
    }
}

/// An instance, or what one is to be made in.
pub(super) struct Room {
    pub store: Store<Call>,
    /// None: there is no instance in it yet.
    pub handlers: Option<Handlers>,
    /// Calls that it may serve after this one.
    pub left: u32,
}

impl Engine {
    /// Runs an event handler, in an instance of its own where its manifest does not say `reuse`. Never fails itself: whatever goes
    /// wrong is the call's failure.
    pub async fn call(&self, permit: &Permit, loaded: &Loaded, attempt: Attempt<'_>, world: Arc<dyn World>) -> Outcome {
        let _ = permit;
        let (function, timeout) = (attempt.function, attempt.function.timeout);
        let collected = Arc::new(Mutex::new(Collected::within(&loaded.release.manifest.limits)));
        let begun = Instant::now();
        let start = CallStart { id: attempt.call.clone(), now: attempt.now, world, end: begun + timeout, collected: collected.clone() };
        let seat = Seat::of(function);
        let (mut room, waited) = self.room(loaded, &seat, start).await;
        let started = begun + waited;
        let meter = room.store.data().meter.clone();
        let ran = {
            let call = pin!(run(loaded, &attempt, &mut room));
            within(timeout + 2 * TICK, Metered { call, meter: meter.clone() }).await
        };
        let ended = Instant::now();
        let spent = Spent { cpu: meter.used(), memory_bytes: room.store.data().memory.bytes() };
        let result = match ran {
            None => Err(Failure::Timeout(timeout)),
            Some(Err(trap)) => Err(failure(&trap, room.store.data(), timeout)),
            Some(Ok(result)) => {
                // A refusal is an answer too: nothing is wrong with the instance.
                loaded.keep(&seat, room, ended);
                return outcome(result, collected, ended - started, spent);
            }
        };
        // The context may hold a last unfinished line of output, which its drop hands over.
        drop(room);
        outcome(result, collected, ended - started, spent)
    }

    /// Where a call is to run: what an earlier one left, or a new store. Waits until the node has memory for it, and says how long.
    pub(super) async fn room(&self, loaded: &Loaded, seat: &Seat<'_>, start: CallStart) -> (Room, Duration) {
        if seat.reuse > 1
            && let Some(Warm { mut store, handlers, left }) = loaded.warms.take(seat.name)
        {
            store.data_mut().renew(start);
            store.set_epoch_deadline(1);
            return (Room { store, handlers: Some(handlers), left: left - 1 }, Duration::ZERO);
        }
        let mut call = Call::new(start, loaded.app.clone(), loaded.release.clone(), &self.shared);
        let waited = match call.memory.try_reserve(loaded.initial_bytes) {
            true => Duration::ZERO,
            false => {
                let begun = Instant::now();
                call.memory.reserve(loaded.initial_bytes).await;
                begun.elapsed()
            }
        };
        call.end += waited;
        // At random, so that whoever leans on what an earlier call left finds out soon.
        let left = if seat.reuse > 1 { rand::random_range(0..seat.reuse) } else { 0 };
        (Room { store: store(loaded, call), handlers: None, left }, waited)
    }

    /// Whether an instance of the release can be made: what is asked before a push is accepted, and before a release is swapped in.
    pub async fn probe(&self, loaded: &Loaded) -> Result<(), EngineError> {
        let _permit = self.permit().await;
        let (app, release) = (loaded.app.clone(), loaded.release.clone());
        let end = Instant::now() + PROBE_MAX;
        let start = CallStart { id: "probe".into(), now: Micros(0), world: Arc::new(Nothing), end, collected: Arc::default() };
        let mut call = Call::new(start, app, release, &self.shared);
        call.memory.reserve(loaded.initial_bytes).await;
        call.end = Instant::now() + PROBE_MAX;
        let mut store = store(loaded, call);
        let meter = store.data().meter.clone();
        let made = {
            let call = pin!(loaded.pre.instantiate_async(&mut store));
            // What runs when an instance is made may wait in the host as well, where no tick reaches it.
            within(PROBE_MAX + 2 * TICK, Metered { call, meter }).await
        };
        match made {
            Some(Ok(_)) => Ok(()),
            Some(Err(trap)) => Err(EngineError::Instance(failure(&trap, store.data(), PROBE_MAX))),
            None => Err(EngineError::Instance(Failure::Timeout(PROBE_MAX))),
        }
    }
}

/// What a call comes to, or none when it has not ended in time. Its first part runs without a timer: most calls have no other.
pub(super) async fn within<F: Future + Unpin>(time: Duration, mut call: F) -> Option<F::Output> {
    let end = tokio::time::Instant::now() + time;
    match poll_fn(|cx| Poll::Ready(Pin::new(&mut call).poll(cx))).await {
        Poll::Ready(ended) => Some(ended),
        Poll::Pending => tokio::time::timeout_at(end, call).await.ok(),
    }
}

fn outcome(result: Result<(), Failure>, collected: Arc<Mutex<Collected>>, took: Duration, spent: Spent) -> Outcome {
    let collected = std::mem::take(&mut *collected.lock());
    Outcome { result, collected, took, spent }
}

impl Loaded {
    /// Keeps the instance of a call that went well for the next one, or lets it go.
    pub(super) fn keep(&self, seat: &Seat<'_>, room: Room, now: Instant) {
        if let Room { store, handlers: Some(handlers), left } = room
            && left > 0
        {
            self.warms.keep(seat.name, Warm { store, handlers, left }, now);
        }
    }

    pub(super) fn handlers(&self, store: &mut Store<Call>, instance: &Instance) -> wasmtime::Result<Handlers> {
        let event = self.event.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?;
        let codec = self.codec.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?;
        let http = self.http.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?;
        let timed = self.timed.as_ref().map(|indices| indices.load(store, instance)).transpose()?;
        Ok(Handlers { event, codec, http, timed })
    }
}

/// A store that is looked at each tick: it lets others run, and ends when its time is over or used up.
fn store(loaded: &Loaded, call: Call) -> Store<Call> {
    let mut store = Store::new(&loaded.core.wasm, call);
    // Tasks, streams and futures of a guest of WASI 0.3 are in a table of wasmtime's own.
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(RESOURCES_MAX);
    }
    store.limiter(|call| &mut call.memory);
    // Bounds what is lifted out of the guest, arguments and results alike, each call anew; more is a trap.
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    store.call_hook(|store, hook| {
        store.data().meter.hook(hook);
        Ok(())
    });
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(look);
    store
}

fn look(store: StoreContextMut<'_, Call>) -> wasmtime::Result<UpdateDeadline> {
    let call = store.data();
    let (used, most) = (call.meter.look(), call.release.manifest.limits.cpu);
    if used > most || call.meter.host() > most * HOST_CPU_TIMES {
        return Err(wasmtime::Error::new(Over::Cpu));
    }
    match Instant::now() < call.end {
        true => Ok(UpdateDeadline::Yield(1)),
        false => Err(wasmtime::Error::new(Over::Time)),
    }
}

/// What the host may use for a guest, in times of the guest's own `cpu`: what a guest asks for is bounded each time, how often is not.
const HOST_CPU_TIMES: u32 = 10;

/// Why a look at a running guest ended it.
#[derive(Debug, Clone, Copy)]
enum Over {
    Time,
    Cpu,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Over::Time => "the call's time is over",
            Over::Cpu => "the call's processor time is used up",
        })
    }
}

impl std::error::Error for Over {}

/// How long making an instance may take: no component needs a hundredth of it.
pub const PROBE_MAX: Duration = Duration::from_secs(5);
/// Bytes of a failure's reason that are kept.
const REASON_BYTES_MAX: usize = 2_048;
/// What wasmtime says of a host call over [`HOSTCALL_BYTES_MAX`].
const TOO_MUCH: &str = "fuel allocated for hostcalls";

async fn run(loaded: &Loaded, attempt: &Attempt<'_>, room: &mut Room) -> wasmtime::Result<Result<(), Failure>> {
    // The event says what it is: one that waited for another try may be from a time when the function had another trigger.
    let fired = match attempt.event.kind {
        Kind::Trigger => match trigger::read(attempt) {
            Ok(fired) => Some(fired),
            Err(unreadable) => return Ok(Err(unreadable)),
        },
        _ => None,
    };
    let Room { store, handlers, .. } = room;
    if handlers.is_none() {
        let instance = loaded.pre.instantiate_async(&mut *store).await?;
        *handlers = Some(loaded.handlers(store, &instance)?);
    }
    let handlers = handlers.as_ref();
    let event = match fired {
        None => event_in(attempt),
        Some(Fired::Every(reading)) => trigger::event_in(attempt, reading),
        // On the heap: it is many times as large as what a plain event needs.
        Some(fired) => return Box::pin(trigger::call(handlers.and_then(|h| h.timed.as_ref()), store, attempt, fired)).await,
    };
    match handlers.and_then(|handlers| handlers.event.as_ref()) {
        Some(guest) => Ok(guest.call_handle(store, &event).await?.map_err(refused)),
        None => Ok(Err(trigger::nobody("event"))),
    }
}

fn event_in(attempt: &Attempt<'_>) -> event_handler::Event {
    let event = attempt.event;
    event_handler::Event {
        function: attempt.function.name.to_string(),
        id: event.id(),
        subject: event.subject.to_string(),
        device: event.device.as_ref().map(ToString::to_string),
        sensor: event.sensor.as_ref().map(ToString::to_string),
        value: value_out(&event.value),
        measured: event.measured.0,
        received: event.received.0,
        sequence: event.seq,
        attempt: attempt.number,
    }
}

fn refused(failure: event_handler::Failure) -> Failure {
    match failure {
        event_handler::Failure::Retry(retry) => later(retry.after_ms, retry.reason),
        event_handler::Failure::Reject(reason) => Failure::Reject(plain(reason)),
    }
}

/// Another try, as a guest asks for it.
pub(super) fn later(after_ms: Option<u64>, reason: String) -> Failure {
    Failure::Retry { after: after_ms.map(Duration::from_millis), reason: plain(reason) }
}

/// A guest's words as they go to logs and terminals: not too many, and none that a terminal takes for a command.
pub(super) fn plain(words: String) -> String {
    crate::host::cut(words, REASON_BYTES_MAX).chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The reason behind a trap, in words of the limit where it was one.
pub(super) fn failure(trap: &wasmtime::Error, call: &Call, timeout: Duration) -> Failure {
    match trap.downcast_ref::<Over>() {
        Some(Over::Time) => return Failure::Timeout(timeout),
        Some(Over::Cpu) => return Failure::Cpu(call.release.manifest.limits.cpu),
        None => {}
    }
    let text = format!("{trap:#}");
    if text.contains(TOO_MUCH) {
        return Failure::Trap(format!("more than {HOSTCALL_BYTES_MAX} bytes were handed over in one host call"));
    }
    let trap = trap.downcast_ref::<Trap>();
    match (call.memory.refused, trap) {
        // An instance that was never made: it had no chance to go on without.
        (Some(refused), None) => Failure::Memory { refused, trap: None },
        // How the allocators of Rust and C give up. A panic is one too, so its own words stay.
        (Some(refused), Some(Trap::UnreachableCodeReached)) => Failure::Memory { refused, trap: Some(plain(text)) },
        _ => Failure::Trap(plain(text)),
    }
}
