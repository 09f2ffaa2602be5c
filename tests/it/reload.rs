//! Hot reload: a new build takes over, a bad one does not, and what the service knew survives.

use serde_json::{Value, json};

use crate::harness::artefacts::plugin;
use crate::harness::changeling::Build;
use crate::harness::free_port;
use crate::harness::host::Host;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::variants::{self, Variant};
use crate::sockets::{publisher, subscriber};

const GOOD: Build = Build::good(700, "one");

/// A running changeling, whoever sends it numbers, and whoever hears its reports.
pub(crate) struct Changeling {
    pub(crate) host: Host,
    numbers: Publisher,
    reports: Subscriber,
    next: u64,
}

impl Changeling {
    /// `more` is put into the host's `exphost.toml`.
    pub(crate) fn start(more: &str) -> Self {
        Self::start_with(more, "")
    }

    /// `directives` are put into the service's own table `[exphost]`.
    pub(crate) fn start_with(more: &str, directives: &str) -> Self {
        let (port, mut numbers) = (free_port(), Publisher::bind());
        let toml = publisher(port) + &subscriber(numbers.port(), &["number", "report"]);
        let project = Project::new()
            .config("exphost", format!("[reload]\nprobation = 1\n{more}"))
            .config("changeling", toml + &Build::directive() + "start_timeout = 2\n" + directives);
        GOOD.install(&project.plugins());
        let host = project.start();
        host.wait_until_running("changeling");
        numbers.wait_for_subscriptions(&["number", "report"]);
        let mut reports = Subscriber::connect(port, &["tally"]);
        numbers.ask_until_answered(&mut reports, "report", &json!({}), "tally");
        Self { host, numbers, reports, next: 0 }
    }

    pub(crate) fn send_numbers(&mut self, count: u64) {
        for n in self.next..self.next + count {
            self.numbers.send("number", &json!({"n": n}));
        }
        self.next += count;
    }

    /// The next report, once it says that all numbers have come in.
    pub(crate) fn report(&mut self) -> Value {
        self.numbers.send("report", &json!({}));
        let sent = self.next;
        self.reports.wait_for(|_, report| report["tally"]["count"] == sent)
    }

    pub(crate) fn install(&self, build: Build) {
        build.install(&self.host.project().plugins());
    }

    /// `exphost reload changeling --json`: the exit code and the reports, the verdict last.
    pub(crate) fn reload(&self, more: &[&str]) -> (i32, Vec<Value>) {
        let arguments = ["reload", "changeling"].iter().chain(more).copied().collect::<Vec<_>>();
        self.host.project().json_lines(&arguments)
    }

    pub(crate) fn status(&self) -> Value {
        self.host.status_of("changeling")
    }
}

/// By hand only, so that it is the test that says when.
const BY_HAND: &str = "watch = false\n";

#[test]
fn a_new_build_takes_over_with_the_state_and_nothing_lost() {
    let mut changeling = Changeling::start(BY_HAND);
    changeling.send_numbers(100);
    assert_eq!(changeling.report()["build"], "one");
    changeling.install(Build::good(701, "two"));
    changeling.send_numbers(100);
    let (code, reports) = changeling.reload(&[]);
    assert_eq!(code, 0, "{reports:#?}");
    let steps: Vec<_> = reports.iter().filter_map(|it| it["step"].as_str()).collect();
    let expected = ["identify", "stage", "probe", "config", "load", "stop", "start", "commit"];
    assert_eq!(steps, expected, "{reports:#?}");
    let verdict = reports.last().expect("a verdict");
    assert_eq!(verdict["verdict"], "reloaded");
    assert_eq!((&verdict["from"], &verdict["to"]), (&json!("7.70.700"), &json!("7.70.701")));
    changeling.send_numbers(100);
    let report = changeling.report();
    assert_eq!(report["build"], "two");
    assert_eq!(report["tally"], json!({"count": 300, "last": 299, "breaks": 0, "instances": 2}));
    let status = changeling.status();
    assert_eq!((&status["version"], &status["generation"]), (&json!("7.70.701"), &json!(2)));
    assert_eq!((&status["state"], &status["pending"]), (&json!("running"), &Value::Null));
    assert_eq!(changeling.host.stop().0, Some(0));
}

