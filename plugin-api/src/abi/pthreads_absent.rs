//! What stands in for `pthreads.rs` where its hooks do not exist: nothing is known.

use super::LiveThreads;

/// Why a library without the hooks cannot tell.
pub(crate) const NOT_HOOKED: &str =
    "it cannot count its threads and keys: that is not supported on this machine";

pub(crate) fn are_hooked() -> bool {
    false
}

pub(crate) fn live_threads() -> Result<LiveThreads, String> {
    Err(NOT_HOOKED.to_owned())
}

pub(crate) fn keys() -> Result<Vec<u32>, String> {
    Err(NOT_HOOKED.to_owned())
}
