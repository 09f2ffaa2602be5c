//! `exphost dev`: what is saved is what runs, as soon as it compiles and no sooner.

use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};

use crate::harness::artefacts::{Profile, cargo, succeed};
use crate::harness::host::Host;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::variants::{directory, lay_out, write_if_changed};
use crate::harness::{DEADLINE, free_port};
use crate::sockets::{heartbeat, publisher};

/// A workspace with a copy of a package that a test may change.
struct Source {
    workspace: PathBuf,
    folder: &'static str,
    /// The tests' projects have one name and their workspaces one target directory, and so their
    /// sessions one place for plugins: one session at a time.
    _turn: MutexGuard<'static, ()>,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Source {
    /// As it is in the repository, and built once: how long that takes nobody can say. Each test
    /// has a package of its own, because libraries of one name would meet in the target directory.
    fn new(package: &str, path: &'static str) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let workspace = directory().join(format!("dev-{package}"));
        lay_out(&workspace, path);
        let folder = path.rsplit('/').next().unwrap_or(path);
        let source = Self { workspace, folder, _turn: turn };
        let workspace = &source.workspace;
        // Of an earlier run.
        let _ = fs::remove_file(source.file("build.rs"));
        let configuration = workspace.join(".cargo/config.toml");
        fs::create_dir_all(configuration.parent().expect("it is in a directory")).expect("made");
        // Not the variants': cargo tells workspaces of the same shape apart by nothing, and would take
        // their changed plugin-api for this one's.
        let target = directory().join("dev-target");
        let text = format!("[build]\ntarget-dir = {target:?}\n[profile.dev]\ndebug = false\n");
        write_if_changed(&configuration, &text);
        let mut build = cargo();
        build.current_dir(workspace).args(["build", "--lib", "--package", package]);
        build.args(["--quiet", "--profile", &Profile::of_this_process().name]);
        succeed(&mut build);
        source
    }

    fn file(&self, name: &str) -> PathBuf {
        self.workspace.join(self.folder).join(name)
    }

    /// Runs a project with it.
    fn develop(&self, project: Project) -> Host {
        let manifest = self.workspace.join("Cargo.toml");
        let mut arguments =
            vec!["dev", "--manifest-path", manifest.to_str().expect("the path is UTF-8")];
        if Profile::of_this_process().name == "release" {
            arguments.push("--release");
        }
        project.start_with(&arguments)
    }

    /// Saves the source with another answer to a ping.
    fn answer(&self, edition: &str) {
        const ANSWER: &str = "\"type\": \"status\",";
        let repository = crate::harness::repository();
        let text = read(&repository.join("plugins/heartbeat/src/lib.rs"));
        assert!(text.contains(ANSWER), "there is no {ANSWER} to change");
        let text = text.replace(ANSWER, &format!("{ANSWER}\n\"edition\": {edition},"));
        fs::write(self.file("src/lib.rs"), text).expect("the source can be written");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Asks until the answer is of an edition.
fn wait_for_edition(commands: &mut Publisher, subscriber: &mut Subscriber, edition: &Value) {
    let ping = json!({"command": "ping", "id": 0});
    let end = Instant::now() + DEADLINE;
    loop {
        let answer = commands.ask_until_answered(subscriber, "commands", &ping, "status");
        if answer["edition"] == *edition {
            return;
        }
        assert!(Instant::now() < end, "still {answer}, not of edition {edition}");
    }
}

#[test]
fn saved_code_goes_live_and_broken_code_leaves_the_old_running() {
    let source = Source::new("heartbeat", "plugins/heartbeat");
    let (events, mut commands) = (free_port(), Publisher::bind());
    let project = Project::new().config("heartbeat", heartbeat(events, Some(commands.port())));
    let mut host = source.develop(project);
    host.wait_until_running("heartbeat");
    commands.wait_for_subscriptions(&["commands"]);
    let mut subscriber = Subscriber::connect(events, &["status"]);
    wait_for_edition(&mut commands, &mut subscriber, &Value::Null);

    source.answer("\"second\"");
    let (line, _) =
        host.wait_for_stdout_from(0, &["heartbeat:", "saved -> live", "build", "reload"]);
    wait_for_edition(&mut commands, &mut subscriber, &json!("second"));

    source.answer("\"third");
    let (line, _) = host.wait_for_stdout_from(line, &["error", "unterminated double quote"]);
    let (line, _) =
        host.wait_for_stdout_from(line, &["heartbeat:", "build failed", "(generation 2) runs on"]);
    wait_for_edition(&mut commands, &mut subscriber, &json!("second"));

    source.answer("\"third\"");
    let (line, _) = host.wait_for_stdout_from(line, &["heartbeat:", "saved -> live"]);
    wait_for_edition(&mut commands, &mut subscriber, &json!("third"));

    // The compiler sees another file, and makes the same library of it.
    let text = read(&source.file("src/lib.rs"));
    fs::write(source.file("src/lib.rs"), text + "// Nothing.\n").expect("written");
    host.wait_for_stdout_from(line, &["heartbeat:", "nothing changed"]);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn an_interrupted_host_leaves_no_compiler_behind_and_says_nothing_of_it() {
    let source = Source::new("fixture-greeter", "tests/fixtures/greeter");
    let toml = publisher(free_port()) + "[exphost]\nplugin = \"fixture-greeter\"\n";
    let project = Project::new().config("greeter", toml);
    let fifo = project.path().join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
    let mut host = source.develop(project);
    host.wait_until_running("greeter");
    // A build that lasts until somebody writes into the FIFO.
    let script = format!("fn main() {{ std::fs::read({fifo:?}).expect(\"opened\"); }}\n");
    fs::write(source.file("build.rs"), script).expect("written");
    // Returns when the build script has opened the other end.
    let build = OpenOptions::new().write(true).open(&fifo).expect("opened");
    assert_eq!(host.stop().0, Some(0));
    let mut ends = [PollFd::from_borrowed_fd(build.as_fd(), PollFlags::empty())];
    let patience = Timespec::try_from(DEADLINE).expect("it is short");
    assert_eq!(poll(&mut ends, Some(&patience)), Ok(1), "the build script still runs");
    assert!(ends[0].revents().contains(PollFlags::ERR), "{:?}", ends[0].revents());
    let stdout = host.stdout();
    assert!(stdout.contains("greeter/build.rs saved"), "{stdout}");
    assert!(!stdout.contains("failed") && !stdout.contains("interrupted"), "{stdout}");
}

#[test]
fn a_folder_without_a_workspace_is_told_what_to_do() {
    let project = Project::new().config("heartbeat", heartbeat(free_port(), None));
    let manifest = project.path().join("Cargo.toml");
    let output =
        project.output(&["dev", "--manifest-path", manifest.to_str().expect("the path is UTF-8")]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Cargo.toml") && said.contains("hint: "), "{said}");
}
