//! `exphost config`, `run SERVICE`, `project` and `completions`, as people type them.

use std::fs;

use serde_json::{Value, json};

use crate::harness::project::Project;
use crate::harness::{blesses, repository};

const STUDIO: &str = "\
work_interval = 2.0
api_token = \"hunter2\"

[camera]
fps = 60

[database]
password = \"swordfish\"

[exphost]
plugin = \"fixture-studio\"
";

fn studio() -> Project {
    Project::new().plugin("fixture-studio").config("studio", STUDIO)
}

fn stdout(project: &Project, arguments: &[&str]) -> String {
    let output = project.output(arguments);
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {stdout}{stderr}");
    stdout.into_owned()
}

#[test]
fn the_effective_configuration_says_where_each_value_came_from() {
    let project = studio();
    let dotenv = project.config_path("studio").with_file_name(".env");
    fs::write(&dotenv, "EXPERIMANCE_CAMERA_LIMIT=90\nEXPERIMANCE_MAX_RETRIES=1\n")
        .expect("written");
    let mut command = project.command(["config", "show", "studio", "--set", "studio.style=cut"]);
    let output = command.env("EXPERIMANCE_MAX_RETRIES", "7").output().expect("it can be started");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let file = project.config_path("studio").display().to_string();
    for line in [
        format!("work_interval = 2.0      # {file}:1:17"),
        "style = \"cut\"            # --set studio.style".to_owned(),
        "max_retries = 7          # EXPERIMANCE_MAX_RETRIES".to_owned(),
        "visualize = true         # default".to_owned(),
        format!("limit = 90   # EXPERIMANCE_CAMERA_LIMIT in {}", dotenv.display()),
    ] {
        assert!(shown.lines().any(|it| it == line), "{line}\nis not in\n{shown}");
    }
    assert!(!shown.contains("hunter2") && !shown.contains("swordfish"), "{shown}");
    let read: toml::Table = shown.parse().unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!(read["api_token"].as_str(), Some("********"));

    let (code, document) = project.json(&["config", "show", "studio"]);
    assert_eq!((code, &document["value"]["camera"]["fps"]), (0, &json!(60)));
    assert_eq!(document["value"]["database"]["password"], "********");
    assert_eq!(document["origins"]["camera.fps"], format!("{file}:5:7"));
    let (_, differences) = project.json(&["config", "diff", "studio"]);
    let of = |key: &str| differences.as_array()?.iter().find(|it| it["key"] == key).cloned();
    let interval = of("work_interval").expect("it differs");
    assert_eq!((&interval["value"], &interval["default"]), (&json!(2.0), &json!(1.0)));
    assert_eq!(of("visualize"), None);
}

#[test]
fn a_template_is_a_good_file_and_stays_one_when_its_keys_are_used() {
    let project = studio();
    let template = stdout(&project, &["config", "init", "studio"]);
    assert!(template.contains("# Frames per second: a whole number, 1 to 120.\n# fps = 30\n"));
    // Every line that has a key in it becomes one; what is prose stays a comment.
    let is_key = |line: &str| {
        let text = line.strip_prefix("# ").unwrap_or_default();
        text.starts_with('[')
            || text.split_once(" = ").is_some_and(|(key, _)| !key.contains([' ', ':', '`']))
    };
    let used: String = template
        .lines()
        .map(|line| if is_key(line) { &line[2..] } else { line })
        .map(|line| format!("{line}\n"))
        .collect();
    // An empty address is no address, and nobody could know a good one.
    let used = used.replace("address = \"\"", "address = \"ipc:///tmp/x\"");
    let project = project.config("studio", used + "[exphost]\nplugin = \"fixture-studio\"\n");
    let (code, document) = project.json(&["config", "show", "studio"]);
    assert_eq!(code, 0, "{document:#}");
    assert_eq!(document["value"]["database"]["port"], 5432);
}

#[test]
fn the_schema_takes_the_file_and_refuses_what_the_host_refuses() {
    let schema = stdout(&studio(), &["config", "schema", "studio"]);
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("it is a schema");
    let read = |text: &str| -> Value {
        serde_json::to_value(text.parse::<toml::Table>().expect("TOML")).expect("JSON")
    };
    assert!(validator.is_valid(&read(STUDIO)));
    for wrong in ["[camera]\nfps = 0\n", "colour = 1\n", "[exphost]\nplugn = \"x\"\n"] {
        assert!(!validator.is_valid(&read(wrong)), "{wrong}");
    }
}

