//! What is asked, and what is answered.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use exphost::control::Limits;
use exphost::control::client::NoAnswer;
use exphost::control::protocol::{Code, PROTOCOL, Request};
use exphost::supervisor::orders::{Order, Orders};
use exphost::supervisor::status::Status;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::support::{Host, LIMIT, Raw};

const STATUS: &str = r#"{"command":"status"}"#;

#[tokio::test]
async fn the_host_says_who_it_is_to_its_user_alone() {
    let host = Host::start();
    let hello = Raw::connect(&host.place).await.line().await;
    let expected = json!({"hello": {
        "protocol": PROTOCOL, "version": env!("CARGO_PKG_VERSION"),
        "project": "test", "pid": std::process::id(),
    }});
    assert_eq!(hello, Some(expected));
    let mode = |path: &std::path::Path| path.metadata().expect("there").permissions().mode();
    assert_eq!(mode(host.place.socket()) & 0o7777, 0o600);
    assert_eq!(mode(&host.place.lock()) & 0o7777, 0o600);
    assert_eq!(mode(host.place.directory()) & 0o7777, 0o700);
}

#[tokio::test]
async fn status_is_one_document_as_often_as_it_is_asked_for() {
    let host = Host::start();
    let mut raw = host.raw().await;
    // Sent at once, with an empty line between; answered in turn.
    raw.write(format!("{STATUS}\n\n{STATUS}\n").as_bytes()).await;
    for _ in 0..2 {
        let answer = raw.answer().await;
        assert_eq!(answer.len(), 2, "{answer:?}");
        let status: Status = serde_json::from_value(answer[0]["item"].clone()).expect("a status");
        assert_eq!(status.services.len(), 2);
        assert_eq!(answer[1], json!({"done": {"ok": true}}));
    }
}

