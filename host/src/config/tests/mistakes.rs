//! Every mistake, told word for word.

use super::*;

#[test]
fn wrong_values_are_named_with_their_place() {
    check(
        "work_interval = 0.01",
        &[
            "core.toml:1:17: error: work_interval: must be at least 0.1, is 0.01\n  hint: use 0.1 or more (Work loop interval in seconds)",
        ],
    );
    check(
        "work_interval = \"fast\"",
        &[
            "core.toml:1:17: error: work_interval: expected a number, found text\n  hint: write the number without quotes (Work loop interval in seconds)",
        ],
    );
    check(
        "retries = 70000",
        &[
            "core.toml:1:11: error: retries: must be at most 65535, is 70000\n  hint: use 0 to 65535",
        ],
    );
    check(
        "retries = -1",
        &["core.toml:1:11: error: retries: must be at least 0, is -1\n  hint: use 0 to 65535"],
    );
    check(
        "camera = 5",
        &[
            "core.toml:1:10: error: camera: expected a table, found the number 5\n  hint: write a table: [its.key] on a line of its own, or { key = … }",
        ],
    );
    check(
        "[camera]\nfps = 121\nauto = 1\nname = true\n",
        &[
            "core.toml:2:7: error: camera.fps: must be at most 120, is 121\n  hint: use 1 to 120 (Pictures a second)",
            "core.toml:3:8: error: camera.auto: expected true or false, found the number 1\n  hint: write true or false, without quotes",
            "core.toml:4:8: error: camera.name: expected text, found true\n  hint: put the text in quotes: \"…\"",
        ],
    );
    check(
        "style = \"morf\"",
        &[
            "core.toml:1:9: error: style: must be `morph` or `dissolve`, is `morf`\n  hint: did you mean `morph`? (How pictures are made)",
        ],
    );
    check(
        "style = 3",
        &[
            "core.toml:1:9: error: style: expected text, found the number 3\n  hint: put the text in quotes: \"…\" (How pictures are made)",
        ],
    );
    check(
        "tags = \"a\"",
        &[
            "core.toml:1:8: error: tags: expected a list, found text\n  hint: write a list: [ …, … ]",
        ],
    );
    check(
        "tags = [\"a\", 1]",
        &[
            "core.toml:1:14: error: tags[1]: expected text, found the number 1\n  hint: put the text in quotes: \"…\"",
        ],
    );
    check("camera.roi = [1]", &["core.toml:1:14: error: camera.roi: must have at least 2 items"]);
    check(
        "stages = [{fps = 1}, {fps = 0}]",
        &[
            "core.toml:1:29: error: stages[1].fps: must be at least 1, is 0\n  hint: use 1 to 120 (Pictures a second)",
        ],
    );
    check(
        "camera.fps = 2.5",
        &[
            "core.toml:1:14: error: camera.fps: expected a whole number, found 2.5\n  hint: write a whole number without quotes or decimals (Pictures a second)",
        ],
    );
    check(
        "camera.fps = 2.0",
        &[
            "core.toml:1:14: error: camera.fps: expected a whole number, found 2.0\n  hint: write a whole number without quotes or decimals (Pictures a second)",
        ],
    );
    check(
        "work_interval = nan",
        &[
            "core.toml:1:17: error: work_interval: is a number that does not fit\n  hint: give a finite number; whole numbers have at most 64 bits",
        ],
    );
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    check(
        "work_intervall = 1",
        &[
            "core.toml:1:1: error: work_intervall: unknown key `work_intervall`\n  hint: did you mean `work_interval`? Known keys: backup, camera, extra, offset, retries, source, stages, style, tags, work_interval, workers, zmq",
        ],
    );
    check(
        "[camera]\nfsp = 10\n",
        &[
            "core.toml:2:1: error: camera.fsp: unknown key `fsp`\n  hint: did you mean `fps`? Known keys: auto, fps, name, roi",
        ],
    );
    check(
        "[zmq.publisher]\nprot = 10\n[zmq.subscriber]\nqqq = 1\n",
        &[
            "core.toml:2:1: error: zmq.publisher.prot: unknown key `prot`\n  hint: did you mean `port`? Known keys: address, bind, default_topic, max_queue_size, numbered, port, socket_options",
            "core.toml:4:1: error: zmq.subscriber.qqq: unknown key `qqq`\n  hint: known keys: address, bind, max_queue_size, port, socket_options, topics, when_full",
        ],
    );
    check(
        "[backup]\nfsp = 10\n",
        &[
            "core.toml:2:1: error: backup.fsp: unknown key `fsp`\n  hint: did you mean `fps`? Known keys: auto, fps, name, roi",
        ],
    );
    check(
        "[workers.left]\nfsp = 10\n",
        &[
            "core.toml:2:1: error: workers.left.fsp: unknown key `fsp`\n  hint: did you mean `fps`? Known keys: auto, fps, name, roi",
        ],
    );
    check(
        "source.devcie = 10\n",
        &[
            "core.toml:1:8: error: source.devcie: unknown key `devcie`\n  hint: did you mean `device`? Known keys: device, kind, looping, path",
        ],
    );
}

