//! How much memory a child uses.
//!
//! Its memory is watched, not limited by the kernel: `RLIMIT_AS` counts address space, of which a
//! thread's stack and an allocator's arena take a multiple of what they use, and a process that runs
//! into it aborts for a reason that nobody can tell from any other. The price is that a service may be
//! over its limit for as long as [`PERIOD`] before it is killed for it.

use std::time::Duration;

/// How often it is looked at.
pub(super) const PERIOD: Duration = Duration::from_millis(50);

/// The bytes that are a process's own: on its heap and stacks, shared by it with others, or swapped
/// out, but not the code of its libraries. `None` when it is gone.
pub(super) fn used_by(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(own_memory(&status))
}

fn own_memory(status: &str) -> u64 {
    let kib = status.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        if !matches!(name, "RssAnon" | "RssShmem" | "VmSwap") {
            return None;
        }
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kib.sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_processs_own_is_counted() {
        let status = "Name:\tcore\nVmRSS:\t  900 kB\nRssAnon:\t  100 kB\nRssFile:\t 700 kB\n\
            RssShmem:\t   20 kB\nVmSwap:\t    3 kB\nThreads:\t4\n";
        assert_eq!(own_memory(status), 123 * 1024);
        assert_eq!(own_memory("Name:\tgone\n"), 0, "a process that has ended has none");
    }

    #[test]
    fn a_process_can_be_looked_at() {
        let here = i32::try_from(std::process::id()).expect("a process number");
        assert!(used_by(here).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(used_by(-1), None);
    }
}
