//! What this machine has and does, as far as a limit or a setting is derived from it.

use crate::model::manifest::MEMORY_BYTES_DEFAULT;
use parking_lot::Mutex;
use std::path::Path;

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

/// Asking the kernel which pages are dirty is three times faster than giving all back, but a page that is not present at that
/// moment is reported clean, and the next call would read what this one left there. A page is not present when it was swapped
/// out, and while it is moved to another place of the machine's memory. So: only on a kernel that can be asked, where nothing
/// can be swapped out, and while no page of the machine was moved since the process first asked here.
pub(super) fn pages_stay() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let moved = moved(&read("/proc/vmstat"));
    let before = *MOVED_BEFORE.lock().get_or_insert(moved);
    kernel_has_scan(&read("/proc/sys/kernel/osrelease")) && moved == before && (!swaps(&read("/proc/swaps")) || group_never_swaps())
}

/// Pages of the machine that had been moved when this was first asked.
static MOVED_BEFORE: Mutex<Option<Option<u64>>> = Mutex::new(None);

/// Tries to move a page, whatever they came to. None: the kernel does not count them, and may not be able to.
fn moved(vmstat: &str) -> Option<u64> {
    let counts = ["pgmigrate_success ", "pgmigrate_fail "];
    let found = counts.iter().filter_map(|name| vmstat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()));
    found.reduce(|all, one| all + one)
}

/// `PAGEMAP_SCAN` came with Linux 6.7.
fn kernel_has_scan(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.trim().parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

/// Not knowing counts as swapping: the file has a heading wherever it can be read.
fn swaps(swaps: &str) -> bool {
    swaps.lines().count() != 1
}

/// Whether the control group of this process, or one above it, may swap nothing out.
fn group_never_swaps() -> bool {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return false };
    let root = Path::new("/sys/fs/cgroup");
    let never = |group: &Path| std::fs::read_to_string(group.join("memory.swap.max")).is_ok_and(|most| most.trim() == "0");
    root.join(own).ancestors().take_while(|group| group.starts_with(root)).any(never)
}

#[cfg(test)]
mod tests {
    use super::{half, kernel_has_scan, moved, swaps};

    #[test]
    fn old_kernels_do_not_scan() {
        for (release, yes) in
            [("6.7.0", true), ("6.18.44-fc", true), ("6.1.0-13-amd64", false), ("5.15.0", false), ("7.0", true), ("", false)]
        {
            assert_eq!(kernel_has_scan(release), yes, "{release}");
        }
    }

    #[test]
    fn a_machine_that_swaps_or_moves_pages_is_known() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!swaps(heading));
        assert!(swaps(&format!("{heading}/dev/zram0 partition 1000 0 100\n")));
        assert!(swaps(""), "what can't be read may be anything");
        assert_eq!(moved("nr_free_pages 7\npgmigrate_success 40\npgmigrate_fail 2\nthp_migration_success 9\n"), Some(42));
        assert_eq!(moved("nr_free_pages 7\n"), None);
    }

    #[test]
    fn guests_get_half_of_the_machine_or_of_the_group() {
        let pi = "MemTotal:         948192 kB\nMemFree:          100 kB\n";
        assert_eq!(half(pi, "max\n"), 948_192 * 512);
        assert_eq!(half(pi, "268435456\n"), 128 << 20);
        assert_eq!(half(pi, "1048576\n"), 64 << 20, "one call of the default size always fits");
        assert_eq!(half("", ""), 256 << 20);
    }
}
