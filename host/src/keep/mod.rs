//! What outlives the host: the operator's stops, and the last state that each service told of.
//!
//! One directory for each project, and in it one small file for the orders and one for each state.
//! Each is written beside its place and then moved there, so a reader finds the old one or the new
//! one, whole; each says its format and has a checksum, so that what was damaged or put there by
//! somebody else is noticed. Such a file is named in the log and set aside, not deleted.
//!
//! Files are written by a thread of their own ([`Keeper`]): a slow disk holds nobody up.

mod envelope;
mod keeper;
mod orders;
mod state_file;
mod store;

use std::path::{Path, PathBuf};

pub use envelope::Broken;
pub use keeper::{Keeper, News};
pub use orders::Orders;
pub use state_file::Memory;
pub use store::Store;

use crate::environment::Mode;

/// The directory of a project, below `given` if that is given.
#[must_use]
pub fn directory(given: Option<&Path>, mode: Mode, project: &str) -> PathBuf {
    const SYSTEM: &str = "/var/lib/experimance/exphost";
    const HERE: &str = "state";
    let usual = match mode {
        Mode::Production => SYSTEM,
        Mode::Development => HERE,
    };
    // No name of a project or a variant has a plus sign.
    given.unwrap_or(Path::new(usual)).join(project.replace('/', "+"))
}
