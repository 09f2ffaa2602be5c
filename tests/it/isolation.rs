//! Services in processes of their own: what they do to their process costs them alone, and otherwise
//! they are services like any other.

use std::fs;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::{Value, json};

use crate::harness::host::Host;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::{DEADLINE, changeling::Build, free_port, resident_kib};
use crate::reload::Changeling;
use crate::sockets::{faulty, publisher, subscriber};
use crate::workers::{Directed, Ports};

/// In a process, and not started again: that is another test's matter.
const APART: &str = "isolation = \"process\"\nrestart = \"never\"\n";

/// A service that fails as told, in a process of its own.
fn apart(fault: &str, place: &str, commands: u16, directives: &str) -> String {
    faulty(fault, place, &subscriber(commands, &["fault"]), &format!("{APART}{directives}"))
}

/// The process of a service that has one of its own.
fn process_of(host: &Host, service: &str) -> Pid {
    let pid = host.status_of(service)["pid"].as_i64().expect("it has a process");
    Pid::from_raw(i32::try_from(pid).expect("a process number")).expect("not zero")
}

/// Waits until a process that is not this one's child is gone, as soon as it is.
fn wait_until_gone(pid: Pid) {
    // When it cannot be opened any more it is gone already.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let deadline = Timespec::try_from(DEADLINE).expect("a short time");
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&deadline));
    assert_eq!(ended, Ok(1), "process {pid:?} lives on");
}

/// Numbers that flow through a service which has nothing to do with those that fail.
pub(crate) struct Flow {
    numbers: Publisher,
    reports: Subscriber,
    sent: u64,
    reported: u64,
}

impl Flow {
    /// The service's configuration, and how to begin once it runs.
    pub(crate) fn configured() -> (String, impl FnOnce() -> Self) {
        let (port, mut numbers) = (free_port(), Publisher::bind());
        let toml = publisher(port) + &subscriber(numbers.port(), &["number", "report"]);
        let begin = move || {
            numbers.wait_for_subscriptions(&["number", "report"]);
            let mut reports = Subscriber::connect(port, &["report"]);
            numbers.ask_until_answered(&mut reports, "report", &json!({}), "report");
            Self { numbers, reports, sent: 0, reported: 0 }
        };
        (toml, begin)
    }

    pub(crate) fn send(&mut self, count: u64) {
        for n in self.sent..self.sent + count {
            self.numbers.send("number", &json!({"n": n}));
        }
        self.sent += count;
    }

    /// All that was sent since the last time has come, in order.
    pub(crate) fn missed_nothing(&mut self) {
        self.numbers.send("report", &json!({}));
        let report = self.reports.wait_for(|_, it| it["count"] != 0);
        let expected = (json!(self.sent - self.reported), json!(true));
        assert_eq!((&report["count"], &report["in_order"]), (&expected.0, &expected.1));
        self.reported = self.sent;
    }
}

/// One host with a service for every place that fails there, and one that counts beside them.
fn costs_that_service_alone(fault: &str, said: &str, places: &[&str], directives: &str) {
    let mut trigger = Publisher::bind();
    let (toml, begin) = Flow::configured();
    let mut project =
        Project::new().plugin("fixture-faults").service("counter", "fixture-counter", toml);
    for place in places {
        // Only the handler's own publisher knows when the handler's service listens.
        let commands = if *place == "handler" { trigger.port() } else { free_port() };
        let toml = apart(fault, place, commands, directives);
        project = project.config(&format!("bad-{place}"), toml);
    }
    let mut host = project.start();
    host.wait_until_running("counter");
    let mut flow = begin();
    for place in places {
        flow.send(200);
        let bad = format!("bad-{place}");
        match *place {
            "handler" => {
                host.wait_until_running(&bad);
                trigger.wait_for_subscriptions(&["fault"]);
                trigger.send("fault", &json!({}));
            }
            "stop" => {
                host.wait_until_running(&bad);
                host.project().json_lines(&["stop", &bad]);
            }
            _ => {}
        }
        host.wait_for_log(&["ERROR", &bad, said, "place=process", "fatal=true"]);
        flow.send(200);
    }
    flow.missed_nothing();
    for place in places.iter().filter(|place| **place != "stop") {
        let status = host.status_of(&format!("bad-{place}"));
        assert_eq!((&status["state"], &status["health"]), (&json!("failed"), &json!("fatal")));
        assert_eq!((&status["isolation"], &status["pid"]), (&json!("process"), &Value::Null));
        let last = status["last_error"]["message"].as_str().expect("an error");
        assert!(last.contains(said), "{last}");
    }
    host.signal(Signal::TERM);
    assert_eq!(host.wait_exit(DEADLINE), Some(1));
    assert!(host.log_file("counter").contains("state STOPPED"));
}

