//! Every way to put a new build into the plugin directory of a running host, in random order and
//! under traffic: what runs is what the file says, and no message is lost.
//!
//! ```sh
//! FILE_OPERATIONS_ROUNDS=50 cargo test -p exphost-tests --test it file_operations -- --nocapture
//! FILE_OPERATIONS_SEED=7 …    # the same order once more
//! ```
#![allow(clippy::print_stdout, reason = "a long run says how far it is, and how to run it again")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::artefacts::library_name;
use crate::harness::changeling::Build;
use crate::harness::host::Host;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port};
use crate::sockets::{publisher, subscriber};

/// The service whose file is worked on.
const SERVICE: &str = "changeling";
/// The plugin of another service, which shows that a look at the folder is over.
const WITNESS: &str = "fixture-minimal";

/// How often each operation is done when nobody says how often.
const ROUNDS: usize = 1;

/// What people and programs do to a plugin file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// cargo: the old name goes, and comes back as a hard link to what was built elsewhere.
    Link,
    /// `cp`: truncated and written in place; through a symbolic link, if there is one.
    Copy,
    /// `mv` from the same file system.
    Move,
    /// `install`: removed, created, written, made readable.
    Install,
    /// rsync: written under a hidden name, then renamed.
    Rsync,
    /// `ln -sfn`: a symbolic link that comes to lead to another build.
    SwapLink,
    /// Another build behind the symbolic link, which stays as it is.
    BehindLink,
    /// In pieces, with time between them.
    Slowly,
    /// Half of it, which is refused; then all of it.
    Halves,
    /// `touch`, which is no new build.
    Touch,
    /// Removed for so long that it is noticed, then another build.
    Return,
}

const OPERATIONS: [Operation; 11] = [
    Operation::Link,
    Operation::Copy,
    Operation::Move,
    Operation::Install,
    Operation::Rsync,
    Operation::SwapLink,
    Operation::BehindLink,
    Operation::Slowly,
    Operation::Halves,
    Operation::Touch,
    Operation::Return,
];

