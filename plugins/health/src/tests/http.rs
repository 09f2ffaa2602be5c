use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use plugin_api::prelude::*;

use super::*;
use crate::config::{Ntfy, Webhook};
use crate::level::Level;
use crate::monitor::{Event, Kind, Trouble};
use crate::notice::Buffer;

/// Answers one connection with `answer` and gives back what was asked.
fn server(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !is_whole(&request) {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the request ends early");
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, served)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    body.len() >= length.expect("a length")
}

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn notice() -> Notice {
    let kind = Kind::Trouble(Trouble::Stale, Level::Error);
    let message = "has not been heard of for 130 s".to_owned();
    let mut buffer = Buffer::default();
    buffer.add(vec![Event { service: "küche".to_owned(), kind, message }], Duration::ZERO);
    buffer.take("studio", Duration::ZERO, Duration::ZERO).unwrap()
}

fn config(webhook: &str, ntfy: &str) -> Config {
    let (topic, token) = ("doors".to_owned(), Secret::from("tk_hunter2"));
    let topic = if ntfy.is_empty() { String::new() } else { topic };
    Config {
        webhook: Webhook { url: webhook.to_owned(), token: token.clone() },
        ntfy: Ntfy { server: ntfy.to_owned(), topic, token },
        ..Config::default()
    }
}

fn posted(config: &Config, timeout: Duration) -> Outcome {
    let requests = requests(&notice(), "studio", config);
    assert_eq!(requests.len(), 1);
    post(&agent(timeout), &requests[0])
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_webhook_is_given_json() {
    let (url, served) = server(FINE);
    assert_eq!(posted(&config(&format!("{url}/hook"), ""), LONG), Outcome::Delivered);
    let request = served.join().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer tk_hunter2"), "{head}");
    let json: Value = plugin_api::serde_json::from_str(body).unwrap();
    let expected = json!({
        "project": "studio", "title": "studio: küche error",
        "message": "error: küche has not been heard of for 130 s",
        "level": "error", "priority": 4, "left_out": 0,
        "events": [{"service": "küche", "level": "error", "trouble": "stale",
            "message": "has not been heard of for 130 s"}],
    });
    assert_eq!(json, expected);
}

#[test]
fn ntfy_is_given_text_with_headers() {
    let (url, served) = server(FINE);
    assert_eq!(posted(&config("", &format!("{url}/")), LONG), Outcome::Delivered);
    let request = served.join().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /doors HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    for line in ["title: studio: k?che error", "priority: 4", "tags: x"] {
        assert!(lower.contains(&format!("\r\n{line}")), "{line} is missing: {head}");
    }
    assert!(lower.contains("\r\nauthorization: bearer tk_hunter2"), "{head}");
    assert_eq!(body, "error: küche has not been heard of for 130 s");
}

#[test]
fn answers_are_told_apart_by_whether_to_try_again() {
    for (answer, outcome) in [
        ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", Outcome::Failed("answered 500".into())),
        ("HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", Outcome::Failed("answered 429".into())),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", Outcome::Refused("answered 403".into())),
        (
            "HTTP/1.1 302 Away\r\nLocation: http://example.invalid/\r\nContent-Length: 0\r\n\r\n",
            Outcome::Refused("answered 302".into()),
        ),
    ] {
        let (url, served) = server(answer);
        assert_eq!(posted(&config(&url, ""), LONG), outcome);
        served.join().unwrap();
    }
}

#[test]
fn a_refused_connection_is_a_failure_without_the_address() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/secret-path", listener.local_addr().unwrap());
    drop(listener);
    let Outcome::Failed(reason) = posted(&config(&url, ""), LONG) else {
        panic!("it is a failure")
    };
    assert!(!reason.contains("secret-path") && !reason.contains("hunter2"), "{reason}");
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let began = Instant::now();
    let outcome = posted(&config(&url, ""), Duration::from_millis(100));
    assert_eq!(outcome, Outcome::Failed("did not answer in time".to_owned()));
    assert!(began.elapsed() < LONG);
}

#[test]
fn an_address_that_makes_no_sense_is_not_tried_again_nor_repeated() {
    let outcome = posted(&config("http://not an address/hunter2", ""), LONG);
    let Outcome::Refused(reason) = outcome else { panic!("{outcome:?}") };
    assert!(!reason.contains("hunter2"), "{reason}");
}
