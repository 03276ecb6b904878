//! The thread that has running guests looked at.

use super::warm::AllWarms;
use parking_lot::Mutex;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use wasmtime::{Engine, EngineWeak};

/// How often running guests are looked at: a guest overstays its time by one tick at most.
pub const TICK: Duration = Duration::from_millis(10);
/// Ticks between two looks at instances that wait.
const SWEEP_TICKS: u64 = 100;

/// Advances the epoch from a thread of its own: a guest can pin the runtime's worker that owns the timers, but not this.
pub(super) struct Ticker {
    stop: Arc<AtomicBool>,
    beats: Arc<AtomicU64>,
    engines: Arc<Mutex<Vec<EngineWeak>>>,
    started: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn start(warms: Arc<AllWarms>) -> io::Result<Ticker> {
        let (stop, beats) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let engines: Arc<Mutex<Vec<EngineWeak>>> = Arc::default();
        let started = Instant::now();
        let (stopping, beating, ticking) = (stop.clone(), beats.clone(), engines.clone());
        let tick = move || {
            let mut ticks = 0_u64;
            while !stopping.load(Ordering::Relaxed) {
                thread::sleep(TICK);
                ticking.lock().retain(|engine| engine.upgrade().map(|engine| engine.increment_epoch()).is_some());
                beating.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
                ticks += 1;
                if ticks.is_multiple_of(SWEEP_TICKS) {
                    warms.sweep();
                }
            }
        };
        let thread = thread::Builder::new().name("epoch".into()).spawn(tick)?;
        Ok(Ticker { stop, beats, engines, started, thread: Some(thread) })
    }

    /// The thread ends soon.
    #[cfg(test)]
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ticks for one more engine, until it is dropped.
    pub fn tick(&self, engine: &Engine) {
        self.engines.lock().push(engine.weak());
    }

    pub fn is_alive(&self) -> bool {
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
