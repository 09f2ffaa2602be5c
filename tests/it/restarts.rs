//! Services that fail come back by their policies, and a host that was killed comes back as it was.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::host::Host;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port, say, wire};
use crate::sockets::{faulty, heartbeat, publisher, subscriber};

/// A counter that says how it is looked after.
fn counter(sockets: &str, directives: &str) -> String {
    format!("{sockets}[exphost]\nplugin = \"fixture-counter\"\n{directives}")
}

/// Asks until the answer is as wanted.
fn wait_for(ask: impl Fn() -> Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + DEADLINE;
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "it never came to that: {answer:#}");
    }
}

/// Asks for the status of a service until it is as wanted.
fn wait_for_status(host: &Host, service: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for(|| host.status_of(service), wanted)
}

fn killed(mut host: Host) -> Host {
    host.kill();
    host
}

#[test]
fn a_service_that_panics_is_back_within_a_tenth_of_a_second() {
    let (events, mut commands) = (free_port(), Publisher::bind());
    let sockets = publisher(events) + &subscriber(commands.port(), &["fault", "ping"]);
    let directives = "restart_healthy_after = 0.001\nrestart_limit = 100\n";
    let mut host = Project::new()
        .plugin("fixture-faults")
        .config("shaky", faulty("panic", "handler", &sockets, directives))
        .start();
    host.wait_until_running("shaky");
    commands.wait_for_subscriptions(&["fault", "ping"]);
    let mut answers = Subscriber::connect(events, &["status"]);
    commands.ask_until_answered(&mut answers, "ping", &json!({"id": "before"}), "status");
    let (mut gaps, mut line) = (Vec::new(), 0);
    for number in 0..5 {
        gaps.push(panic_and_answer(&mut commands, &mut answers, number));
        // What it recovers from next is a first failure again.
        line = host.wait_for_log_from(line, &["shaky", "runs well again"]).0 + 1;
    }
    gaps.sort();
    say(&format!("a service that panicked answered again after {gaps:?}"));
    assert!(gaps[2] < Duration::from_millis(100), "{gaps:?}");
    let status = host.status_of("shaky");
    assert_eq!((&status["state"], &status["restarts"]), (&json!("running"), &json!(5)));
    let well = wait_for_status(&host, "shaky", |it| it["restart"]["reason"].is_null());
    assert_eq!(well["health"], "healthy", "it has run well for a while: {well:#}");
    assert_eq!(host.stop().0, Some(0), "it runs, so nothing failed in the end");
}

/// How long it takes from a message that makes the service panic to the answer to the one behind it.
fn panic_and_answer(commands: &mut Publisher, answers: &mut Subscriber, number: u64) -> Duration {
    let began = Instant::now();
    commands.send("fault", &json!({}));
    commands.send("ping", &json!({"id": number}));
    answers.wait_for(|_, json| json["reply_to"] == number);
    began.elapsed()
}

