//! Where the socket is, and who else may be there.

use std::fs;
use std::os::unix::net::UnixListener;

use exphost::control::{Client, Limits, Lock, Server};
use tempfile::TempDir;

use crate::support::{Host, place_in};

#[tokio::test]
async fn a_second_host_is_refused_and_the_first_is_not_disturbed() {
    let host = Host::start();
    let refusal = Lock::take(place_in(&host.directory, "test")).expect_err("it runs already");
    assert!(refusal.message.contains(&format!("process {}", std::process::id())), "{refusal}");
    assert_eq!(host.raw().await.ask(r#"{"command":"status"}"#).await.len(), 2);
    // Another project has its own socket beside it.
    let other = Lock::take(place_in(&host.directory, "test/quiet")).expect("another project");
    Server::bind(&other).expect("bound");
}

#[test]
fn what_a_killed_host_left_is_taken_over() {
    let directory = TempDir::new().expect("a directory");
    let place = place_in(&directory, "test");
    place.prepare().expect("prepared");
    fs::write(place.lock(), "4242 test\n").expect("written");
    drop(UnixListener::bind(place.socket()).expect("bound"));
    assert!(place.socket().exists());
    let lock = Lock::take(place).expect("nobody holds it");
    let server = Server::bind(&lock).expect("taken over");
    drop(server);
    assert!(!lock.place().socket().exists(), "removed at the end");
}

#[test]
fn somebody_elses_listener_and_files_stay_where_they_are() {
    let directory = TempDir::new().expect("a directory");
    let place = place_in(&directory, "test");
    let lock = Lock::take(place.clone()).expect("nobody holds it");
    // As after somebody has removed the lock file of a running host.
    let listener = UnixListener::bind(place.socket()).expect("bound");
    let refusal = Server::bind(&lock).expect_err("somebody listens").to_string();
    assert!(refusal.contains("somebody listens"), "{refusal}");
    drop(listener);
    fs::remove_file(place.socket()).expect("removed");
    fs::write(place.socket(), "precious").expect("written");
    let refusal = Server::bind(&lock).expect_err("a file").to_string();
    assert!(refusal.contains("not a socket"), "{refusal}");
    assert_eq!(fs::read_to_string(place.socket()).expect("still there"), "precious");
}

#[test]
fn where_no_host_is_the_client_says_where_it_looked() {
    let directory = TempDir::new().expect("a directory");
    let places = [place_in(&directory, "test"), place_in(&directory, "test/quiet")];
    let refusal = Client::connect(&places).expect_err("nobody").to_string();
    for place in &places {
        assert!(refusal.contains(&place.socket().display().to_string()), "{refusal}");
    }
    assert!(refusal.contains("no host of project `test` is running"), "{refusal}");
    assert!(refusal.contains("hint: start it with: exphost --project test"), "{refusal}");
}

#[tokio::test]
async fn where_another_project_runs_the_client_names_it() {
    let host = Host::start_as("test/quiet", Limits::default());
    let place = place_in(&host.directory, "test");
    let refusal = tokio::task::spawn_blocking(move || Client::connect(&[place]));
    let refusal = refusal.await.expect("no panic").expect_err("another").to_string();
    assert!(refusal.contains("running are `test/quiet`"), "{refusal}");
}
