//! Signals, as events that come in from outside.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
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

/// Begins to listen; from here on none of these signals ends the process by itself.
///
/// This is not tokio's signal support on purpose: plugins that are built together with the host
/// share its features of tokio, and with that one each of their runtimes would leave a pair of
/// descriptors and a driver behind, reload by reload.
///
/// # Errors
/// When the handlers cannot be installed, or there is no thread to be had.
pub fn listen() -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(8);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGTSTP, SIGHUP])?;
    let had_terminal = has_terminal();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for number in signals.forever() {
            let meaning = match number {
                SIGINT => Signal::Interrupt,
                SIGTERM => Signal::Terminate,
                SIGTSTP => Signal::TerminalStop,
                _ if had_terminal && !has_terminal() => Signal::Hangup,
                _ => Signal::Reload,
            };
            if sender.blocking_send(meaning).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Whether the process has a controlling terminal that is still there. After a hang-up the device
/// can no longer be opened.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
