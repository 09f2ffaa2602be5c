//! Listens to the mailbox's eventfd: words of the host are obeyed at once, whatever the service is
//! doing, and the dispatcher is told that messages may wait.

use std::io::{ErrorKind, Read};

use crate::abi::EnvelopeKind;
use crate::context::{Context, StopReason};

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
        match word {
            EnvelopeKind::Stop => ctx.begin_stop(StopReason::Host),
            EnvelopeKind::LogLevel => crate::log::level_changed(),
            EnvelopeKind::Message | EnvelopeKind::Task | EnvelopeKind::Result => {
                tracing::warn!(?word, "the host sent a message as a word of its own; ignored");
            }
        }
    }
}
