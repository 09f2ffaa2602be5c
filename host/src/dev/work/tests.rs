use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use plugin_api::state::HealthStatus;
use tokio::sync::mpsc;

use super::*;
use crate::dev::build::Outcome;
use crate::project::ProjectName;
use crate::supervisor::orders::{Decision, Listener, Order, Refused, Report, Step, Verdict};
use crate::supervisor::status::{RestartStatus, ServiceStatus, Status, Whereabouts};

/// Long, because it is only ever waited out by a test that fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A build that the test brings to its end.
struct FakeJob {
    package: PluginPackage,
    place: Place,
    hear: Hear,
    stopped: Receiver<()>,
}

struct StopFake(Sender<()>);

impl Stop for StopFake {
    fn stop(&self) {
        // The test may be done with the job.
        let _ = self.0.send(());
    }
}

struct FakeTools {
    jobs: Sender<FakeJob>,
    surveys: Arc<Mutex<Result<Vec<Needed>, Box<Problem>>>>,
}

impl Tools for FakeTools {
    type Job = StopFake;

    fn build(&mut self, package: &PluginPackage, place: Place, hear: Hear) -> StopFake {
        let (stop, stopped) = channel();
        let job = FakeJob { package: package.clone(), place, hear, stopped };
        self.jobs.send(job).expect("the test listens");
        StopFake(stop)
    }

    fn survey(&mut self) -> Result<(Workspace, Vec<Needed>), Box<Problem>> {
        let survey = self.surveys.lock().expect("not poisoned").clone();
        survey.map(|needed| (workspace(), needed))
    }

    fn watch(&mut self, _: BTreeMap<PathBuf, Depth>) -> Vec<Problem> {
        Vec::new()
    }
}

fn workspace() -> Workspace {
    let packages = ["/w/core", "/w/heartbeat", "/w/api"];
    Workspace {
        root: "/w".into(),
        target: "/w/target".into(),
        plugins: Vec::new(),
        packages: packages.iter().map(PathBuf::from).collect(),
    }
}

fn needed(plugin: &str, services: &[&str]) -> Needed {
    let package = PluginPackage {
        name: plugin.to_owned(),
        library: format!("lib{plugin}.so"),
        sources: vec![Path::new("/w").join(plugin), "/w/api".into()],
    };
    Needed { package, services: services.iter().map(|it| (*it).to_owned()).collect() }
}

/// The loop with everything around it in the test's hands.
struct Around {
    directory: tempfile::TempDir,
    events: Sender<Event>,
    jobs: Receiver<FakeJob>,
    said: Receiver<String>,
    surveys: Arc<Mutex<Result<Vec<Needed>, Box<Problem>>>>,
}

fn set_up(needed: Vec<Needed>) -> (Work<FakeTools>, Around) {
    let directory = tempfile::tempdir().expect("a directory");
    let shelf = Shelf::open(directory.path(), &ProjectName::parse("show").expect("a name"));
    let surveys = Arc::new(Mutex::new(Ok(needed.clone())));
    let (sender, jobs) = channel();
    let tools = FakeTools { jobs: sender, surveys: Arc::clone(&surveys) };
    let (sender, said) = channel();
    let say = move |text: &str| {
        let text = anstream::adapter::strip_str(text).to_string();
        // The test may be done listening.
        let _ = sender.send(text);
    };
    let channel = Work::<FakeTools>::channel();
    let events = channel.0.clone();
    let shelf = shelf.expect("made");
    let work = Work::new(tools, shelf, (workspace(), needed), Box::new(say), channel);
    (work.with_settle(Duration::ZERO), Around { directory, events, jobs, said, surveys })
}

impl Around {
    fn save(&self, files: &[&str]) {
        let files = files.iter().map(PathBuf::from).collect();
        let change = Change::Files(files, Instant::now());
        self.events.send(Event::Changed(change)).expect("the loop runs");
    }

    fn next_job(&self, plugin: &str) -> FakeJob {
        let job = self.jobs.recv_timeout(DEADLINE).expect("a build starts");
        assert_eq!(job.package.name, plugin);
        job
    }