#[test]
fn what_an_option_holds_is_checked_like_anything_else() {
    check(
        "[zmq.publisher]\nport = 80\naddress = \"udp://x\"\n[zmq.subscriber]\ntopics = \"t\"",
        &[
            "core.toml:2:8: error: zmq.publisher.port: must be at least 1024, is 80\n  hint: use 1024 to 65535 (TCP port; not used with `ipc` and `inproc`)",
            "core.toml:3:11: error: zmq.publisher.address: must match the pattern `^(tcp|ipc|inproc)://.+$`, is `udp://x`\n  hint: Transport and host: `tcp://*`, `tcp://localhost`, `tcp://10.0.0.5`, `ipc://…`, `inproc://…`",
            "core.toml:5:10: error: zmq.subscriber.topics: expected a list, found text\n  hint: write a list: [ …, … ] (Topic prefixes to subscribe to; an empty string, or `*`, subscribes to everything)",
        ],
    );
    check(
        "source = {kind = \"flie\", path = \"x\"}",
        &[
            "core.toml:1:18: error: source.kind: must be `camera` or `file`, is `flie`\n  hint: did you mean `file`?",
        ],
    );
    check(
        "source = {kind = \"file\", looping = false, path = 3}",
        &[
            "core.toml:1:50: error: source.path: expected text, found the number 3\n  hint: put the text in quotes: \"…\"",
        ],
    );
    check(
        "source = 3",
        &[
            "core.toml:1:10: error: source: expected a table, found the number 3\n  hint: write a table: [its.key] on a line of its own, or { key = … }",
        ],
    );
    check(
        "zmq.publisher = 5",
        &[
            "core.toml:1:17: error: zmq.publisher: expected a table, found the number 5\n  hint: write a table: [its.key] on a line of its own, or { key = … } (Where the service publishes)",
        ],
    );
}

#[test]
fn all_mistakes_are_told_in_one_run() {
    check(
        "work_interval = 0\nbroken =\n[exphost]\nplugn = \"x\"\n[camera]\nfps = 0\n",
        &[
            "core.toml:1:17: error: work_interval: must be at least 0.1, is 0\n  hint: use 0.1 or more (Work loop interval in seconds)",
            "core.toml:2:9: error: is not TOML: the value is missing\n  hint: write `key = value`, or remove the line",
            "core.toml:4:1: error: exphost.plugn: unknown key `plugn`\n  hint: did you mean `plugin`?",
            "core.toml:6:7: error: camera.fps: must be at least 1, is 0\n  hint: use 1 to 120 (Pictures a second)",
        ],
    );
}

#[track_caller]
fn check_needy(toml: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let manifest = manifest_of::<Needy>(Value::Null);
    assert_told(&told(&resolve_with(&manifest, toml, variables, &[])), expected);
}

