//! Two services of one host that publish on one endpoint, the one listening to the other, and a
//! Python peer outside that hears both.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::changeling::Build;
use crate::harness::host::Host;
use crate::harness::peers::Publisher;
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port, python};
use crate::sockets::{publisher, subscriber};

/// The changeling publishes a tally when it is asked, and the counter, on the same endpoint, how many
/// it has counted.
fn start(port: u16, asker: u16) -> Host {
    let tally = publisher(port) + "numbered = true\n" + &subscriber(asker, &["report"]);
    let counter = "topic = \"tally\"\nprogress_every = 1\n".to_owned()
        + &publisher(port)
        + &subscriber(port, &["tally"]);
    let project = Project::new()
        .config("exphost", "[reload]\nwatch = false\n[stats]\ndisplay = true\ninterval = 0.2\n")
        .config("changeling", tally + &Build::directive())
        .service("counter", "fixture-counter", counter);
    Build::good(700, "one").install(&project.plugins());
    let host = project.start();
    host.wait_until_running("changeling");
    host.wait_until_running("counter");
    host
}

/// From the first that the peer heard on.
fn each_came_once(heard: &[Value], asked: u64) {
    let of = |topic: &str| {
        let of_it = heard.iter().filter(|line| line["topic"] == topic);
        of_it.map(|line| line["payload"].clone()).collect::<Vec<_>>()
    };
    let (tallies, progress) = (of("tally"), of("progress"));
    let follow = |all: &[Value], key: &str| {
        let numbers: Vec<_> = all.iter().filter_map(|it| it[key].as_u64()).collect();
        let first = numbers[0];
        assert_eq!(numbers, (first..=asked).collect::<Vec<_>>(), "{key}");
    };
    follow(&tallies, "_seq");
    follow(&progress, "count");
    let last = progress.last().expect("some progress");
    assert_eq!((&last["count"], &last["in_order"]), (&json!(asked), &json!(true)));
    let builds = ["one", "two"].map(|build| tallies.iter().any(|it| it["build"] == build));
    assert_eq!(builds, [true, true]);
    assert!(tallies.iter().all(|it| it["_run"] == tallies[0]["_run"]), "one life of the socket");
}

#[test]
fn each_message_comes_once_here_and_outside_while_the_publisher_is_reloaded() {
    if !python::is_there("each_message_comes_once_here_and_outside") {
        return;
    }
    let (port, mut asker) = (free_port(), Publisher::bind());
    let mut host = start(port, asker.port());
    asker.wait_for_subscriptions(&["report"]);
    let arguments = [port.to_string(), "tally".to_owned(), "progress".to_owned()];
    let mut peer = python::Peer::start("subscribe.py", &arguments.each_ref().map(String::as_str));

    // Until it hears, it misses what it was not yet subscribed to.
    let (end, mut asked, mut heard) = (Instant::now() + DEADLINE, 0, Vec::new());
    while heard.is_empty() {
        assert!(Instant::now() < end, "the peer does not hear");
        asker.send("report", &json!({}));
        asked += 1;
        heard.extend(peer.next_within(Duration::from_millis(10)));
    }
    let mut ask = |count: u64| {
        for _ in 0..count {
            asker.send("report", &json!({}));
        }
        asked += count;
        asked
    };
    ask(200);
    Build::good(701, "two").install(&host.project().plugins());
    let project = host.project();
    let reload = std::thread::scope(|scope| {
        let reload = scope.spawn(|| project.json_lines(&["reload", "changeling"]));
        ask(200);
        reload.join().expect("the reload")
    });
    assert_eq!(reload.0, 0, "{:#?}", reload.1);
    let asked = ask(200);
    // Each of the two comes in its own order; between them there is none.
    let is_last = |line: &Value| {
        [&line["payload"]["last"], &line["payload"]["_seq"]].contains(&&json!(asked))
    };
    let mut lasts = 0;
    while lasts < 2 {
        heard.push(peer.next());
        lasts += usize::from(heard.last().is_some_and(is_last));
    }

    each_came_once(&heard, asked);

    let (_, status) = host.project().json(&["status", "counter"]);
    let statistics = &status["services"][0]["statistics"];
    let sockets = statistics["sockets"].as_array().expect("a list");
    let listener = sockets.iter().find(|it| it["key"] == "zmq.subscriber").expect("its socket");
    let figures = ["received", "delivered_locally", "connections", "joined", "missed"];
    // Joined with two publishers, its own service's among them.
    let expected = [json!(asked), json!(asked), json!(0), json!(2), json!(0)];
    assert_eq!(figures.map(|key| listener[key].clone()), expected, "{listener:#}");
    assert!(statistics["bytes_received"].as_u64().is_some_and(|bytes| bytes > asked * 100));
    host.wait_for_log(&["INFO", "statistics", "service=counter", "received_per_s="]);
    assert_eq!(host.stop().0, Some(0));
}