const EVERYWHERE: [&str; 6] = ["new", "start", "run", "handler", "task", "stop"];

#[test]
fn a_segmentation_fault_anywhere_costs_that_service_alone() {
    costs_that_service_alone("segfault", "killed by SIGSEGV", &EVERYWHERE, "");
}

#[test]
fn an_abort_anywhere_costs_that_service_alone() {
    costs_that_service_alone("abort", "killed by SIGABRT", &EVERYWHERE, "");
}

#[test]
fn an_exit_anywhere_costs_that_service_alone() {
    costs_that_service_alone("exit", "exited with code 3", &EVERYWHERE, "");
}

#[test]
fn memory_without_end_costs_that_service_alone() {
    let said = "over its memory_limit of 64 MiB";
    costs_that_service_alone("leak", said, &["start", "handler"], "memory_limit = \"64MiB\"\n");
}

#[test]
fn a_service_that_hangs_or_spins_is_killed_when_it_should_have_stopped() {
    for (fault, place) in [("hang", "run"), ("spin", "task"), ("hang", "stop")] {
        let (toml, begin) = Flow::configured();
        let bad = apart(fault, place, free_port(), "stop_timeout = 0.3\n");
        let project = Project::new().plugin("fixture-faults").config("bad", bad);
        let mut host = project.service("counter", "fixture-counter", toml).start();
        host.wait_until_running("counter");
        let mut flow = begin();
        if place == "stop" {
            host.wait_until_running("bad");
        } else {
            host.wait_for_log(&["bad", "strikes"]);
        }
        let pid = process_of(&host, "bad");
        flow.send(100);
        let (code, reports) = host.project().json_lines(&["stop", "bad"]);
        assert_eq!(code, 0, "{reports:#?}");
        host.wait_for_log(&["ERROR", "bad", "killed: it did not stop within 0.3 s"]);
        wait_until_gone(pid);
        assert_eq!(host.status_of("bad")["state"], "stopped", "{fault} in {place}");
        flow.send(100);
        flow.missed_nothing();
        let (code, _) = host.stop();
        assert_eq!(code, Some(0), "nothing was left behind by a {fault} in {place}");
    }
}

#[test]
fn a_new_build_takes_over_in_a_second_process_with_the_state_and_nothing_lost() {
    let mut changeling = Changeling::start_with("watch = false\n", "isolation = \"process\"\n");
    let first = process_of(&changeling.host, "changeling");
    changeling.send_numbers(100);
    assert_eq!(changeling.report()["build"], "one");
    changeling.install(Build::good(701, "two"));
    changeling.send_numbers(100);
    let (code, reports) = changeling.reload(&[]);
    assert_eq!(code, 0, "{reports:#?}");
    changeling.send_numbers(100);
    let report = changeling.report();
    assert_eq!(report["build"], "two");
    assert_eq!(report["tally"], json!({"count": 300, "last": 299, "breaks": 0, "instances": 2}));
    assert_ne!(process_of(&changeling.host, "changeling"), first);
    wait_until_gone(first);

    // One that crashes in its start is rolled back: to a third process, with the state.
    changeling.install(Build::behaving(702, "panic in start"));
    let (code, reports) = changeling.reload(&[]);
    assert_eq!(code, 1);
    assert_eq!(reports.last().expect("a verdict")["verdict"], "rolled_back", "{reports:#?}");
    changeling.send_numbers(100);
    assert_eq!((&changeling.report()["tally"]["count"]), &json!(400));
    let status = changeling.status();
    assert_eq!(status["kept"], json!([]), "nothing of it is mapped in the host");
    assert_eq!(changeling.host.stop().0, Some(0));
}

