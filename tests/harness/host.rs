//! A running host.

use std::fs;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::DEADLINE;
use super::lines::Lines;
use super::project::Project;

/// The real binary, running a project. Killed when dropped; a failing test prints its log.
#[derive(Debug)]
pub struct Host {
    project: Project,
    pid: Pid,
    log: Lines,
    stdout: Lines,
    exit: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
}

impl Host {
    pub(super) fn start(project: Project, arguments: &[&str]) -> Self {
        let command = project.command(arguments);
        Self::of(project, command)
    }

    pub(super) fn of(project: Project, mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let pid = Pid::from_child(&child);
        let log = Lines::follow(child.stderr.take().expect("standard error is a pipe"));
        let stdout = Lines::follow(child.stdout.take().expect("standard output is a pipe"));
        let (ended, exit) = channel();
        thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            // Nobody listens any more when the test has ended first.
            let _ = ended.send(status);
        });
        Self { project, pid, log, stdout, exit, status: None }
    }

    /// Starts a host on the project of this one, which has ended.
    ///
    /// # Panics
    /// When it has not.
    pub fn restart(mut self) -> Self {
        assert!(self.status.is_some(), "it has not ended");
        let project = std::mem::take(&mut self.project);
        Self::start(project, &[])
    }

    /// Kills it, and waits until it is gone.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.wait_exit(Duration::from_secs(10)), None, "a death by signal");
    }

    /// Its project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What it said on standard error so far.
    pub fn log(&self) -> String {
        self.log.so_far().join("\n")
    }

    /// What it said on standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.so_far().join("\n")
    }

    /// Waits for a line of the log with all of `parts`.
    ///
    /// # Panics
    /// When none has come within [`DEADLINE`].
    pub fn wait_for_log(&self, parts: &[&str]) -> String {
        self.wait_for_log_from(0, parts).1
    }

    /// Like [`Host::wait_for_log`], among the lines from number `from` on.
    pub fn wait_for_log_from(&self, from: usize, parts: &[&str]) -> (usize, String) {
        self.log
            .wait_for(from, parts, DEADLINE)
            .unwrap_or_else(|| panic!("no line of the log has all of {parts:?}"))
    }

    /// Like [`Host::wait_for_log_from`], on standard output.
    pub fn wait_for_stdout_from(&self, from: usize, parts: &[&str]) -> (usize, String) {
        self.stdout
            .wait_for(from, parts, DEADLINE)
            .unwrap_or_else(|| panic!("no line of standard output has all of {parts:?}"))
    }

    /// Waits until a service is in `RUNNING`.
    pub fn wait_until_running(&self, service: &str) {
        self.wait_for_log(&[service, "state RUNNING"]);
    }

    /// What `status --json` says of a service.
    ///
    /// # Panics
    /// When it says nothing of it.
    pub fn status_of(&self, service: &str) -> Value {
        let (code, status) = self.project.json(&["status", service]);
        assert_eq!(code, 0, "{status:#}");
        status["services"][0].clone()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the host takes signals");
    }

    /// Whether it ends within `time`, which is waited out when it does not.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        if self.status.is_none() {
            self.status = self.exit.recv_timeout(time).ok();
        }
        self.status.is_some()
    }

    /// Waits for the end: the exit code, or `None` for a death by a signal.
    ///
    /// # Panics
    /// When it has not ended within `deadline`.
    pub fn wait_exit(&mut self, deadline: Duration) -> Option<i32> {
        if self.status.is_none() {
            match self.exit.recv_timeout(deadline) {
                Ok(status) => self.status = Some(status),
                Err(RecvTimeoutError::Timeout) => panic!("still running after {deadline:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("nobody waits for the child"),
            }
        }
        // The pipes may still hold the last lines.
        self.log.wait_for_end(DEADLINE);
        self.stdout.wait_for_end(DEADLINE);
        self.status.and_then(|status| status.code())
    }

    /// Asks it to stop with SIGINT: the exit code, and how long that took.
    pub fn stop(&mut self) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        self.signal(Signal::INT);
        let code = self.wait_exit(DEADLINE);
        (code, asked.elapsed())
    }

    /// The content of a service's log file; `exphost` for the host's own.
    pub fn log_file(&self, service: &str) -> String {
        let path = self.project.path().join("logs").join(format!("{service}.log"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.status.is_none() && self.exit.try_recv().is_err() {
            // Not reaped yet, so the id is still the child's; it may be dying already.
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.exit.recv_timeout(DEADLINE);
        }
        if thread::panicking() {
            self.log.wait_for_end(Duration::from_secs(1));
            eprintln!("--- log of the host ---\n{}\n--- its standard output ---", self.log());
            eprintln!("{}\n---", self.stdout());
        }
    }
}
