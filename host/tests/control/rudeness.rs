//! Clients that misbehave: they get an error or the door, and the others notice nothing.

use std::time::Duration;

use exphost::control::Limits;
use exphost::control::protocol::LONGEST_REQUEST;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::{Host, LIMIT, Raw};

const STATUS: &str = r#"{"command":"status"}"#;

#[tokio::test]
async fn a_line_that_is_too_long_ends_the_connection() {
    let host = Host::start();
    let mut raw = host.raw().await;
    let longest = format!("{STATUS}{}", " ".repeat(LONGEST_REQUEST - STATUS.len()));
    assert_eq!(raw.ask(&longest).await.len(), 2, "the longest is answered");

    raw.write(&vec![b'x'; LONGEST_REQUEST + 1]).await;
    assert_eq!(raw.answer().await[0]["error"]["code"], "too_long");
    assert_eq!(raw.line().await, None);
    assert_eq!(host.raw().await.ask(STATUS).await.len(), 2);
}

#[tokio::test]
async fn more_clients_than_there_is_room_for_are_told_so() {
    let host = Host::start();
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let mut raw = Raw::connect(&host.place).await;
        let first = raw.line().await.expect("a line");
        if first.get("hello").is_some() {
            inside.push(raw);
        } else {
            assert_eq!(first["error"]["code"], "too_many");
            outside.push(raw);
        }
    }
    assert_eq!((inside.len(), outside.len()), (64, 36));
    for raw in outside {
        raw.wait_for_end().await;
    }
    for raw in &mut inside {
        assert_eq!(raw.ask(STATUS).await.len(), 2);
    }
    // The end of this one is what the host answers last, so its place is free when it has ended.
    let mut leaver = inside.pop().expect("one of them");
    leaver.stream.get_mut().shutdown().await.expect("closed");
    leaver.wait_for_end().await;
    let mut joiner = Raw::connect(&host.place).await;
    assert!(joiner.line().await.is_some_and(|line| line.get("hello").is_some()));
}

#[tokio::test]
async fn a_client_that_goes_away_is_not_waited_for() {
    let host = Host::start();
    let mut raw = host.raw().await;
    raw.send(r#"{"command":"reload","service":"stuck"}"#).await;
    assert!(raw.line().await.expect("a line").get("accepted").is_some());
    drop(raw);
    timeout(LIMIT, host.abandoned.notified()).await.expect("nobody listens to the reload");
    assert_eq!(host.raw().await.ask(STATUS).await.len(), 2);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_dropped_and_holds_nobody_up() {
    let limits = Limits { unread: Duration::from_millis(100), ..Limits::default() };
    let host = Host::start_with(limits);
    let (mut rest, mut requests) = host.raw().await.stream.into_inner().into_split();
    let flood = format!("{STATUS}\n").repeat(1_000);
    let flooding = tokio::spawn(async move {
        // Until the host has closed the connection.
        while requests.write_all(flood.as_bytes()).await.is_ok() {}
    });
    assert_eq!(host.raw().await.ask(STATUS).await.len(), 2);
    timeout(LIMIT, flooding).await.expect("it is dropped").expect("no panic");
    let mut bytes = Vec::new();
    let _ = timeout(LIMIT, rest.read_to_end(&mut bytes)).await.expect("it is closed");
    assert!(bytes.len() < 8 * 1024 * 1024, "{} bytes were kept for it", bytes.len());
    assert_eq!(host.raw().await.ask(STATUS).await.len(), 2);
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_has_to_go_sometime() {
    let limits = Limits { idle: Duration::from_millis(50), ..Limits::default() };
    let host = Host::start_with(limits);
    let mut raw = host.raw().await;
    raw.write(b"{\"command\":").await;
    assert_eq!(raw.line().await, None);
    // Waiting for an answer is not idleness.
    let mut patient = host.raw().await;
    patient.send(r#"{"command":"stop","service":"stuck"}"#).await;
    patient.line().await.expect("accepted");
    patient.line().await.expect("stopping");
    host.raw().await.wait_for_end().await;
    host.release.notify_one();
    assert_eq!(patient.answer().await[1], json!({"done": {"ok": true}}));
}
