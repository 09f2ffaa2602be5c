//! The host's end of a service in a process of its own: a thread that starts the child, answers for
//! it, and knows how it ended.

use std::io::{self, BufReader, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plugin_api::abi::{RunOutcome, Severity, Step};
use plugin_api::state::Method;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::answers::{Answered, Answerer};
use super::child::ARGUMENT;
use super::memory;
use super::wire::{self, Hello};
use crate::config::isolation::MemoryLimit;
use crate::plugin::desk::Desk;
use crate::plugin::host_side::ServiceHost;
use crate::plugin::library::RunRequest;
use crate::plugin::stage::Staged;

/// How long a child that has said its last word, or closed its channel, may take to be gone.
const GRACE: Duration = Duration::from_secs(1);

/// How often a child without a limit is looked at: whether it still lives, should something that it
/// started keep its channel open.
const LOOK: Duration = Duration::from_secs(1);

/// What a child is started with.
pub struct ChildRequest {
    /// The build; the child opens its private copy.
    pub staged: Arc<Staged>,
    /// The instance.
    pub run: RunRequest,
    /// How much memory it may use.
    pub memory_limit: Option<MemoryLimit>,
}

/// A service's process. Dropping the handle leaves it running, until the host ends.
pub struct Child {
    thread: JoinHandle<()>,
    desk: Desk,
    grip: Arc<Grip>,
}

impl Child {
    /// Runs an instance in a new process, which answers to `host`. `on_end` is called once, on the
    /// clerk's thread, when the process is gone, and must be quick.
    ///
    /// # Errors
    /// When the operating system gives no thread, or more services run than the host has room for;
    /// `on_end` is not called then. A process that cannot be started is an error of the service's.
    pub fn spawn(
        host: Arc<dyn ServiceHost>,
        request: ChildRequest,
        on_end: impl FnOnce(RunOutcome) + Send + 'static,
    ) -> io::Result<Self> {
        let desk = Desk::open(host)?;
        let grip = Arc::new(Grip::default());
        let held = Arc::clone(&grip);
        let thread = std::thread::Builder::new().name("clerk".to_owned()).spawn(move || {
            let attend = AssertUnwindSafe(|| attend(desk, &request, &held));
            let outcome = catch_unwind(attend).unwrap_or_else(|payload| {
                std::mem::forget(payload);
                let service = request.run.service.as_str();
                tracing::error!(service, "the host panicked while it answered for a service");
                held.kill("the host panicked while it answered for it".to_owned());
                RunOutcome::Failed
            });
            desk.close();
            on_end(outcome);
        });
        thread.map(|thread| Self { thread, desk, grip }).inspect_err(|_| desk.close())
    }

    /// The process's number, once it was started.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.grip.lock().process.as_ref().and_then(|process| process.pid.try_into().ok())
    }

    /// Kills the process; `why` becomes the service's last error, unless the process has ended before.
    pub fn kill(&self, why: String) {
        self.grip.kill(why);
    }

    /// Takes the host away and kills the process: when this returns nothing of it reaches the host.
    pub fn cut_off(&self) {
        // First, so that no answer is under way for longer than the process lives.
        self.kill("it was cut off".to_owned());
        self.desk.cut_off();
    }

    /// Waits until the process is gone and its clerk has ended.
    pub fn join(self) {
        if let Err(payload) = self.thread.join() {
            // Only `on_end` can have panicked, and the panic hook has said so.
            std::mem::forget(payload);
        }
    }
}

/// By what a child can be killed, from any thread.
#[derive(Default)]
struct Grip(Mutex<Held>);

#[derive(Default)]
struct Held {
    process: Option<Process>,
    /// Why it was killed, or is to be as soon as it is there.
    sentence: Option<String>,
}

struct Process {
    pid: i32,
    /// It names this process even when its number is another's by now.
    pidfd: OwnedFd,
}

impl Grip {
    fn take_hold(&self, pid: i32, pidfd: OwnedFd) {
        let mut held = self.lock();
        let process = Process { pid, pidfd };
        if held.sentence.is_some() {
            process.kill();
        }
        held.process = Some(process);
    }