#[test]
fn help_lists_every_field_within_eighty_columns() {
    let help = stdout(&studio(), &["run", "studio", "--help"]);
    let wide: Vec<_> = help.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "-l, --log-level <LEVEL>",
        "-c, --config <PATH>",
        "--work-interval <VALUE> Seconds from one picture to the next [range: 0.1 to 3600.0] [default: 1.0]",
        "--max-retries <N>",
        "--service-name <TEXT>",
        "--output-dir <PATH>",
        "--no-visualize Whether a window shows what is seen [default: on]",
        "--debug-mode",
        "[default: dissolve] [possible values: dissolve, morph, cut]",
        "Camera: --camera-fps <N> Frames per second [range: 1 to 120] [default: 30]",
        "--zmq-publisher-port <N>",
        "Arguments of the service: --model <TEXT> AI model to use for generation [default: gpt-4]",
    ] {
        assert!(words.contains(part), "{part}\nis not in\n{help}");
    }
}

#[test]
fn flags_and_arguments_reach_the_service() {
    let flags = [
        "run",
        "studio",
        "-l",
        "debug",
        "--camera-fps",
        "80",
        "--no-visualize",
        "--model=claude-3",
        "--dry-run",
        "--camera-region",
        "1",
        "--camera-region=-2",
        "--camera-region",
        "3",
        "--camera-region",
        "4",
    ];
    let project = studio();
    let dotenv = project.config_path("studio").with_file_name(".env");
    fs::write(dotenv, "EXPERIMANCE_API_KEY=k1\nEXPERIMANCE_CAMERA_FPS=7\n").expect("written");
    let mut host = project.start_with(&flags);
    host.wait_for_log(&["variables match none of its keys", "EXPERIMANCE_API_KEY"]);
    host.wait_until_running("studio");
    host.wait_for_log(&[
        "the studio is set up",
        "fps=80",
        "visualize=false",
        "model=claude-3",
        "max_tokens=1000",
        "dry_run=true",
        "token=********",
    ]);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn wrong_flags_are_told_with_what_was_meant() {
    let project = studio();
    let refused = |arguments: &[&str]| {
        let output = project.output(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = refused(&["run", "studio", "--camera-fps", "800"]);
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("studio.camera.fps: must be at most 120, is 800 (from --camera-fps)"));
    let (code, told) = refused(&["run", "studio", "--camera-fsp", "8"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("'--camera-fps'"), "{told}");
    let (code, told) = refused(&["run", "studio", "--model", "gpt-5"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("gpt-4, gpt-3.5-turbo, claude-3"), "{told}");
    let (code, told) = refused(&["run", "studoi"]);
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("did you mean `studio`?"), "{told}");
}

#[test]
fn another_file_takes_the_place_of_the_projects() {
    let project = studio();
    let other = project.path().join("other.toml");
    fs::write(&other, "work_interval = 0.0\n[exphost]\nplugin = \"fixture-studio\"\n")
        .expect("written");
    let other = other.display().to_string();
    let output = project.output(&["run", "studio", "-c", &other]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.starts_with(&format!("{other}:1:17: error: work_interval")), "{told}");
}

#[test]
fn check_speaks_of_peers_and_directories() {
    let project = studio()
        .plugin("heartbeat")
        .config("heartbeat", "[zmq.publisher]\nport = 6555\n[zmq.subscriber]\nport = 6557\n");
    let (code, document) = project.json(&["check"]);
    let text = document["problems"].to_string();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("connects to tcp://localhost:6557, which no service"), "{text}");
    let project = project.config(
        "studio",
        format!(
            "{STUDIO}[zmq.publisher]\naddress = \"tcp://127.0.0.1\"\nport = 6557\nbind = true\n"
        ),
    );
    let (_, document) = project.json(&["check"]);
    assert_eq!(document["problems"], json!([]));

    fs::write(project.path().join("blocked"), "").expect("written");
    let project = project.config("exphost", "[log]\ndirectory = \"../../blocked/logs\"\n");
    let (code, document) = project.json(&["check"]);
    let text = document["problems"].to_string();
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("where logs go"), "{text}");
}

#[test]
fn projects_are_made_listed_and_chosen() {
    let project = studio();
    stdout(&project, &["project", "new", "gallery", "--from", "test"]);
    stdout(&project, &["project", "new", "gallery/quiet"]);
    stdout(&project, &["project", "new", "gallery/loud", "--from", "gallery"]);
    stdout(&project, &["project", "set", "gallery/quiet"]);
    let projects = project.path().join("projects");
    assert_eq!(fs::read_to_string(projects.join(".project")).expect("a file"), "gallery/quiet\n");
    assert_eq!(fs::read_to_string(projects.join("gallery/studio.toml")).expect("a file"), STUDIO);
    let (_, list) = project.json(&["project", "list"]);
    assert_eq!(list[0]["project"], "gallery");
    assert_eq!(list[0]["variants"], json!(["loud", "quiet"]));
    // A variant of the project that it was made from has its files, and no variants of its own.
    let mut copied: Vec<_> =
        fs::read_dir(projects.join("gallery/loud")).expect("a folder").collect();
    copied.retain(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir()));
    assert!(copied.is_empty(), "{copied:?}");
    assert_eq!(
        fs::read_to_string(projects.join("gallery/loud/studio.toml")).expect("a file"),
        STUDIO
    );
    assert_eq!(list[1]["services"], json!(["studio"]));
    // The harness names the project; without that the file decides.
    assert_eq!(list[1]["chosen"], true);

    let output = project.output(&["project", "set", "galery"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("did you mean `gallery`?"), "{told}");
    assert_eq!(project.output(&["project", "new", "gallery"]).status.code(), Some(1));
    assert_eq!(project.output(&["project", "new", "../x"]).status.code(), Some(1));
}

#[test]
fn completions_know_services_and_their_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&studio(), &["completions", shell]);
        for word in ["studio", "camera-fps", "no-visualize", "claude-3", "reload"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        // For zsh the service is the first word after `run`, where its flags are looked for.
        assert_eq!(script.contains("exphost-run-command-$line[1]"), shell == "zsh");
    }
}