/// A bad build, the verdict, the step that is named, and a part of the reason.
const BAD: [(&str, &str, &str, &str); 9] = [
    ("abort in probe", "refused", "probe", "SIGABRT"),
    ("picky", "refused", "config", "20 is more than this build takes"),
    ("panic in new", "rolled_back", "start", "new: panicked: this build panics in new"),
    ("panic in restore", "rolled_back", "start", "restore_state: panicked"),
    ("refuse state", "rolled_back", "start", "restore_state: this build cannot read it"),
    ("panic in start", "rolled_back", "start", "start: panicked: this build panics in start"),
    ("error in start", "rolled_back", "start", "start: this build cannot start"),
    ("die soon", "rolled_back", "commit", "dies soon after its start"),
    ("die slowly", "rolled_back", "commit", "this build dies slowly"),
];

#[test]
fn a_bad_build_leaves_the_old_one_running_with_its_state() {
    let mut changeling = Changeling::start(BY_HAND);
    for (number, (behaviour, verdict, step, reason)) in BAD.into_iter().enumerate() {
        let patch = 710 + u16::try_from(number).expect("a few");
        let bad = Build::behaving(patch, behaviour);
        changeling.install(bad);
        changeling.send_numbers(50);
        let (code, reports) = changeling.reload(&[]);
        assert_eq!(code, 1, "{behaviour}: {reports:#?}");
        let last = reports.last().expect("a verdict");
        assert_eq!(last["verdict"], verdict, "{behaviour}: {reports:#?}");
        assert_eq!(last["to"], bad.version(), "{behaviour}");
        let said = last["reason"].as_str().expect("a reason");
        assert!(said.contains(reason), "{behaviour}: {said}");
        let failed = reports.iter().find(|it| it["ok"] == false).expect("a step that failed");
        assert_eq!(failed["step"], step, "{behaviour}: {reports:#?}");
        let status = changeling.status();
        assert_eq!(status["version"], GOOD.version(), "{behaviour}");
        assert_eq!(status["state"], "running", "{behaviour}");
        assert_eq!(status["pending"]["version"], bad.version(), "{behaviour}");
        assert_eq!(status["pending"]["step"], step, "{behaviour}");
        assert_eq!(status["health"], "warning", "{behaviour}");
        changeling.send_numbers(50);
        let report = changeling.report();
        assert_eq!((&report["build"], &report["tally"]["breaks"]), (&json!("one"), &json!(0)));
    }
    // The next good one clears it all.
    changeling.install(Build::good(800, "two"));
    assert_eq!(changeling.reload(&[]).0, 0);
    let status = changeling.status();
    assert_eq!((&status["pending"], &status["health"]), (&Value::Null, &json!("healthy")));
    assert_eq!(changeling.host.stop().0, Some(0));
}

#[test]
fn a_build_that_hangs_in_start_is_given_up_and_the_old_one_is_back() {
    for behaviour in ["wait in start", "hang in start"] {
        let mut changeling = Changeling::start(BY_HAND);
        changeling.send_numbers(10);
        changeling.install(Build::behaving(711, behaviour));
        let (code, reports) = changeling.reload(&[]);
        assert_eq!(code, 1, "{reports:#?}");
        let last = reports.last().expect("a verdict");
        assert_eq!(last["verdict"], "rolled_back", "{reports:#?}");
        let said = last["reason"].as_str().expect("a reason");
        assert!(said.contains("not running within 2 s"), "{said}");
        changeling.send_numbers(10);
        let report = changeling.report();
        assert_eq!((&report["build"], &report["tally"]["breaks"]), (&json!("one"), &json!(0)));
        let kept = changeling.status()["kept"].clone();
        if behaviour == "hang in start" {
            assert!(said.contains("was left behind"), "{said}");
            assert_eq!(kept[0]["version"], "7.70.711", "{kept}");
        } else {
            assert_eq!(kept, json!([]));
        }
    }
}

