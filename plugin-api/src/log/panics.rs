//! Panics of the plugin go to the log instead of standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::Once;

use super::values::Values;

/// Puts the hook in place, once per library. Without a host it does what was done before.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !forward(info) {
                before(info);
            }
        }));
    });
}

/// Whether the host took it. Nothing in here may panic, for that would abort the process.
fn forward(info: &PanicHookInfo<'_>) -> bool {
    const FIELDS: [&str; 4] = ["message", "location", "thread", "backtrace"];
    let Some((number, enabled)) = super::register(("panic", "panic", 1), ("", 0), &FIELDS) else {
        return false;
    };
    if !enabled {
        return true;
    }
    let mut values = Values::default();
    let message = info.payload_as_str().unwrap_or("(the panic's payload is no text)");
    values.text(0, format_args!("panicked: {message}"));
    if let Some(location) = info.location() {
        values.text(1, location);
    }
    if let Some(name) = thread_name() {
        values.text(2, name);
    }
    // Looks at RUST_BACKTRACE itself.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        values.text(3, backtrace);
    }
    super::send(number, &values)
}

/// The name that the operating system knows: the service's thread was made by the host, so this
/// library's own standard library has no name for it.
fn thread_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/thread-self/comm").ok()?;
    Some(name.trim_end().to_owned())
}
