//! `[limits]` and `reuse`: what one call may use, and how many calls one instance may serve.

use super::{
    TIMEOUT_MAX, quantity,
    section::{Problems, Section},
};
use crate::model::limit::{EFFECTS_MAX, LOG_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::{ops::RangeInclusive, time::Duration};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory of one call, all memories together.
    pub memory_bytes: usize,
    /// Processor time of one call, host calls not counted; checked each [`crate::engine::TICK`].
    #[serde(default = "cpu_default", rename = "cpu_ms", with = "quantity::millis")]
    pub cpu: Duration,
    /// Writes, messages and commands of one call.
    #[serde(default = "effects_default")]
    pub effects: usize,
    /// All log lines of one call.
    #[serde(default = "log_default")]
    pub log_bytes: usize,
    /// The body of one answer to a request.
    #[serde(default = "output_default")]
    pub output_bytes: u64,
}

pub const MEMORY_BYTES_DEFAULT: usize = 64 << 20;
pub const MEMORY_BYTES_MAX: usize = 256 << 20;
/// Less than this no Rust program with a standard library starts in.
pub const MEMORY_BYTES_MIN: usize = 2 << 20;
/// A thousand times what a usual call takes.
pub const CPU_DEFAULT: Duration = Duration::from_secs(1);
/// One look at a running guest; less can't be told apart.
pub const CPU_MIN: Duration = Duration::from_millis(10);
const LOG_BYTES_MIN: usize = 1 << 10;
pub const OUTPUT_BYTES_DEFAULT: u64 = 64 << 20;
pub const OUTPUT_BYTES_MIN: u64 = 1 << 10;
/// It streams, so this bounds what a function that never ends can send, not memory.
pub const OUTPUT_BYTES_MAX: u64 = 16 << 30;
/// A leak of a few bytes a call in a guest stays small until its instance is replaced.
pub const REUSE_MAX: u32 = 1_000_000;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: MEMORY_BYTES_DEFAULT,
            cpu: CPU_DEFAULT,
            effects: EFFECTS_MAX,
            log_bytes: LOG_BYTES_MAX,
            output_bytes: OUTPUT_BYTES_DEFAULT,
        }
    }
}

pub(super) const KEYS: &[&str] = &["memory", "cpu", "effects", "log", "output"];

pub(super) fn read(problems: &Problems<'_>, section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let size = |key, allowed| size(problems, section, key, allowed);
    let memory = size("memory", MEMORY_BYTES_MIN as u64..=MEMORY_BYTES_MAX as u64);
    let cpu = section.duration("cpu", TIMEOUT_MAX).unwrap_or(default.cpu);
    if cpu < CPU_MIN {
        problems.add(section.span_of("cpu"), format!("`cpu` must be at least `{}`", quantity::duration_text(CPU_MIN)));
    }
    Limits {
        memory_bytes: memory.map_or(default.memory_bytes, |bytes| bytes as usize),
        cpu,
        effects: section.integer("effects", 1..=EFFECTS_MAX as u32).map_or(default.effects, |n| n as usize),
        log_bytes: size("log", LOG_BYTES_MIN as u64..=LOG_BYTES_MAX as u64).map_or(default.log_bytes, |bytes| bytes as usize),
        output_bytes: size("output", OUTPUT_BYTES_MIN..=OUTPUT_BYTES_MAX).unwrap_or(default.output_bytes),
    }
}

fn size(problems: &Problems<'_>, section: &Section<'_>, key: &str, allowed: RangeInclusive<u64>) -> Option<u64> {
    let text = section.string(key)?;
    match quantity::bytes(text.value) {
        Ok(bytes) if allowed.contains(&(bytes as u64)) => return Some(bytes as u64),
        Ok(_) => {
            let (min, max) = (quantity::bytes_text(*allowed.start()), quantity::bytes_text(*allowed.end()));
            problems.add(text.span, format!("`{key}` must be from `{min}` to `{max}`"));
        }
        Err(message) => problems.add(text.span, message),
    }
    None
}

fn cpu_default() -> Duration {
    CPU_DEFAULT
}

fn effects_default() -> usize {
    EFFECTS_MAX
}

fn log_default() -> usize {
    LOG_BYTES_MAX
}

fn output_default() -> u64 {
    OUTPUT_BYTES_DEFAULT
}

pub(super) fn reuse_default() -> u32 {
    1
}

pub(super) fn is_fresh(reuse: &u32) -> bool {
    *reuse <= 1
}
