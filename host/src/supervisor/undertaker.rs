//! Old generations are unloaded on a thread of their own: proving that nothing of one is in use any
//! more may take a moment, and the supervisor does not wait.

use std::sync::Arc;
use std::time::Duration;

use super::status::Kept;
use super::supervised::Build;
use super::{Event, Supervisor};
use crate::config::Unload;
use crate::plugin::code::Code;
use crate::plugin::unload::{Unloaded, unload};

/// How long the threads of an old generation may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// What became of an old generation.
#[derive(Debug)]
pub(super) struct Burial {
    service: String,
    generation: u64,
    version: String,
    unloaded: Result<(), String>,
}

impl Supervisor {
    /// Lets a generation go that runs no more.
    pub(super) fn bury(&mut self, service: &str, build: Build) {
        let report = self.report.clone();
        let (service, generation, version) =
            (service.to_owned(), build.generation, build.version());
        let for_thread = service.clone();
        let spawned = std::thread::Builder::new().name("undertaker".to_owned()).spawn(move || {
            let unloaded = lay_to_rest(build);
            let burial = Burial { service: for_thread, generation, version, unloaded };
            // The receiver is gone only when the host ends.
            let _ = report.send(Event::Buried(burial));
        });
        match spawned {
            Ok(_) => self.burials += 1,
            Err(error) => {
                tracing::warn!(service, %error, "no thread to unload an old generation; it stays mapped");
            }
        }
    }

    pub(super) fn on_buried(&mut self, burial: Burial) {
        self.burials -= 1;
        let Burial { service, generation, version, unloaded } = burial;
        let reason = match unloaded {
            Ok(()) => {
                return tracing::debug!(service, generation, version, "old generation unloaded");
            }
            Err(reason) => reason,
        };
        tracing::warn!(service, generation, version, reason, "old generation stays mapped");
        self.service(&service, |it| it.kept.push(Kept { generation, version, reason }));
    }

    /// How many old generations are still mapped.
    pub(super) fn kept(&self) -> usize {
        self.services.iter().map(|service| service.kept.len()).sum()
    }
}

fn lay_to_rest(build: Build) -> Result<(), String> {
    if build.terms().unload == Unload::Never && !build.present.library.is_apart() {
        return Err("`unload = \"never\"` in its configuration".to_owned());
    }
    let library = match build.present.library {
        Code::Here(library) => library,
        // Nothing of it was ever in this process; the private copy goes with its last user.
        Code::Apart(_) => return Ok(()),
    };
    // Whoever else holds it runs it, or is about to.
    let library = Arc::try_unwrap(library)
        .map_err(|_| "a thread that was left behind still runs it".to_owned())?;
    match unload(library, GRACE) {
        Unloaded::Closed => Ok(()),
        Unloaded::Kept { reason } => Err(reason.to_string()),
    }
}
