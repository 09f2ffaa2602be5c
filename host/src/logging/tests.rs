//! The whole path from event to line, without touching the process's own subscriber.

use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::environment::Mode;

/// A console to look at.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Desk {
    logs: TempDir,
    screen: Screen,
}

impl Desk {
    fn new() -> Self {
        Self { logs: tempfile::tempdir().unwrap(), screen: Screen::default() }
    }

    fn settings(&self) -> LogSettings {
        let directory = Some(self.logs.path().to_owned());
        LogSettings { directory, ..LogSettings::new(Mode::Development) }
    }

    fn run(&self, settings: &LogSettings, f: impl FnOnce(&LogHandle)) {
        let surroundings = Surroundings::default();
        let (subscriber, handle) = build(settings, surroundings, Console::to(self.screen.clone()));
        tracing::subscriber::with_default(subscriber, || f(&handle));
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.logs.path().join(name)).unwrap_or_default()
    }
}

/// A callsite of a plugin's crate `heartbeat`, with the fields `message` and `n`.
fn plugin_site(level: u8, target: &str, line: u32) -> u64 {
    bridge::register(&bridge::Callsite {
        name: "event src/lib.rs",
        target,
        level,
        file: Some("src/lib.rs"),
        line: Some(line),
        fields: vec!["message", "n"],
    })
}

fn say(service: &str, site: u64, message: &str) {
    bridge::emit(service, site, "", &[(0, bridge::Value::Text(message))]);
}

#[test]
fn events_go_to_the_file_of_their_service_and_all_to_the_console() {
    let desk = Desk::new();
    desk.run(&desk.settings(), |handle| {
        handle.add_own_target("heartbeat");
        tracing::info!(target: "exphost::main", services = 2, "host says");
        {
            let _scope = service_scope("core");
            tracing::info!(target: "exphost::service", "state STARTED");
        }
        let site = plugin_site(3, "heartbeat::beat", 1);
        let fields = [(1, bridge::Value::Unsigned(7)), (0, bridge::Value::Text("plugin says"))];
        bridge::emit("heartbeat", site, "outer{a=1}:inner", &fields);
        tracing::info!(target: "exphost::main", "host again");
    });
    let host = desk.file("exphost.log");
    assert_eq!(host.lines().count(), 2, "{host}");
    assert!(host.contains("INFO  exphost exphost::main: host says services=2\n"), "{host}");
    let core = desk.file("core.log");
    assert!(core.ends_with("INFO  core exphost::service: state STARTED\n"), "{core}");
    let heartbeat = desk.file("heartbeat.log");
    let expected = "INFO  heartbeat heartbeat::beat: outer{a=1}:inner: plugin says n=7\n";
    assert!(heartbeat.ends_with(expected), "{heartbeat}");
    let screen = desk.screen.text();
    assert_eq!(screen.lines().count(), 4, "{screen}");
    assert!(screen.contains("INFO  heartbeat  outer{a=1}:inner: plugin says n=7\n"), "{screen}");
    assert!(!screen.contains('\u{1b}'), "{screen}");
}

#[test]
fn libraries_are_quiet_unless_asked_and_names_are_compared_whole() {
    let desk = Desk::new();
    let talk = |handle: &LogHandle| {
        handle.add_own_target("my-core");
        tracing::info!(target: "hyper::client", "hyper info");
        tracing::warn!(target: "hyper::client", "hyper warning");
        say("core", plugin_site(3, "my_core_graphics", 2), "graphics info");
        say("core", plugin_site(3, "my_core::part", 3), "core info");
        say("core", plugin_site(1, "panic", 4), "panicked");
    };
    desk.run(&desk.settings(), talk);
    let (host, core) = (desk.file("exphost.log"), desk.file("core.log"));
    assert!(!host.contains("hyper info") && host.contains("hyper warning"), "{host}");
    assert!(!core.contains("graphics info") && core.contains("core info"), "{core}");
    assert!(core.contains("ERROR core panic: panicked"), "{core}");
    desk.run(&LogSettings { libraries: Level::Debug, ..desk.settings() }, talk);
    assert!(desk.file("exphost.log").contains("hyper info"));
    assert!(desk.file("core.log").contains("graphics info"));
}

#[test]
fn a_level_change_holds_for_host_and_plugins_when_it_returns() {
    let desk = Desk::new();
    desk.run(&desk.settings(), |handle| {
        handle.add_own_target("level_tests");
        let site = plugin_site(4, "level_tests", 5);
        let both = |step: &str| {
            tracing::debug!(target: "exphost::tests", "host {step}");
            say("core", site, &format!("plugin {step}"));
        };
        assert!(!bridge::enabled("core", site));
        both("one");
        handle.set_level(Some(Level::Debug));
        assert_eq!((handle.levels().level, handle.levels().default), (Level::Debug, Level::Info));
        assert!(bridge::enabled("core", site));
        both("two");
        handle.set_level(Some(Level::Critical));
        assert!(!bridge::enabled("core", site));
        both("three");
        handle.set_level(None);
        assert_eq!(handle.levels().level, Level::Info);
    });
    for (file, who) in [("exphost.log", "host"), ("core.log", "plugin")] {
        let text = desk.file(file);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.ends_with(&format!("{who} two\n")), "{text}");
    }
}

