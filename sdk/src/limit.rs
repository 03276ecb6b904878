//! Limits of the node, as `runtime/src/model/limit.rs` has them: a function's unit tests meet the same ones.

#![cfg_attr(target_arch = "wasm32", allow(dead_code))]

/// An id of a device or an actuator.
pub const ID_BYTES_MAX: usize = 128;
/// A subject.
pub const SUBJECT_BYTES_MAX: usize = 1024;
/// The value of a message or a command.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// One key of the state.
pub const STATE_KEY_BYTES_MAX: usize = 512;
/// One value of the state.
pub const STATE_VALUE_BYTES_MAX: usize = 256 * 1024;
/// Effects (writes, messages, commands) of one call.
pub const EFFECTS_MAX: usize = 1_000;
/// Bytes of all effects of one call.
pub const EFFECTS_BYTES_MAX: usize = 512 * 1024;
/// Log lines of one call; what is over is dropped.
pub const LOG_LINES_MAX: usize = 256;
/// Bytes of all log lines of one call.
pub const LOG_BYTES_MAX: usize = 32 * 1024;
/// One log line; a longer one is cut.
pub const LOG_LINE_BYTES_MAX: usize = 4 * 1024;
/// Entries that one question for entries returns.
pub const STATE_ENTRIES_MAX: u32 = 1_000;
/// Bytes of keys and values that one question for entries returns.
pub const STATE_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Results that one history query returns.
pub const HISTORY_HITS_MAX: u32 = 1_000;
/// One line of a trace.
pub const TRACE_LINE_BYTES_MAX: usize = 512 * 1024;
/// A trace that a test plays: some 300,000 readings, which are all in memory.
pub const TRACE_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// First tokens of subjects that only the node itself writes.
pub const RESERVED: [&str; 9] = ["reading", "command", "log", "registry", "uplink", "tawi", "trigger", "run", "dropped"];
