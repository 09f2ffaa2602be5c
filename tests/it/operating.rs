//! The screens of `docs/operating.md` are what a host prints: each command shown there is given to a
//! host with a service of every kind, and its answer compared, numbers and widths apart.
//!
//! `BLESS=1` writes what the host prints into the page instead.

use std::fs;

use serde_json::json;

use crate::harness::host::Host;
use crate::harness::peers::Publisher;
use crate::harness::project::Project;
use crate::harness::{blesses, free_port, repository};
use crate::sockets::{faulty, heartbeat, publisher, subscriber};

/// What begins a screen, and the line below it.
const FENCE: &str = "```console\n$ exphost ";

/// A host with a service that is well, one that hangs, one that fails again and again, one that waits
/// for that, and one whose new configuration is no good.
fn installation() -> (Host, Publisher) {
    let mut commands = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(commands.port(), &["fault"]);
    let camera = faulty("hang", "handler", &sockets, "beat_timeout = 1\n");
    let rarely = "restart_delay = 600\nrestart_delay_max = 600\n";
    let projector = faulty("error", "start", &publisher(free_port()), rarely);
    let waits = "depends_on = [\"projector\"]\n";
    let display = faulty("none", "handler", &publisher(free_port()), waits);
    // It says so little that what is heard on the bus is the heartbeat's.
    let lights = heartbeat(free_port(), None).replace("= 0.1", "= 3600.0");
    let host = Project::new()
        .plugin("fixture-faults")
        .config("exphost", "[reload]\nwatch = false\n")
        .config("camera", camera)
        .config("projector", projector)
        .config("display", display)
        .service("heartbeat", "heartbeat", heartbeat(free_port(), None))
        .service("lights", "heartbeat", &lights)
        .start();
    host.wait_until_running("heartbeat");
    host.wait_until_running("lights");
    host.wait_until_running("camera");
    commands.wait_for_subscriptions(&["fault"]);
    commands.send("fault", &json!({}));
    host.wait_for_log(&["camera", "service does not respond"]);
    // The first restart is at once, the second waits.
    let (first, _) = host.wait_for_log_from(0, &["projector", "service is started again"]);
    host.wait_for_log_from(first + 1, &["projector", "service is started again"]);
    let bad = lights.replace("work_interval = 3600.0", "work_interval = \"fast\"");
    let file = host.project().config_path("lights");
    fs::write(file, bad + "[exphost]\nplugin = \"heartbeat\"\n").expect("it can be written");
    let (code, verdict) = host.project().json_lines(&["reload", "lights"]);
    assert_eq!(code, 1, "{verdict:?}");
    (host, commands)
}

/// What a command prints, with the paths of the test taken out.
fn answer(host: &Host, command: &str) -> String {
    let arguments: Vec<_> = command.split(' ').map(|word| word.trim_matches('\'')).collect();
    let output = host.project().output(&arguments);
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    text.replace(&format!("{}/", host.project().path().display()), "")
}

/// Without what differs from run to run: each number is `N`, times and durations are alike whatever
/// their units, and columns are as wide as they like.
fn comparable(text: &str) -> String {
    let mut numbers = String::new();
    for character in text.chars() {
        if !character.is_ascii_digit() {
            numbers.push(character);
        } else if !numbers.ends_with('N') {
            numbers.push('N');
        }
    }
    let alike = [
        ("N-N-N N:N:N", "N:N:N"),
        // West of Greenwich.
        ("N-N:N", "N+N:N"),
        ("N min N s", "N s"),
        ("N.N s", "N s"),
    ];
    let plain = alike.iter().fold(numbers, |text, (from, to)| text.replace(from, to));
    let lines = plain.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_screens_of_the_page_are_what_the_host_prints() {
    let (mut host, _commands) = installation();
    let file = repository().join("docs/operating.md");
    let page = fs::read_to_string(&file).expect("the page is there");
    let mut rewritten = String::new();
    let mut parts = page.split(FENCE);
    rewritten += parts.next().expect("a beginning");
    let mut screens = 0;
    for part in parts {
        let (screen, rest) = part.split_once("```").expect("a screen ends");
        let (command, shown) = screen.split_once('\n').expect("a command is a line");
        let printed = answer(&host, command);
        if !blesses() {
            let (shown, printed_now) = (comparable(shown), comparable(&printed));
            assert_eq!(shown, printed_now, "`exphost {command}` printed:\n{printed}");
        }
        rewritten += &format!("{FENCE}{command}\n{printed}```{rest}");
        screens += 1;
    }
    assert!(screens >= 6, "status, and why for each of five services");
    if blesses() {
        fs::write(&file, rewritten).expect("the page can be written");
    }
    // One service hangs.
    assert_eq!(host.stop().0, Some(1));
}

#[test]
fn only_what_differs_from_run_to_run_is_passed_over() {
    let one = "SERVICE    UP\ncamera     3 s\nsince 09:00:01, 12.5 s";
    let other = "SERVICE  UP\ncamera   1 min 12 s\nsince 2026-05-04 23:59:59, 9 s";
    assert_eq!(comparable(one), comparable(other));
    assert_ne!(comparable(one), comparable(&one.replace("camera", "lights")));
    assert_ne!(comparable("a\nb"), comparable("a"));
}
