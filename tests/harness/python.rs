//! Peers in Python, as the rest of an installation has them.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::lines::Lines;
use super::{DEADLINE, repository};

/// Whether `python3` with `pyzmq` is there. Where it is not, says so loudly, and fails in CI.
///
/// # Panics
/// Under `CI=true`, when it is not there.
pub fn is_there(test: &str) -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    let there = *THERE.get_or_init(|| runs("import zmq"));
    there || missing(test, "python3 with pyzmq (pip install pyzmq)")
}

/// Whether `python3` is there, for scripts that need nothing else. Where it is not, as
/// [`is_there`].
///
/// # Panics
/// Under `CI=true`, when it is not there.
pub fn is_there_alone(test: &str) -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| runs("pass")) || missing(test, "python3")
}

/// Whether python runs a line.
fn runs(line: &str) -> bool {
    let output = Command::new("python3").args(["-c", line]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Says that something is not there, which is never true.
fn missing(test: &str, what: &str) -> bool {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what} is needed in CI");
    eprintln!("SKIPPED: {test}: there is no {what}");
    false
}

/// A running script of `tests/peers`. Killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines,
    read: usize,
}

impl Peer {
    /// Starts a script.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .arg("-u")
            .arg(repository().join("tests/peers").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be started");
        let lines = Lines::follow(child.stdout.take().expect("standard output is a pipe"));
        let stdin = child.stdin.take();
        Self { child, stdin, lines, read: 0 }
    }

    /// The next line of its output, which is JSON.
    ///
    /// # Panics
    /// When none has come within [`DEADLINE`].
    pub fn next(&mut self) -> Value {
        let (number, line) = self
            .lines
            .wait_for(self.read, &[], DEADLINE)
            .unwrap_or_else(|| panic!("the peer says nothing more: {:?}", self.lines.so_far()));
        self.read = number + 1;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// The next line, if it comes within `deadline`.
    pub fn next_within(&mut self, deadline: Duration) -> Option<Value> {
        self.lines.wait_for(self.read, &[], deadline)?;
        Some(self.next())
    }

    /// The next line that `wanted` takes.
    pub fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.next();
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it has not been reaped");
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives it a line.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is a pipe");
        writeln!(stdin, "{line}").expect("the peer reads");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