#[test]
fn another_abi_is_refused_and_named() {
    let host = Project::new()
        .config("exphost", "[reload]\nwatch = false\n")
        .service("minimal", "fixture-minimal", "")
        .start();
    host.wait_until_running("minimal");
    for (variant, reason) in [
        (Variant::OtherLayout, "its types differ from this host's"),
        (Variant::NewerMinor, "newer than this host's"),
        (Variant::OtherMajor, "another major version"),
        (Variant::PanicAbort, "a panic in it would kill the host"),
    ] {
        let file = host.project().plugins().join("libfixture_minimal.so");
        std::fs::copy(variants::library(variant), file).expect("copied");
        let (code, reports) = host.project().json_lines(&["reload", "minimal"]);
        assert_eq!(code, 1, "{reports:#?}");
        let last = reports.last().expect("a verdict");
        assert_eq!(last["verdict"], "refused", "{reports:#?}");
        let said = last["reason"].as_str().expect("a reason");
        assert!(said.contains(reason), "{variant:?}: {said}");
        let (_, status) = host.project().json(&["status"]);
        assert_eq!(status["services"][0]["state"], "running");
    }
}

#[test]
fn an_author_may_choose_to_start_fresh() {
    let mut changeling = Changeling::start(BY_HAND);
    changeling.send_numbers(10);
    changeling.install(Build { patch: 701, name: "two", behaviour: "start fresh" });
    let (code, reports) = changeling.reload(&[]);
    assert_eq!(code, 0, "{reports:#?}");
    let start = reports.iter().find(|it| it["step"] == "start").expect("a step");
    let said = start["detail"].as_str().expect("said");
    assert!(said.contains("started fresh: this build would rather not"), "{said}");
    assert_eq!(changeling.status()["version"], "7.70.701");
}

#[test]
fn a_state_that_cannot_be_saved_is_not_lost_unless_forced() {
    let mut changeling = Changeling::start(BY_HAND);
    changeling.install(Build { patch: 701, name: "two", behaviour: "no save" });
    assert_eq!(changeling.reload(&[]).0, 0);
    changeling.send_numbers(10);
    changeling.install(Build::good(702, "tri"));
    let (code, reports) = changeling.reload(&[]);
    assert_eq!(code, 1, "{reports:#?}");
    let last = reports.last().expect("a verdict");
    assert_eq!(last["verdict"], "rolled_back");
    let said = last["reason"].as_str().expect("a reason");
    assert!(said.contains("this build cannot save"), "{said}");
    assert_eq!(changeling.status()["version"], "7.70.701");
    let (code, reports) = changeling.reload(&["--force"]);
    assert_eq!(code, 0, "{reports:#?}");
    assert_eq!(changeling.status()["version"], "7.70.702");
}

#[test]
fn a_lower_version_needs_force() {
    let changeling = Changeling::start(BY_HAND);
    changeling.install(Build::good(699, "two"));
    let (code, reports) = changeling.reload(&[]);
    assert_eq!(code, 1);
    let last = reports.last().expect("a verdict");
    assert_eq!(last["reason"], "7.70.699 is lower than 7.70.700");
    assert!(last["hint"].as_str().is_some_and(|hint| hint.contains("--force")));
    let (code, reports) = changeling.reload(&["--force"]);
    assert_eq!(code, 0, "{reports:#?}");
    assert_eq!(changeling.status()["version"], "7.70.699");
}

#[test]
fn a_watched_file_is_enough() {
    let mut changeling = Changeling::start("watch = true\nsettle = 0.05\n");
    changeling.send_numbers(10);
    changeling.install(Build::good(701, "two"));
    changeling.host.wait_for_log(&["changeling", "reloaded", "7.70.701"]);
    changeling.send_numbers(10);
    let report = changeling.report();
    assert_eq!((&report["build"], &report["tally"]["breaks"]), (&json!("two"), &json!(0)));
    // The refusal of a bad one is told once, and its like is not tried again.
    changeling.install(Build::behaving(702, "panic in start"));
    changeling.host.wait_for_log(&["changeling", "not reloaded", "7.70.702"]);
    assert_eq!(changeling.status()["version"], "7.70.701");
}