#[test]
fn a_service_moves_to_a_process_of_its_own_and_back_with_its_state() {
    let mut changeling = Changeling::start("watch = false\n");
    changeling.send_numbers(10);
    changeling.report();
    let status = changeling.status();
    assert_eq!((&status["isolation"], &status["pid"]), (&json!("thread"), &Value::Null));
    let thread = status["thread"].as_u64().expect("it has a thread");
    let comm = fs::read_to_string(format!("/proc/{thread}/comm")).expect("the thread is there");
    assert_eq!(comm.trim(), "changeling");

    let file = changeling.host.project().config_path("changeling");
    let toml = fs::read_to_string(&file).expect("it was written");
    for (directive, isolation) in [("isolation = \"process\"\n", "process"), ("", "thread")] {
        fs::write(&file, toml.clone() + directive).expect("the project can be written");
        // Counted before the signal: the last line may be the verdict of the reload before.
        let from = changeling.host.log().lines().count();
        changeling.host.signal(Signal::HUP);
        changeling.host.wait_for_log_from(from, &["changeling", "reloaded"]);
        changeling.send_numbers(10);
        assert_eq!(changeling.report()["tally"]["breaks"], 0);
        let status = changeling.status();
        assert_eq!(status["isolation"], isolation);
        assert_eq!(status["pid"].is_null(), isolation == "thread");
        assert_eq!(status["thread"].is_null(), isolation == "process");
    }
    assert_eq!(changeling.report()["tally"]["count"], 30);
    assert_eq!(changeling.host.stop().0, Some(0));
}

#[test]
fn no_process_outlives_its_host_not_even_one_that_spins() {
    let project = Project::new().plugin("fixture-faults");
    let mut host = project
        .config("idle", apart("none", "run", free_port(), ""))
        .config("spins", apart("spin", "run", free_port(), ""))
        .config("hangs", apart("hang", "new", free_port(), ""))
        .start();
    host.wait_until_running("idle");
    for service in ["spins", "hangs"] {
        host.wait_for_log(&[service, "strikes"]);
    }
    let pids = ["idle", "spins", "hangs"].map(|service| process_of(&host, service));
    host.kill();
    pids.into_iter().for_each(wait_until_gone);
}

#[test]
fn signals_that_end_a_process_are_the_hosts_affair_and_ps_tells_whose_process_it_is() {
    let (toml, begin) = Flow::configured();
    let toml = toml + "[exphost]\nplugin = \"fixture-counter\"\n" + APART;
    let mut host = Project::new().plugin("fixture-counter").config("counter", toml).start();
    host.wait_until_running("counter");
    let mut flow = begin();
    let pid = process_of(&host, "counter");
    let read = |file: &str| {
        let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
        fs::read_to_string(path).expect("the process is there")
    };
    assert_eq!(read("comm").trim(), "counter");
    assert_eq!(read("cmdline"), "exphost\0--service-process\0counter\0");
    let own_group = read("stat").split_whitespace().nth(4).map(str::to_owned);
    assert_eq!(own_group, Some(pid.as_raw_nonzero().to_string()), "Ctrl-C is not for it");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        kill_process(pid, signal).expect("it is there");
    }
    flow.send(500);
    flow.missed_nothing();
    assert_eq!(process_of(&host, "counter"), pid);
    assert_eq!(host.stop().0, Some(0));
    wait_until_gone(pid);
}

#[test]
fn log_configuration_and_statistics_are_those_of_any_service() {
    let mut changeling = Changeling::start_with(
        "watch = false\n[log]\nlevel = \"debug\"\n",
        "isolation = \"process\"\n",
    );
    changeling.send_numbers(50);
    changeling.report();
    // Events with their fields, of the level that the host has.
    changeling.host.wait_for_log(&["INFO", "changeling", "started", "build=one"]);
    changeling.host.wait_for_log(&["DEBUG", "changeling", "busy", "sum="]);
    assert!(changeling.host.log_file("changeling").contains("state RUNNING"));

    // A configuration that the running instance takes up, one that it refuses.
    let pid = process_of(&changeling.host, "changeling");
    let file = changeling.host.project().config_path("changeling");
    let toml = fs::read_to_string(&file).expect("it was written");
    for (label, word) in [("new", "reloaded"), ("forbidden", "nobody may be labelled so")] {
        fs::write(&file, format!("label = \"{label}\"\n{toml}")).expect("it can be written");
        changeling.host.signal(Signal::HUP);
        changeling.host.wait_for_log(&["changeling", word]);
        assert_eq!(changeling.report()["label"], "new");
    }
    assert_eq!(process_of(&changeling.host, "changeling"), pid);

    let statistics = changeling.status()["statistics"].clone();
    let handled = statistics["handled"].as_u64().expect("a number");
    assert!(handled >= 50, "{statistics}");
    assert!(statistics["messages_sent"].as_u64() >= Some(3), "{statistics}");
    assert!(statistics["sockets"].as_array().is_some_and(|all| all.len() == 2), "{statistics}");
    assert_eq!(changeling.host.stop().0, Some(0));
}