    /// The first reason is the one that counts.
    fn kill(&self, why: String) {
        let mut held = self.lock();
        held.sentence.get_or_insert(why);
        if let Some(process) = &held.process {
            process.kill();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing is left half done under the lock, so a poisoned grip still holds.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    fn kill(&self) {
        // It fails when the process is gone, which is what is wanted.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// Starts the child, answers it to its end, and says how that was.
fn attend(desk: Desk, request: &ChildRequest, grip: &Grip) -> RunOutcome {
    let mut started = match Started::new(desk, request, grip) {
        Ok(started) => started,
        Err(error) => {
            fail(desk, &format!("its process cannot be started: {error}"));
            return RunOutcome::NoRuntime;
        }
    };
    let mut answerer = Answerer::new(desk);
    let over = started.serve(&mut answerer, request, grip);
    let status = started.reap(over.as_ref().err());
    let over = match over {
        Ok(outcome) => return outcome,
        Err(over) => over,
    };
    let sentence = grip.lock().sentence.clone();
    let reason = sentence.unwrap_or_else(|| how_it_ended(&over, status));
    let in_hand = answerer.in_hand();
    if in_hand > 0 {
        let service = request.run.service.as_str();
        tracing::warn!(service, in_hand, "messages that the process had in hand may be lost");
    }
    fail(desk, &reason);
    RunOutcome::Failed
}

/// What becomes of the service when its process cannot do it any more.
fn fail(desk: Desk, reason: &str) {
    desk.with_host(|host| {
        host.record_error(Severity::Fatal, "process", reason);
        // Both are refused where the state does not have them: it failed in its construction.
        let _ = host.transition(Method::Stop, Step::Begin);
        let _ = host.transition(Method::Stop, Step::Complete);
    });
}

/// A child that was started.
struct Started {
    child: std::process::Child,
    pid: Pid,
    pidfd: OwnedFd,
    channel: UnixStream,
}

impl Started {
    /// On the clerk's thread: the child dies with the thread that started it.
    fn new(desk: Desk, request: &ChildRequest, grip: &Grip) -> io::Result<Self> {
        let (channel, theirs) = UnixStream::pair()?;
        // This very executable, also when another one has taken its place on disk.
        let mut child = Command::new("/proc/self/exe")
            .arg0("exphost")
            .args([ARGUMENT, &request.run.service])
            .stdin(OwnedFd::from(theirs))
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        // Not reaped yet, so the number is still the child's.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
            // Without a descriptor of it there is nothing yet that would, see `drop`.
            let _ = child.kill();
            let _ = child.wait();
        })?;
        let started = Self { child, pid, pidfd, channel };
        grip.take_hold(pid.as_raw_nonzero().get(), started.pidfd.try_clone()?);
        started.greet(desk, request)?;
        Ok(started)
    }

    fn greet(&self, desk: Desk, request: &ChildRequest) -> io::Result<()> {
        let bell = desk.with_host(|host| host.mailbox_fd().try_clone_to_owned());
        let bell = bell.ok_or_else(|| io::Error::other("it was cut off"))??;
        send_bell(&self.channel, bell.as_fd())?;
        let run = &request.run;
        let hello = Hello {
            service: &run.service,
            project: &run.project,
            stop_timeout: run.stop_timeout.as_secs_f64(),
            library: request.staged.path().as_os_str().as_bytes(),
        };
        wire::write(&self.channel, &mut Vec::new(), &hello, &run.config)
    }

    /// Answers until the child has said its last word.
    fn serve(
        &self,
        answerer: &mut Answerer,
        request: &ChildRequest,
        grip: &Grip,
    ) -> io::Result<RunOutcome> {
        let period = request.memory_limit.map_or(LOOK, |_| memory::PERIOD);
        self.channel.set_read_timeout(Some(period))?;
        let watch = Watch {
            pid: self.pid,
            pidfd: self.pidfd.as_fd(),
            limit: request.memory_limit,
            period,
            looked: Instant::now(),
            grip,
        };
        let mut reader = BufReader::new(Patient { channel: &self.channel, watch });
        loop {
            let frame = wire::read(&mut reader)?;
            reader.get_mut().watch.look_if_due()?;
            match answerer.answer(&frame, &self.channel)? {
                Answered::Goes => {}
                Answered::Ended(outcome) => return Ok(outcome),
            }
        }
    }

    /// Waits for the end of the process, which has a moment to come about by itself unless what it
    /// said was nonsense, and takes what it started along.
    fn reap(&mut self, over: Option<&io::Error>) -> Option<ExitStatus> {
        if over.is_none_or(|error| error.kind() != ErrorKind::InvalidData) {
            has_ended(self.pidfd.as_fd(), GRACE);
        }
        // The child is not reaped yet, so its number is still its group's.
        let _ = kill_process_group(self.pid, Signal::KILL);
        // Should it have left its group.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.child.wait().ok()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // When it was reaped there is nobody; otherwise the host could not go on with it.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Sends the mailbox's eventfd beside a first byte.
fn send_bell(channel: &UnixStream, bell: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [bell];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    sendmsg(channel, &[IoSlice::new(&[0])], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Whether a process ends within `time`.
fn has_ended(pidfd: BorrowedFd<'_>, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(ready) => return ready > 0,
            Err(_) => return false,
        }
    }
}

/// How a process ended whose end nobody had asked for.
fn how_it_ended(over: &io::Error, status: Option<ExitStatus>) -> String {
    if over.kind() == ErrorKind::InvalidData {
        return format!("killed: what it wrote to its host makes no sense ({over})");
    }
    let Some(status) = status else { return "its process is gone".to_owned() };
    let Some(signal) = status.signal() else {
        let code = status.code().unwrap_or_default();
        return format!("exited with code {code}");
    };
    let name = signal_hook::low_level::signal_name(signal)
        .map_or_else(|| format!("signal {signal}"), str::to_owned);
    let dumped = if status.core_dumped() { " (core dumped)" } else { "" };
    let by_whom = if signal == signal_hook::consts::SIGKILL {
        ": by somebody, or by the kernel because memory ran out (its log tells)"
    } else {
        ""
    };
    format!("killed by {name}{dumped}{by_whom}")
}

/// The channel for reading: while nothing comes, the child is looked after.
struct Patient<'a> {
    channel: &'a UnixStream,
    watch: Watch<'a>,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.channel.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if has_ended(self.watch.pidfd, Duration::ZERO) {
                        return what_is_left(self.channel, buffer);
                    }
                    self.watch.look()?;
                }
                other => return other,
            }
        }
    }
}