    /// Waits until the loop has seen everything that was sent before.
    fn catch_up(&self, job: &FakeJob) {
        (job.hear)(Progress::Waits("caught up".to_owned()));
        self.wait_for(&["cargo is caught up"]);
    }

    /// Waits for a line that has all `parts`, and returns those before it too.
    fn wait_for(&self, parts: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.said.recv_timeout(DEADLINE) {
                Ok(line) => lines.push(line),
                Err(_) => panic!("no line has all of {parts:?}: {lines:#?}"),
            }
            if parts.iter().all(|part| lines.last().is_some_and(|line| line.contains(part))) {
                return lines;
            }
        }
    }

    /// Ends a build with a library of this content.
    fn succeed(&self, job: &FakeJob, content: &str) {
        let library = self.directory.path().join(&job.package.library);
        fs::write(&library, content).expect("written");
        let built = Built { library, took: Duration::from_millis(1_620), ..Built::default() };
        (job.hear)(Progress::Over(Outcome::Built(built)));
    }

    /// What lies on the shelf.
    fn on_shelf(&self, library: &str) -> String {
        let path = self.directory.path().join("exphost-dev/show").join(library);
        fs::read_to_string(path).expect("a library")
    }
}

fn fail(job: &FakeJob, said: &str) {
    let took = Duration::from_millis(310);
    (job.hear)(Progress::Over(Outcome::Failed(vec![said.to_owned()], took)));
}

/// The host's end of the orders.
struct FakeHost(Receiver<Order>);

