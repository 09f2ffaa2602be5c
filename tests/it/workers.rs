//! Controllers and workers: tasks go out, results come back, each exactly once.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::host::Host;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port, say, setting};
use crate::sockets::{publisher, subscriber};

/// Where tasks go out and results come in.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) tasks: u16,
    pub(crate) results: u16,
}

impl Ports {
    pub(crate) fn free() -> Self {
        Self { tasks: free_port(), results: free_port() }
    }

    /// A worker's ends; what is added is about the one that takes tasks.
    pub(crate) fn worker(self) -> String {
        let Self { tasks, results } = self;
        format!("[zmq.push]\nport = {results}\n[zmq.pull]\nport = {tasks}\n")
    }

    /// A controller's ends of one worker.
    pub(crate) fn link(self, name: &str) -> String {
        let end =
            |end, port| format!("{end} = {{ address = \"tcp://127.0.0.1\", port = {port} }}\n");
        let (push, pull) = (end("push", self.tasks), end("pull", self.results));
        format!("[zmq.workers.{name}]\n{push}{pull}")
    }
}

/// A host with a controller, whoever orders tasks from it, and whoever hears what became of them.
pub(crate) struct Directed {
    pub(crate) host: Host,
    orders: Publisher,
    summaries: Subscriber,
}

impl Directed {
    /// `set_up` adds other services.
    pub(crate) fn start(controller: &str, set_up: impl FnOnce(Project) -> Project) -> Self {
        let (port, mut orders) = (free_port(), Publisher::bind());
        let sockets = publisher(port) + &subscriber(orders.port(), &["push", "report"]);
        let toml = format!("{controller}\n{sockets}");
        let project = Project::new().service("director", "fixture-controller", toml);
        let host = set_up(project).start();
        host.wait_until_running("director");
        orders.wait_for_subscriptions(&["push", "report"]);
        let mut summaries = Subscriber::connect(port, &["summary"]);
        orders.ask_until_answered(&mut summaries, "report", &json!({}), "summary");
        Self { host, orders, summaries }
    }

    pub(crate) fn push(&mut self, count: u64) {
        self.orders.send("push", &json!({"count": count}));
    }

    /// The summary once `count` tasks are answered.
    pub(crate) fn complete(&mut self, count: u64) -> Value {
        self.summaries.wait_for(|_, it| it["missing"] == 0 && it["pushed"] == count)
    }

    /// The summary once the last of `count` tasks is answered, whether or not others are missing.
    pub(crate) fn last_is_back(&mut self, count: u64) -> Value {
        self.summaries.wait_for(|_, it| it["last_is_back"] == true && it["pushed"] == count)
    }

    /// A summary once `count` tasks are answered, whether or not others are missing.
    pub(crate) fn answered_at_least(&mut self, count: u64) -> Value {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            self.orders.send("report", &json!({}));
            let summary = self.summaries.wait_for(|_, _| true);
            if summary["results"].as_u64() >= Some(count) {
                return summary;
            }
        }
        panic!("fewer than {count} tasks were answered");
    }
}