#[test]
fn a_service_that_cannot_start_is_tried_with_pauses_and_then_slowly_for_ever() {
    let sockets = publisher(free_port());
    let directives = "restart_delay = 0.05\nrestart_limit = 3\nretry_every = 0.2\n";
    let mut host = Project::new()
        .plugin("heartbeat")
        .config("heartbeat", heartbeat(free_port(), None))
        .plugin("fixture-faults")
        .config("broken", faulty("error", "start", &sockets, directives))
        .start();
    let mut line = 0;
    for most in [0.0, 0.05, 0.1] {
        let (at, text) = host.wait_for_log_from(line, &["broken", "service is started again"]);
        let seconds = text.split("seconds=").nth(1).and_then(|it| it.split(' ').next());
        let seconds: f64 = seconds.and_then(|it| it.parse().ok()).expect("a number");
        assert!((most * 0.75..=most).contains(&seconds), "{seconds} of {most}");
        line = at + 1;
    }
    for _ in 0..3 {
        let (at, _) = host.wait_for_log_from(line, &["broken", "tried only now and then"]);
        line = at + 1;
    }
    let gone = wait_for_status(&host, "broken", |it| it["restart"]["next_at"].is_string());
    assert_eq!((&gone["state"], &gone["restart"]["gave_up"]), (&json!("failed"), &json!(true)));
    assert!(gone["restarts"].as_u64().is_some_and(|it| it >= 5), "{gone:#}");
    assert_eq!(gone["restart"]["reason"], "start: an error on purpose");
    // What was mended is taken up without waiting.
    let toml = faulty("none", "start", &sockets, directives);
    fs::write(host.project().config_path("broken"), toml).expect("written");
    host.wait_for_log(&["broken", "state RUNNING"]);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn past_the_limit_a_service_is_failed_and_the_host_ends_when_nothing_else_runs() {
    let directives = "restart_delay = 0.01\nrestart_limit = 2\n";
    let mut host = Project::new()
        .plugin("fixture-faults")
        .config("broken", faulty("panic", "start", &publisher(free_port()), directives))
        .start();
    assert_eq!(host.wait_exit(DEADLINE), Some(1));
    host.wait_for_log(&["broken", "given up"]);
    assert_eq!(host.log().matches("strikes").count(), 3);
}

#[test]
fn a_service_that_ends_by_itself_is_started_again_if_that_is_its_policy() {
    let mut commands = Publisher::bind();
    let events = free_port();
    let toml = heartbeat(events, Some(commands.port()));
    let mut host = Project::new()
        .plugin("heartbeat")
        .config("heartbeat", toml + "[exphost]\nrestart = \"always\"\n")
        .start();
    host.wait_until_running("heartbeat");
    commands.wait_for_subscriptions(&["heartbeat", "commands"]);
    commands.send("commands", &json!({"command": "stop"}));
    let (line, _) = host.wait_for_log_from(0, &["heartbeat", "service is started again"]);
    host.wait_for_log_from(line, &["heartbeat", "state RUNNING"]);
    assert_eq!(host.status_of("heartbeat")["restarts"], 1);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_service_that_is_not_running_in_time_is_stopped_and_tried_again() {
    let directives = "start_timeout = 0.1\nstop_timeout = 0.2\nrestart_limit = 1\n";
    let mut host = Project::new()
        .plugin("fixture-faults")
        .config("slow", faulty("pending", "start", &publisher(free_port()), directives))
        .start();
    assert_eq!(host.wait_exit(DEADLINE), Some(1));
    assert_eq!(host.log().matches("service is not running in time").count(), 2);
    host.wait_for_log(&["slow", "given up"]);
}

#[test]
fn a_service_that_hangs_is_left_behind_and_started_again_but_not_for_ever() {
    let directives = "start_timeout = 0.1\nstop_timeout = 0.1\nrestart_delay = 0.01\n";
    let mut host = Project::new()
        .plugin("heartbeat")
        .config("heartbeat", heartbeat(free_port(), None))
        .plugin("fixture-faults")
        .config("stuck", faulty("hang", "start", &publisher(free_port()), directives))
        .start();
    host.wait_for_log(&["stuck", "given up"]);
    assert_eq!(host.log().matches("strikes").count(), 3);
    let status = host.status_of("stuck");
    assert_eq!((&status["state"], &status["restarts"]), (&json!("failed"), &json!(2)));
    let reason = "it hangs in STARTING; its thread was left behind";
    assert_eq!(status["restart"]["reason"], reason, "{status:#}");
    assert_eq!(host.status_of("heartbeat")["state"], "running");
    host.signal(Signal::TERM);
    assert_eq!(host.wait_exit(DEADLINE), Some(1));
}

#[test]
fn a_stop_by_order_outlives_a_host_that_is_killed_until_a_start_by_order() {
    let host = Project::new()
        .service("one", "heartbeat", heartbeat(free_port(), None))
        .service("other", "heartbeat", heartbeat(free_port(), None))
        .start();
    host.wait_until_running("one");
    host.wait_until_running("other");
    assert_eq!(host.project().json_lines(&["stop", "other"]).0, 0);
    let host = killed(host).restart();
    host.wait_for_log(&["other", "stays stopped"]);
    host.wait_until_running("one");
    assert_eq!(host.status_of("other")["state"], "stopped");
    // A look at changed files starts it no more than the start of the host did.
    host.signal(Signal::HUP);
    fs::write(
        host.project().config_path("one"),
        "work_interval = 0.2\n[exphost]\nplugin = \"heartbeat\"\n",
    )
    .expect("written");
    host.wait_for_log(&["one", "reloaded"]);
    assert_eq!(host.status_of("other")["state"], "stopped");
    assert_eq!(host.project().json_lines(&["start", "other"]).0, 0);
    let mut host = killed(host).restart();
    host.wait_until_running("one");
    host.wait_until_running("other");
    assert_eq!(host.stop().0, Some(0));
}

const MANY: usize = 10;

/// Publishes numbers until it is dropped.
struct Load {
    port: u16,
    sent: Arc<AtomicU64>,
    /// Dropped with it, which ends the thread.
    _alive: Sender<()>,
}

impl Load {
    fn begin() -> Self {
        let (publisher, port) = wire::Publisher::bind();
        let sent = Arc::new(AtomicU64::new(0));
        let (alive, ended) = channel::<()>();
        let counter = Arc::clone(&sent);
        std::thread::spawn(move || {
            // Two thousand a second, for each of ten.
            let pace = Duration::from_micros(500);
            while ended.recv_timeout(pace) == Err(RecvTimeoutError::Timeout) {
                publisher.send("number", &json!({"n": counter.fetch_add(1, Ordering::Relaxed)}));
            }
        });
        Self { port, sent, _alive: alive }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn state_file(host: &Host, service: &str) -> PathBuf {
    host.project().path().join(format!("state/test/{service}.state"))
}

/// What a counter's file says that it had counted; null when there is none.
fn saved(host: &Host, service: &str) -> Value {
    let Ok(text) = fs::read_to_string(state_file(host, service)) else { return Value::Null };
    serde_json::from_str(text.lines().last().expect("a state")).expect("a counter writes JSON")
}

/// Reads a counter's file until it says what is wanted.
fn wait_for_saved(host: &Host, service: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for(|| saved(host, service), wanted)
}

#[test]
fn ten_services_come_back_with_their_states_when_the_host_was_killed_under_load() {
    let load = Load::begin();
    let names: Vec<_> = (0..MANY).map(|index| format!("counter-{index}")).collect();
    let mut project = Project::new().plugin("fixture-counter");
    for name in &names {
        let sockets = publisher(free_port()) + &subscriber(load.port, &["number"]);
        project = project.config(name, counter(&sockets, "snapshot_every = 0.05\n"));
    }
    let host = project.start();
    for name in &names {
        wait_for_saved(&host, name, |it| it["count"].as_u64() > Some(100));
    }
    let host = killed(host);
    let (killed_at, began) = (load.sent(), Instant::now());
    let before: Vec<_> = names.iter().map(|name| saved(&host, name)).collect();
    let host = host.restart();
    for name in &names {
        host.wait_until_running(name);
    }
    let took = began.elapsed();
    say(&format!("{MANY} services were back {} ms after the host was killed", took.as_millis()));
    assert!(took < Duration::from_secs(2), "{took:?}");
    for (name, before) in names.iter().zip(before) {
        // It counts on from what was saved; what came while nobody ran is missing.
        let goes_on = |it: &Value| it["count"].as_u64() > before["count"].as_u64();
        let after = wait_for_saved(&host, name, goes_on);
        assert_eq!(after["first"], before["first"], "{name}");
        assert!(before["first"].as_u64() < Some(killed_at), "{before} of {killed_at}");
    }
}

/// A counter that has counted and whose state is on disk, in a host that was killed.
fn remembered() -> (Host, Publisher) {
    let mut numbers = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(numbers.port(), &["number", "panic"]);
    let host = Project::new()
        .plugin("fixture-counter")
        .config("counter", counter(&sockets, "snapshot_every = 0.05\n"))
        .start();
    host.wait_until_running("counter");
    numbers.wait_for_subscriptions(&["number", "panic"]);
    for n in 0..7 {
        numbers.send("number", &json!({"n": n}));
    }
    wait_for_status(&host, "counter", |it| it["statistics"]["handled"] == 7);
    wait_for_saved(&host, "counter", |it| it["count"] == 7);
    (killed(host), numbers)
}

/// Starts a host on the project of one that has ended, whose counter then counts one number more.
fn restarted(host: Host, numbers: &mut Publisher, n: u64) -> Host {
    let host = host.restart();
    host.wait_until_running("counter");
    numbers.wait_for_subscriptions(&["number", "panic"]);
    numbers.send("number", &json!({"n": n}));
    wait_for_status(&host, "counter", |it| it["statistics"]["handled"] == 1);
    host
}

#[test]
fn a_state_that_was_damaged_is_named_and_set_aside_and_the_service_starts_fresh() {
    let (host, _numbers) = remembered();
    let file = state_file(&host, "counter");
    let mut bytes = fs::read(&file).expect("it is there");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::write(&file, bytes).expect("written");
    let mut host = host.restart();
    host.wait_for_log(&[
        "counter.state",
        "damaged",
        "`counter` starts fresh",
        "counter.state.aside-1",
    ]);
    host.wait_until_running("counter");
    assert!(file.with_file_name("counter.state.aside-1").exists());
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_state_that_the_service_cannot_use_is_set_aside_and_it_starts_fresh() {
    let (host, _numbers) = remembered();
    let head = json!({
        "service": "counter", "plugin": "fixture-counter", "at": "2026-01-01T00:00:00Z",
        "version": 99,
    });
    let body = format!("{head}\nwhat no counter has ever written");
    let sum: String = Sha256::digest(&body).iter().map(|it| format!("{it:02x}")).collect();
    fs::write(state_file(&host, "counter"), format!("exphost state 1 {sum}\n{body}"))
        .expect("written");
    let mut host = host.restart();
    host.wait_for_log(&["ERROR", "restore_state", "version 99"]);
    host.wait_for_log(&["counter", "could not go on from its saved state"]);
    host.wait_until_running("counter");
    host.wait_for_log(&["set aside", "counter.state.aside-1"]);
    assert_eq!(host.status_of("counter")["restarts"], 1, "it was not tried twice with it");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_stop_of_the_host_saves_the_last_state_and_a_stop_by_order_ends_it() {
    let (host, mut numbers) = remembered();
    // No snapshot comes between the last number and the end.
    let toml = fs::read_to_string(host.project().config_path("counter")).expect("it is there");
    fs::write(host.project().config_path("counter"), toml.replace("0.05", "3600"))
        .expect("written");
    let mut host = restarted(host, &mut numbers, 7);
    assert_eq!(host.stop().0, Some(0));
    assert_eq!(
        saved(&host, "counter"),
        json!({"count": 8, "in_order": true, "first": 0, "last": 7})
    );
    let mut host = restarted(host, &mut numbers, 8);
    for command in ["stop", "start"] {
        assert_eq!(host.project().json_lines(&[command, "counter"]).0, 0, "{command}");
    }
    assert_eq!(host.status_of("counter")["state_saved_at"], Value::Null);
    assert_eq!(host.stop().0, Some(0));
    assert_eq!(saved(&host, "counter")["count"], 0, "it began anew");
}

#[test]
fn a_service_goes_on_from_its_last_snapshot_when_it_has_failed() {
    let (host, mut numbers) = remembered();
    let mut host = restarted(host, &mut numbers, 7);
    wait_for_saved(&host, "counter", |it| it["count"] == 8);
    numbers.send("panic", &json!({}));
    let (line, _) = host.wait_for_log_from(0, &["counter", "service is started again"]);
    host.wait_for_log_from(line, &["counter", "state RUNNING"]);
    numbers.send("number", &json!({"n": 8}));
    let after = wait_for_saved(&host, "counter", |it| it["count"] == 9);
    assert_eq!(after["first"], 0);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_service_whose_own_process_is_killed_is_back_with_its_last_snapshot() {
    let mut numbers = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(numbers.port(), &["number"]);
    let directives = "snapshot_every = 0.05\nisolation = \"process\"\n";
    let mut host = Project::new()
        .plugin("fixture-counter")
        .config("counter", counter(&sockets, directives))
        .start();
    host.wait_until_running("counter");
    numbers.wait_for_subscriptions(&["number"]);
    for n in 0..7 {
        numbers.send("number", &json!({"n": n}));
    }
    wait_for_saved(&host, "counter", |it| it["count"] == 7);
    let pid = host.status_of("counter")["pid"].as_i64().expect("it has a process");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let began = Instant::now();
    kill_process(pid, Signal::KILL).expect("it is there");
    let (line, _) = host.wait_for_log_from(0, &["counter", "service is started again"]);
    host.wait_for_log_from(line, &["counter", "state RUNNING"]);
    let took = began.elapsed();
    say(&format!("a service whose process was killed ran again after {took:?}"));
    assert!(took < Duration::from_millis(500), "{took:?}");
    numbers.send("number", &json!({"n": 7}));
    let after = wait_for_saved(&host, "counter", |it| it["count"] == 8);
    assert_eq!(after["first"], 0);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_host_without_a_place_for_states_says_so_and_restarts_services_with_theirs() {
    let mut numbers = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(numbers.port(), &["number", "panic"]);
    let project = Project::new()
        .plugin("fixture-counter")
        .config("counter", counter(&sockets, "snapshot_every = 0.05\n"));
    fs::write(project.path().join("state"), "in the way").expect("written");
    let mut host = project.start();
    host.wait_for_log(&["WARN", "state/test", "nothing will outlive the host", "--state"]);
    host.wait_until_running("counter");
    numbers.wait_for_subscriptions(&["number", "panic"]);
    numbers.send("number", &json!({"n": 0}));
    wait_for_status(&host, "counter", |it| it["statistics"]["handled"] == 1);
    let earlier = host.status_of("counter")["state_saved_at"].clone();
    wait_for_status(&host, "counter", |it| it["state_saved_at"] != earlier);
    numbers.send("panic", &json!({}));
    host.wait_for_log(&["counter", "service is started again"]);
    host.wait_for_log(&["counter", "goes on with the state that it told of last"]);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn services_that_would_wait_for_each_other_are_refused_also_while_they_run() {
    let on = |name: &str| {
        heartbeat(free_port(), None)
            + &format!("[exphost]\nplugin = \"heartbeat\"\ndepends_on = [{name}]\n")
    };
    let mut host = Project::new()
        .plugin("heartbeat")
        .config("base", on(""))
        .config("top", on("\"base\""))
        .start();
    host.wait_until_running("top");
    fs::write(host.project().config_path("base"), on("\"top\"")).expect("written");
    host.signal(Signal::HUP);
    host.wait_for_log(&["base", "not reloaded", "depend on each other in a circle"]);
    assert_eq!(host.status_of("base")["state"], "running");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_dependant_waits_for_one_that_is_being_restarted_and_starts_when_it_is_back() {
    let sockets = publisher(free_port());
    let top = heartbeat(free_port(), None)
        + "[exphost]\nplugin = \"heartbeat\"\ndepends_on = [\"base\"]\n";
    let patient = "restart_delay = 0.1\nrestart_limit = 1000\n";
    let mut host = Project::new()
        .plugin("fixture-faults")
        .config("base", faulty("error", "start", &sockets, patient))
        .plugin("heartbeat")
        .config("top", top)
        .start();
    host.wait_for_log(&["base", "service is started again", "restarts=1"]);
    let waiting = host.status_of("top");
    assert_eq!(waiting["restart"]["waits_for"], json!(["base"]), "{waiting:#}");
    assert!(!host.log().contains("not started"), "it was not given up");
    fs::write(host.project().config_path("base"), faulty("none", "start", &sockets, patient))
        .expect("written");
    host.wait_until_running("base");
    host.wait_until_running("top");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_configuration_that_is_written_while_a_service_is_on_its_way_out_is_taken_up_afterwards() {
    let mut orders = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(orders.port(), &["die"]);
    let terms = "stop_timeout = 2\n";
    let mut host = Project::new()
        .plugin("fixture-faults")
        .config("base", faulty("hang", "stop", &sockets, terms))
        .start();
    host.wait_until_running("base");
    orders.wait_for_subscriptions(&["die"]);
    orders.send("die", &json!({}));
    host.wait_for_log(&["base", "state STOPPING"]);
    fs::write(host.project().config_path("base"), faulty("none", "stop", &sockets, terms))
        .expect("written");
    // It hangs in its stop for longer than the change takes to be noticed.
    host.wait_for_log(&["INFO", "service=base", "reloaded"]);
    assert!(!host.log().contains("not reloaded"), "{}", host.log());
    host.wait_until_running("base");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_dependant_starts_when_the_other_says_that_it_is_ready_and_not_before() {
    let mut numbers = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(numbers.port(), &["ready"]);
    let top = heartbeat(free_port(), None)
        + "[exphost]\nplugin = \"heartbeat\"\ndepends_on = [\"base\"]\n";
    let mut host = Project::new()
        .plugin("fixture-counter")
        .plugin("heartbeat")
        .config("base", counter(&sockets, "ready = \"reported\"\nstart_timeout = 0.2\n"))
        .config("top", top)
        .start();
    host.wait_until_running("base");
    numbers.wait_for_subscriptions(&["ready"]);
    let base = host.status_of("base");
    assert_eq!((&base["state"], &base["ready"]), (&json!("running"), &json!(false)));
    assert_eq!(host.status_of("top")["restart"]["waits_for"], json!(["base"]));
    host.wait_for_log(&["WARN", "base", "has not said that it is ready"]);
    numbers.send("ready", &json!({}));
    host.wait_until_running("top");
    assert_eq!(host.status_of("base")["ready"], true);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn what_becomes_of_dependants_is_theirs_to_say() {
    let mut commands = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(commands.port(), &["fault"]);
    let top = |how: &str| {
        let directives = "[exphost]\nplugin = \"heartbeat\"\ndepends_on = [\"base\"]\n";
        heartbeat(free_port(), None) + directives + &format!("on_dependency_failure = \"{how}\"\n")
    };
    let mut host = Project::new()
        .plugin("fixture-faults")
        .plugin("heartbeat")
        .config("base", faulty("panic", "handler", &sockets, ""))
        .config("keeps", top("keep"))
        .config("restarts", top("restart"))
        .config("stops", top("stop"))
        .start();
    for service in ["keeps", "restarts", "stops"] {
        host.wait_until_running(service);
    }
    commands.wait_for_subscriptions(&["fault"]);
    commands.send("fault", &json!({}));
    let (line, _) = host.wait_for_log_from(0, &["restarts", "what it depends on has failed"]);
    host.wait_for_log_from(line, &["restarts", "state RUNNING"]);
    wait_for_status(&host, "stops", |it| it["state"] == "stopped");
    assert_eq!(host.status_of("base")["state"], "running");
    let keeps = host.status_of("keeps");
    assert_eq!((&keeps["state"], &keeps["restarts"]), (&json!("running"), &json!(0)));
    assert_eq!(host.project().json_lines(&["start", "stops"]).0, 0);
    assert_eq!(host.stop().0, Some(0));
}
