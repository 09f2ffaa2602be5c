//! What the integration tests and the bench share: the real binary and plugins, built once per run;
//! projects in temporary directories; the running host; and peers to talk to it.
//!
//! Nothing here sleeps to wait for something: logs and replies are awaited by blocking reads with a
//! deadline, and a deadline that passes fails the test with what was seen until then.
#![allow(dead_code, reason = "the bench and the tests use different parts")]
#![allow(unreachable_pub, reason = "a module of two test crates has no outside")]
#![allow(clippy::disallowed_methods, reason = "tests look at the real surroundings")]
#![allow(clippy::print_stderr, reason = "tests speak to whoever runs them")]

pub mod artefacts;
pub mod changeling;
pub mod host;
pub mod lines;
pub mod peers;
pub mod project;
pub mod python;
pub mod variants;
pub mod wire;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Pid;

/// How long anything may take that normally takes well under a second: long, because the machine
/// may be busy with other tests, and only ever waited out by a test that fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// A figure that a long run of a test is given in the environment.
///
/// # Panics
/// When it is there and no number.
pub fn setting(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Whether what is compared with the output is to be written anew from it: `BLESS=1`.
pub fn blesses() -> bool {
    std::env::var_os("BLESS").is_some()
}

/// Says what a run has seen, to whoever runs it with `--nocapture`.
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// The memory that a process has in use, in KiB.
///
/// # Panics
/// When there is no such process.
pub fn resident_kib(pid: Pid) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(path).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A TCP port that nobody listens on, and that no other call in this process returns. For a socket
/// that the host binds; whatever a test binds itself asks the system for port 0.
pub fn free_port() -> u16 {
    static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    // Listeners are kept until a new number has come up, so that the system cannot offer one twice.
    let mut kept = Vec::new();
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        kept.push(listener);
        if handed_out.insert(port) {
            return port;
        }
    }
}
