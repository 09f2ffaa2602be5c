//! Each fault in each phase of a service, on a thread of the host and in a process of its own: what
//! becomes of it, what the others miss, and how long it takes until it is back.
//!
//! Everything is tried and printed when `FAULT_TABLE=1`, otherwise a choice of it.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::harness::host::Host;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port, say, setting};
use crate::sockets::{faulty, publisher, subscriber};

const PHASES: [&str; 6] = ["new", "start", "run", "handler", "task", "stop"];
const FAULTS: [&str; 8] = ["panic", "error", "hang", "spin", "leak", "segfault", "abort", "exit"];
const ISOLATIONS: [&str; 2] = ["thread", "process"];

/// Messages a second between two services that have nothing to do with the one that fails.
const RATE: u32 = 4000;

/// At least so many are to flow, however soon the service is back.
const LEAST: u64 = 1000;

/// One fault in one phase of a service that runs one way.
#[derive(Clone, Copy, Debug)]
struct Case {
    fault: &'static str,
    phase: &'static str,
    isolation: &'static str,
}

/// What came of it.
#[derive(Debug)]
struct Outcome {
    what: String,
    /// Of how many messages the others missed how many; `None` when they ended too.
    missed: Option<(u64, u64)>,
    /// From the fault until the service was RUNNING again; `None` when it did not stop, or is gone
    /// with its host.
    back: Option<Duration>,
}

impl Case {
    /// Whether it is the whole process that fails.
    fn is_of_the_process(self) -> bool {
        matches!(self.fault, "segfault" | "abort" | "exit")
    }

    fn ends_the_host(self) -> bool {
        self.isolation == "thread" && self.is_of_the_process()
    }

    /// Whether a service takes it and goes on.
    fn is_survived(self) -> bool {
        self.fault == "error" && self.phase == "handler"
    }

    fn makes_sense(self) -> bool {
        // On a thread it is the machine's memory, and nobody's to try out.
        !(self.fault == "leak" && self.isolation == "thread")
    }
}

/// A host with the service that fails, and two others between which numbers flow.
struct Stage {
    case: Case,
    host: Host,
    commands: Publisher,
    flood: Publisher,
    done: Subscriber,
    progress: Subscriber,
}

impl Stage {
    fn set(case: Case) -> Self {
        let (commands, flood) = (Publisher::bind(), Publisher::bind());
        let (numbers, counts) = (free_port(), free_port());
        let project = Project::new().plugin("fixture-faults");
        let when = project.path().join("when").display().to_string();
        let limit = if case.fault == "leak" { "memory_limit = \"64MiB\"\n" } else { "" };
        let more = format!("when = \"{when}\"\n{}", subscriber(commands.port(), &["fault", "die"]));
        let directives = format!(
            "isolation = \"{}\"\nstart_timeout = 1\nstop_timeout = 0.3\nrestart_delay = 0.001\n\
             beat_timeout = 1\non_hang = \"restart\"\n{limit}",
            case.isolation,
        );
        let bad = faulty(case.fault, case.phase, &more, &directives);
        let flow = format!("rate = {RATE}\npadding = 10\n{}", publisher(numbers))
            + &subscriber(flood.port(), &["go", "halt"]);
        let count = "progress_every = 1\n".to_owned()
            + &publisher(counts)
            + &subscriber(numbers, &["number"]);
        let host = project
            .config("exphost", "[reload]\nwatch = false\nprobation = 0\n")
            .config("bad", bad)
            .service("flood", "fixture-flood", flow)
            .service("counter", "fixture-counter", count)
            .start();
        let done = Subscriber::connect(numbers, &["done"]);
        let progress = Subscriber::connect(counts, &["progress"]);
        Self { case, host, commands, flood, done, progress }
    }

    fn begin(&mut self) {
        for service in ["bad", "flood", "counter"] {
            self.host.wait_until_running(service);
        }
        self.commands.wait_for_subscriptions(&["fault", "die"]);
        self.flood.wait_for_subscriptions(&["go", "halt"]);
        self.flood.send("go", &json!({}));
        self.progress.wait_for_topic("progress");
        fs::write(self.host.project().path().join("when"), "").expect("the project can be written");
    }

    /// Brings the service to where it fails; what was started for that goes on beside it.
    fn strike(&mut self) -> (usize, Option<Child>) {
        let from = self.host.log().lines().count();
        let reload = match self.case.phase {
            "handler" => {
                self.commands.send("fault", &json!({}));
                None
            }
            "stop" => Some(self.reload()),
            _ => {
                self.commands.send("die", &json!({}));
                None
            }
        };
        let (at, _) = self.host.wait_for_log_from(from, &["bad", "strikes"]);
        (at, reload)
    }