#[tokio::test]
async fn a_reload_streams_its_steps_and_its_verdict() {
    let host = Host::start();
    let mut raw = host.raw().await;
    let answer = raw.ask(r#"{"command":"reload","service":"heartbeat"}"#).await;
    let accepted = json!({"accepted": {"command": "reload", "services": ["heartbeat"]}});
    assert_eq!(answer[0], accepted);
    let steps: Vec<_> = answer.iter().filter_map(|line| line["item"]["step"].as_str()).collect();
    assert_eq!(steps, ["identify", "probe"]);
    assert_eq!(answer[3]["item"]["verdict"], "reloaded");
    assert_eq!(answer[4], json!({"done": {"ok": true}}));

    let refused = raw.ask(r#"{"command":"reload","service":"core"}"#).await;
    assert_eq!(refused.last(), Some(&json!({"done": {"ok": false}})));
    let forced = raw.ask(r#"{"command":"reload","service":"core","force":true}"#).await;
    assert_eq!(forced.last(), Some(&json!({"done": {"ok": true}})));
}

#[tokio::test]
async fn one_refused_reload_does_not_keep_the_next_from_its_turn() {
    let host = Host::start();
    let answer = host.raw().await.ask(r#"{"command":"reload","all":true}"#).await;
    assert_eq!(answer[0]["accepted"]["services"], json!(["core", "heartbeat"]));
    let verdicts: Vec<_> = answer.iter().filter_map(|it| it["item"]["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["refused", "reloaded"]);
    assert_eq!(answer.last(), Some(&json!({"done": {"ok": false}})));
}

#[tokio::test]
async fn a_service_that_does_not_stop_keeps_nobody_waiting_for_the_first_line() {
    let host = Host::start();
    let (mut patient, mut other) = (host.raw().await, host.raw().await);
    patient.send(r#"{"command":"stop","service":"stuck"}"#).await;
    let first = patient.line().await.expect("a line");
    assert_eq!(first["accepted"]["services"], json!(["stuck"]));
    assert_eq!(patient.line().await.expect("a line")["item"]["state"], "stopping");
    assert_eq!(other.ask(STATUS).await.len(), 2);
    host.release.notify_one();
    let end = patient.answer().await;
    assert_eq!(end[0]["item"]["state"], "stopped");
    assert_eq!(end[1], json!({"done": {"ok": true}}));
}

#[tokio::test]
async fn the_supervisors_refusal_is_passed_on_and_the_connection_goes_on() {
    let host = Host::start();
    let mut raw = host.raw().await;
    let answer = raw.ask(r#"{"command":"reload","service":"hartbeat"}"#).await;
    let error = &answer[1]["error"];
    assert_eq!(error["code"], "refused");
    assert_eq!(error["message"], "there is no service `hartbeat`");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("`heartbeat`")));
    assert_eq!(raw.ask(STATUS).await.len(), 2);
}

#[tokio::test]
async fn what_is_no_request_is_an_error_and_nothing_else() {
    let host = Host::start();
    let mut raw = host.raw().await;
    for line in ["hello", "{", "[]", "null", "{\"command\":7}", "{\"command\":\"reload\"}", "\u{1}"]
    {
        assert_eq!(raw.error(line).await, "bad_request", "{line}");
    }
    raw.write(b"\xff\xfe\x00\n").await;
    assert_eq!(raw.answer().await[0]["error"]["code"], "bad_request");
    assert_eq!(raw.error(r#"{"command":"restat"}"#).await, "unknown_command");
    assert_eq!(raw.ask(STATUS).await.len(), 2);
}

#[tokio::test]
async fn a_line_may_come_in_pieces_and_the_last_one_without_an_end() {
    let host = Host::start();
    let mut raw = host.raw().await;
    let (head, tail) = STATUS.split_at(7);
    raw.write(head.as_bytes()).await;
    // By the time that somebody else is answered, the first piece has been read.
    host.raw().await.ask(STATUS).await;
    raw.write(format!("{tail}\n{STATUS}").as_bytes()).await;
    assert_eq!(raw.answer().await.len(), 2);
    // As `echo … | nc -N -U` does: no more requests, but answers are waited for.
    raw.stream.get_mut().shutdown().await.expect("half closed");
    assert_eq!(raw.answer().await.len(), 2);
    assert_eq!(raw.line().await, None);
}

#[tokio::test]
async fn a_stuck_supervisor_is_told_of_within_a_second() {
    // Nobody takes the orders out of the channel, which is full after a while.
    let (orders, _inbox) = Orders::channel();
    let host = Host::start();
    let (lock, server) = {
        let lock = exphost::control::Lock::take(crate::support::place_in(&host.directory, "other"));
        let lock = lock.expect("another project's");
        let limits = Limits { answer: Duration::from_millis(20), ..Limits::default() };
        let server = exphost::control::Server::bind_with(&lock, limits).expect("bound");
        (lock, server)
    };
    tokio::spawn(server.serve(orders));
    let mut raw = Raw::connect(lock.place()).await;
    raw.line().await.expect("a greeting");
    for _ in 0..70 {
        assert_eq!(raw.error(STATUS).await, "no_answer");
    }
    assert_eq!(raw.error(r#"{"command":"stop","service":"x"}"#).await, "no_answer");
    assert!(Limits::default().answer < Duration::from_secs(1));
}

#[tokio::test]
async fn the_end_of_the_host_ends_answers_and_removes_the_socket() {
    let host = Host::start();
    let (mut stopping, mut idle) = (host.raw().await, host.raw().await);
    stopping.send(r#"{"command":"reload","service":"stuck"}"#).await;
    for key in ["accepted", "item"] {
        assert!(stopping.line().await.expect("a line").get(key).is_some());
    }
    let asked = Instant::now();
    host.end.notify_one();
    assert_eq!(stopping.answer().await[0]["error"]["code"], "ending");
    assert_eq!(stopping.line().await, None);
    assert_eq!(idle.line().await, None);
    timeout(LIMIT, host.served).await.expect("in time").expect("no panic");
    assert!(!host.place.socket().exists());
    assert!(asked.elapsed() < LIMIT);
    assert!(host.orders.give(Order::LookForPlugins).await.is_err());
}

#[tokio::test]
async fn the_client_asks_and_is_answered() {
    let host = Host::start();
    let (hello, items, answer) = host
        .client(|mut client| {
            let mut items: Vec<Value> = Vec::new();
            let service = Some("heartbeat".to_owned());
            let request = Request::Reload { service, all: false, force: false };
            let answer = client.ask(&request, |item| items.push(item));
            (client.hello().clone(), items, answer)
        })
        .await;
    assert_eq!((hello.project.as_str(), hello.pid), ("test", std::process::id()));
    assert_eq!((items.len(), answer), (3, Ok(true)));

    let refusal = host
        .client(|mut client| {
            let request = Request::Start { service: "heartbeat".to_owned() };
            client.ask(&request, |item| panic!("{item}"))
        })
        .await;
    let Err(NoAnswer::Refused(failure)) = refusal else { panic!("{refusal:?}") };
    assert_eq!((failure.code, &*failure.message), (Code::Refused, "`heartbeat` runs already"));
}

#[tokio::test]
async fn what_is_asked_of_the_host_is_answered_with_one_item_or_refused() {
    let host = Host::start();
    let mut raw = host.raw().await;
    let item = |answer: &[Value]| {
        assert_eq!(answer.len(), 2, "{answer:?}");
        assert_eq!(answer[1], json!({"done": {"ok": true}}));
        answer[0]["item"].clone()
    };
    let stats = raw.ask(r#"{"command":"stats","service":"heartbeat"}"#).await;
    assert_eq!(item(&stats)["service"], "heartbeat");
    assert_eq!(raw.ask(r#"{"command":"stats"}"#).await.len(), 3, "of each service, and the end");
    let levels = r#"{"command":"log_level","level":"debug","service":"heartbeat"}"#;
    assert_eq!(item(&raw.ask(levels).await)["services"], json!({"heartbeat": "DEBUG"}));
    let publish = r#"{"command":"publish","topic":"x","payload":{"n": 1}}"#;
    assert_eq!(item(&raw.ask(publish).await)["size"], r#"{"n":1}"#.len());
    let refused =
        [r#"{"command":"stats","service":"hartbeat"}"#, r#"{"command":"logs"}"#].map(str::to_owned);
    for request in refused {
        assert_eq!(raw.error(&request).await, "refused", "{request}");
    }
    assert_eq!(raw.error(r#"{"command":"log_level","level":"loud"}"#).await, "bad_request");
}

#[tokio::test]
async fn a_tap_tells_what_passes_and_what_there_was_no_room_for() {
    let host = Host::start();
    let publisher = host.publisher();
    let mut raw = host.raw().await;
    raw.send(r#"{"command":"tap","topic":"ti","count":3}"#).await;
    assert_eq!(raw.line().await, Some(json!({"accepted": {"command": "tap", "services": []}})));
    host.send(publisher, "tick", b"{\"n\":1}");
    host.send(publisher, "other", b"{\"n\":2}");
    let first = raw.line().await.expect("a line")["item"].clone();
    assert_eq!((&first["topic"], &first["direction"]), (&json!("tick"), &json!("sent")));
    assert_eq!((&first["payload"], &first["size"]), (&json!({"n": 1}), &json!(7)));
    // A thousand wait, however they are read: the task that reads them has no turn in between.
    for _ in 0..1_005 {
        host.send(publisher, "tick", b"[]");
    }
    let mut rest = raw.answer().await;
    assert_eq!(rest.pop(), Some(json!({"done": {"ok": true}})));
    assert_eq!(rest[0], json!({"item": {"dropped": 5}}));
    let topics: Vec<_> = rest[1..].iter().map(|line| line["item"]["topic"].as_str()).collect();
    assert_eq!(topics, [Some("tick"); 2], "the count is of messages");
}

#[tokio::test]
async fn a_few_may_listen_and_each_who_leaves_makes_room() {
    const TAP: &str = r#"{"command":"tap"}"#;
    let host = Host::start();
    let mut listeners = Vec::new();
    for _ in 0..8 {
        let mut raw = host.raw().await;
        raw.send(TAP).await;
        assert!(raw.line().await.is_some_and(|line| line.get("accepted").is_some()));
        listeners.push(raw);
    }
    let mut late = host.raw().await;
    assert_eq!(late.error(TAP).await, "refused");
    // What is written to one who has left cannot be delivered, by which that is known at once.
    drop(listeners.pop());
    host.send(host.publisher(), "tick", b"[]");
    let accepted = async {
        loop {
            late.send(TAP).await;
            let line = late.line().await.expect("a line");
            if line.get("accepted").is_some() {
                return late;
            }
        }
    };
    let mut late = timeout(LIMIT, accepted).await.expect("there is room");
    // The end of the host is the end of a tap.
    host.end.notify_one();
    assert_eq!(late.answer().await[0]["error"]["code"], "ending");
}
