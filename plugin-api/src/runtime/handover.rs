//! What goes from one instance to the next, and new configurations: each piece of author code here
//! can fail without taking anything along but what it was for.

use std::time::Duration;

use super::config::{in_words, read_config};
use super::guard::guarded;
use super::lifecycle::{bounded, succeeded};
use super::pulse::within;
use crate::abi::{ConfigOutcome, Restored};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::{ConfigChange, SavedState};
use crate::service::Service;

/// Has the service take over the state that waits for it, if one does; whether it may start.
pub(super) async fn restore<S: Service>(ctx: &Context, service: &mut S) -> bool {
    const PLACE: &str = "restore_state";
    let host = ctx.shared().host;
    let Some(state) = host.take_state() else { return true };
    let (version, bytes) = (state.version, state.bytes.len());
    let restored = within(ctx, PLACE, guarded(service.restore_state(ctx, state)));
    match bounded(ctx, PLACE, restored).await {
        Err(error) if error.kind() == ErrorKind::StartFresh => {
            tracing::warn!(
                version, bytes, reason = %error,
                "starting fresh: the state of the instance before is given up"
            );
            host.state_restored(Restored::StartedFresh, &error.to_string());
            true
        }
        restored => {
            let restored = succeeded(ctx, PLACE, restored).is_some();
            if restored {
                host.state_restored(Restored::Continued, "");
            }
            restored
        }
    }
}

/// Has the service hand its state over. What fails is recorded, and nothing is handed over.
pub(super) async fn save<S: Service>(ctx: &Context, service: &mut S, limit: Duration) {
    let saved = within(ctx, "save_state", guarded(service.save_state(ctx)));
    let saved = tokio::time::timeout(limit, saved).await;
    let saved = saved.unwrap_or_else(|_| {
        let limit = limit.as_secs_f64();
        Err(Error::new(format!("save_state() did not end within {limit:.1} s")))
    });
    let kept = saved.and_then(|state| state.map_or(Ok(()), |state| keep(ctx, &state)));
    if let Err(error) = kept {
        ctx.record(&error, "save_state");
    }
}

/// How long the handlers wait while the service says what it knows.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(5);

/// Has the service say what it knows, if the host asks, and goes on with it. A service that answers
/// `None` gives the host nothing, and is not asked again.
pub(super) async fn snapshot<S: Service>(ctx: &Context, service: &mut S) {
    if !ctx.shared().snapshot_wanted.take() {
        return;
    }
    tokio::select! {
        biased;
        () = save(ctx, service, SNAPSHOT_LIMIT) => {}
        // Whoever takes over asks for a later state; whoever does not needs none.
        () = ctx.stopping() => {}
    }
}

fn keep(ctx: &Context, state: &SavedState) -> Result<()> {
    state.check_size()?;
    ctx.shared().host.keep_state(state).map_err(Error::new)
}

/// Has the service look at the configuration that waits, if one does, and tells the host what it
/// says.
///
/// # Errors
/// What ends the service, after it has been recorded.
pub(super) async fn reconfigure<S: Service>(ctx: &Context, service: &mut S) -> Result<()> {
    if !ctx.shared().config_waits.take() {
        return Ok(());
    }
    let host = ctx.shared().host;
    let Some(json) = host.take_config() else { return Ok(()) };
    // Reading is author code as well.
    let answer = guarded(async {
        let given =
            read_config::<S>(&json).map_err(|problems| Error::invalid(in_words(&problems)))?;
        service.on_config(ctx, given.config).await
    });
    match within(ctx, "on_config", answer).await {
        Ok(ConfigChange::Applied) => host.answer_config(ConfigOutcome::Applied, ""),
        Ok(ConfigChange::Restart) => host.answer_config(ConfigOutcome::RestartWanted, ""),
        Err(error) => {
            let ends = matches!(error.kind(), ErrorKind::Fatal | ErrorKind::Panicked);
            if ends {
                ctx.record(&error, "on_config");
            }
            host.answer_config(ConfigOutcome::Refused, &error.to_string());
            if ends {
                return Err(Error::of(ErrorKind::Panicked, "recorded already"));
            }
        }
    }
    Ok(())
}
