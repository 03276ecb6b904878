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
    pub micros: AtomicU64,
    /// Calls by how long they took: up to each of [`BUCKETS_MICROS`], and above.
    pub buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
}

pub const BUCKETS_MICROS: [u64; 8] = [50, 100, 250, 1_000, 5_000, 25_000, 250_000, 2_500_000];

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
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let bucket = BUCKETS_MICROS.iter().position(|limit| micros <= *limit).unwrap_or(BUCKETS_MICROS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }
}
