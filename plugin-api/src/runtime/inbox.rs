//! Listens to the mailbox's eventfd: words of the host are obeyed at once, whatever the service is
//! doing, and the dispatcher is told that messages may wait.

use std::io::{ErrorKind, Read};

use crate::abi::{EnvelopeKind, Word};
use crate::context::Context;

/// Listens until it is cancelled.
///
/// # Errors
/// When the eventfd cannot be watched.
pub(crate) async fn listen(ctx: Context) -> std::io::Result<()> {
    let fd = ctx.shared().host.mailbox_events()?;
    loop {
        obey(&ctx);
        ctx.shared().arrivals.notify_one();
        let mut ready = fd.readable().await?;
        // Reading resets the eventfd's counter; what was written before is looked at after.
        match ready.try_io(|fd| fd.get_ref().read(&mut [0_u8; 8])) {
            Ok(Err(error)) if error.kind() != ErrorKind::Interrupted => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
}

fn obey(ctx: &Context) {
    while let Some(word) = ctx.shared().host.mailbox_control() {
        let word = match word {
            Word::Known(word) => word,
            // A newer host says more; what it says next may be known.
            Word::Unknown(code) => {
                tracing::warn!(code, "the host said a word that this plugin-api does not know");
                continue;
            }
        };
        match word {
            EnvelopeKind::Stop => ctx.end_by_host(false),
            EnvelopeKind::Handover => ctx.end_by_host(true),
            // `serve` looks at it between two handlers; `listen` wakes it.
            EnvelopeKind::Config => ctx.shared().config_waits.set(true),
            EnvelopeKind::LogLevel => crate::log::level_changed(),
            EnvelopeKind::Room => ctx.shared().room.notify_waiters(),
            // Likewise.
            EnvelopeKind::Snapshot => ctx.shared().snapshot_wanted.set(true),
            EnvelopeKind::Message | EnvelopeKind::Task | EnvelopeKind::Result => {
                tracing::warn!(?word, "the host sent a message as a word of its own; ignored");
            }
        }
    }
}