#[test]
fn whatever_is_done_to_the_file_what_runs_is_what_it_says() {
    let rounds = setting("FILE_OPERATIONS_ROUNDS").map_or(ROUNDS, |it| it.try_into().expect("few"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let seed = setting("FILE_OPERATIONS_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("FILE_OPERATIONS_SEED={seed} FILE_OPERATIONS_ROUNDS={rounds}");
    let mut order = OPERATIONS.repeat(rounds);
    shuffle(&mut order, seed);

    let mut installation = Installation::start();
    for (number, operation) in order.iter().enumerate() {
        let began = Instant::now();
        installation.perform(*operation);
        println!("{number:3} {operation:?} {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    }
    let reloads = order.iter().filter(|it| **it != Operation::Touch).count();
    let Installation { mut host, traffic, .. } = installation;
    let sent = traffic.end();
    println!("{sent} messages, {reloads} reloads");
    let status = host.status_of(SERVICE);
    assert_eq!(status["generation"], reloads + 1, "{status:#}");
    assert_eq!((&status["pending"], &status["dropped"]), (&Value::Null, &json!(0)), "{status:#}");
    assert_eq!(host.stop().0, Some(0));
}

/// A running changeling under traffic, and the build that its file is.
struct Installation {
    host: Host,
    traffic: Traffic,
    file: PathBuf,
    builds: PathBuf,
    /// How many builds there have been.
    count: u64,
    sha256: String,
}

impl Installation {
    fn start() -> Self {
        let (port, mut numbers) = (free_port(), Publisher::bind());
        let toml = publisher(port) + &subscriber(numbers.port(), &["number", "report"]);
        let reload = "[reload]\nwatch = true\nsettle = 0.1\nrescan = 0.2\nprobation = 0.1\n";
        let project = Project::new()
            .config("exphost", reload)
            .config(SERVICE, toml + &Build::directive())
            .service("witness", WITNESS, "");
        let (file, builds) =
            (project.plugins().join(Build::file_name()), project.path().join("builds"));
        fs::create_dir(&builds).expect("a folder");
        let bytes = build(0);
        fs::write(&file, &bytes).expect("the plugin directory can be written");
        let host = project.start();
        host.wait_until_running(SERVICE);
        numbers.wait_for_subscriptions(&["number", "report"]);
        let mut reports = Subscriber::connect(port, &["tally"]);
        numbers.ask_until_answered(&mut reports, "report", &json!({}), "tally");
        let traffic = Traffic::begin(numbers, reports);
        Self { host, traffic, file, builds, count: 0, sha256: sha256(&bytes) }
    }

    /// Does one thing to the file, and waits until it has the effect that it should have.
    fn perform(&mut self, operation: Operation) {
        let generation = self.host.status_of(SERVICE)["generation"].clone();
        if operation == Operation::Touch {
            self.touch();
            self.is_what_runs();
            assert_eq!(
                self.host.status_of(SERVICE)["generation"],
                generation,
                "touched, not changed"
            );
            return;
        }
        self.count += 1;
        let bytes = build(self.count);
        let elsewhere = self.builds.join(format!("{}.built", self.count));
        let in_place = |bytes: &[u8]| fs::write(&self.file, bytes).expect("it can be written");
        match operation {
            Operation::Link => {
                write(&elsewhere, &bytes);
                fs::remove_file(&self.file).expect("it is there");
                fs::hard_link(&elsewhere, &self.file).expect("a link");
            }
            Operation::Copy => {
                write(&elsewhere, &bytes);
                fs::copy(&elsewhere, &self.file).expect("a copy");
            }
            Operation::Move => {
                write(&elsewhere, &bytes);
                fs::rename(&elsewhere, &self.file).expect("a move");
            }
            Operation::Install => {
                fs::remove_file(&self.file).expect("it is there");
                let mut file = File::create_new(&self.file).expect("it is gone");
                file.write_all(&bytes).expect("room on the disk");
                let permissions = file.metadata().expect("it is there").permissions();
                file.set_permissions(permissions).expect("it is ours");
            }
            Operation::Rsync => {
                let hidden = self.file.with_file_name(format!(".{}.Ab12Cd", Build::file_name()));
                write(&hidden, &bytes);
                fs::rename(&hidden, &self.file).expect("a move");
            }
            Operation::SwapLink => {
                write(&elsewhere, &bytes);
                self.link_to(&elsewhere);
            }
            Operation::BehindLink => self.replace_behind_link(&elsewhere, &bytes),
            Operation::Slowly => self.write_slowly(&bytes),
            Operation::Halves => {
                in_place(&bytes[..bytes.len() / 2]);
                self.wait_for(SERVICE, |status| {
                    let reason = status["pending"]["reason"].as_str();
                    reason.is_some_and(|reason| reason.contains("truncated"))
                });
                in_place(&bytes);
            }
            Operation::Return => {
                fs::remove_file(&self.file).expect("it is there");
                self.wait_for(SERVICE, |status| status["file_missing"] == true);
                in_place(&bytes);
            }
            Operation::Touch => unreachable!("it has been done"),
        }
        self.sha256 = sha256(&bytes);
        self.is_what_runs();
        // Not only by its name: it is this build that answers.
        self.traffic.wait_for(name_of(self.count));
    }

    /// Waits until the host says that it runs this file's content, and nothing else is expected.
    fn is_what_runs(&self) {
        let content = fs::read(&self.file).expect("it is there");
        assert_eq!(sha256(&content), self.sha256, "the operation has done something else");
        self.wait_for(SERVICE, |status| {
            status["sha256"] == self.sha256
                && status["state"] == "running"
                && status["pending"].is_null()
                && status["reloading"].is_null()
                && status["file_missing"] == false
        });
    }

    /// What was there before runs on until the file is complete.
    fn write_slowly(&self, bytes: &[u8]) {
        let mut file = File::create(&self.file).expect("it can be written");
        for piece in bytes.chunks(bytes.len().div_ceil(12)) {
            let status = self.host.status_of(SERVICE);
            assert_eq!(
                (&status["sha256"], &status["state"]),
                (&json!(self.sha256), &json!("running"))
            );
            file.write_all(piece).expect("room on the disk");
        }
    }

    fn replace_behind_link(&self, elsewhere: &Path, bytes: &[u8]) {
        if !self.file.is_symlink() {
            // The same content, so that nothing follows from it.
            let target = elsewhere.with_extension("linked");
            fs::copy(&self.file, &target).expect("a copy");
            self.link_to(&target);
        }
        let target = fs::read_link(&self.file).expect("it is a link");
        write(elsewhere, bytes);
        fs::rename(elsewhere, target).expect("a move");
    }

    /// The witness's file changes after the touch, and one look at the folder is for all services:
    /// when its new build runs, the touch has been noticed.
    fn touch(&self) {
        let file = File::options().append(true).open(&self.file).expect("it is there");
        file.set_modified(SystemTime::now()).expect("it is ours");
        drop(file);
        let witness = self.file.with_file_name(library_name(WITNESS));
        let mut bytes = fs::read(&witness).expect("it is there");
        bytes.push(b'.');
        let new = witness.with_extension("new");
        write(&new, &bytes);
        fs::rename(&new, &witness).expect("a move");
        self.wait_for("witness", |status| status["sha256"] == sha256(&bytes));
    }

    fn link_to(&self, target: &Path) {
        let new = self.file.with_file_name(".link");
        symlink(target, &new).expect("a link");
        fs::rename(&new, &self.file).expect("a move");
    }

    fn wait_for(&self, service: &str, wanted: impl Fn(&Value) -> bool) {
        let end = Instant::now() + DEADLINE;
        loop {
            let status = self.host.status_of(service);
            if wanted(&status) {
                return;
            }
            let sha256 = &self.sha256;
            assert!(Instant::now() < end, "never so; the file is {sha256}, and {status:#}");
        }
    }
}

/// Numbers go out and tallies come in, at a steady pace, until it is ended.
struct Traffic {
    names: Receiver<String>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Traffic {
    /// Every so often so many numbers are sent, which makes 10,000 a second.
    const BEAT: Duration = Duration::from_millis(10);
    const NUMBERS: u64 = 100;
    /// Numbers that may be under way: fewer than any queue holds.
    const UNDER_WAY: u64 = 500;

    fn begin(numbers: Publisher, tallies: Subscriber) -> Self {
        let (sender, names) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let for_thread = Arc::clone(&is_over);
        let thread = thread::spawn(move || Self::run(numbers, tallies, &sender, &for_thread));
        Self { names, is_over, thread }
    }

    /// Waits until the build of this name has answered.
    fn wait_for(&self, name: &str) {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.names.recv_timeout(left) {
                Ok(build) if build == name => return,
                Ok(_) => {}
                Err(error) => panic!("{name} never answered: {error}"),
            }
        }
    }

    /// Stops it: how many numbers were sent, each of which has come in once and in order.
    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the traffic was never interrupted")
    }

    fn run(
        mut numbers: Publisher,
        mut tallies: Subscriber,
        names: &Sender<String>,
        is_over: &AtomicBool,
    ) -> u64 {
        let (mut sent, mut counted) = (0, 0);
        let mut note = |tally: &Value, sent: u64| {
            let expected = |count| count <= sent && tally["tally"]["breaks"] == 0;
            let count = tally["tally"]["count"].as_u64().expect("a number");
            assert!(expected(count) && count >= counted, "{sent} were sent, and {tally}");
            counted = count;
            // The test may have failed elsewhere.
            let _ = names.send(tally["build"].as_str().expect("a name").to_owned());
            count
        };
        let mut arrived = 0;
        while !is_over.load(Ordering::Relaxed) || arrived < sent {
            let beat = Instant::now() + Self::BEAT;
            if !is_over.load(Ordering::Relaxed) {
                for n in sent..sent + Self::NUMBERS {
                    numbers.send("number", &json!({"n": n}));
                }
                sent += Self::NUMBERS;
                numbers.send("report", &json!({}));
            }
            while let Some((_, tally)) =
                tallies.next_within(beat.saturating_duration_since(Instant::now()))
            {
                arrived = note(&tally, sent);
            }
            while sent - arrived > Self::UNDER_WAY {
                let next = tallies.next_within(DEADLINE);
                let (_, tally) = next.expect("the service counts on");
                arrived = note(&tally, sent);
            }
        }
        sent
    }
}

/// Build number `count`: like no other by its bytes, like every second by its name.
fn build(count: u64) -> Vec<u8> {
    static PATCHED: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let patched = PATCHED.get_or_init(|| [0, 1].map(|it| Build::good(700, name_of(it)).bytes()));
    let mut bytes = patched[usize::from(!count.is_multiple_of(2))].clone();
    // What follows the sections concerns no loader.
    bytes.extend(count.to_le_bytes());
    bytes
}

fn name_of(count: u64) -> &'static str {
    if count.is_multiple_of(2) { "one" } else { "two" }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// Fisher and Yates, with numbers from an xorshift.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for last in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (last as u64 + 1)).expect("an index");
        items.swap(last, other);
    }
}