#[test]
fn a_service_may_have_a_level_of_its_own_in_either_direction() {
    let desk = Desk::new();
    desk.run(&desk.settings(), |handle| {
        handle.add_own_target("own_level_tests");
        let (detail, trouble) =
            (plugin_site(4, "own_level_tests", 7), plugin_site(2, "own_level_tests", 8));
        handle.set_service_level("loud", Some(Level::Debug));
        handle.set_service_level("quiet", Some(Level::Error));
        let wanted =
            |site| ["loud", "quiet", "other"].map(|service| bridge::enabled(service, site));
        assert_eq!(wanted(detail), [true, false, false]);
        assert_eq!(wanted(trouble), [true, false, true]);
        for service in ["loud", "quiet", "other"] {
            say(service, detail, "detail");
            say(service, trouble, "trouble");
            let _scope = service_scope(service);
            tracing::debug!(target: "exphost::tests", "detail of the host");
        }
        tracing::debug!(target: "exphost::tests", "detail of the host");
        assert_eq!(handle.levels().services.len(), 2);
        handle.set_service_level("loud", None);
        handle.set_service_level("quiet", None);
        assert_eq!(wanted(detail), [false; 3]);
        assert_eq!(wanted(trouble), [true; 3]);
    });
    let said = |file: &str| {
        let text = desk.file(file);
        text.lines()
            .filter_map(|line| Some(line.split_once(": ")?.1.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(said("loud.log"), ["detail", "trouble", "detail of the host"]);
    assert_eq!(said("other.log"), ["trouble"]);
    assert_eq!((said("quiet.log").len(), said("exphost.log").len()), (0, 0));
}

#[test]
fn json_lines_hold_whatever_is_said() {
    let desk = Desk::new();
    let weird = "two\nlines \"quoted\" \u{1b}[2J \u{0}";
    desk.run(&LogSettings { format: Format::Json, ..desk.settings() }, |handle| {
        handle.add_own_target("heartbeat");
        say("heartbeat", plugin_site(3, "heartbeat", 6), weird);
        tracing::info!(target: "exphost::tests", nan = f64::NAN, error = %weird, "host");
    });
    for text in [desk.file("heartbeat.log"), desk.file("exphost.log"), desk.screen.text()] {
        for line in text.lines() {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            if json["service"].is_null() {
                assert_eq!(json["fields"]["error"], weird);
                assert_eq!(json["fields"]["nan"], "NaN");
            } else {
                assert_eq!(json["message"], weird);
            }
        }
    }
    assert_eq!(desk.screen.text().lines().count(), 2);
}

#[test]
fn spans_of_the_host_and_every_kind_of_value_are_shown() {
    let desk = Desk::new();
    desk.run(&desk.settings(), |_| {
        let span = tracing::info_span!(target: "exphost::tests", "load", file = "x.so", sha = tracing::field::Empty);
        span.record("sha", 17);
        let _entered = span.enter();
        tracing::info!(target: "exphost::tests", a = -1, b = 1.5, c = true, d = ?"q", "values");
    });
    let text = desk.file("exphost.log");
    let expected = "load{file=x.so sha=17}: values a=-1 b=1.5 c=true d=\"q\"\n";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_directory_that_cannot_be_written_gives_way_to_the_console() {
    let desk = Desk::new();
    // A file in the way refuses every user, root too.
    let blocked = desk.logs.path().join("file");
    std::fs::write(&blocked, b"").unwrap();
    let settings = LogSettings {
        directory: Some(blocked.join("logs")),
        console: Some(false),
        ..desk.settings()
    };
    desk.run(&settings, |handle| {
        assert_eq!(handle.directory(), None);
        tracing::info!(target: "exphost::tests", "still here");
    });
    let screen = desk.screen.text();
    assert!(screen.starts_with("exphost: cannot write logs in "), "{screen}");
    assert!(screen.contains("still here"), "{screen}");
    assert_eq!(screen.lines().count(), 2, "{screen}");
}

#[test]
fn silence_is_explained_in_one_line() {
    let desk = Desk::new();
    let settings = LogSettings { mode: Mode::Production, ..desk.settings() };
    desk.run(&settings, |_| tracing::info!(target: "exphost::tests", "to the file"));
    let screen = desk.screen.text();
    assert_eq!(screen.lines().count(), 1, "{screen}");
    assert!(screen.contains("exphost.log") && screen.contains("EXPERIMANCE_LOG_CONSOLE=true"));
    assert!(desk.file("exphost.log").contains("to the file"));
    assert_eq!(
        LogSettings::new(Mode::Production).directory(),
        PathBuf::from("/var/log/experimance")
    );
    assert_eq!(LogSettings::new(Mode::Development).directory(), PathBuf::from("logs"));
}

#[test]
fn lost_lines_are_counted_and_mentioned() {
    let desk = Desk::new();
    std::fs::create_dir(desk.logs.path().join("core.log")).unwrap();
    let settings = LogSettings { mode: Mode::Production, ..desk.settings() };
    desk.run(&settings, |handle| {
        let _scope = service_scope("core");
        tracing::info!(target: "exphost::tests", "one");
        tracing::info!(target: "exphost::tests", "two");
        assert_eq!(handle.lost_lines(), 2);
    });
    let screen = desk.screen.text();
    assert_eq!(screen.matches("cannot write").count(), 1, "{screen}");
}