#[test]
fn each_task_is_answered_once_and_as_many_are_worked_on_as_may_be() {
    let ports = Ports::free();
    let mut directed = Directed::start(&ports.link("image"), |project| {
        let toml = format!("work_time = 0.01\nzmq.max_concurrent_tasks = 7\n{}", ports.worker());
        project.service("busy", "fixture-worker", toml)
    });
    // More than the queues on the way hold.
    directed.push(3000);
    let summary = directed.complete(3000);
    assert_eq!((&summary["results"], &summary["duplicates"]), (&json!(3000), &json!(0)));
    assert_eq!(summary["most"], 7, "at the same time");
    assert_eq!(directed.host.stop().0, Some(0));
    let log = directed.host.log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn the_links_of_a_controller_are_kept_apart() {
    let (image, video) = (Ports::free(), Ports::free());
    let mut directed = Directed::start(&(image.link("image") + &video.link("video")), |project| {
        let inline = format!("inline = true\n{}", video.worker());
        project.service("image", "fixture-worker", image.worker()).service(
            "video",
            "fixture-worker",
            inline,
        )
    });
    let count = setting("TASKS", 2_000);
    directed.push(count);
    let summary = directed.complete(count);
    assert_eq!((&summary["results"], &summary["duplicates"]), (&json!(count), &json!(0)));
    assert_eq!(summary["instances"], 2);
    say(&format!("{count} tasks for two workers of one host: each answered once"));
    assert_eq!(directed.host.stop().0, Some(0));
}

/// Has a worker with three tasks in hand and 17 before it give way to an instance with `more` about the
/// socket by which tasks come.
fn hand_over(more: &str) {
    let ports = Ports::free();
    let busy = |work_time: u32, more: &str| {
        let zmq = "[zmq]\nmax_concurrent_tasks = 3\nwork_timeout = 9999.0\n";
        let directive = "[exphost]\nplugin = \"fixture-worker\"\nstop_timeout = 1\n";
        let sockets = ports.worker();
        format!("work_time = {work_time}\nlog_tasks = true\n{zmq}{sockets}{more}{directive}")
    };
    let mut directed = Directed::start(&ports.link("image"), |project| {
        project.plugin("fixture-worker").config("busy", busy(9000, ""))
    });
    directed.push(20);
    for n in 0..3 {
        directed.host.wait_for_log(&["busy", "task begun", &format!("n={n}")]);
    }
    std::fs::write(directed.host.project().config_path("busy"), busy(0, more))
        .expect("the project can be written");
    let (code, reports) = directed.host.project().json_lines(&["reload", "busy"]);
    assert_eq!(code, 0, "{reports:#?}");
    let summary = directed.complete(20);
    assert_eq!((&summary["results"], &summary["duplicates"]), (&json!(20), &json!(0)));
    assert_eq!(summary["instances"], 1, "the first one finished nothing");
    assert_eq!(directed.host.stop().0, Some(0));
    let log = directed.host.log();
    assert!(log.contains("gave unfinished tasks back"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    // Those that were given back come first, in their order.
    let begun = log.lines().filter_map(|line| line.split_once("task begun n=")).map(|it| it.1);
    let begun: Vec<u32> = begun.map(|n| n.trim().parse().expect("a number")).collect();
    assert_eq!(begun, [0, 1, 2].into_iter().chain(0..20).collect::<Vec<_>>(), "{log}");
}

#[test]
fn the_next_instance_does_what_the_one_before_did_not_finish() {
    hand_over("");
}

#[test]
fn the_next_instance_does_it_also_where_its_sockets_are_others() {
    hand_over("max_queue_size = 100\n");
}

#[test]
fn a_worker_that_does_not_answer_is_reported() {
    let ports = Ports::free();
    let toml = format!("zmq.worker_timeout = 0.2\n{}", ports.link("image"));
    let mut directed = Directed::start(&toml, |project| project);
    directed.push(3);
    let summary = directed.summaries.wait_for(|_, it| it["timeouts"] == 1);
    assert_eq!(summary["missing"], 3);
    directed.host.wait_for_log(&["director", "the worker answers nothing", "outstanding=3"]);
    assert_eq!(directed.host.stop().0, Some(0));
}

#[test]
fn two_workers_in_one_place_are_a_mistake_that_names_both() {
    let ports = Ports::free();
    let toml = ports.link("image") + &ports.link("video");
    let project = Project::new().service("director", "fixture-controller", toml);
    let (code, report) = project.json(&["check"]);
    assert_eq!(code, 78);
    let text = report["problems"].to_string();
    assert!(text.contains("zmq.workers.image.push"), "{text}");
    assert!(text.contains("zmq.workers.video.push"), "{text}");
    assert!(!text.contains("at line"), "a place in no file of anybody's: {text}");
}