/// What a child that has ended said before, be it after the last read; then the end, although somebody
/// else may keep the channel open.
fn what_is_left(channel: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    match recv(channel, buffer, RecvFlags::DONTWAIT) {
        Ok((_, length)) => Ok(length),
        Err(rustix::io::Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Looks after a child.
struct Watch<'a> {
    pid: Pid,
    pidfd: BorrowedFd<'a>,
    limit: Option<MemoryLimit>,
    period: Duration,
    looked: Instant,
    grip: &'a Grip,
}

impl Watch<'_> {
    fn look_if_due(&mut self) -> io::Result<()> {
        if self.looked.elapsed() < self.period { Ok(()) } else { self.look() }
    }

    fn look(&mut self) -> io::Result<()> {
        self.looked = Instant::now();
        let Some(limit) = self.limit else { return Ok(()) };
        let used = memory::used_by(self.pid.as_raw_nonzero().get()).unwrap_or_default();
        if used <= limit.bytes() {
            return Ok(());
        }
        let mib = used >> 20;
        self.grip.kill(format!("killed: over its memory_limit of {limit}, it used {mib} MiB"));
        Err(ErrorKind::QuotaExceeded.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_heard_and_then_the_end_although_the_channel_stays_open() {
        let (ours, theirs) = UnixStream::pair().expect("descriptors are free");
        let mut buffer = [0; 8];
        io::Write::write_all(&mut &theirs, b"over").expect("there is room");
        assert_eq!(what_is_left(&ours, &mut buffer).expect("it can be read"), 4);
        assert_eq!(&buffer[..4], b"over");
        assert_eq!(what_is_left(&ours, &mut buffer).expect("it can be read"), 0);
    }

    #[test]
    fn the_end_of_a_process_is_told_in_words() {
        let told =
            |raw| how_it_ended(&ErrorKind::UnexpectedEof.into(), Some(ExitStatus::from_raw(raw)));
        assert_eq!(told(11), "killed by SIGSEGV");
        assert_eq!(told(6 | 0x80), "killed by SIGABRT (core dumped)");
        assert_eq!(told(3 << 8), "exited with code 3");
        assert!(told(9).starts_with("killed by SIGKILL: by somebody, or by the kernel"));
        let nonsense = how_it_ended(&wire::nonsense("a frame of 9 bytes"), None);
        assert!(nonsense.contains("makes no sense (a frame of 9 bytes)"), "{nonsense}");
    }
}
