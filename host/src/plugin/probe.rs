//! Trying a plugin in a child process first: what crashes, hangs or exits there would do so here.
//!
//! The parent starts `exphost --probe FILE`, gives it the configuration on standard input, and reads
//! one marked line of JSON from its standard output. The child opens the library as the host would,
//! asks for the manifest, checks the configuration, and leaves without running any destructor.
//!
//! The parent waits in one loop over the child's pipes and its pidfd, so that neither a child that
//! floods its output nor a grandchild that holds a pipe open can keep it beyond the deadline.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use plugin_api::manifest::{ConfigProblem, Manifest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process_group, pidfd_open, setrlimit,
};
use serde::{Deserialize, Serialize};

use super::error::{Fault, LoadError, OpenFault};
use super::instance::leave_process;
use super::library::{agrees, check_config_of, manifest_of, open_module};
use super::stage::Staged;

/// How long a plugin may take to be opened and to describe itself.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// The hidden argument that makes a process of this program the child.
const ARGUMENT: &str = "--probe";

/// How the child's line begins; what else a plugin prints is not taken for it.
const MARK: &str = "exphost-probe-report 1 ";

/// A manifest is some kilobytes; more than this is a plugin that has gone astray.
const OUTPUT_LIMIT: usize = 16 << 20;

/// How much of the end of its standard error is kept.
const STDERR_LIMIT: usize = 16 << 10;

/// What the child found out.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeReport {
    /// The plugin's description of itself.
    pub manifest: Manifest,
    /// Ways in which the configuration does not fit; empty when none was given.
    pub config_problems: Vec<ConfigProblem>,
}

/// The file to probe, when the arguments (without the program's name) are those of a child.
#[must_use]
pub fn is_probe<I>(arguments: I) -> Option<PathBuf>
where
    I: IntoIterator<Item = std::ffi::OsString>,
{
    let mut arguments = arguments.into_iter();
    let first = arguments.next()?;
    (first == ARGUMENT).then(|| arguments.next().map(PathBuf::from))?
}

/// Tries a staged plugin in a child process. `exe` is this program. Blocks up to `deadline`, on a
/// thread that must live that long: the child dies with the thread that started it.
///
/// # Errors
/// When the plugin cannot be opened, or did harm to the child.
pub fn probe(
    exe: &Path,
    staged: &Staged,
    config: Option<&[u8]>,
    deadline: Duration,
) -> Result<ProbeReport, LoadError> {
    let identity = staged.identity();
    let try_it = || {
        let ended = run_child(exe, staged.path(), config.unwrap_or_default(), deadline)?;
        let report = judge(ended)?;
        agrees(&report.manifest, &identity.name, &identity.version.to_string())?;
        Ok(report)
    };
    try_it().map_err(|fault: Fault| LoadError::new(&identity.file, fault))
}

/// A child that has ended and was reaped.
struct Ended {
    /// How it ended; `None` when the deadline did it.
    status: Option<ExitStatus>,
    stdout: Vec<u8>,
    stderr: String,
    deadline: Duration,
}

fn judge(ended: Ended) -> Result<ProbeReport, Fault> {
    let Ended { status, stdout, stderr, deadline } = ended;
    let Some(status) = status else {
        return Err(Fault::ProbeTimeout { seconds: deadline.as_secs_f64(), stderr });
    };
    if let Some(signal) = status.signal() {
        return Err(Fault::ProbeKilled { signal: signal_name(signal), stderr });
    }
    let output = String::from_utf8_lossy(&stdout);
    let Some(line) = output.lines().find_map(|line| line.strip_prefix(MARK)) else {
        return Err(match status.code() {
            Some(code) if stdout.is_empty() => Fault::ProbeExited { code, stderr },
            _ => Fault::ProbeGarbage { reason: "something else is in its place".into(), stderr },
        });
    };
    match serde_json::from_str(line) {
        Ok(Report::Good { manifest, config_problems }) => {
            Ok(ProbeReport { manifest, config_problems })
        }
        Ok(Report::Bad(fault)) => Err(fault.into()),
        Err(error) => Err(Fault::ProbeGarbage { reason: error.to_string(), stderr }),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        31 => "SIGSYS",
        _ => return signal.to_string(),
    };
    format!("{signal} ({name})")
}

fn run_child(exe: &Path, file: &Path, config: &[u8], deadline: Duration) -> Result<Ended, Fault> {
    let until = Instant::now() + deadline;
    let mut child = Command::new(exe)
        .arg(ARGUMENT)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: a Ctrl-C at the terminal is meant for the host, and everything that
        // the plugin started can be ended with it.
        .process_group(0)
        .spawn()
        .map_err(Fault::NoProbe)?;
    let watched = watch(&mut child, config, until);
    // The child is not reaped yet, so its number is still its own.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It fails when nobody is left in the group, which is the usual case.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().map_err(Fault::NoProbe)?;
    let Watched { in_time, stdout, stderr } = watched.map_err(Fault::NoProbe)?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Ended { status: in_time.then_some(status), stdout, stderr, deadline })
}

