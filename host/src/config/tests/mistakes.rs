//! Every mistake, told word for word.

use super::*;

#[test]
fn wrong_values_are_named_with_their_place() {
    check("work_interval = 0.01", &["?"]);
    check("work_interval = \"fast\"", &["?"]);
    check("retries = 70000", &["?"]);
    check("retries = -1", &["?"]);
    check("camera = 5", &["?"]);
    check("[camera]\nfps = 121\nauto = 1\nname = true\n", &["?"]);
    check("style = \"morf\"", &["?"]);
    check("style = 3", &["?"]);
    check("tags = \"a\"", &["?"]);
    check("tags = [\"a\", 1]", &["?"]);
    check("camera.roi = [1]", &["?"]);
    check("stages = [{fps = 1}, {fps = 0}]", &["?"]);
    check("camera.fps = 2.5", &["?"]);
    check("work_interval = nan", &["?"]);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    check("work_intervall = 1", &["?"]);
    check("[camera]\nfsp = 10\n", &["?"]);
    check("[zmq.publisher]\nprot = 10\n[zmq.subscriber]\nqqq = 1\n", &["?"]);
    check("[backup]\nfsp = 10\n", &["?"]);
    check("[workers.left]\nfsp = 10\n", &["?"]);
    check("source.devcie = 10\n", &["?"]);
}

#[test]
fn what_an_option_holds_is_checked_like_anything_else() {
    check(
        "[zmq.publisher]\nport = 80\naddress = \"udp://x\"\n[zmq.subscriber]\ntopics = \"t\"",
        &["?"],
    );
    check("source = {kind = \"flie\", path = \"x\"}", &["?"]);
    check("source = {kind = \"file\", path = 3}", &["?"]);
    check("zmq.publisher = 5", &["?"]);
}

#[test]
fn all_mistakes_are_told_in_one_run() {
    check("work_interval = 0\nbroken =\n[exphost]\nplugn = \"x\"\n[camera]\nfps = 0\n", &["?"]);
}

#[track_caller]
fn check_needy(toml: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let manifest = manifest_of::<Needy>(Value::Null);
    assert_told(&told(&resolve_with(&manifest, toml, variables, &[])), expected);
}

#[test]
fn what_is_missing_is_asked_for() {
    let manifest = manifest_of::<Needy>(Value::Null);
    check_needy("", &[], &["?"]);
    check_needy("", &[("EXPERIMANCE_NAME", "you")], &[]);
    check_needy("name = \"x\"\n[inner]\n", &[], &["?"]);
    check_needy("name = \"x\"\n", &[("EXPERIMANCE_INNER", "{}")], &["?"]);
    // The line that does not parse may be the one with the name.
    check_needy("name = you\n", &[], &["?"]);
    // Defaults of single keys hold, even though there are none for the whole.
    let resolved = resolve_with(&manifest, "name = \"x\"", &[], &[]);
    assert_eq!(resolved.value["camera"]["fps"], 30);
}

#[test]
fn mistakes_outside_of_files_name_the_variable_or_argument() {
    check_outside(&[("EXPERIMANCE_WORK_INTERVAL", "0.01")], &[], &["?"]);
    check_outside(&[("EXPERIMANCE_WORK_INTERVAL", "soon")], &[], &["?"]);
    check_outside(&[("EXPERIMANCE_CAMERA_AUTO", "")], &[], &["?"]);
    check_outside(&[("EXPERIMANCE_CAMERA", "{\"fsp\": 3}")], &[], &["?"]);
    check_outside(&[("EXPERIMANCE_TAGS", "a,b")], &[], &["?"]);
    check_outside(&[("EXPERIMANCE_ZMQ_PUBLISHER_ADDRESS", "secret")], &[], &["?"]);
    check_outside(&[("EXPERIMANCE_RETRIES", "99999999999999999999")], &[], &["?"]);
    check_outside(&[], &["core.camera.fps=0"], &["?"]);
    check_outside(&[], &["core.camera.fsp=1"], &["?"]);
    check_outside(&[], &["core.camera.fps.x=1"], &["?"]);
    check_outside(&[], &["core.exphost.enabled=no"], &["?"]);
    check_outside(&[], &["core.camera.fps=many"], &["?"]);
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
    assert_told(&told(&resolve_with(&manifest, "", &variables, &[])), &["?"]);
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
        })
    );
    for odd in ["", "core", "core=1", "core.=1", ".a=1", "core.a b=1", "core.a\nb=1"] {
        assert!(parse(odd).is_err(), "{odd:?}");
    }
    assert_told(&[parse("core=1").unwrap_err()], &["?"]);
    let lost = parse("cora.a=1").expect("a good argument");
    let problems = overrides_of_no_service(&[lost], &["core", "audio"]);
    assert_told(&[problems[0].to_string()], &["?"]);
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
