//! Counts of one function, read by the metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

#[derive(Debug, Default)]
pub struct Stats {
    /// Events done or dead.
    pub settled: AtomicU64,
    /// Attempts that will be tried again.
    pub retried: AtomicU64,
    /// HTTP calls that failed.
    pub failed: AtomicU64,
    /// Calls run again because what they read had changed.
    pub reruns: AtomicU64,
    /// How long calls ran.
    pub took: Times,
    /// From an event's receipt until its effects were durable, at the first attempt.
    pub effects: Times,
}

/// Durations, counted into buckets: up to each of [`BUCKETS_MICROS`], and above.
#[derive(Debug, Default)]
pub struct Times {
    pub micros: AtomicU64,
    pub buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
}

pub const BUCKETS_MICROS: [u64; 11] = [50, 100, 250, 1_000, 2_000, 5_000, 10_000, 25_000, 250_000, 1_000_000, 10_000_000];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Settled,
    Retried,
    Failed,
}

impl Times {
    pub fn count(&self, micros: u64) {
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let bucket = BUCKETS_MICROS.iter().position(|limit| micros <= *limit).unwrap_or(BUCKETS_MICROS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }
}

impl Stats {
    pub fn count(&self, kind: &Kind, took: Duration) {
        let counter = match kind {
            Kind::Settled => &self.settled,
            Kind::Retried => &self.retried,
            Kind::Failed => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.took.count(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}