impl FakeHost {
    fn new(mut orders: mpsc::Receiver<Order>) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            while let Some(order) = orders.blocking_recv() {
                // The test may be done with the host.
                let _ = sender.send(order);
            }
        });
        Self(receiver)
    }

    fn next_order(&self) -> Order {
        self.0.recv_timeout(DEADLINE).expect("an order comes")
    }

    /// The next order, which is to reload this.
    fn next_reload(&self, service: &str) -> Listener {
        match self.next_order() {
            Order::Reload { service: ordered, force, listener } => {
                assert_eq!(ordered, service);
                assert!(force, "what was saved is to run, whatever its version");
                listener
            }
            other => panic!("not a reload: {other:?}"),
        }
    }

    fn answer_status(&self) {
        match self.next_order() {
            Order::Status(answer) => answer.send(status()).expect("the loop waits"),
            other => panic!("not a question: {other:?}"),
        }
    }

    fn has_no_order(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

fn status() -> Status {
    let service = |name: &str| ServiceStatus {
        name: name.to_owned(),
        plugin: name.to_owned(),
        version: "0.1.0".to_owned(),
        generation: 3,
        sha256: String::new(),
        file: PathBuf::new(),
        state: "running".to_owned(),
        health: HealthStatus::Healthy,
        whereabouts: Whereabouts::default(),
        since: jiff::Timestamp::now(),
        uptime: Some(1.0),
        restarts: 0,
        restart: RestartStatus::default(),
        ready: true,
        state_saved_at: None,
        unresponsive: None,
        depends_on: Vec::new(),
        stopped_at: None,
        messages_sent: 0,
        messages_received: 0,
        dropped: 0,
        queue_depth: 0,
        statistics: plugin_api::stats::Statistics::default(),
        pending: None,
        file_missing: false,
        reloading: None,
        kept: Vec::new(),
        last_error: None,
    };
    let services = vec![service("core"), service("heartbeat")];
    let version = "0.1.0".to_owned();
    Status { project: "show".to_owned(), pid: 1, version, uptime: 1.0, services }
}

fn step(step: &str, ok: bool) -> Report {
    let (service, step) = ("heartbeat".to_owned(), step.to_owned());
    Report::Step(Step { service, step, ok, ms: 3.0, detail: None })
}

fn verdict(verdict: Decision, reason: Option<&str>) -> Report {
    Report::Verdict(Verdict {
        service: "heartbeat".to_owned(),
        verdict,
        from: None,
        to: None,
        ms: 30.0,
        gap_ms: None,
        reason: reason.map(str::to_owned),
        hint: reason.map(|_| "mend it".to_owned()),
    })
}

fn reloaded(listener: &Listener) {
    for report in [step("start", true), verdict(Decision::Reloaded, None)] {
        listener.send(report).expect("the loop listens");
    }
}

/// A loop that serves a host, each plugin built once.
fn running(needed: Vec<Needed>) -> (Handle, Around, FakeHost) {
    let names: Vec<_> = needed.iter().map(|it| it.package.name.clone()).collect();
    let (mut work, around) = set_up(needed);
    let work = thread::scope(|scope| {
        let ready = scope.spawn(move || {
            work.get_ready();
            work
        });
        for name in names {
            let job = around.next_job(&name);
            assert_eq!(job.place, Place::Foreground, "Ctrl-C is to end it before there is a host");
            around.succeed(&job, "first");
        }
        ready.join().expect("no panic")
    });
    let (orders, host) = Orders::channel();
    (work.spawn(orders).expect("a thread"), around, FakeHost::new(host))
}

fn one() -> Vec<Needed> {
    vec![needed("heartbeat", &["heartbeat"])]
}

fn two() -> Vec<Needed> {
    vec![needed("core", &["core"]), needed("heartbeat", &["heartbeat"])]
}

#[test]
fn a_save_is_built_put_on_the_shelf_and_reloaded() {
    let (handle, around, host) = running(two());
    around.save(&["/w/heartbeat/src/lib.rs"]);
    let job = around.next_job("heartbeat");
    assert_eq!(job.place, Place::Background);
    around.wait_for(&["heartbeat:", "heartbeat/src/lib.rs saved"]);
    around.succeed(&job, "second");
    let listener = host.next_reload("heartbeat");
    assert_eq!(around.on_shelf("libheartbeat.so"), "second");
    // It is told as soon as the new code answers, not when the host trusts it.
    listener.send(step("start", true)).expect("the loop listens");
    around.wait_for(&["heartbeat:", "saved -> live", "build 1.62 s", "reload"]);
    around.wait_for(&["start 3 ms"]);
    listener.send(verdict(Decision::Reloaded, None)).expect("the loop listens");
    drop(listener);
    handle.end();
}

#[test]
fn what_both_are_built_from_rebuilds_both_one_after_the_other() {
    let (handle, around, host) = running(two());
    around.save(&["/w/api/src/lib.rs"]);
    let core = around.next_job("core");
    around.catch_up(&core);
    assert!(matches!(around.jobs.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)));
    around.succeed(&core, "second");
    reloaded(&host.next_reload("core"));
    let heartbeat = around.next_job("heartbeat");
    around.succeed(&heartbeat, "second");
    reloaded(&host.next_reload("heartbeat"));
    handle.end();
}

#[test]
fn a_failed_build_is_shown_and_what_runs_is_named() {
    let (handle, around, host) = running(one());
    around.save(&["/w/heartbeat/src/lib.rs"]);
    fail(&around.next_job("heartbeat"), "error[E0425]: no such thing");
    host.answer_status();
    let lines = around.wait_for(&["heartbeat:", "build failed after 0.31 s"]);
    assert!(lines.iter().any(|line| line.contains("E0425")), "{lines:#?}");
    assert!(
        lines.last().is_some_and(|it| it.contains("0.1.0 (generation 3) runs on")),
        "{lines:?}"
    );
    assert_eq!(around.on_shelf("libheartbeat.so"), "first");
    // The mend of it is a save like any other.
    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.succeed(&around.next_job("heartbeat"), "second");
    reloaded(&host.next_reload("heartbeat"));
    around.wait_for(&["saved -> live"]);
    handle.end();
}

#[test]
fn the_same_library_again_is_not_reloaded() {
    let (handle, around, host) = running(one());
    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.succeed(&around.next_job("heartbeat"), "first");
    around.wait_for(&["heartbeat:", "nothing changed"]);
    assert!(host.has_no_order());
    handle.end();
}

