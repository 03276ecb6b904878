//! One event, one fresh instance, one outcome.

use super::{Engine, EngineError, Loaded, Permit, TICK};
use crate::{
    host::{Call, Collected, MemoryRefusal, RESOURCES_MAX, World, event_handler, value_out},
    model::{Event, Micros, limit::HOSTCALL_BYTES_MAX, manifest::Function},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use wasmtime::{Store, Trap, UpdateDeadline};

/// What a call is told about itself.
pub struct Attempt<'a> {
    pub function: &'a Function,
    pub event: &'a Event,
    /// 1 for the first.
    pub number: u32,
    pub now: Micros,
}

/// How a call ended. On a failure `collected` holds only logs and reads that count; its effects are never done.
pub struct Outcome {
    pub result: Result<(), Failure>,
    pub collected: Collected,
    pub took: Duration,
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
    /// `trap`: how it went on without.
    #[error("{refused}{}", trap.as_deref().map(|trap| format!("; then it trapped: {trap}")).unwrap_or_default())]
    Memory { refused: MemoryRefusal, trap: Option<String> },
}

impl Engine {
    /// Runs an event handler in an instance of its own. Never fails itself: whatever goes wrong is the call's failure.
    pub async fn call(&self, permit: &Permit, loaded: &Loaded, attempt: Attempt<'_>, world: Arc<dyn World>) -> Outcome {
        let _ = permit;
        let id = format!("{}-{}", attempt.event.id(), attempt.function.name);
        let timeout = attempt.function.timeout;
        let mut call = Call::new(id, loaded.app.clone(), loaded.release.clone(), attempt.now, world, &self.shared);
        call.memory.reserve(loaded.initial_bytes).await;
        let started = Instant::now();
        let mut store = self.store(loaded, call, timeout);
        let ran = tokio::time::timeout(timeout + 2 * TICK, run(loaded, &attempt, &mut store)).await;
        let result = match ran {
            Err(_) => Err(Failure::Timeout(timeout)),
            Ok(Err(trap)) => Err(failure(&trap, store.data(), timeout)),
            Ok(Ok(result)) => result.map_err(refused),
        };
        let collected = store.data().collected.clone();
        // The context may hold a last unfinished line of output, which its drop hands over.
        drop(store);
        let collected = std::mem::take(&mut *collected.lock());
        Outcome { result, collected, took: started.elapsed() }
    }

    /// A store that is looked at each tick: it lets others run, and ends when its time is over.
    pub(super) fn store(&self, loaded: &Loaded, call: Call, timeout: Duration) -> Store<Call> {
        let mut store = Store::new(loaded.pre.engine(), call);
        // Tasks, streams and futures of a guest of WASI 0.3 are in a table of wasmtime's own.
        if let Some(table) = store.concurrent_resource_table() {
            table.set_max_capacity(RESOURCES_MAX);
        }
        store.limiter(|call| &mut call.memory);
        // Bounds what is lifted out of the guest, arguments and results alike, each call anew; more is a trap.
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_epoch_deadline(1);
        let end = Instant::now() + timeout;
        store.epoch_deadline_callback(move |_| match Instant::now() < end {
            true => Ok(UpdateDeadline::Yield(1)),
            false => Err(wasmtime::Error::msg(TIMED_OUT)),
        });
        store
    }

    /// Whether an instance of the release can be made: what is asked before a push is accepted, and before a release is swapped in.
    pub async fn probe(&self, loaded: &Loaded) -> Result<(), EngineError> {
        let _permit = self.permit().await;
        let (app, release) = (loaded.app.clone(), loaded.release.clone());
        let mut call = Call::new("probe".into(), app, release, Micros(0), Arc::new(super::check::Nothing), &self.shared);
        call.memory.reserve(loaded.initial_bytes).await;
        let mut store = self.store(loaded, call, PROBE_MAX);
        // What runs when an instance is made may wait in the host as well, where no tick reaches it.
        match tokio::time::timeout(PROBE_MAX + 2 * TICK, loaded.pre.instantiate_async(&mut store)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(trap)) => Err(EngineError::Instance(failure(&trap, store.data(), PROBE_MAX))),
            Err(_) => Err(EngineError::Instance(Failure::Timeout(PROBE_MAX))),
        }
    }
}

/// How long making an instance may take: no component needs a hundredth of it.
pub const PROBE_MAX: Duration = Duration::from_secs(5);
/// Bytes of a failure's reason that are kept.
const REASON_BYTES_MAX: usize = 2_048;
const TIMED_OUT: &str = "the call's time is over";
/// What wasmtime says of a host call over [`HOSTCALL_BYTES_MAX`].
const TOO_MUCH: &str = "fuel allocated for hostcalls";

async fn run(loaded: &Loaded, attempt: &Attempt<'_>, store: &mut Store<Call>) -> wasmtime::Result<Result<(), event_handler::Failure>> {
    let indices = loaded.event.as_ref().ok_or_else(|| wasmtime::Error::msg("the component exports no event handler"))?;
    let instance = loaded.pre.instantiate_async(&mut *store).await?;
    let guest = indices.load(&mut *store, &instance)?;
    guest.call_handle(store, &event_in(attempt)).await
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
        event_handler::Failure::Retry(retry) => {
            Failure::Retry { after: retry.after_ms.map(Duration::from_millis), reason: plain(retry.reason) }
        }
        event_handler::Failure::Reject(reason) => Failure::Reject(plain(reason)),
    }
}

/// A guest's words as they go to logs and terminals: not too many, and none that a terminal takes for a command.
fn plain(words: String) -> String {
    crate::host::cut(words, REASON_BYTES_MAX).chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The reason behind a trap, in words of the limit where it was one.
pub(super) fn failure(trap: &wasmtime::Error, call: &Call, timeout: Duration) -> Failure {
    let text = format!("{trap:#}");
    if text.contains(TIMED_OUT) {
        return Failure::Timeout(timeout);
    }
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
