//! Whatever happens to a service, its project and its host: what the operator stopped stays stopped.

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::host::Host;
use crate::harness::peers::Publisher;
use crate::harness::project::Project;
use crate::harness::{free_port, setting};
use crate::sockets::{publisher, subscriber};

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The service panics, if it runs, and is restarted.
    Crash,
    /// Its file says that it cannot start in time, or that it can again; the host looks at once.
    StartHangs(bool),
    /// Somebody asks for a reload.
    Reload,
    /// The host is killed and started again.
    Kill,
    /// The host is stopped and started again.
    Restart,
    /// The operator stops the service.
    Stop,
    /// The operator starts it.
    Start,
    /// The operator restarts it.
    StartAnew,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        2 => Just(Crash),
        1 => any::<bool>().prop_map(StartHangs),
        2 => Just(Reload),
        2 => Just(Kill),
        1 => Just(Restart),
        3 => Just(Stop),
        1 => Just(Start),
        1 => Just(StartAnew),
    ]
}

/// A host with a service that things happen to, and one beside it that runs all the time.
struct Scene {
    host: Option<Host>,
    faults: Publisher,
    toml: String,
    is_stopped: bool,
    /// The line of the host's log behind which the service may not start.
    since: usize,
}

impl Scene {
    fn new() -> Self {
        let faults = Publisher::bind();
        let toml = publisher(free_port())
            + &subscriber(faults.port(), &["fault"])
            + "[exphost]\nplugin = \"fixture-faults\"\nstart_timeout = 0.1\nstop_timeout = 0.3\n"
            + "restart_delay = 0.01\nrestart_limit = 3\nretry_every = 0.05\n";
        let beside = publisher(free_port()) + "[exphost]\nplugin = \"fixture-faults\"\n";
        let project = Project::new()
            .plugin("fixture-faults")
            .config("it", text(&toml, false))
            .config("beside", beside);
        let host = project.start();
        host.wait_until_running("it");
        Self { host: Some(host), faults, toml, is_stopped: false, since: 0 }
    }

    fn host(&self) -> &Host {
        self.host.as_ref().expect("one runs")
    }

    fn again(&mut self, end: impl FnOnce(&mut Host)) {
        let mut host = self.host.take().expect("one runs");
        end(&mut host);
        let host = host.restart();
        host.wait_until_running("beside");
        self.host = Some(host);
        self.since = 0;
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Crash => self.faults.send("fault", &json!({})),
            Happening::StartHangs(hangs) => {
                let file = self.host().project().config_path("it");
                fs::write(file, text(&self.toml, hangs)).expect("the project can be written");
                self.host().signal(Signal::HUP);
            }
            // Refused where the service is stopped; what else comes of it is not the question here.
            Happening::Reload => {
                self.host().project().json_lines(&["reload", "it"]);
            }
            Happening::Kill => self.again(Host::kill),
            Happening::Restart => self.again(|host| {
                host.stop();
            }),
            Happening::Stop => {
                let (code, reports) = self.host().project().json_lines(&["stop", "it"]);
                assert_eq!(code, 0, "{reports:#?}");
                self.is_stopped = true;
                self.since = self.host().log().lines().count();
            }
            // It may run already, or not be able to.
            Happening::Start => self.order_to_run("start"),
            Happening::StartAnew => self.order_to_run("restart"),
        }
    }

    fn order_to_run(&mut self, order: &str) {
        self.host().project().json_lines(&[order, "it"]);
        self.is_stopped = false;
    }

    /// Whether the service is as the operator wants it. An answer of the host comes after all that
    /// it has done until then.
    fn is_as_ordered(&self) -> Result<(), String> {
        if !self.is_stopped {
            return Ok(());
        }
        let state = &self.host().status_of("it")["state"];
        let started = |line: &&str| line.contains(" it ") && line.contains("state INITIALI");
        let log = self.host().log();
        match log.lines().skip(self.since).find(started) {
            None if *state == "stopped" => Ok(()),
            line => Err(format!("{state}, {line:?}")),
        }
    }
}

fn text(toml: &str, hangs: bool) -> String {
    let (fault, place) = if hangs { ("pending", "start") } else { ("panic", "handler") };
    format!("fault = \"{fault}\"\nplace = \"{place}\"\n{toml}")
}

#[test]
fn no_crash_no_timeout_no_reload_and_no_new_host_starts_what_the_operator_stopped() {
    let cases = u32::try_from(setting("STOPS_CASES", 6)).expect("a number of cases");
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    // The same cases in each run, so that a failure is no matter of luck.
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let happenings = proptest::collection::vec(happening(), 4..12);
    let outcome = runner.run(&happenings, |happenings| {
        let mut scene = Scene::new();
        for happening in happenings {
            scene.happens(happening);
            let judged = scene.is_as_ordered();
            prop_assert!(judged.is_ok(), "after {happening:?}: {judged:?}");
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