#[test]
fn bash_completes_services_flags_and_choices() {
    let project = studio();
    let script = project.path().join("exphost.bash");
    fs::write(&script, stdout(&project, &["completions", "bash"])).expect("written");
    let complete = |words: &[&str]| {
        // What bash does at a press of the tab key.
        let press = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                     _exphost exphost \"${!#}\"; echo \"${COMPREPLY[*]}\"";
        let mut bash = std::process::Command::new("bash");
        let output = bash.args(["-c", press]).arg(&script).args(words).output().expect("bash");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete(&["exphost", "run", "st"]), "studio");
    let flags = complete(&["exphost", "run", "studio", "--camera-"]);
    assert_eq!(flags, "--camera-fps --camera-limit --camera-region");
    assert_eq!(complete(&["exphost", "config", "show", "st"]), "studio");
}

/// The reference in the docs is what the shipped plugins say of themselves. `BLESS=1` writes it.
#[test]
fn the_reference_in_the_docs_is_that_of_the_plugins() {
    const BEGIN: &str = "<!-- generated by `exphost config reference` -->\n";
    const END: &str = "<!-- end -->\n";
    let mut project = Project::new();
    for plugin in crate::harness::artefacts::PLUGINS {
        project = project.plugin(plugin);
    }
    let generated = stdout(&project, &["config", "reference"]);
    let file = repository().join("docs/configuration.md");
    let docs = fs::read_to_string(&file).expect("the docs are there");
    let (before, rest) = docs.split_once(BEGIN).expect("the mark is there");
    let (found, after) = rest.split_once(END).expect("the mark is there");
    if blesses() {
        let new = format!("{before}{BEGIN}\n{generated}\n{END}{after}");
        fs::write(&file, new).expect("the docs can be written");
    } else {
        assert_eq!(found.trim(), generated.trim(), "BLESS=1 writes it anew");
    }
}

/// The commands of `docs/seed-examples.md` say what the page says. `BLESS=1` writes it.
#[test]
fn the_examples_of_the_docs_are_true() {
    let file = repository().join("docs/seed-examples.md");
    let docs = fs::read_to_string(&file).expect("the docs are there");
    let project = Project::new().plugin("fixture-studio").plugin("heartbeat");
    let (mut new, mut commands) = (String::new(), 0);
    let mut lines = docs.lines();
    while let Some(line) = lines.next() {
        new.push_str(&format!("{line}\n"));
        if let Some(name) = line.strip_prefix("```toml projects/") {
            let text: Vec<_> = lines.by_ref().take_while(|it| *it != "```").collect();
            let path = project.path().join("projects").join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text.join("\n") + "\n").expect("written");
            new.push_str(&format!("{}\n```\n", text.join("\n")));
        } else if line == "```console" {
            let text: Vec<_> = lines.by_ref().take_while(|it| *it != "```").collect();
            for command in text.iter().filter_map(|line| line.strip_prefix("$ ")) {
                commands += 1;
                new.push_str(&format!("$ {command}\n{}", typed(&project, command)));
            }
            new.push_str("```\n");
        }
    }
    assert!(commands >= 20, "only {commands} commands");
    if blesses() {
        fs::write(&file, new).expect("the docs can be written");
    } else {
        assert_eq!(new, docs, "BLESS=1 writes it anew");
    }
}

/// What a command line of the docs prints: variables before it, and `| grep TEXT` after it.
fn typed(project: &Project, line: &str) -> String {
    let (line, wanted) = line.split_once(" | grep ").unwrap_or((line, ""));
    let mut words = line.split_whitespace().peekable();
    let mut variables = Vec::new();
    while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
        variables.push((name, value));
        words.next();
    }
    assert_eq!(words.next(), Some("exphost"), "{line}");
    let mut command = project.command(words);
    let output = command.envs(variables).output().expect("the binary can be started");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = text.replace(&format!("{}/", project.path().display()), "");
    let wanted = wanted.trim_matches('\'');
    text.lines().filter(|line| line.contains(wanted)).map(|line| format!("{line}\n")).collect()
}