#[test]
fn a_worker_in_a_process_answers_each_task_once_and_one_that_is_killed_loses_what_it_had_in_hand() {
    let ports = Ports::free();
    let mut directed = Directed::start(&ports.link("image"), |project| {
        let toml = format!("work_time = 0.01\nzmq.max_concurrent_tasks = 5\n{}", ports.worker());
        let directives = "[exphost]\nplugin = \"fixture-worker\"\nisolation = \"process\"\n";
        project.plugin("fixture-worker").config("busy", toml + directives)
    });
    // More than the queues on the way hold.
    directed.push(2000);
    let summary = directed.complete(2000);
    assert_eq!((&summary["results"], &summary["duplicates"]), (&json!(2000), &json!(0)));
    assert_eq!(summary["most"], 5, "at the same time");

    directed.push(1000);
    directed.answered_at_least(2200);
    kill_process(process_of(&directed.host, "busy"), Signal::KILL).expect("it is there");
    directed.host.wait_for_log(&["ERROR", "busy", "killed by SIGKILL"]);
    directed.host.wait_for_log(&["WARN", "had in hand may be lost", "service=busy", "in_hand="]);
    // What waited in the host goes to the next one.
    let summary = directed.last_is_back(3000);
    let missing = summary["missing"].as_u64().expect("a number");
    assert!(missing <= 5 && summary["duplicates"] == 0, "{summary}");
    assert_eq!(directed.host.status_of("busy")["restarts"], 1);
    assert_eq!(directed.host.stop().0, Some(0));
}

#[test]
fn a_message_of_many_megabytes_comes_and_goes_whole() {
    let (port, mut asker) = (free_port(), Publisher::bind());
    let toml = "topic = \"image\"\nprogress_every = 1\n".to_owned()
        + &publisher(port)
        + &subscriber(asker.port(), &["image", "report"])
        + "[exphost]\nplugin = \"fixture-counter\"\n"
        + APART;
    let mut host = Project::new().plugin("fixture-counter").config("counter", toml).start();
    host.wait_until_running("counter");
    asker.wait_for_subscriptions(&["image", "report"]);
    let mut heard = Subscriber::connect(port, &["progress", "report"]);
    asker.ask_until_answered(&mut heard, "report", &json!({}), "report");
    let before = resident_kib(process_of(&host, "counter"));
    for n in 0..20 {
        asker.send("image", &json!({"n": n, "padding": "x".repeat(8 << 20)}));
        let progress = heard.wait_for(|topic, it| topic == "progress" && it["last"] == n);
        assert_eq!(progress["in_order"], true);
    }
    let grown = resident_kib(process_of(&host, "counter")).saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB after 160 MiB");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_process_that_was_suspended_holds_up_nobody_and_is_killed_when_it_should_stop() {
    let (toml, begin) = Flow::configured();
    let asleep = "isolation = \"process\"\nstop_timeout = 0.3\n";
    let mut commands = Publisher::bind();
    let project =
        Project::new().plugin("fixture-faults").service("counter", "fixture-counter", toml);
    let sockets = publisher(free_port()) + &subscriber(commands.port(), &["ping"]);
    let toml = format!("{sockets}[exphost]\nplugin = \"fixture-faults\"\n{asleep}");
    let mut host = project.config("asleep", toml).start();
    host.wait_until_running("counter");
    host.wait_until_running("asleep");
    let mut flow = begin();
    commands.wait_for_subscriptions(&["ping"]);
    let pid = process_of(&host, "asleep");
    kill_process(pid, Signal::STOP).expect("it is there");
    // More than a channel holds: the clerk is not to be found in the midst of an answer.
    for n in 0..3 {
        commands.send("ping", &json!({"id": n, "padding": "x".repeat(1 << 20)}));
    }
    flow.send(300);
    flow.missed_nothing();
    assert_eq!(host.project().json_lines(&["stop", "asleep"]).0, 0);
    wait_until_gone(pid);
    flow.send(300);
    flow.missed_nothing();
    assert_eq!(host.stop().0, Some(0));
}
