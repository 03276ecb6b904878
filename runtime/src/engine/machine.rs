//! What this machine has, as far as a limit is derived from it.

use crate::model::manifest::MEMORY_BYTES_DEFAULT;

/// Where nobody can tell how much memory there is: as on the smallest board.
const MEMORY_BYTES_UNKNOWN: usize = 512 << 20;

/// Guests get half of the machine's memory, or of the control group's: the other half is for the node, its caches and the compiler.
pub(super) fn guest_memory_bytes_max() -> usize {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    half(&read("/proc/meminfo"), &read("/sys/fs/cgroup/memory.max"))
}

fn half(meminfo: &str, group: &str) -> usize {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    let total = total.map_or(MEMORY_BYTES_UNKNOWN, |kib| kib.saturating_mul(1024));
    // `max` is no number: no limit.
    let group = group.trim().parse::<usize>().unwrap_or(usize::MAX);
    (total.min(group) / 2).max(MEMORY_BYTES_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn guests_get_half_of_the_machine_or_of_the_group() {
        let pi = "MemTotal:         948192 kB\nMemFree:          100 kB\n";
        assert_eq!(half(pi, "max\n"), 948_192 * 512);
        assert_eq!(half(pi, "268435456\n"), 128 << 20);
        assert_eq!(half(pi, "1048576\n"), 64 << 20, "one call of the default size always fits");
        assert_eq!(half("", ""), 256 << 20);
    }
}
