//! How much freed memory the process keeps for the next large message.
#![allow(unsafe_code, reason = "glibc's malloc is told its limits")]

/// From this size on, memory is taken from the system for one message, and given back after it.
#[cfg(target_env = "gnu")]
const TAKEN_SINGLY_FROM: libc::c_int = 16 << 20;
/// So much free memory at the end of a heap is not given back.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 32 << 20;

/// Keeps what large messages leave. glibc would give back all beyond twice the largest message so
/// far, and the next burst would take it page by page again, which costs more than to copy the
/// messages: with 1 MiB each, the processor time of a received message halves.
pub(super) fn keep_freed() {
    #[cfg(target_env = "gnu")]
    if !(set(libc::M_MMAP_THRESHOLD, TAKEN_SINGLY_FROM) && set(libc::M_TRIM_THRESHOLD, KEPT)) {
        tracing::debug!("malloc keeps its own limits; large messages take longer");
    }
}

#[cfg(target_env = "gnu")]
fn set(limit: libc::c_int, bytes: libc::c_int) -> bool {
    // SAFETY: `mallopt` takes the lock of the main heap and stores a number. Another thread that
    // allocates meanwhile reads the old or the new one; either is a valid limit.
    unsafe { libc::mallopt(limit, bytes) == 1 }
}
