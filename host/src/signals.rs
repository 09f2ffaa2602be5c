//! Signals, as events that come in from outside.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What the process is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The service manager's stop.
    Terminate,
    /// Ctrl-Z: an installation must not be left suspended with its sockets bound, so it stops.
    TerminalStop,
    /// The terminal has gone away.
    Hangup,
    /// Somebody has changed the configuration and says so: SIGHUP while the terminal is there, or
    /// where there never was one, as with a service manager.
    Reload,
}

impl Signal {
    /// The signal's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::TerminalStop => "SIGTSTP",
            Self::Hangup | Self::Reload => "SIGHUP",
        }
    }

    /// Whether a second one, while the host stops already, is an impatient person's.
    #[must_use]
    pub const fn forces(self) -> bool {
        matches!(self, Self::Interrupt | Self::Terminate)
    }
}

/// Begins to listen; from here on none of these signals ends the process by itself. Needs a tokio
/// runtime.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn listen() -> io::Result<mpsc::Receiver<Signal>> {
    const SIGTSTP: i32 = rustix::process::Signal::TSTP.as_raw();
    let (sender, receiver) = mpsc::channel(8);
    let kinds = [
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::from_raw(SIGTSTP), Signal::TerminalStop),
        (SignalKind::hangup(), Signal::Reload),
    ];
    let had_terminal = has_terminal();
    for (kind, meaning) in kinds {
        let mut stream = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                let lost = meaning == Signal::Reload && had_terminal && !has_terminal();
                let meaning = if lost { Signal::Hangup } else { meaning };
                if sender.send(meaning).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// Whether the process has a controlling terminal that is still there. After a hang-up the device
/// can no longer be opened.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
