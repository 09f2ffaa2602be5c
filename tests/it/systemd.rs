//! What systemd hears of the host: the tests hold the socket that it would.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::host::Host;
use crate::harness::peers::Publisher;
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port};
use crate::sockets::{faulty, heartbeat, publisher, subscriber};

/// The receiving end.
struct Manager {
    socket: UnixDatagram,
    name: String,
    _directory: Option<TempDir>,
}

impl Manager {
    fn at_a_path() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let name = path.to_str().expect("UTF-8").to_owned();
        Self { socket, name, _directory: Some(directory) }
    }

    fn in_no_file_system() -> Self {
        let name = format!("exphost-test-{}-{}", std::process::id(), free_port());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        Self { socket, name: format!("@{name}"), _directory: None }
    }

    /// The next message, if one comes within `time`.
    fn next_within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1)))).expect("a deadline");
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Messages up to and with the first that begins with `wanted`.
    fn until(&self, wanted: &str) -> Vec<String> {
        let end = Instant::now() + DEADLINE;
        let mut heard = Vec::new();
        while let Some(message) = self.next_within(end.saturating_duration_since(Instant::now())) {
            let is_it = message.starts_with(wanted);
            heard.push(message);
            if is_it {
                return heard;
            }
        }
        panic!("{wanted} never came; heard were {heard:#?}");
    }

    fn start(&self, project: Project, environment: &[(&str, &str)]) -> Host {
        let all = [&[("NOTIFY_SOCKET", self.name.as_str())], environment].concat();
        project.start_in(&all)
    }
}

fn beating() -> Project {
    Project::new().plugin("heartbeat").config("heartbeat", heartbeat(free_port(), None))
}

#[test]
fn ready_comes_after_running_and_stopping_at_the_end() {
    for manager in [Manager::at_a_path(), Manager::in_no_file_system()] {
        let mut host = manager.start(beating(), &[]);
        let heard = manager.until("READY=1");
        // The service's file is written before the word is given.
        assert!(host.log_file("heartbeat").contains("state RUNNING"), "{heard:#?}");
        assert!(heard.contains(&"STATUS=1 of 1 running".to_owned()), "{heard:#?}");
        assert_eq!(host.stop().0, Some(0));
        let heard = manager.until("STOPPING=1");
        assert!(!heard.iter().any(|it| it == "READY=1"), "it is said once: {heard:#?}");
        assert!(!heard.iter().any(|it| it.starts_with("WATCHDOG")), "nobody asked: {heard:#?}");
    }
}

#[test]
fn ready_waits_for_the_last_that_can_start_and_not_for_those_that_cannot() {
    let manager = Manager::at_a_path();
    let broken = faulty("fatal", "start", &publisher(free_port()), "restart = \"never\"\n");
    let after = |name: &str| {
        let depends_on = format!("[exphost]\nplugin = \"heartbeat\"\ndepends_on = [\"{name}\"]\n");
        heartbeat(free_port(), None) + &depends_on
    };
    let project = beating()
        .config("second", after("heartbeat"))
        .config("blocked", after("broken"))
        .plugin("fixture-faults")
        .config("broken", broken);
    let host = manager.start(project, &[]);
    let heard = manager.until("READY=1");
    let status = heard.iter().rfind(|it| it.starts_with("STATUS=")).expect("a status");
    assert!(status.starts_with("STATUS=2 of 4 running; "), "{status}");
    assert!(status.contains("broken: failed"), "{status}");
    host.wait_until_running("second");
}

#[test]
fn a_sighup_is_answered_with_reloading_and_ready() {
    let manager = Manager::at_a_path();
    let host = manager.start(beating(), &[]);
    manager.until("READY=1");
    host.signal(Signal::HUP);
    let heard = manager.until("RELOADING=1");
    let reloading = heard.last().expect("a message");
    let (_, usec) = reloading.split_once("\nMONOTONIC_USEC=").expect("the time of the reload");
    assert!(usec.trim().parse::<u64>().is_ok_and(|usec| usec > 0), "{reloading}");
    manager.until("READY=1");
}

#[test]
fn the_watchdog_is_fed_until_a_critical_service_is_gone() {
    let manager = Manager::at_a_path();
    let mut commands = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(commands.port(), &["fault"]);
    let directives = "restart = \"never\"\ncritical = true\n";
    let vital = faulty("fatal", "handler", &sockets, directives);
    let project = beating().plugin("fixture-faults").config("vital", vital);
    let within = Duration::from_millis(300);
    let usec = within.as_micros().to_string();
    let host = manager.start(project, &[("WATCHDOG_USEC", &usec)]);
    manager.until("READY=1");
    for _ in 0..4 {
        manager.until("WATCHDOG=1");
    }
    commands.wait_for_subscriptions(&["fault"]);
    commands.send("fault", &json!({}));
    host.wait_for_log(&["a critical service is gone", "vital"]);
    // What was sent before it was known.
    while manager.next_within(Duration::from_millis(1)).is_some() {}
    let silent_since = Instant::now();
    while let Some(left) = (within * 3).checked_sub(silent_since.elapsed()) {
        let heard = manager.next_within(left);
        assert_ne!(heard.as_deref(), Some("WATCHDOG=1"), "fed though a critical service is gone");
    }
    assert_eq!(host.project().json_lines(&["start", "vital"]).0, 0);
    manager.until("WATCHDOG=1");
}

#[test]
fn a_service_that_is_not_critical_is_not_missed() {
    let manager = Manager::in_no_file_system();
    let spare = faulty("fatal", "run", &publisher(free_port()), "restart = \"never\"\n");
    let project = beating().plugin("fixture-faults").config("spare", spare);
    let host = manager.start(project, &[("WATCHDOG_USEC", "150000")]);
    host.wait_for_log(&["service failed", "spare"]);
    manager.until("STATUS=1 of 2 running; spare: failed");
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
}

#[test]
fn a_critical_service_that_hangs_is_not_alive() {
    let manager = Manager::at_a_path();
    let mut commands = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(commands.port(), &["fault"]);
    let directives = "beat_timeout = 2\nstop_timeout = 0.5\ncritical = true\n";
    let vital = faulty("hang", "handler", &sockets, directives);
    let project = beating().plugin("fixture-faults").config("vital", vital);
    let host = manager.start(project, &[("WATCHDOG_USEC", "300000")]);
    manager.until("READY=1");
    commands.wait_for_subscriptions(&["fault"]);
    commands.send("fault", &json!({}));
    // Its thread is there, and its state is RUNNING: the beat that is missing tells.
    host.wait_for_log(&["a critical service is gone", "vital"]);
    assert!(host.log_file("vital").contains("strikes"));
}
