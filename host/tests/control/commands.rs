//! The commands, against a made-up host.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use exphost::control::Limits;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Host;

/// Runs `exphost` in the surroundings of a session directory: exit code, standard output and error.
async fn exphost(session: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let variables = [("XDG_RUNTIME_DIR", text_of(session)), DEVELOPMENT];
    exphost_in(&variables, session.path(), arguments).await
}

const DEVELOPMENT: (&str, &str) = ("EXPERIMANCE_ENV", "development");

fn text_of(directory: &TempDir) -> &str {
    directory.path().to_str().expect("UTF-8")
}

async fn exphost_in(
    variables: &[(&str, &str)],
    directory: &Path,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_exphost"));
    command
        .env_clear()
        .env("TZ", "UTC")
        .envs(variables.iter().copied())
        .current_dir(directory)
        .args(["--project", "test"])
        .args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output());
    let Output { status, stdout, stderr } =
        output.await.expect("no panic").expect("the binary can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

#[tokio::test]
async fn status_shows_a_table_and_what_needs_attention() {
    let host = Host::start();
    let (code, stdout, stderr) = exphost(&host.directory, &["status"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(!stdout.contains('\u{1b}'), "colours belong on a terminal: {stdout}");
    let lines: Vec<_> = stdout.lines().collect();
    let pid = std::process::id();
    assert_eq!(lines[0], format!("test: exphost 0.1.0, process {pid}, up 1 min 15 s"));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let header = "SERVICE STATE HEALTH VERSION GENERATION RESTARTS RUNS AS SINCE UP RECEIVED SENT QUEUE DROPPED";
    assert_eq!(words(lines[2]), words(header));
    assert_eq!(words(lines[3])[..5], ["core", "running", "error", "1.2.0", "7"]);
    assert_eq!(words(lines[4])[..5], ["heartbeat", "running", "healthy", "1.2.0", "7"]);
    assert!(lines[4].ends_with("3456    12      2        0"), "{}", lines[4]);
    let notes = [
        "core: is being reloaded, at stop",
        "core: running 1.2.0, generation 7; 1.3.0 refused 2026-01-02 12:04:31 at probe: \
         the plugin\\npanicked \\u{1b}[31m",
        "core: came back after a failure (restarted 3 times): on_message next: no such era",
        "core: its plugin file is gone; what was loaded from it runs on: \
         /usr/lib/exphost/plugins/libcore.so",
        "core: generation 6 (1.1.0) could not be unloaded: a thread of it still runs",
        "core: latest error 2026-01-02 12:04:31, in on_message next: no such era",
    ];
    assert_eq!(lines[6..], notes);
    let (_, stdout, _) = exphost(&host.directory, &["status", "heartbeat"]).await;
    assert_eq!(stdout.lines().count(), 4, "{stdout}");
}

#[tokio::test]
async fn status_as_json_has_every_key_of_the_contract() {
    let host = Host::start();
    let (code, stdout, _) = exphost(&host.directory, &["status", "heartbeat", "--json"]).await;
    let status: Value = serde_json::from_str(&stdout).expect("a document");
    assert_eq!(code, Some(0));
    for key in ["project", "pid", "version", "uptime", "services"] {
        assert!(status.get(key).is_some(), "{key}");
    }
    let services = status["services"].as_array().expect("a list");
    assert_eq!(services.len(), 1);
    for key in [
        "name",
        "plugin",
        "version",
        "generation",
        "sha256",
        "file",
        "state",
        "health",
        "since",
        "uptime",
        "restarts",
        "messages_sent",
        "messages_received",
        "dropped",
        "queue_depth",
        "pending",
        "last_error",
    ] {
        assert!(services[0].get(key).is_some(), "{key}");
    }
}

#[tokio::test]
async fn reload_tells_the_steps_and_exits_with_the_verdict() {
    let host = Host::start();
    let (code, stdout, stderr) = exphost(&host.directory, &["reload", "heartbeat"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let expected = "\
heartbeat
  identify        1.5 ms
  probe           1.5 ms
heartbeat: reloaded 1.2.0 -> 1.3.0 in 61.2 ms (gap 4.0 ms)
";
    assert_eq!(stdout, expected);
    let (code, stdout, _) = exphost(&host.directory, &["reload", "core"]).await;
    assert_eq!(code, Some(1));
    let expected = "core: refused 1.2.0 -> 1.3.0 in 61.2 ms (no gap)\n  \
                    reason: it is older\n  hint: use --force\n";
    assert_eq!(stdout, expected);
    let (code, ..) = exphost(&host.directory, &["reload", "core", "--force"]).await;
    assert_eq!(code, Some(0));
    let (code, stdout, _) = exphost(&host.directory, &["reload", "--all"]).await;
    assert_eq!((code, stdout.lines().count()), (Some(1), 7), "{stdout}");
    for wrong in [&["reload"][..], &["reload", "core", "--all"]] {
        assert_eq!(exphost(&host.directory, wrong).await.0, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_stream_of_json_ends_with_a_verdict_whatever_happens() {
    let host = Host::start();
    let (code, stdout, stderr) = exphost(&host.directory, &["reload", "core", "--json"]).await;
    assert_eq!((code, stderr.as_str()), (Some(1), ""));
    let verdict = json!({
        "service": "core", "verdict": "refused", "from": "1.2.0", "to": "1.3.0", "ms": 61.25,
        "gap_ms": null, "reason": "it is older", "hint": "use --force",
    });
    assert_eq!(objects(&stdout), [verdict]);
    let (code, stdout, stderr) = exphost(&host.directory, &["reload", "hartbeat", "--json"]).await;
    assert_eq!((code, stderr.as_str()), (Some(1), ""));
    let verdict = json!({
        "service": "hartbeat", "verdict": "refused", "from": null, "to": null, "ms": 0.0,
        "gap_ms": null, "reason": "there is no service `hartbeat`",
        "hint": "did you mean `heartbeat`?",
    });
    assert_eq!(objects(&stdout), [verdict]);
}

#[tokio::test]
async fn stop_and_start_wait_and_exit_with_what_came_of_it() {
    let host = Host::start();
    let (code, stdout, _) = exphost(&host.directory, &["stop", "heartbeat"]).await;
    let expected = "heartbeat: stopping\nheartbeat: stopped\n";
    assert_eq!((code, stdout.as_str()), (Some(0), expected));
    let (code, stdout, _) = exphost(&host.directory, &["stop", "heartbeat", "--json"]).await;
    let keys = ["service", "state", "done", "ok", "detail"];
    for object in objects(&stdout) {
        assert!(keys.iter().all(|key| object.get(key).is_some()), "{object}");
    }
    assert_eq!(code, Some(0));
    let (code, stdout, stderr) = exphost(&host.directory, &["start", "heartbeat"]).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert_eq!(stderr, "error: `heartbeat` runs already\n");
    let (code, stdout, _) = exphost(&host.directory, &["start", "heartbeat", "--json"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(objects(&stdout)[0]["ok"], false);
}

#[tokio::test]
async fn unknown_names_get_the_nearest_and_missing_hosts_the_way_to_start_one() {
    let host = Host::start();
    let (code, stdout, stderr) = exphost(&host.directory, &["status", "hartbeat"]).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("did you mean `heartbeat`?"), "{stderr}");
    let (code, _, stderr) = exphost(&host.directory, &["reload", "hartbeat"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("there is no service `hartbeat`"), "{stderr}");

    let elsewhere = TempDir::new().expect("a directory");
    for arguments in [&["status"][..], &["status", "--json"], &["reload", "--all"], &["stop", "x"]]
    {
        let (code, stdout, stderr) = exphost(&elsewhere, arguments).await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(stderr.contains("no host of project `test` is running (looked at "), "{stderr}");
        assert!(stderr.contains("hint: start it with: exphost --project test"), "{stderr}");
    }
}

#[tokio::test]
async fn the_place_that_the_project_names_is_where_it_is_looked_for() {
    let host = Host::start_as("test", Limits::default());
    let elsewhere = TempDir::new().expect("a directory");
    let folder = elsewhere.path().join("projects/test");
    std::fs::create_dir_all(&folder).expect("made");
    let toml = format!("[control]\nsocket = {:?}\n", host.place.socket());
    std::fs::write(folder.join("exphost.toml"), toml).expect("written");
    let (code, stdout, stderr) = exphost(&elsewhere, &["status"]).await;
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[tokio::test]
async fn a_session_gives_no_orders_to_a_host_that_runs_elsewhere() {
    let host = Host::start();
    // The same host, as it would be found in the directory for temporary files.
    let temporary = TempDir::new().expect("a directory");
    let user = rustix::process::geteuid().as_raw();
    let usual = temporary.path().join(format!("exphost-{user}"));
    symlink(host.place.directory(), &usual).expect("linked");
    let tmp = ("TMPDIR", text_of(&temporary));
    let here = temporary.path();

    let session = TempDir::new().expect("a directory");
    let variables = [("XDG_RUNTIME_DIR", text_of(&session)), tmp, DEVELOPMENT];
    for arguments in [&["status"][..], &["reload", "--all"], &["stop", "heartbeat"]] {
        let (code, stdout, stderr) = exphost_in(&variables, here, arguments).await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(stderr.contains("no host of project `test`"), "{stderr}");
        assert!(!stderr.contains("exphost-"), "it was not even looked for: {stderr}");
    }
    // Without a session it is the usual place.
    let (code, _, stderr) = exphost_in(&[tmp, DEVELOPMENT], here, &["status"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    // In production it is not, and whoever finds it there is told.
    let production = ("EXPERIMANCE_ENV", "production");
    let (code, _, stderr) = exphost_in(&[tmp, production], here, &["status"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let socket = usual.join("test.sock").display().to_string();
    assert!(stderr.contains(&format!("note: this is the host at {socket}, process ")), "{stderr}");
}

#[tokio::test]
async fn why_tells_causes_and_hints() {
    let host = Host::start();
    let (code, stdout, stderr) = exphost(&host.directory, &["why", "core"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("core: running\n  core: is being reloaded, at stop\n"), "{stdout}");
    assert!(stdout.contains("the newer build 1.3.0 was refused at probe"), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "what a plugin says cannot steer the terminal: {stdout}");
    let (_, stdout, _) = exphost(&host.directory, &["why", "heartbeat"]).await;
    assert_eq!(stdout, "heartbeat: running, and nothing is the matter with it\n");
    let (code, _, stderr) = exphost(&host.directory, &["why", "hartbeat"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no service `hartbeat`") && stderr.contains("`heartbeat`"), "{stderr}");
}

#[tokio::test]
async fn restart_tells_how_far_it_is() {
    let host = Host::start();
    let (code, stdout, _) = exphost(&host.directory, &["restart", "heartbeat"]).await;
    assert_eq!((code, stdout.as_str()), (Some(0), "heartbeat: stopping\nheartbeat: running\n"));
}
