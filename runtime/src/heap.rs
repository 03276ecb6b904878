//! Where memory comes from: jemalloc, which gives back what a burst has left behind.
//!
//! The system's allocator keeps an arena for each of a node's dozen threads, and in each what was once needed there: half of what a busy
//! node held was free. Fewer arenas cost it a fifth more processor time; this one costs less (decision 0035). Pages of other sizes than
//! x86-64 has would make it hold more, so elsewhere the system's stays.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static HEAP: Jemalloc = Jemalloc;

/// One arena for each processor: a thread that waits for another is rarer than memory that lies about. What was freed goes back within a
/// second, by a thread that does nothing else, so that a node which has become quiet gives back too.
const SETTINGS: &[u8] = b"narenas_ratio:1,background_thread:true,max_background_threads:1,dirty_decay_ms:300,muzzy_decay_ms:0\0";

// SAFETY: jemalloc looks for a pointer to a text that ends with a zero under this name, and nobody else does.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
#[used]
static CONF: Option<&u8> = SETTINGS.first();

#[cfg(test)]
mod tests {
    use tawi_platform_tests::{wait::LATER, wait_for};

    fn resident_bytes() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap_or(0) * 1024
    }

    /// What is left of a burst lies between what is free again.
    #[test]
    fn what_a_burst_has_left_behind_goes_back_to_the_system() {
        const BURST: usize = 256 << 20;
        const EACH: usize = 4_096;
        let mut all: Vec<Vec<u8>> = (0..BURST / EACH).map(|n| vec![n as u8; EACH]).collect();
        let most = resident_bytes();
        let mut n = 0;
        all.retain(|_| {
            n += 1;
            n % 1_024 == 0
        });
        wait_for("most of the burst to be given back", LATER, resident_bytes, |now| now + BURST * 3 / 4 <= most);
        assert_eq!(all.len(), BURST / EACH / 1_024, "while some of it is still there");
    }
}