#[test]
fn what_is_missing_is_asked_for() {
    let manifest = manifest_of::<Needy>(Value::Null);
    check_needy(
        "",
        &[],
        &[
            "core.toml: error: missing key `name`, which has no default\n  hint: add `name = …` at the top (Who is greeted)",
        ],
    );
    check_needy("", &[("EXPERIMANCE_NAME", "you")], &[]);
    check_needy(
        "name = \"x\"\n[inner]\n",
        &[],
        &[
            "core.toml:2:2: error: inner: missing key `key`, which has no default\n  hint: add `key = …` to [inner]",
        ],
    );
    check_needy(
        "name = \"x\"\n",
        &[("EXPERIMANCE_INNER", "{}")],
        &[
            "error: core.inner: missing key `key`, which has no default (from EXPERIMANCE_INNER)\n  hint: add `key = …` to [inner]",
        ],
    );
    // The line that does not parse may be the one with the name.
    check_needy(
        "name = you\n",
        &[],
        &[
            "core.toml:1:8: error: is not TOML: text must stand in quotes\n  hint: write `key = \"text\"`; true and false have no quotes",
        ],
    );
    // Defaults of single keys hold, even though there are none for the whole.
    let resolved = resolve_with(&manifest, "name = \"x\"", &[], &[]);
    assert_eq!(resolved.value["camera"]["fps"], 30);
}

#[test]
fn mistakes_outside_of_files_name_the_variable_or_argument() {
    check_outside(
        &[("EXPERIMANCE_WORK_INTERVAL", "0.01")],
        &[],
        &[
            "error: core.work_interval: must be at least 0.1, is 0.01 (from EXPERIMANCE_WORK_INTERVAL)\n  hint: use 0.1 or more (Work loop interval in seconds)",
        ],
    );
    check_outside(
        &[("EXPERIMANCE_WORK_INTERVAL", "soon")],
        &[],
        &[
            "error: core.work_interval: expected a number, is `soon` (from EXPERIMANCE_WORK_INTERVAL)\n  hint: use a finite number, with a point for decimals",
        ],
    );
    check_outside(
        &[("EXPERIMANCE_CAMERA_AUTO", "")],
        &[],
        &[
            "error: core.camera.auto: expected true or false, is empty (from EXPERIMANCE_CAMERA_AUTO)\n  hint: use true, yes, 1, on or false, no, 0, off",
        ],
    );
    check_outside(
        &[("EXPERIMANCE_CAMERA", "{\"fsp\": 3}")],
        &[],
        &[
            "error: core.camera.fsp: unknown key `fsp` (from EXPERIMANCE_CAMERA)\n  hint: did you mean `fps`? Known keys: auto, fps, name, roi",
        ],
    );
    check_outside(
        &[("EXPERIMANCE_TAGS", "a,b")],
        &[],
        &[
            "error: core.tags: expected a list, is `a,b` (from EXPERIMANCE_TAGS)\n  hint: write a JSON list: [\"a\", \"b\"]",
        ],
    );
    check_outside(
        &[("EXPERIMANCE_ZMQ_PUBLISHER_ADDRESS", "secret")],
        &[],
        &[
            "error: core.zmq.publisher.address: must match the pattern `^(tcp|ipc|inproc)://.+$` (from EXPERIMANCE_ZMQ_PUBLISHER_ADDRESS)\n  hint: Transport and host: `tcp://*`, `tcp://localhost`, `tcp://10.0.0.5`, `ipc://…`, `inproc://…`",
        ],
    );
    check_outside(
        &[("EXPERIMANCE_RETRIES", "99999999999999999999")],
        &[],
        &[
            "error: core.retries: expected a whole number, is `99999999999999999999` (from EXPERIMANCE_RETRIES)\n  hint: use a whole number that fits 64 bits",
        ],
    );
    check_outside(
        &[],
        &["core.camera.fps=0"],
        &[
            "error: core.camera.fps: must be at least 1, is 0 (from --set core.camera.fps)\n  hint: use 1 to 120 (Pictures a second)",
        ],
    );
    check_outside(
        &[],
        &["core.camera.fsp=1"],
        &[
            "error: core.camera.fsp: unknown key `fsp` (from --set core.camera.fsp)\n  hint: did you mean `fps`? Known keys: auto, fps, name, roi",
        ],
    );
    check_outside(
        &[],
        &["core.camera.fps.x=1"],
        &[
            "error: core.camera.fps.x: unknown key `x` (from --set core.camera.fps.x)\n  hint: `camera.fps` has no keys of its own",
        ],
    );
    check_outside(
        &[],
        &["core.exphost.enabled=no"],
        &[
            "error: core.exphost.enabled: unknown key `exphost` (from --set core.exphost.enabled)\n  hint: the [exphost] table can be set in the service's file only",
        ],
    );
    check_outside(
        &[],
        &["core.camera.fps=many"],
        &[
            "error: core.camera.fps: expected a whole number, is `many` (from --set core.camera.fps)\n  hint: use a whole number that fits 64 bits",
        ],
    );
}