#[test]
fn a_changed_configuration_is_offered_then_applied_or_refused() {
    let mut changeling = Changeling::start("watch = true\nsettle = 0.05\n");
    changeling.send_numbers(10);
    let path = changeling.host.project().config_path("changeling");
    let before = std::fs::read_to_string(&path).expect("read");
    let write = |top: &str| std::fs::write(&path, format!("{top}\n{before}")).expect("written");

    write("label = \"blue\"");
    changeling.host.wait_for_log(&["changeling", "reloaded"]);
    let report = changeling.report();
    assert_eq!((&report["label"], &report["tally"]["instances"]), (&json!("blue"), &json!(1)));

    write("label = \"forbidden\"");
    changeling.host.wait_for_log(&["changeling", "not reloaded", "nobody may be labelled so"]);
    assert_eq!(changeling.report()["label"], "blue");
    assert_eq!(changeling.status()["pending"]["step"], "apply");

    write("lable = \"red\"");
    changeling.host.wait_for_log(&["changeling", "not reloaded", "lable"]);
    assert_eq!(changeling.report()["label"], "blue");

    // What the service wants a restart for: here, other sockets.
    let other = free_port();
    let moved = before.replacen("[zmq.publisher]", &format!("[zmq.publisher]\n#{other}"), 1);
    let port_line = moved.lines().find(|line| line.starts_with("port =")).expect("a port");
    let moved = moved.replacen(port_line, &format!("port = {other}"), 1);
    std::fs::write(&path, format!("label = \"green\"\n{moved}")).expect("written");
    changeling.reports = {
        changeling.host.wait_for_log(&["changeling", "state INITIALIZING"]);
        let lines = changeling.host.wait_for_log(&["changeling", "reloaded", "gap_ms"]);
        assert!(lines.contains("reloaded"), "{lines}");
        Subscriber::connect(other, &["tally"])
    };
    let Changeling { numbers, reports, .. } = &mut changeling;
    numbers.ask_until_answered(reports, "report", &json!({}), "tally");
    let report = changeling.report();
    assert_eq!((&report["label"], &report["tally"]["instances"]), (&json!("green"), &json!(2)));
    assert_eq!(changeling.status()["generation"], 1, "the code is the same");
}

#[test]
fn what_cannot_be_unloaded_is_kept_counted_and_capped() {
    let project = Project::new()
        .config("exphost", "[reload]\nwatch = false\nprobation = 0\nmax_kept = 2\n")
        .service("leftovers", "fixture-leftovers", "leave = \"thread\"\n")
        // The host ends when nothing is left running.
        .service("minimal", "fixture-minimal", "");
    let host = project.start();
    host.wait_for_log(&["leftovers", "state STOPPED"]);
    // Its work is done; each reload runs it once more, and each leaves a thread.
    for reload in 1..=2 {
        let (code, reports) = host.project().json_lines(&["reload", "leftovers"]);
        assert_eq!(code, 0, "{reports:#?}");
        host.wait_for_log(&["old generation stays mapped", &format!("generation={reload}")]);
    }
    let (_, status) = host.project().json(&["status"]);
    let kept = status["services"][0]["kept"].as_array().expect("a list");
    assert_eq!(kept.len(), 2, "{kept:#?}");
    let why = kept[0]["reason"].as_str().expect("a reason");
    assert!(why.contains("a thread of it still runs") && why.contains("endless"), "{why}");
    let (code, reports) = host.project().json_lines(&["reload", "leftovers"]);
    assert_eq!(code, 1, "{reports:#?}");
    let last = reports.last().expect("a verdict");
    assert_eq!(last["verdict"], "refused");
    assert_eq!(last["reason"], "2 old generations are still mapped, the most that may be");
}

#[test]
fn of_two_files_the_higher_version_that_is_wanted_wins() {
    let changeling = Changeling::start("watch = true\nsettle = 0.05\n");
    let plugins = changeling.host.project().plugins();
    let beside = |build: Build, name: &str| {
        let new = plugins.join(".beside");
        std::fs::write(&new, build.bytes()).expect("written");
        std::fs::rename(new, plugins.join(name)).expect("moved");
    };
    beside(Build::good(650, "old"), "older.so");
    beside(Build::good(750, "new"), "newer.so");
    changeling.host.wait_for_log(&["changeling", "reloaded", "to=7.70.750"]);
    let status = changeling.status();
    assert_eq!((&status["version"], &status["generation"]), (&json!("7.70.750"), &json!(2)));
    // A requirement that the running build does not meet asks for another one.
    let path = changeling.host.project().config_path("changeling");
    let text = std::fs::read_to_string(&path).expect("read");
    std::fs::write(&path, format!("{text}version = \"=7.70.650\"\n")).expect("written");
    changeling.host.wait_for_log(&[
        "changeling",
        "not reloaded",
        "7.70.650 is lower than 7.70.750",
    ]);
    let (code, reports) = changeling.reload(&["--force"]);
    assert_eq!(code, 0, "{reports:#?}");
    assert_eq!(changeling.status()["version"], "7.70.650");
}

