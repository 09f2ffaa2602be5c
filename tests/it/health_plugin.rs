//! The plugin `health` in a real host, with a real server to tell.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::harness::free_port;
use crate::harness::project::Project;
use crate::sockets::heartbeat;

/// Whoever is told.
struct Server(TcpListener);

impl Server {
    fn bind() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).expect("a port is free"))
    }

    fn url(&self) -> String {
        format!("http://{}/secret-path", self.0.local_addr().expect("an address"))
    }

    /// Takes the next request and answers it: its head and its body.
    fn answer(&self, status: &str) -> (String, Value) {
        let (stream, _) = self.0.accept().expect("a connection");
        let request = read(&stream);
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        (&stream).write_all(answer.as_bytes()).expect("the plugin reads");
        request
    }
}

fn read(stream: &TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("a request") > 0, "it ends early: {head}");
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").parse().expect("a number")];
    reader.read_exact(&mut body).expect("a body");
    (head, serde_json::from_slice(&body).expect("JSON"))
}

fn watching(project: Project, toml: &str) -> Project {
    let common = "directory = \"logs/health\"\nservices = [\"ghost\"]\ncheck_interval = 0.05\n\
        grace_period = 0.0\nbuffer_time = 0.0\n";
    project
        .service("beat", "heartbeat", heartbeat(free_port(), None))
        .plugin("health")
        .config("health", format!("{common}{toml}"))
}

#[test]
fn people_are_told_of_a_missing_service_and_of_its_return() {
    let server = Server::bind();
    let toml = format!(
        "dry_run = false\n[webhook]\nurl = \"{}\"\ntoken = \"hunter2\"\n[delivery]\nbackoff = 0.01\n",
        server.url()
    );
    let mut host = watching(Project::new(), &toml).start_with(&["--log-level", "trace"]);
    let (head, first) = server.answer("500 Not today");
    assert!(head.to_ascii_lowercase().contains("authorization: bearer hunter2"), "{head}");
    let (_, again) = server.answer("200 OK");
    assert_eq!(again, first, "what failed is sent once more");
    let project = host.project().path();
    assert_eq!(
        first["events"],
        json!([{"service": "ghost", "level": "error", "trouble": "missing",
            "message": "has no health file"}])
    );

    let files = project.join("logs/health");
    fs::write(files.join("ghost.json"), r#"{"overall_status": "healthy"}"#).expect("a file");
    let (_, recovered) = server.answer("200 OK");
    assert_eq!(recovered["title"], "test: ghost recovered");
    host.wait_for_log(&["notice is tried again", "answered 500"]);
    assert_eq!(host.stop().0, Some(0));
    let log = host.log() + &host.log_file("health");
    for secret in ["hunter2", "secret-path"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_dry_run_tells_the_log_alone() {
    let server = Server::bind();
    let toml = format!("[webhook]\nurl = \"{}\"\n", server.url());
    let mut host = watching(Project::new(), &toml).start();
    host.wait_for_log(&["notice", "ghost", "has no health file"]);
    assert_eq!(host.stop().0, Some(0));
    server.0.set_nonblocking(true).expect("a listener");
    let nobody = server.0.accept().expect_err("nobody calls");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_server_that_is_not_there_harms_nobody() {
    let gone = Server::bind();
    let url = gone.url();
    drop(gone);
    let toml = format!(
        "dry_run = false\n[webhook]\nurl = \"{url}\"\n[delivery]\nattempts = 2\nbackoff = 0.01\n"
    );
    let mut host = watching(Project::new(), &toml).start();
    host.wait_for_log(&["notice could not be delivered", "attempt=2"]);
    let health = host.status_of("health");
    assert_eq!((&health["state"], &health["health"]), (&json!("running"), &json!("warning")));
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_service_that_was_stopped_is_not_missed_and_one_that_falls_silent_is() {
    let mut host = Project::new()
        .service("resting", "heartbeat", heartbeat(free_port(), None))
        .plugin("health")
        .config(
            "health",
            "directory = \"logs/health\"\nignore = [\"health\"]\ncheck_interval = 0.05\n\
             grace_period = 0.0\nbuffer_time = 0.0\nstale_after = 1.0\n",
        )
        .start_with(&["--log-level", "debug"]);
    let written = ["health status written", "service=resting"];
    let (line, _) = host.wait_for_log_from(0, &[&written[..], &["status=healthy"]].concat());
    host.wait_until_running("health");
    assert_eq!(host.project().json_lines(&["stop", "resting"]).0, 0);
    host.wait_for_log_from(line, &[&written[..], &["status=unknown"]].concat());
    // Written after the mark, so whoever finds this one stale finds the mark older still.
    let silent = host.project().path().join("logs/health/silent.json");
    fs::write(silent, r#"{"overall_status": "healthy"}"#).expect("a file");
    host.wait_for_log(&["notice", "silent has not been heard of"]);
    assert_eq!(host.stop().0, Some(0));
    let notices = |service: &str| {
        host.log().lines().filter(|line| line.contains("notice") && line.contains(service)).count()
    };
    assert_eq!((notices("silent"), notices("resting")), (1, 0), "{}", host.log());
}
