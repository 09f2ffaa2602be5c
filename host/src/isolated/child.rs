//! The child: a process that runs one instance of one service.

use std::ffi::{CString, OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, BufReader, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use plugin_api::abi::{RunOutcome, Severity};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::remote::Remote;
use super::wire::{self, Call, Hello};
use crate::plugin::instance::leave_process;
use crate::plugin::library::{RunRequest, run_alone};

/// The hidden argument that makes a process of this program a service's; the service's name
/// follows, for those who look at the list of processes.
pub(super) const ARGUMENT: &str = "--service-process";

/// How much rather than others the kernel kills this process when memory runs out.
const OOM_SCORE: &str = "500";

/// Whether the arguments (without the program's name) are those of a service's process.
#[must_use]
pub fn is_service_process(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().next().is_some_and(|first| first == ARGUMENT)
}

/// Runs the service that the host names over standard input, and ends the process. An end without
/// the last word on the channel is a failure, whatever the exit code.
pub fn service_main() -> ! {
    let code = match run() {
        Ok(()) => 0,
        Err(error) => {
            crate::cli::complain(&format!("error: a service's process cannot begin: {error}"));
            1
        }
    };
    leave_process(code)
}

fn run() -> io::Result<()> {
    // Before anything else. A host that died before this line has left a channel that ends.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Handlers and not "ignore": that would be inherited by what the service starts.
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    // Whatever runs out of memory here is to cost this process; where that cannot be said, it may
    // cost another, which is no reason not to run.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let channel = channel()?;
    let bell = receive_bell(&channel)?;
    let mut reader = BufReader::new(channel);
    let frame = wire::read(&mut reader)?;
    let hello: Hello<'_> = frame.head()?;
    if let Ok(name) = CString::new(hello.service) {
        // What `top` shows; the list of processes has the whole name in any case.
        let _ = rustix::thread::set_name(&name);
    }
    let request = RunRequest {
        service: hello.service.to_owned(),
        project: hello.project.to_owned(),
        config: frame.body.clone(),
        stop_timeout: Duration::try_from_secs_f64(hello.stop_timeout).map_err(wire::nonsense)?,
    };
    let library = Path::new(OsStr::from_bytes(hello.library));
    let remote = Remote::new(request.service.clone(), bell, reader, || leave_process(1));
    // On a thread of its name, as in the host: it stands in the messages of panics.
    let thread = std::thread::Builder::new().name(request.service.clone());
    std::thread::scope(|scope| {
        let run = || run_service(library, &Arc::new(remote), &request);
        thread.spawn_scoped(scope, run).map(|_| ())
    })
}

fn run_service(library: &Path, remote: &Arc<Remote>, request: &RunRequest) {
    let subscriber = tracing_subscriber::registry().with(Forward(Arc::clone(remote)));
    // Nobody else has set one in this process.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let outcome = run_alone(library, Arc::<Remote>::clone(remote), request).unwrap_or_else(|why| {
        let (severity, place) = (Severity::Fatal.code(), "process");
        remote.tell(&Call::RecordError { severity, place, message: &why }, &[]);
        RunOutcome::NoRuntime
    });
    remote.tell(&Call::Ended { outcome: outcome.code() }, &[]);
}

/// Takes the channel off standard input, so that nothing the service starts inherits it.
fn channel() -> io::Result<UnixStream> {
    let channel = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(UnixStream::from(channel))
}

/// The mailbox's eventfd, which comes beside the first byte.
fn receive_bell(channel: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    recvmsg(channel, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptors.ok_or_else(|| wire::nonsense("the mailbox's eventfd did not come"))
}

/// What the host's own code has to say in this process is logged by the host.
struct Forward(Arc<Remote>);

impl<S: Subscriber> Layer<S> for Forward {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            // Of its dependencies, mostly, and nobody is there to choose among it.
            Level::DEBUG | Level::TRACE => return,
        };
        let mut text = Text::default();
        event.record(&mut text);
        self.0.tell(&Call::Say { level, text: &text.0 }, &[]);
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_argument_makes_a_services_process() {
        let of = |arguments: &[&str]| is_service_process(arguments.iter().map(OsString::from));
        assert!(of(&["--service-process", "core"]));
        assert!(!of(&["run", "--service-process"]));
        assert!(!of(&[]));
    }
}
