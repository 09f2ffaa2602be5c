//! A subscriber that stops reading costs only itself.
//!
//! The full length is a command of its own, see CONTRIBUTING.md: `STALLED_SECONDS` and
//! `STALLED_RATE` say for how long and how many messages a second.

use std::thread;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::free_port;
use crate::harness::peers::Publisher;
use crate::harness::project::Project;
use crate::harness::python::{self, Peer};
use crate::harness::wire::Subscriber;
use crate::harness::{resident_kib, say, setting};
use crate::sockets::{publisher, subscriber};

/// What a healthy subscriber saw.
struct Seen {
    count: u64,
    missed: u64,
    published: u64,
}

/// Counts until the publisher says that it has ended; tells `at` once number `far` has come.
fn count(mut socket: Subscriber, far: u64, at: std::sync::mpsc::Sender<()>) -> Seen {
    let (mut count, mut next, mut missed) = (0, 0, 0);
    loop {
        let (topic, json) = socket.next();
        match topic.as_str() {
            "number" => {
                let n = json["n"].as_u64().expect("a number");
                missed += n - next;
                next = n + 1;
                count += 1;
                if n == far {
                    // The test may have failed already.
                    let _ = at.send(());
                }
            }
            "done" => {
                let published = json["published"].as_u64().expect("a number");
                return Seen { count, missed, published };
            }
            _ => {}
        }
    }
}

#[test]
fn the_others_miss_nothing_while_one_subscriber_is_stopped() {
    if !python::is_there("the_others_miss_nothing_while_one_subscriber_is_stopped") {
        return;
    }
    let (seconds, rate) = (setting("STALLED_SECONDS", 2), setting("STALLED_RATE", 2_000));
    let (events, mut commands) = (free_port(), Publisher::bind());
    let toml = format!(
        "rate = {rate}\npadding = 1000\n{}{}",
        publisher(events),
        subscriber(commands.port(), &["go", "halt"])
    );
    let mut host = Project::new().service("flood", "fixture-flood", toml).start();
    host.wait_until_running("flood");
    commands.wait_for_subscriptions(&["go", "halt"]);

    let (at, reached) = std::sync::mpsc::channel();
    let far = seconds * rate;
    let healthy: Vec<_> = (0..2)
        .map(|_| {
            let mut socket = Subscriber::connect(events, &[""]);
            socket.wait_for_topic("beacon");
            let at = at.clone();
            thread::spawn(move || count(socket, far, at))
        })
        .collect();
    let mut sleeper = Peer::start("count.py", &[&events.to_string()]);
    assert_eq!(sleeper.next(), json!({"beacon": true}));

    commands.send("go", &json!({}));
    assert_eq!(sleeper.next()["missed"], 0);
    let before = resident_kib(host.pid());
    sleeper.signal(Signal::STOP);
    for _ in &healthy {
        reached.recv().expect("the healthy ones are served");
    }
    let after = resident_kib(host.pid());
    sleeper.signal(Signal::CONT);
    let awake = sleeper.wait_for(|line| line["last"].as_u64().is_some_and(|last| last > far));
    commands.send("halt", &json!({}));

    for one in healthy {
        let seen = one.join().expect("it counts to the end");
        assert_eq!((seen.count, seen.missed), (seen.published, 0));
    }
    say(&format!(
        "{seconds} s at {rate} messages/s of 1 KiB: RSS {before} KiB before, {after} KiB after; \
         the healthy missed 0, the stopped one {}",
        awake["missed"]
    ));
    assert!(after < before + 64 * 1024, "the host grew from {before} to {after} KiB");
    assert_eq!(host.stop().0, Some(0));
}
