//! Projects in temporary folders, and every problem that is told of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::settings::{BusSettings, ControlSettings, LogFormat, ReloadSettings, StatsSettings};
use super::*;
use crate::config::supervision::{Given, Restart, Supervision};

/// A folder of projects with these files; a name that ends in `/` is a folder.
fn projects(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        let path = directory.path().join("projects").join(name);
        let folder = if name.ends_with('/') { &*path } else { path.parent().expect("a parent") };
        std::fs::create_dir_all(folder).expect("a folder");
        if !name.ends_with('/') {
            std::fs::write(&path, text).expect("a file");
        }
    }
    directory
}

fn places(directory: &TempDir) -> Places {
    Places::new(directory.path().join("projects"))
}

fn env(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(directory: &TempDir, name: &str, variables: &[(&str, &str)]) -> Project {
    let name = ProjectName::parse(name).expect("a name");
    Project::read(&places(directory), &name, &env(variables))
}

fn names(project: &Project) -> Vec<&str> {
    project.services.iter().map(|service| service.name.as_str()).collect()
}

/// The problems, with files as seen from the temporary directory.
fn told(directory: &TempDir, problems: &[Problem]) -> Vec<String> {
    let prefix = format!("{}/", directory.path().display());
    problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

#[track_caller]
fn assert_told(found: &[String], expected: &[&str]) {
    assert_eq!(found, expected);
}

#[test]
fn the_project_is_named_by_the_first_that_speaks() {
    let with_file = projects(&[(".project", " filed/quiet \n")]);
    let choose = |directory: &TempDir, given: Option<&str>, variables: &[(&str, &str)]| {
        let folder = directory.path().join("projects");
        ProjectName::choose(given, &env(variables), &folder).map(|name| name.to_string())
    };
    let variable = [("PROJECT_ENV", "from_env")];
    assert_eq!(choose(&with_file, Some("given"), &variable).as_deref(), Ok("given"));
    assert_eq!(choose(&with_file, None, &variable).as_deref(), Ok("from_env"));
    assert_eq!(choose(&with_file, None, &[("PROJECT_ENV", "")]).as_deref(), Ok("filed/quiet"));
    assert_eq!(choose(&projects(&[]), None, &[]).as_deref(), Ok("experimance"));
    let problem = choose(&with_file, None, &[("PROJECT_ENV", "../x")]).unwrap_err();
    assert_told(
        &[problem.to_string()],
        &[
            "error: PROJECT_ENV: `../x` is not a name of a project\n  hint: write `project` or `project/variant`; names have letters, digits, `_`, `-` and `.`, and begin with a letter, a digit or `_`",
        ],
    );
    let bad = projects(&[(".project", "a b")]);
    let problem = choose(&bad, None, &[]).unwrap_err();
    assert_told(
        &told(&bad, &[*problem]),
        &[
            "projects/.project: error: `a b` is not a name of a project\n  hint: write `project` or `project/variant`; names have letters, digits, `_`, `-` and `.`, and begin with a letter, a digit or `_`",
        ],
    );
}

#[test]
fn a_name_never_leads_out_of_the_folder() {
    let good = ["a", "a/b", "_a", "a-1.2/b_c", "ü"];
    let odd = ["", "/", "a/", "/a", "a/b/c", "..", "a/..", ".", ".a", "a b", "a\\b", "a\0"];
    for name in good {
        assert_eq!(ProjectName::parse(name).map(|name| name.to_string()).as_deref(), Ok(name));
    }
    for name in odd {
        assert!(ProjectName::parse(name).is_err(), "{name:?}");
    }
}

#[test]
fn an_unknown_project_or_variant_is_told_with_those_there_are() {
    let directory = projects(&[("experimance/quiet/", ""), ("other/", ""), (".hidden/", "")]);
    let check = |name: &str| told(&directory, &read(&directory, name, &[]).problems);
    assert_told(
        &check("experimence"),
        &[
            "projects/experimence: error: there is no project `experimence`\n  hint: did you mean `experimance`? Known projects: experimance, other",
        ],
    );
    assert_told(
        &check("nothing"),
        &[
            "projects/nothing: error: there is no project `nothing`\n  hint: known projects: experimance, other",
        ],
    );
    assert_told(
        &check("experimance/quite"),
        &[
            "projects/experimance/quite: error: project `experimance` has no variant `quite`\n  hint: did you mean `quiet`?",
        ],
    );
    assert_told(
        &check("other/quiet"),
        &[
            "projects/other/quiet: error: project `other` has no variant `quiet`\n  hint: it has no variants; name the project alone",
        ],
    );
    assert_eq!(check("experimance/quiet"), [] as [&str; 0]);
}

#[test]
fn files_of_the_variant_come_first_and_those_of_services_last() {
    let directory = projects(&[
        ("p/v/core.toml", ""),
        ("p/core.toml", ""),
        ("p/audio.toml", ""),
        ("../services/audio/config.toml", ""),
        ("../services/display/config.toml", ""),
    ]);
    let check = |name: &str, service: &str| {
        let name = ProjectName::parse(name).expect("a name");
        let (file, exists) = places(&directory).service_file(&name, service);
        let file = file.strip_prefix(directory.path()).expect("a file in the directory").to_owned();
        (file.display().to_string(), exists)
    };
    assert_eq!(check("p/v", "core"), ("projects/p/v/core.toml".to_owned(), true));
    assert_eq!(check("p", "core"), ("projects/p/core.toml".to_owned(), true));
    assert_eq!(check("p/v", "audio"), ("projects/p/audio.toml".to_owned(), true));
    assert_eq!(check("p/v", "display"), ("services/display/config.toml".to_owned(), true));
    assert_eq!(check("p/v", "none"), ("projects/p/none.toml".to_owned(), false));
}

#[test]
fn the_services_are_those_with_a_file_or_those_named() {
    let directory = projects(&[
        ("p/core.toml", ""),
        ("p/exphost.toml", ""),
        ("p/.#core.toml", ""),
        ("p/notes.txt", ""),
        ("p/folder.toml/", ""),
        ("p/my service.toml", ""),
        ("p/v/extra.toml", ""),
    ]);
    assert_eq!(names(&read(&directory, "p", &[])), ["core"]);
    let variant = read(&directory, "p/v", &[]);
    assert_eq!(names(&variant), ["core", "extra"]);
    assert_told(
        &told(&directory, &variant.problems),
        &[
            "projects/p/my service.toml: warning: is left out: its name is not a name of a service\n  hint: names have letters, digits, `_`, `-` and `.`, and begin with a letter, a digit or `_`",
        ],
    );
    let named = read(&directory, "p", &[("SERVICES", " b, core ,,b, ../x")]);
    assert_eq!(names(&named), ["b", "core"]);
    assert!(!named.services[0].exists && named.services[1].exists);
    assert_told(
        &told(&directory, &named.problems),
        &[
            "error: SERVICES: `../x` is not a name of a service\n  hint: names have letters, digits, `_`, `-` and `.`, and begin with a letter, a digit or `_`",
        ],
    );
}

#[test]
fn files_of_python_services_are_left_alone() {
    let directory = projects(&[
        ("p/core.toml", "mode = 1"),
        ("p/agent.toml", "broken ="),
        ("p/ours.toml", "[exphost]\nplugin = \"our\"\n"),
        ("p/wrong.toml", "[exphost]\nplugin = \"cor\"\n"),
        ("p/off.toml", "[exphost]\nenabled = false\nplugin = \"lost\"\n"),
    ]);
    let project = read(&directory, "p", &[]);
    let (ours, problems) = project.services_of_host(&["core", "our"]);
    assert_eq!(ours.iter().map(|service| &*service.name).collect::<Vec<_>>(), ["core", "ours"]);
    assert_told(
        &told(&directory, &problems),
        &[
            "projects/p/agent.toml: warning: no plugin `agent`; taken for the file of a service that exphost does not run\n  hint: if exphost is to run it, build its plugin and give the file a table [exphost]",
            "projects/p/wrong.toml:2:10: error: exphost.plugin: service `wrong` needs the plugin `cor`, which is not there\n  hint: did you mean `core`? Known plugins: core, our",
        ],
    );

    let project = read(&directory, "p", &[("SERVICES", "core,agent,off,nofile,other")]);
    let (ours, problems) = project.services_of_host(&["core", "nofile"]);
    assert_eq!(ours.iter().map(|service| &*service.name).collect::<Vec<_>>(), ["core", "nofile"]);
    assert_told(
        &told(&directory, &problems),
        &[
            "projects/p/agent.toml: error: service `agent` needs the plugin `agent`, which is not there\n  hint: known plugins: core, nofile",
            "projects/p/agent.toml:1:9: error: is not TOML: the value is missing\n  hint: write `key = value`, or remove the line",
            "projects/p/off.toml:2:11: warning: exphost.enabled: `off` is named in SERVICES but not enabled; it does not run\n  hint: set `enabled = true`, or do not name it",
            "projects/p/nofile.toml: warning: `nofile` has no configuration file and uses its defaults\n  hint: create the file to configure it",
            "projects/p/other.toml: error: there is no service `other`: it has neither a file nor a plugin\n  hint: known services and plugins: agent, core, nofile, off, ours, wrong",
        ],
    );
}

#[test]
fn the_hosts_file_is_read_and_the_variant_has_the_last_word() {
    let directory = projects(&[
        (
            "p/exphost.toml",
            "plugins_dir = \"../plugins\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\n\
             directory = \"/logs\"\n[bus]\nlinger = 0.5\nhigh_water_mark = 0\nmailbox_messages = 7\n\
             [defaults]\nstop_timeout = 2\n",
        ),
        (
            "p/v/exphost.toml",
            "plugins_dir = \"mine\"\n[log]\nlevel = \"Warning\"\nconsole = false\n",
        ),
        ("empty/", ""),
    ]);
    let settings = |name: &str| {
        let project = read(&directory, name, &[]);
        assert_eq!(told(&directory, &project.problems), [] as [&str; 0]);
        project.settings
    };
    let plain = settings("p");
    let folder = directory.path().join("projects/p");
    assert_eq!(plain.plugins_dir, Some(folder.join("../plugins")));
    assert_eq!(plain.log.level.as_deref(), Some("DEBUG"));
    assert_eq!((plain.log.format, plain.log.console), (LogFormat::Json, None));
    assert_eq!(plain.log.directory.as_deref(), Some(Path::new("/logs")));
    let bus = BusSettings {
        linger: Some(Duration::from_millis(500)),
        high_water_mark: Some(0),
        mailbox_messages: Some(7),
        ..BusSettings::default()
    };
    assert_eq!(plain.bus, bus);
    assert_eq!(plain.defaults.stop_timeout, Duration::from_secs(2));
    assert_eq!(plain.defaults.start_timeout, Duration::from_secs(30));

    let variant = settings("p/v");
    assert_eq!(variant.plugins_dir, Some(folder.join("v/mine")));
    assert_eq!(variant.log.level.as_deref(), Some("WARNING"));
    assert_eq!((variant.log.format, variant.log.console), (LogFormat::Json, Some(false)));
    assert_eq!(variant.bus, bus);
    assert_eq!(settings("empty"), HostSettings::default());
}

#[test]
fn mistakes_in_the_hosts_file_are_told_all_at_once() {
    let directory = projects(&[
        (
            "p/exphost.toml",
            "plugin_dir = \"x\"\n[log]\nlevel = \"loud\"\nformat = \"xml\"\n[bus]\nio_threads = 0\n\
             linger = -1\n[defaults]\nstop_timeout = 0\n[http]\nport = 80\n",
        ),
        ("p/v/exphost.toml", "[log]\nlevel = 5\nconsole =\n"),
    ]);
    assert_told(
        &told(&directory, &read(&directory, "p", &[]).problems),
        &[
            "projects/p/exphost.toml:10:2: error: http: [http] is not available in this version of exphost\n  hint: remove the table",
            "projects/p/exphost.toml:1:1: error: plugin_dir: unknown key `plugin_dir`\n  hint: did you mean `plugins_dir`? Known keys: bus, control, defaults, health, log, plugins_dir, reload, stats",
            "projects/p/exphost.toml:3:9: error: log.level: must be `TRACE`, `DEBUG`, `INFO`, `WARN`, `WARNING`, `ERROR` or `CRITICAL`, is `loud`",
            "projects/p/exphost.toml:4:10: error: log.format: must be `text` or `json`, is `xml`",
            "projects/p/exphost.toml:6:14: error: bus.io_threads: must be at least 1, is 0\n  hint: use 1 to 64 (Threads of ZeroMQ itself)",
            "projects/p/exphost.toml:7:10: error: bus.linger: must be at least 0, is -1\n  hint: use 0 to 3600 (Seconds that unsent messages are kept when the host stops)",
            "projects/p/exphost.toml:9:16: error: defaults.stop_timeout: must be more than 0, is 0\n  hint: Seconds a service may take to stop",
        ],
    );
    let variant = read(&directory, "p/v", &[]);
    assert_told(
        &told(&directory, &variant.problems)[..2],
        &[
            "projects/p/v/exphost.toml:3:10: error: is not TOML: the value is missing\n  hint: write `key = value`, or remove the line",
            "projects/p/exphost.toml:10:2: error: http: [http] is not available in this version of exphost\n  hint: remove the table",
        ],
    );
    assert_eq!(variant.settings, HostSettings::default());
}

#[test]
fn how_services_are_looked_after_is_set_for_all_of_them() {
    let directory = projects(&[
        (
            "p/exphost.toml",
            "[defaults]\nrestart = \"always\"\nretry_every = 300\nsnapshot_every = 0\n",
        ),
        (
            "bad/exphost.toml",
            "[defaults]\nrestart_delay = 9\nrestart_delay_max = 3\nready = \"soon\"\n",
        ),
    ]);
    let project = read(&directory, "p", &[]);
    assert_eq!(project.problems, []);
    let all = Supervision::of(&Given::default(), &project.settings.defaults.supervision);
    assert_eq!((all.restart, all.snapshot_every), (Restart::Always, None));
    assert_eq!(all.retry_every, Some(Duration::from_secs(300)));
    assert_told(
        &told(&directory, &read(&directory, "bad", &[]).problems),
        &[
            "projects/bad/exphost.toml:4:9: error: defaults.ready: must be `running` or `reported`, is `soon`",
            "projects/bad/exphost.toml:3:21: error: defaults.restart_delay_max: is 3, less than `restart_delay`, which is 9\n  hint: make it at least as long, or leave it out",
        ],
    );
}

#[test]
fn reloading_and_the_control_socket_are_set_in_the_hosts_file() {
    let directory = projects(&[
        (
            "p/exphost.toml",
            "[reload]\nwatch = true\nsettle = 1\nrescan = 2.5\nprobation = 0\nmax_kept = 3\n\
             [control]\nsocket = \"../run/p.sock\"\n[stats]\ndisplay = true\ninterval = 2.5\n",
        ),
        ("p/v/exphost.toml", "[reload]\nwatch = false\n[control]\nsocket = \"/run/v.sock\"\n"),
        ("empty/", ""),
    ]);
    let settings = |name: &str| {
        let project = read(&directory, name, &[]);
        assert_eq!(told(&directory, &project.problems), [] as [&str; 0]);
        project.settings
    };
    let given = ReloadSettings {
        watch: Some(true),
        settle: Duration::from_secs(1),
        rescan: Duration::from_millis(2500),
        probation: Duration::ZERO,
        max_kept: 3,
    };
    let plain = settings("p");
    assert_eq!(plain.reload, given);
    let socket = directory.path().join("projects/p/../run/p.sock");
    assert_eq!(plain.control, ControlSettings { socket: Some(socket) });

    let variant = settings("p/v");
    assert_eq!(variant.reload, ReloadSettings { watch: Some(false), ..given });
    assert_eq!(variant.control, ControlSettings { socket: Some("/run/v.sock".into()) });

    let stats = StatsSettings { display: true, interval: Duration::from_millis(2500) };
    assert_eq!((plain.stats, variant.stats), (stats, stats));
    let usual = settings("empty").stats;
    assert_eq!(usual, StatsSettings { display: false, interval: Duration::from_secs(60) });

    let usual = settings("empty").reload;
    assert_eq!((usual.watch, usual.max_kept), (None, 200));
    assert_eq!(
        [usual.settle, usual.rescan, usual.probation].map(|it| it.as_secs_f64()),
        [0.25, 1.0, 0.5]
    );
}

#[test]
fn mistakes_about_reloading_are_told() {
    let directory = projects(&[(
        "p/exphost.toml",
        "[reload]\nwatch = \"yes\"\nsettle = 0\nrescan = 1e300\nprobation = -1\nmax_kept = 0\n\
         setle = 1\n[control]\nsocket = \"\"\nport = 80\n",
    )]);
    assert_told(
        &told(&directory, &read(&directory, "p", &[]).problems),
        &[
            "projects/p/exphost.toml:2:9: error: reload.watch: expected true or false, found text\n  hint: write true or false, without quotes",
            "projects/p/exphost.toml:3:10: error: reload.settle: must be at least 0.01, is 0\n  hint: use 0.01 to 60 (Seconds a file must have been left alone before it is looked at)",
            "projects/p/exphost.toml:4:10: error: reload.rescan: must be at most 3600, is 1e+300\n  hint: use 0.05 to 3600 (Seconds between two looks through the folders)",
            "projects/p/exphost.toml:5:13: error: reload.probation: must be at least 0, is -1\n  hint: use 0 to 3600 (Seconds a new build must have run before the old one is let go)",
            "projects/p/exphost.toml:6:12: error: reload.max_kept: must be at least 1, is 0\n  hint: use 1 to 4294967295 (Old builds that may stay mapped)",
            "projects/p/exphost.toml:7:1: error: reload.setle: unknown key `setle`\n  hint: did you mean `settle`? Known keys: max_kept, probation, rescan, settle, watch",
            "projects/p/exphost.toml:9:10: error: control.socket: must not be empty\n  hint: The socket that the host listens on, as seen from this file",
            "projects/p/exphost.toml:10:1: error: control.port: unknown key `port`\n  hint: known keys: socket",
        ],
    );
}

fn order_of(services: &[(&str, &str)]) -> Result<Vec<String>, Vec<String>> {
    let files: Vec<_> = services
        .iter()
        .map(|(name, depends_on)| {
            let text = format!("[exphost]\ndepends_on = [{depends_on}]\n");
            ServiceFile::parse(name, Path::new(&format!("{name}.toml")), &text)
        })
        .collect();
    start_order(&files.iter().collect::<Vec<_>>())
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn services_start_after_those_they_depend_on() {
    let good = |services: &[(&str, &str)]| order_of(services).expect("an order").join(" ");
    assert_eq!(good(&[("a", ""), ("b", ""), ("c", "")]), "a b c");
    assert_eq!(good(&[("a", "'c', 'b'"), ("b", "'c'"), ("c", "")]), "c b a");
    assert_eq!(good(&[("a", "'d'"), ("b", "'d'"), ("c", "'a', 'b'"), ("d", "")]), "d a b c");
    assert_eq!(good(&[]), "");
}

#[test]
fn circles_and_unknown_services_are_refused() {
    let bad = |services: &[(&str, &str)]| order_of(services).expect_err("no order");
    assert_told(
        &bad(&[("a", "'b'"), ("b", "'c'"), ("c", "'b'"), ("d", "")]),
        &[
            "c.toml:2:15: error: exphost.depends_on[0]: services depend on each other in a circle: `b` → `c` → `b`\n  hint: remove one of these from a `depends_on`",
        ],
    );
    assert_told(
        &bad(&[("core", "'cor', 'zzz'"), ("audio", "'coer'")]),
        &[
            "core.toml:2:15: error: exphost.depends_on[0]: `core` depends on `cor`, which is no service that this host runs\n  hint: did you mean `core`? Known services: core, audio",
            "core.toml:2:22: error: exphost.depends_on[1]: `core` depends on `zzz`, which is no service that this host runs\n  hint: known services: core, audio",
            "audio.toml:2:15: error: exphost.depends_on[0]: `audio` depends on `coer`, which is no service that this host runs\n  hint: did you mean `core`? Known services: core, audio",
        ],
    );
}
