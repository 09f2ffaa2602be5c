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
    // SAFETY: `mallopt` takes the lock of the main heap and stores two numbers. Another thread that
    // allocates meanwhile reads the old or the new one; either is a valid limit.
    let taken = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, TAKEN_SINGLY_FROM) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT) == 1
    };
    #[cfg(target_env = "gnu")]
    if !taken {
        tracing::debug!("malloc keeps its own limits; large messages take longer");
    }
}