#[test]
fn a_refused_build_is_explained_and_may_be_tried_again_as_it_is() {
    let (handle, around, host) = running(one());
    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.succeed(&around.next_job("heartbeat"), "second");
    let listener = host.next_reload("heartbeat");
    for report in [step("probe", false), verdict(Decision::Refused, Some("it exits at once"))] {
        listener.send(report).expect("the loop listens");
    }
    drop(listener);
    host.answer_status();
    around.wait_for(&["heartbeat:", "refused at probe: it exits at once", "generation 3) runs on"]);
    around.wait_for(&["hint: mend it"]);

    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.succeed(&around.next_job("heartbeat"), "second");
    reloaded(&host.next_reload("heartbeat"));
    around.wait_for(&["saved -> live"]);
    handle.end();
}

#[test]
fn an_order_that_makes_no_sense_to_the_host_is_told() {
    let (handle, around, host) = running(one());
    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.succeed(&around.next_job("heartbeat"), "second");
    let listener = host.next_reload("heartbeat");
    let refused = Refused { error: "there is no service `heartbeat`".to_owned(), hint: None };
    listener.send(Report::Refused(refused)).expect("the loop listens");
    drop(listener);
    host.answer_status();
    around.wait_for(&["not reloaded: there is no service `heartbeat`"]);
    handle.end();
}

#[test]
fn a_change_of_what_is_being_built_stops_the_build_and_starts_another() {
    let (handle, around, host) = running(one());
    around.save(&["/w/heartbeat/src/lib.rs"]);
    let first = around.next_job("heartbeat");
    around.save(&["/w/heartbeat/src/other.rs"]);
    first.stopped.recv_timeout(DEADLINE).expect("it is stopped");
    assert!(matches!(around.jobs.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)));
    // It was too late to stop it: what it built is outdated all the same.
    around.succeed(&first, "outdated");
    let second = around.next_job("heartbeat");
    assert!(host.has_no_order());
    assert_eq!(around.on_shelf("libheartbeat.so"), "first");
    around.succeed(&second, "second");
    reloaded(&host.next_reload("heartbeat"));
    handle.end();
}

#[test]
fn a_change_of_another_plugin_waits_for_its_turn() {
    let (handle, around, host) = running(two());
    around.save(&["/w/heartbeat/src/lib.rs"]);
    let heartbeat = around.next_job("heartbeat");
    around.save(&["/w/core/src/lib.rs"]);
    around.catch_up(&heartbeat);
    assert!(matches!(heartbeat.stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)));
    around.succeed(&heartbeat, "second");
    reloaded(&host.next_reload("heartbeat"));
    around.succeed(&around.next_job("core"), "second");
    reloaded(&host.next_reload("core"));
    handle.end();
}

#[test]
fn a_build_that_ends_during_a_reload_waits_for_it() {
    let (handle, around, host) = running(one());
    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.succeed(&around.next_job("heartbeat"), "second");
    let listener = host.next_reload("heartbeat");
    around.save(&["/w/heartbeat/src/lib.rs"]);
    let job = around.next_job("heartbeat");
    around.succeed(&job, "third");
    // When the next build starts, the loop has taken this one in.
    around.save(&["/w/heartbeat/src/lib.rs"]);
    let last = around.next_job("heartbeat");
    assert_eq!(around.on_shelf("libheartbeat.so"), "second", "the host may be reading it");
    reloaded(&listener);
    drop(listener);
    let listener = host.next_reload("heartbeat");
    assert_eq!(around.on_shelf("libheartbeat.so"), "third");
    reloaded(&listener);
    drop((listener, last));
    handle.end();
}

#[test]
fn all_services_of_a_plugin_are_reloaded() {
    let (handle, around, host) = running(vec![needed("heartbeat", &["left", "right"])]);
    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.succeed(&around.next_job("heartbeat"), "second");
    // Each is ordered on a thread of its own, so either may be first.
    let mut ordered = BTreeSet::new();
    for _ in 0..2 {
        match host.next_order() {
            Order::Reload { service, listener, .. } => {
                ordered.insert(service);
                reloaded(&listener);
            }
            other => panic!("not a reload: {other:?}"),
        }
    }
    assert_eq!(ordered, BTreeSet::from(["left".to_owned(), "right".to_owned()]));
    handle.end();
}

