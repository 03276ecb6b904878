//! Counts of one function, read by the metrics.

use super::record::Recorder;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

#[derive(Debug, Default)]
pub struct Stats {
    /// From an event's receipt to the durable commit of its effects.
    pub effects: Durations,
    /// Events done or dead.
    pub settled: AtomicU64,
    /// Attempts that will be tried again.
    pub retried: AtomicU64,
    /// HTTP calls that failed.
    pub failed: AtomicU64,
    /// Calls run again because what they read had changed.
    pub reruns: AtomicU64,
    pub calls: Durations,
    /// Which of its calls are recorded.
    pub(super) recorder: Recorder,
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Durations {
    /// All of them together.
    pub micros: AtomicU64,
    /// How many took up to each of [`BUCKETS_MICROS`], and more than the last.
    pub buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
}

impl Durations {
    pub fn observe(&self, micros: u64) {
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let bucket = BUCKETS_MICROS.iter().position(|limit| micros <= *limit).unwrap_or(BUCKETS_MICROS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }
}

pub const BUCKETS_MICROS: [u64; 10] = [50, 100, 250, 1_000, 2_000, 5_000, 10_000, 25_000, 250_000, 2_500_000];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Settled,
    Retried,
    Failed,
}

impl Stats {
    pub fn count(&self, kind: &Kind, took: Duration) {
        let counter = match kind {
            Kind::Settled => &self.settled,
            Kind::Retried => &self.retried,
            Kind::Failed => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.calls.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}