struct Watched {
    in_time: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Feeds and reads the child until it ends or `until` comes. Never blocks on a pipe.
fn watch(child: &mut Child, config: &[u8], until: Instant) -> std::io::Result<Watched> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut stdin = Some(nonblocking(child.stdin.take().map(OwnedFd::from))?);
    let mut stdout = Pipe::new(child.stdout.take().map(OwnedFd::from), Keep::First(OUTPUT_LIMIT))?;
    let mut stderr = Pipe::new(child.stderr.take().map(OwnedFd::from), Keep::Last(STDERR_LIMIT))?;
    let mut unsent = config;
    loop {
        stdin = feed(stdin.take(), &mut unsent)?;
        stdout.drain()?;
        stderr.drain()?;
        let mut wait_for = vec![PollFd::new(&pidfd, PollFlags::IN)];
        wait_for.extend(stdin.iter().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        let readers = [&stdout.fd, &stderr.fd].into_iter().flatten();
        wait_for.extend(readers.map(|fd| PollFd::new(fd, PollFlags::IN)));
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut wait_for, Some(&timeout)) {
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let ended = wait_for.first().is_some_and(|fd| !fd.revents().is_empty());
        if ended || Instant::now() >= until {
            // What was written before the end is in the pipes by now.
            stdout.drain()?;
            stderr.drain()?;
            return Ok(Watched { in_time: ended, stdout: stdout.kept, stderr: stderr.kept });
        }
    }
}

/// Writes what the pipe takes; gives the pipe back as long as there is more.
fn feed(stdin: Option<OwnedFd>, unsent: &mut &[u8]) -> std::io::Result<Option<OwnedFd>> {
    let Some(stdin) = stdin else { return Ok(None) };
    while !unsent.is_empty() {
        match rustix::io::write(&stdin, unsent) {
            Ok(written) => *unsent = unsent.get(written..).unwrap_or_default(),
            Err(Errno::AGAIN) => return Ok(Some(stdin)),
            Err(Errno::INTR) => {}
            // The child has ended or does not read: its end tells why.
            Err(Errno::PIPE) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn nonblocking(fd: Option<OwnedFd>) -> std::io::Result<OwnedFd> {
    let fd = fd.ok_or(Errno::BADF)?;
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok(fd)
}

/// Which part of too long an output is kept.
#[derive(Clone, Copy)]
enum Keep {
    First(usize),
    Last(usize),
}

/// The reading end of one of the child's pipes.
struct Pipe {
    fd: Option<OwnedFd>,
    kept: Vec<u8>,
    keep: Keep,
}

impl Pipe {
    fn new(fd: Option<OwnedFd>, keep: Keep) -> std::io::Result<Self> {
        Ok(Self { fd: Some(nonblocking(fd)?), kept: Vec::new(), keep })
    }

    /// Reads what is there, but not for ever: a child that writes faster than this reads must not
    /// keep the deadline from being looked at.
    fn drain(&mut self) -> std::io::Result<()> {
        const ROUNDS: usize = 64;
        let mut buffer = [0; 16 << 10];
        for _ in 0..ROUNDS {
            let Some(fd) = &self.fd else { return Ok(()) };
            match rustix::io::read(fd.as_fd(), &mut buffer) {
                Ok(0) => self.fd = None,
                Ok(read) => self.keep(buffer.get(..read).unwrap_or_default()),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        match self.keep {
            Keep::First(limit) => {
                let room = limit.saturating_sub(self.kept.len()).min(bytes.len());
                self.kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            Keep::Last(limit) => {
                self.kept.extend_from_slice(bytes);
                let over = self.kept.len().saturating_sub(limit);
                self.kept.drain(..over);
            }
        }
    }
}

/// The child's answer.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Good { manifest: Manifest, config_problems: Vec<ConfigProblem> },
    Bad(OpenFault),
}

/// The child: everything of the plugin's that runs before it is trusted runs here. Ends the process.
pub fn probe_main(file: &Path) -> ! {
    let code = match child(file) {
        Ok(()) => 0,
        // There is nobody to tell: the pipes are what failed.
        Err(_) => 1,
    };
    leave_process(code)
}

fn child(file: &Path) -> std::io::Result<()> {
    // A crash in here is an answer, not an accident to be kept on disk.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The report goes out on a private descriptor; what the plugin prints goes to standard error.
    let report_to = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    let mut config = Vec::new();
    std::io::stdin().lock().read_to_end(&mut config)?;
    let report = match examine(file, &config) {
        Ok((manifest, config_problems)) => Report::Good { manifest, config_problems },
        Err(fault) => Report::Bad(fault),
    };
    let line = format!("\n{MARK}{}\n", serde_json::to_string(&report)?);
    std::fs::File::from(report_to).write_all(line.as_bytes())
}

fn examine(file: &Path, config: &[u8]) -> Result<(Manifest, Vec<ConfigProblem>), OpenFault> {
    let module = open_module(file)?.module;
    let manifest = manifest_of(module)?;
    let problems = if config.is_empty() { Vec::new() } else { check_config_of(module, config) };
    Ok((manifest, problems))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_arguments_make_a_child() {
        let of = |arguments: &[&str]| is_probe(arguments.iter().map(Into::into));
        assert_eq!(of(&["--probe", "/x.so"]), Some(PathBuf::from("/x.so")));
        assert_eq!(of(&["--probe"]), None);
        assert_eq!(of(&["run", "--probe", "/x.so"]), None);
        assert_eq!(of(&[]), None);
    }
}