#[test]
fn without_any_library_it_waits_for_the_mend() {
    let (mut work, around) = set_up(one());
    let ready = thread::spawn(move || {
        work.get_ready();
        work
    });
    fail(&around.next_job("heartbeat"), "error: a typo");
    around.wait_for(&["dev:", "waits until heartbeat can be built"]);
    around.save(&["/w/heartbeat/README.md"]);
    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.succeed(&around.next_job("heartbeat"), "first");
    let lines = around.wait_for(&["heartbeat:", "built in 1.62 s"]);
    assert!(!lines.iter().any(|line| line.contains("waits until")), "told twice: {lines:#?}");
    ready.join().expect("it is ready");
}

#[test]
fn a_save_during_the_first_build_is_in_what_the_host_starts_with() {
    let (mut work, around) = set_up(one());
    let ready = thread::spawn(move || work.get_ready());
    let first = around.next_job("heartbeat");
    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.catch_up(&first);
    around.succeed(&first, "outdated");
    let second = around.next_job("heartbeat");
    assert!(!ready.is_finished(), "the host would start with what is outdated");
    around.succeed(&second, "saved");
    ready.join().expect("it is ready");
    assert_eq!(around.on_shelf("libheartbeat.so"), "saved");
}

#[test]
fn a_library_of_an_earlier_run_is_enough_to_start() {
    let (mut work, around) = set_up(one());
    fs::write(around.directory.path().join("exphost-dev/show/libheartbeat.so"), "old")
        .expect("written");
    let ready = thread::spawn(move || {
        work.get_ready();
        work
    });
    fail(&around.next_job("heartbeat"), "error: a typo");
    around.wait_for(&["heartbeat:", "the latest build that succeeded is used"]);
    let work = ready.join().expect("it is ready");
    // The mend is heard of by the running loop.
    let (orders, host) = Orders::channel();
    let (handle, host) = (work.spawn(orders).expect("a thread"), FakeHost::new(host));
    around.save(&["/w/heartbeat/src/lib.rs"]);
    around.succeed(&around.next_job("heartbeat"), "new");
    reloaded(&host.next_reload("heartbeat"));
    handle.end();
}

#[test]
fn a_changed_manifest_may_bring_a_plugin_and_a_broken_one_is_told() {
    let (handle, around, host) = running(one());
    *around.surveys.lock().expect("not poisoned") =
        Err(Box::new(Problem::error("key with no value").in_file("/w/Cargo.toml")));
    around.save(&["/w/Cargo.toml"]);
    around.wait_for(&["/w/Cargo.toml: error: key with no value"]);
    host.answer_status();
    around.wait_for(&["heartbeat:", "not built", "runs on"]);

    *around.surveys.lock().expect("not poisoned") = Ok(two());
    around.save(&["/w/heartbeat/Cargo.toml"]);
    // The changed one was saved; the other one is new.
    for _ in 0..2 {
        let job = around.jobs.recv_timeout(DEADLINE).expect("a build starts");
        let name = job.package.name.clone();
        around.succeed(&job, "second");
        reloaded(&host.next_reload(&name));
    }
    handle.end();
}

#[test]
fn the_end_of_the_host_stops_the_build() {
    let (handle, around, host) = running(one());
    around.save(&["/w/heartbeat/src/lib.rs"]);
    let job = around.next_job("heartbeat");
    drop(host);
    let (sender, ended) = channel();
    thread::spawn(move || {
        handle.end();
        sender.send(()).expect("the test listens");
    });
    job.stopped.recv_timeout(DEADLINE).expect("it is stopped");
    assert_eq!(ended.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
    (job.hear)(Progress::Over(Outcome::Stopped));
    match ended.recv_timeout(DEADLINE) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => panic!("the loop does not end"),
        Err(RecvTimeoutError::Disconnected) => panic!("the loop panicked"),
    }
}