#[test]
fn sighup_applies_the_configuration_and_no_new_build() {
    let mut changeling = Changeling::start(BY_HAND);
    changeling.install(Build::good(701, "two"));
    let path = changeling.host.project().config_path("changeling");
    let text = std::fs::read_to_string(&path).expect("read");
    std::fs::write(&path, format!("label = \"blue\"\n{text}")).expect("written");
    let host_file = changeling.host.project().config_path("exphost");
    let host_text = std::fs::read_to_string(&host_file).expect("read");
    std::fs::write(&host_file, format!("{host_text}[bus]\nio_threads = 2\n")).expect("written");
    changeling.host.signal(rustix::process::Signal::HUP);
    changeling.host.wait_for_log(&["changeling", "reloaded", "7.70.700"]);
    changeling.host.wait_for_log(&["restart the host to apply", "bus.io_threads"]);
    let report = changeling.report();
    assert_eq!((&report["label"], &report["build"]), (&json!("blue"), &json!("one")));
    // The new build comes when it is asked for.
    assert_eq!(changeling.reload(&[]).0, 0);
    let report = changeling.report();
    assert_eq!((&report["label"], &report["build"]), (&json!("blue"), &json!("two")));
    assert_eq!(changeling.host.stop().0, Some(0));
}

#[test]
fn a_configuration_that_was_corrected_is_not_passed_over_because_a_plugin_file_is_young() {
    // No file comes to rest in the time of this test.
    let mut changeling = Changeling::start("watch = false\nsettle = 60\n");
    let path = changeling.host.project().config_path("changeling");
    let text = std::fs::read_to_string(&path).expect("read");
    std::fs::write(&path, format!("lable = \"red\"\n{text}")).expect("written");
    changeling.host.signal(rustix::process::Signal::HUP);
    changeling.host.wait_for_log(&["changeling", "not reloaded", "lable"]);
    changeling.install(Build::good(701, "two"));
    std::fs::write(&path, format!("label = \"blue\"\n{text}")).expect("written");
    changeling.host.signal(rustix::process::Signal::HUP);
    changeling.host.wait_for_log(&["changeling", "INFO", "reloaded", "to=7.70.701"]);
    assert_eq!(changeling.report()["label"], "blue");
    assert_eq!(changeling.status()["pending"], Value::Null);
}

#[test]
fn a_reload_of_a_file_that_is_gone_does_not_make_it_be_there() {
    let changeling = Changeling::start("watch = true\nsettle = 0.05\n");
    let file = changeling.host.project().plugins().join(Build::file_name());
    std::fs::remove_file(file).expect("it is there");
    changeling.host.wait_for_log(&["changeling", "the plugin file is gone"]);
    let (code, reports) = changeling.reload(&[]);
    assert_eq!(code, 1, "{reports:#?}");
    let status = changeling.status();
    assert_eq!((&status["file_missing"], &status["state"]), (&json!(true), &json!("running")));
    assert!(!changeling.host.log().contains("there is a plugin file again"));
}

#[test]
fn another_plugin_in_the_configuration_is_taken_at_sighup() {
    let changeling = Changeling::start(BY_HAND);
    let project = changeling.host.project();
    std::fs::copy(plugin("fixture-counter"), project.plugins().join("counter.so")).expect("copied");
    let path = project.config_path("changeling");
    let text = std::fs::read_to_string(&path).expect("read");
    let text = text.replace("fixture-changeling", "fixture-counter");
    std::fs::write(&path, text).expect("written");
    changeling.host.signal(rustix::process::Signal::HUP);
    changeling.host.wait_for_log(&["changeling", "reloaded", "from=7.70.700 to=0.1.0"]);
    let status = changeling.status();
    assert_eq!((&status["plugin"], &status["generation"]), (&json!("fixture-counter"), &json!(2)));
}
