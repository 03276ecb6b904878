//! The processor time that a guest has used: what its thread spent on it, without what the host did for it.

use rustix::time::{ClockId, clock_gettime};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use wasmtime::CallHook;

/// What one call has used so far.
///
/// The thread's clock is read when a call is polled and when that poll ends. It costs a tenth of a microsecond each time, too much for
/// each of the host calls that a usual call makes; so these are told apart only from the first look on ([`Meter::look`]): up to
/// there, for one tick at most, what the host does counts as the guest's.
#[derive(Debug, Default)]
pub struct Meter {
    used_nanos: AtomicU64,
    /// What the host has used for it, once that is told apart.
    host_nanos: AtomicU64,
    /// The thread's clock when the part began that is under way now.
    since_nanos: AtomicU64,
    /// Host calls are told apart.
    exact: AtomicBool,
    /// The guest runs, not the host for it; kept while it is exact.
    in_guest: AtomicBool,
}

impl Meter {
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used_nanos.load(Relaxed))
    }

    /// What the host has used for it, from the first look on.
    pub fn host(&self) -> Duration {
        Duration::from_nanos(self.host_nanos.load(Relaxed))
    }

    /// What was used up to now. To be asked by the thread that runs the guest, while it does; from here on it is exact.
    pub fn look(&self) -> Duration {
        self.count();
        if !self.exact.swap(true, Relaxed) {
            self.in_guest.store(true, Relaxed);
        }
        self.used()
    }

    /// The guest goes into the host, or comes back.
    pub fn hook(&self, hook: CallHook) {
        if !self.exact.load(Relaxed) {
            return;
        }
        // The host may call the guest back, for room to put an answer in.
        let enters_guest = matches!(hook, CallHook::CallingWasm | CallHook::ReturningFromHost);
        self.count_for(if enters_guest { &self.host_nanos } else { &self.used_nanos });
        self.in_guest.store(enters_guest, Relaxed);
    }

    fn count(&self) {
        self.count_for(&self.used_nanos);
    }

    fn count_for(&self, whose: &AtomicU64) {
        let now = thread_nanos();
        let part = now.saturating_sub(self.since_nanos.swap(now, Relaxed));
        whose.fetch_add(part, Relaxed);
    }

    fn begin(&self) {
        self.since_nanos.store(thread_nanos(), Relaxed);
    }

    fn end(&self) {
        let guests = !self.exact.load(Relaxed) || self.in_guest.load(Relaxed);
        self.count_for(if guests { &self.used_nanos } else { &self.host_nanos });
    }
}

fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

/// Measures each poll of a call.
pub struct Metered<F> {
    pub call: F,
    pub meter: Arc<Meter>,
}

impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.begin();
        let polled = Pin::new(&mut self.call).poll(context);
        self.meter.end();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(for_at_least: Duration) -> Duration {
        let begin = thread_nanos();
        while thread_nanos() - begin < u64::try_from(for_at_least.as_nanos()).unwrap_or(u64::MAX) {
            std::hint::black_box(0);
        }
        Duration::from_nanos(thread_nanos() - begin)
    }

    const PART: Duration = Duration::from_millis(2);

    #[test]
    fn what_the_host_does_is_not_the_guests_once_it_is_looked_at() {
        let meter = Meter::default();
        meter.begin();
        let first = work(PART);
        let seen = meter.look();
        assert!(seen >= first, "{seen:?} {first:?}");
        meter.hook(CallHook::CallingHost);
        let before = meter.used();
        work(PART);
        // Room for the answer is made by the guest.
        meter.hook(CallHook::CallingWasm);
        let own = work(PART);
        meter.hook(CallHook::ReturningFromWasm);
        work(PART);
        meter.hook(CallHook::ReturningFromHost);
        let used = meter.used() - before;
        assert!(used >= own && used < own + PART, "{used:?} {own:?}");
    }

    #[test]
    fn a_call_that_waits_in_the_host_uses_nothing() {
        let meter = Meter::default();
        meter.begin();
        meter.look();
        meter.hook(CallHook::CallingHost);
        meter.end();
        let before = meter.used();
        // Polled again, and again nothing but the host runs.
        meter.begin();
        work(PART);
        meter.end();
        assert_eq!(meter.used(), before);
        assert!(meter.host() >= PART, "it is counted apart");
    }
}
