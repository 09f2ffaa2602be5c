//! One run of a service on a thread of its own.

use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use plugin_api::abi::RunOutcome;

use super::desk::Desk;
use super::host_side::ServiceHost;
use super::library::{Library, RunRequest};

/// A service's thread. Dropping the handle leaves the thread running, and its library mapped for ever.
#[derive(Debug)]
pub struct Instance {
    thread: JoinHandle<()>,
    /// The thread's number, once it has begun.
    number: Arc<OnceLock<u32>>,
    desk: Desk,
    /// Given back by [`join`](Self::join) alone. So whoever has a library to himself knows that every
    /// thread that ran it has ended, destructors of thread-locals and all.
    library: ManuallyDrop<Arc<Library>>,
}

impl Instance {
    /// Runs the service on a new thread, named after it. `on_end` is called there, once, when the
    /// run is over, and must be quick.
    ///
    /// # Errors
    /// When the operating system gives no thread, or more services run than the host has room for;
    /// `on_end` is not called then.
    pub fn spawn(
        library: Arc<Library>,
        host: Arc<dyn ServiceHost>,
        request: RunRequest,
        on_end: impl FnOnce(RunOutcome) + Send + 'static,
    ) -> io::Result<Self> {
        let desk = Desk::open(host)?;
        let name = thread_name(&request.service);
        let library = ManuallyDrop::new(library);
        let running = Arc::clone(&library);
        let number = Arc::new(OnceLock::new());
        let its_number = Arc::clone(&number);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let own = rustix::thread::gettid().as_raw_nonzero().get();
            let _ = its_number.set(own.unsigned_abs());
            let run = AssertUnwindSafe(|| running.run_at(desk, &request));
            let outcome = catch_unwind(run).unwrap_or_else(|payload| {
                // Dropping it could run code of the plugin's that panics again.
                std::mem::forget(payload);
                let service = request.service.as_str();
                tracing::error!(service, "the host panicked while running a service");
                RunOutcome::Panicked
            });
            desk.close();
            on_end(outcome);
        });
        match thread {
            Ok(thread) => Ok(Self { thread, number, desk, library }),
            Err(error) => {
                desk.close();
                drop(ManuallyDrop::into_inner(library));
                Err(error)
            }
        }
    }

    /// Takes the host away from a run that does not end. When this returns, none of its calls is under
    /// way, and those to come find nobody: no message is taken, no socket opened, nothing sent, no
    /// step and no error recorded. So another instance may take the service over while this thread
    /// hangs; should it come back, it is told to stop. Waits for a call that is under way, at most
    /// the few seconds that a socket may take to open.
    ///
    /// The next instance must be given an eventfd of its own
    /// ([`Mailbox::change_reader`](crate::service::mailbox::Mailbox::change_reader)), for this one holds
    /// a duplicate of the present one.
    pub fn cut_off(&self) {
        self.desk.cut_off();
    }

    /// The thread's number, as the kernel has it; `None` while it has not begun.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.number.get().copied()
    }

    /// Whether the thread has ended, so that [`join`](Self::join) returns at once.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the thread has ended, for ever if the service hangs.
    pub fn join(self) {
        if let Err(payload) = self.thread.join() {
            // Only `on_end` can have panicked, and the panic hook has said so.
            std::mem::forget(payload);
        }
        drop(ManuallyDrop::into_inner(self.library));
    }
}

/// The name as Linux shows it: at most 15 bytes, the beginning of the service's.
fn thread_name(service: &str) -> String {
    let mut end = service.len().min(15);
    while !service.is_char_boundary(end) {
        end -= 1;
    }
    // The standard library panics on a name with a zero byte.
    service.get(..end).unwrap_or_default().replace('\0', "?")
}

/// Ends the process at once, with no exit handlers and no destructors of libraries.
///
/// A thread that hangs in a plugin cannot be stopped. `exit` would run the destructors of this
/// process and of every library under its feet: while it still uses what they tear down, that is a
/// crash or a deadlock in the last moment, in place of the exit code. What must be flushed has to be
/// flushed before.
#[allow(unsafe_code)]
pub fn leave_process(code: i32) -> ! {
    // SAFETY: `_exit` may be called at any time, from any thread: it only enters the kernel.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_named_by_the_beginning_of_its_service() {
        assert_eq!(thread_name("core"), "core");
        assert_eq!(thread_name("projector_driver_left"), "projector_drive");
        assert_eq!(thread_name("fünfzehn_zeiché"), "fünfzehn_zeich");
        assert_eq!(thread_name("a\0b"), "a?b");
        assert_eq!(thread_name(""), "");
    }
}
