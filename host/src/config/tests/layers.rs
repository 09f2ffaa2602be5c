//! How layers make one configuration.

use super::*;

#[test]
fn an_empty_file_gives_the_defaults() {
    let expected = serde_json::to_value(Config::default()).expect("a JSON value");
    assert_eq!(good("", &[], &[]), expected);
    assert_eq!(good("[zmq]\n[camera]\n[zmq.publisher]\n[exphost]\n", &[], &[]), expected);
}

#[test]
fn tables_merge_and_lists_replace() {
    let value = good(
        "tags = [\"b\", \"c\"]\n[camera]\nfps = 15\n[zmq.publisher]\ndefault_topic = \"x\"\n",
        &[],
        &[],
    );
    assert_eq!(value["tags"], json!(["b", "c"]));
    assert_eq!(value["camera"], json!({"fps": 15, "name": "front", "auto": true, "roi": null}));
    assert_eq!(value["zmq"]["publisher"]["port"], 5600);
    assert_eq!(value["zmq"]["publisher"]["default_topic"], "x");
}

#[test]
fn a_table_that_was_absent_gets_its_own_defaults() {
    let value = good("[backup]\nfps = 5\n[zmq.subscriber]\n[workers.left]\nfps = 1", &[], &[]);
    assert_eq!(value["backup"], json!({"fps": 5, "name": "front", "auto": true, "roi": null}));
    assert_eq!(value["workers"]["left"]["fps"], 1);
    assert_eq!(value["zmq"]["subscriber"]["bind"], false);
    assert_eq!(value["zmq"]["subscriber"]["address"], "tcp://localhost");
}

#[test]
fn another_alternative_replaces_the_default_one() {
    let value = good("source = {kind = \"file\", path = \"a.png\", looping = true}", &[], &[]);
    assert_eq!(value["source"], json!({"kind": "file", "path": "a.png", "looping": true}));
    let value = good("source.device = 3", &[], &[]);
    assert_eq!(value["source"], json!({"kind": "camera", "device": 3}));
}

#[test]
fn each_layer_wins_over_those_below() {
    let variables = [("EXPERIMANCE_CAMERA_FPS", "20")];
    let fps = |value: Value| value["camera"]["fps"].clone();
    assert_eq!(fps(good("", &[], &[])), 30);
    assert_eq!(fps(good("camera.fps = 10", &[], &[])), 10);
    assert_eq!(fps(good("camera.fps = 10", &variables, &[])), 20);
    assert_eq!(fps(good("camera.fps = 10", &variables, &["core.camera.fps=40"])), 40);
    assert_eq!(fps(good("", &variables, &["other.camera.fps=40"])), 20);
    // The other keys of the table stay.
    assert_eq!(good("", &variables, &["core.camera.auto=no"])["camera"]["name"], "front");
}

#[test]
fn text_is_converted_by_the_type_of_the_field() {
    let value = good(
        "",
        &[
            ("EXPERIMANCE_CAMERA_AUTO", "0"),
            ("EXPERIMANCE_CAMERA_FPS", "1"),
            ("EXPERIMANCE_CAMERA_NAME", "1"),
            ("EXPERIMANCE_CAMERA_ROI", "[1, 2]"),
            ("EXPERIMANCE_WORK_INTERVAL", "2"),
            ("EXPERIMANCE_RETRIES", " 3 "),
            ("EXPERIMANCE_STYLE", "morph"),
            ("EXPERIMANCE_ZMQ_SUBSCRIBER", "{\"topics\": [\"t\"], \"port\": 6000}"),
            ("EXPERIMANCE_ZMQ_SUBSCRIBER_PORT", "6001"),
        ],
        &["core.tags=['x', \"y\"]", "core.offset=-5", "core.extra=plain", "core.workers.new.fps=2"],
    );
    assert_eq!(value["camera"], json!({"fps": 1, "name": "1", "auto": false, "roi": [1, 2]}));
    assert_eq!(value["work_interval"], 2);
    assert_eq!(value["retries"], 3);
    assert_eq!(value["style"], "morph");
    assert_eq!(value["tags"], json!(["x", "y"]));
    assert_eq!(value["offset"], -5);
    assert_eq!(value["extra"], "plain");
    assert_eq!(value["workers"]["new"]["fps"], 2);
    assert_eq!(value["zmq"]["subscriber"]["topics"], json!(["t"]));
    assert_eq!(value["zmq"]["subscriber"]["port"], 6001);
}

#[test]
fn a_variable_reaches_into_maps_that_are_there() {
    let variables = [("EXPERIMANCE_WORKERS_LEFT_FPS", "7")];
    assert_eq!(good("[workers.left]\nfps = 1", &variables, &[])["workers"]["left"]["fps"], 7);
    let resolved = resolve_with(&manifest(), "", &variables, &[]);
    assert_eq!(resolved.ignored_env, ["EXPERIMANCE_WORKERS_LEFT_FPS"]);
}

#[test]
fn other_variables_are_ignored() {
    let variables = [
        ("EXPERIMANCE_API_TOKEN", "secret"),
        ("EXPERIMANCE_ENV", "production"),
        ("EXPERIMANCE_LOG_LEVEL", "debug"),
        ("WORK_INTERVAL", "5"),
    ];
    let resolved = resolve_with(&manifest(), "", &variables, &[]);
    assert_eq!(resolved.problems, []);
    assert_eq!(resolved.ignored_env, ["EXPERIMANCE_API_TOKEN"]);
    assert_eq!(resolved.value["work_interval"], 1.0);
}

#[test]
fn every_value_knows_where_it_came_from() {
    let resolved = resolve_with(
        &manifest(),
        "work_interval = 2.0\n[camera]\nfps = 10\n",
        &[("EXPERIMANCE_CAMERA_NAME", "n")],
        &["core.tags=[\"z\"]"],
    );
    let origin = |text: &str| resolved.origins.get(&resolved.origins.path_of(text)).clone();
    assert!(matches!(
        origin("camera.fps"),
        Origin::File { key: Position { line: 3, column: 1 }, .. }
    ));
    assert_eq!(origin("camera.name"), Origin::Env { name: "EXPERIMANCE_CAMERA_NAME".to_owned() });
    assert_eq!(origin("tags[0]"), Origin::Set { argument: "core.tags".to_owned() });
    assert_eq!(origin("camera.auto"), Origin::Default);
}