    fn reload(&self) -> Child {
        let mut command = self.host.project().command(["reload", "bad"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary is there")
    }

    /// Whatever it takes to have it back, from the line on in which it struck.
    fn until_back(&mut self, struck: usize, reload: Option<Child>) -> Outcome {
        let line = |parts: &[&str]| self.host.wait_for_log_from(struck, parts).1;
        if self.case.is_survived() {
            line(&["ERROR", "bad", "an error on purpose"]);
            return self.outcome("error recorded, goes on".to_owned(), None);
        }
        let back = line(&["bad", "state RUNNING"]);
        let (_, strikes) = self.host.wait_for_log_from(struck, &["bad", "strikes"]);
        let log = self.host.log();
        let what = self.what_happened(log.lines().skip(struck + 1).take_while(|it| *it != back));
        if let Some(mut reload) = reload {
            reload.wait().expect("a child can be waited for");
        }
        self.outcome(what, Some(time_of(&back).saturating_sub(time_of(&strikes))))
    }

    /// What the errors in the log say.
    fn what_happened<'a>(&self, lines: impl Iterator<Item = &'a str>) -> String {
        let errors: Vec<_> = lines.filter(|it| it.contains(" ERROR ")).collect();
        let known = [
            ("thread is left behind", "left behind on its thread"),
            ("process is killed", "killed, as it hung"),
            ("over its memory_limit", "killed, over its limit"),
            ("killed by SIG", "killed by its signal"),
            ("exited with code", "exited"),
            ("panic=true", "panic recorded, instance ended"),
            ("on purpose", "error recorded, instance ended"),
        ];
        let said = |part: &str| errors.iter().any(|it| it.contains("bad") && it.contains(part));
        let what = known.iter().find(|(part, _)| said(part)).map(|(_, what)| *what);
        what.unwrap_or("nothing is said of it").to_owned()
    }

    /// With what the others missed.
    fn outcome(&mut self, what: String, back: Option<Duration>) -> Outcome {
        self.progress.wait_for(|_, it| it["count"].as_u64() >= Some(LEAST));
        self.flood.send("halt", &json!({}));
        let published = self.done.wait_for_topic("done")["published"].as_u64().expect("a number");
        let last = self.progress.wait_for(|_, it| it["last"].as_u64() == Some(published - 1));
        let count = last["count"].as_u64().expect("a number");
        Outcome { what, missed: Some((published - count, published)), back }
    }
}

/// The time of day of a line of the log.
fn time_of(line: &str) -> Duration {
    let time = line.split(' ').next().expect("a line has a beginning");
    let parts: Vec<f64> = time.split(':').map(|it| it.parse().expect("a time of day")).collect();
    let seconds = parts.iter().fold(0.0, |sum, part| sum * 60.0 + part);
    Duration::from_millis((seconds * 1e3).round() as u64)
}

fn play(case: Case) -> Outcome {
    let mut stage = Stage::set(case);
    stage.begin();
    let (struck, reload) = stage.strike();
    if !case.ends_the_host() {
        let outcome = stage.until_back(struck, reload);
        assert_eq!(stage.host.stop().0, Some(0), "{case:?}");
        return outcome;
    }
    let code = stage.host.wait_exit(DEADLINE);
    if let Some(mut reload) = reload {
        reload.wait().expect("a child can be waited for");
    }
    let how = code.map_or("by its signal".to_owned(), |code| format!("with code {code}"));
    Outcome { what: format!("the host ends {how}, and all with it"), missed: None, back: None }
}

fn row(case: Case, outcome: &Outcome) -> String {
    let Case { fault, phase, isolation } = case;
    let missed = outcome.missed.map_or("-".to_owned(), |(missed, of)| format!("{missed} of {of}"));
    let back = outcome.back.map_or("-".to_owned(), |back| format!("{} ms", back.as_millis()));
    format!("| {fault} | {phase} | {isolation} | {} | {missed} | {back} |", outcome.what)
}

#[test]
fn whatever_a_service_does_the_others_miss_nothing_and_it_comes_back() {
    let all = setting("FAULT_TABLE", 0) > 0;
    let chosen = |case: &Case| {
        let Case { fault, phase, isolation } = *case;
        let of_each = [
            ("panic", "handler", "thread"),
            ("panic", "start", "process"),
            ("hang", "new", "thread"),
            ("segfault", "handler", "process"),
            ("abort", "stop", "process"),
            ("exit", "task", "thread"),
        ];
        all || of_each.contains(&(fault, phase, isolation))
    };
    let cases = FAULTS.iter().flat_map(|fault| {
        let phases = PHASES.iter().map(move |phase| (*fault, *phase));
        phases
            .flat_map(|(fault, phase)| ISOLATIONS.map(|isolation| Case { fault, phase, isolation }))
    });
    say("| fault | phase | isolation | what became of it | others missed | back after |");
    say("|---|---|---|---|---|---|");
    let (mut panics, mut crashes) = (Vec::new(), Vec::new());
    for case in cases.filter(|case| case.makes_sense()).filter(chosen) {
        let outcome = play(case);
        say(&row(case, &outcome));
        assert_eq!(outcome.missed.map(|(missed, _)| missed).unwrap_or_default(), 0, "{case:?}");
        assert_eq!(outcome.missed.is_none(), case.ends_the_host(), "{case:?}");
        let came_back = outcome.back.filter(|_| !matches!(case.fault, "hang" | "spin"));
        match (case.fault, came_back) {
            ("panic", Some(back)) => panics.push(back),
            (_, Some(back)) if case.is_of_the_process() => crashes.push(back),
            _ => {}
        }
    }
    back_within(Duration::from_millis(100), "a panic", panics);
    back_within(Duration::from_millis(500), "a crash of a process", crashes);
}

/// Holds the usual time against what is promised; a single one may have met with whatever else the
/// machine was doing.
fn back_within(promised: Duration, after: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (usual, worst) = (times[times.len() / 2], times[times.len() - 1]);
    say(&format!(
        "back after {after}: usually {usual:?}, at worst {worst:?}, promised {promised:?}"
    ));
    assert!(usual < promised, "after {after}: {times:?}");
}