#[test]
fn a_variable_that_could_mean_two_keys_is_refused() {
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    #[derive(Default)]
    struct Twofold {
        camera_fps: u8,
        camera: Camera,
    }
    let manifest = manifest_of::<Twofold>(json!({}));
    let variables = [("EXPERIMANCE_CAMERA_FPS", "3")];
    assert_told(
        &told(&resolve_with(&manifest, "", &variables, &[])),
        &[
            "error: core: EXPERIMANCE_CAMERA_FPS could mean `camera.fps` or `camera_fps`\n  hint: unset the variable and set the key in the file or with --set",
        ],
    );
}

#[test]
fn an_override_names_an_existing_service() {
    let parse = |text| Override::parse(text).map_err(|problem| problem.to_string());
    assert_eq!(
        parse("core.a.\"b.c\"=x=y"),
        Ok(Override {
            service: "core".to_owned(),
            path: KeyPath::of_keys(["a", "b.c"]),
            text: "x=y".to_owned(),
            flag: None,
        })
    );
    for odd in ["", "core", "core=1", "core.=1", ".a=1", "core.a b=1", "core.a\nb=1"] {
        assert!(parse(odd).is_err(), "{odd:?}");
    }
    assert_told(
        &[parse("core=1").unwrap_err()],
        &[
            "error: `--set core=1` has not the form service.key=value\n  hint: for example: --set heartbeat.work_interval=0.5",
        ],
    );
    let lost = parse("cora.a=1").expect("a good argument");
    let problems = overrides_of_no_service(&[lost], &["core", "audio"]);
    assert_told(
        &[problems[0].to_string()],
        &[
            "error: cora.a: there is no service `cora` (from --set cora.a)\n  hint: did you mean `core`? Known services: core, audio",
        ],
    );
}

/// A configuration with secrets wherever there can be one.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is of interest")]
struct Guarded {
    token: plugin_api::Secret,
    keys: Vec<plugin_api::Secret>,
    last: Login,
    logins: Vec<Login>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is of interest")]
struct Login {
    user: String,
    password: plugin_api::Secret,
}

#[test]
fn nothing_is_shown_of_a_secret_wherever_it_stands() {
    let toml = "token = 4711\nkeys = [\"a\", 4711]\nlast = {user = 1, password = \"4711\"}\n\
                [[logins]]\nuser = 1\npassword = 4711\n";
    let resolved = resolve_with(&manifest_of::<Guarded>(Value::Null), toml, &[], &[]);
    let told: Vec<_> = resolved.problems.iter().map(|it| it.with_line(toml)).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told.iter().all(|it| !it.contains("4711")), "{told:?}");
    assert!(told[3].contains("5 | user = 1"), "a line without one is shown: {told:?}");
}

#[test]
fn problems_of_the_plugins_type_find_their_place() {
    let resolved = resolve_with(&manifest(), "[camera]\nfps = 0\nname = \"x\"\n", &[], &[]);
    let found = |key: &str, message: &str| ConfigProblem {
        key: key.to_owned(),
        message: message.to_owned(),
    };
    let problems = problems_from_plugin(
        &[
            found("camera.fps", "zero"),
            found("camera", "something in it"),
            found("camera.name", "must not\nbe x"),
            found("camera.name", "must not be x"),
            found("", "cannot be read"),
        ],
        &resolved.origins,
        &resolved.problems,
    );
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["core.toml:3:8: error: camera.name: must not be x"]);
    let whole = problems_from_plugin(&[found("", "cannot be read")], &resolved.origins, &[]);
    assert_eq!(whole[0].to_string(), "core.toml: error: cannot be read");
}
