//! In: `TAWI_FAULT=NAME:N` in the environment. Out: the process ends, as by `kill -9`, at the N-th pass of that point.
//! Never: does anything when the variable is not set, which costs one load.
//!
//! For tests of what a crash leaves behind. The points: `append` and `commit` (before and after the step that makes them durable, in
//! turn), `checkpoint` (the embedded ledger's file was made durable, its journal is still whole), `call` (a call has ended, nothing of it counts yet), `index` (a partition of the history is written, its position is not),
//! `notify` (before and after what readings fire is made durable, in turn; nothing of it is sent yet), `release` (git has moved a ref, its release is not made).

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

struct Fault {
    name: String,
    left: AtomicU64,
}

static FAULT: OnceLock<Option<Fault>> = OnceLock::new();

/// A point that a test may choose for the end of the process.
pub fn point(name: &str) {
    let Some(fault) = FAULT.get_or_init(chosen) else { return };
    if fault.name == name && fault.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // Not an exit: nothing may be flushed, closed or told goodbye.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn chosen() -> Option<Fault> {
    let text = std::env::var("TAWI_FAULT").ok()?;
    let (name, count) = text.split_once(':')?;
    let left = count.parse::<u64>().ok().filter(|count| *count > 0)?;
    Some(Fault { name: name.to_owned(), left: AtomicU64::new(left) })
}
