//! The endpoints of several services.

use super::*;

fn endpoints_of(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let resolved: Vec<_> = files
        .iter()
        .map(|(name, toml)| {
            let document =
                document::Document::parse(name, Path::new(&format!("{name}.toml")), toml);
            (Value::Object(document.table), document.origins)
        })
        .collect();
    let (endpoints, problems) =
        endpoints::endpoints(resolved.iter().map(|(value, origins)| (value, origins)));
    let endpoints = endpoints.iter().map(|it| {
        let verb = if it.bind { "binds" } else { "connects" };
        format!("{} {} {verb} {}", it.service, it.key, it.endpoint)
    });
    (endpoints.collect(), problems.iter().map(ToString::to_string).collect())
}

#[test]
fn endpoints_are_found_with_their_usual_direction() {
    let (endpoints, problems) = endpoints_of(&[(
        "core",
        "[zmq.publisher]\nport = 5555\n[zmq.subscriber]\nport = 5556\n[zmq.push]\nport = 5557\n\
         [zmq.pull]\nport = 5558\naddress = \"tcp://10.0.0.5\"\n\
         [zmq.workers.image.push]\nport = 5559\nbind = true\n[zmq.workers.image.pull]\n\
         address = \"ipc:///tmp/x\"\n",
    )]);
    assert_eq!(
        endpoints,
        [
            "core zmq.publisher binds tcp://*:5555",
            "core zmq.subscriber connects tcp://localhost:5556",
            "core zmq.push connects tcp://localhost:5557",
            "core zmq.pull binds tcp://10.0.0.5:5558",
            "core zmq.workers.image.push binds tcp://*:5559",
            "core zmq.workers.image.pull binds ipc:///tmp/x",
        ]
    );
    assert_eq!(problems, [] as [&str; 0]);
}

#[test]
fn the_sockets_of_a_controllers_workers_are_known_by_their_defaults() {
    let controller = "[zmq.workers.image]\nmessage_types = [\"RenderRequest\"]\n\
                      [zmq.workers.video.push]\nport = 5564\n\
                      [zmq.workers.video.pull]\nport = 6000\nbind = false\n";
    let (endpoints, problems) = endpoints_of(&[("core", controller)]);
    assert_eq!(
        endpoints,
        [
            "core zmq.workers.image.push binds tcp://*:5564",
            "core zmq.workers.image.pull binds tcp://*:5565",
            "core zmq.workers.video.push binds tcp://*:5564",
            "core zmq.workers.video.pull connects tcp://localhost:6000",
        ]
    );
    assert_eq!(
        problems,
        [
            "core.toml:4:8: error: zmq.workers.video.push.port: `core` binds tcp://*:5564, which `core` (zmq.workers.image.push, core.toml:1:1) binds already\n  hint: give one of them another port, or let one connect with `bind = false`",
        ]
    );
}

#[track_caller]
fn check_pair(a: &str, b: &str, expected: &[&str]) {
    assert_told(&endpoints_of(&[("a", a), ("b", b)]).1, expected);
}

#[test]
fn publishers_may_share_an_endpoint() {
    let publisher = |rest: &str| format!("zmq.publisher = {{port = 5555, {rest}}}");
    let with = |address: &str| publisher(&format!("address = \"{address}\""));
    check_pair("zmq.publisher.port = 5555\n", "zmq.publisher.port = 5555\n", &[]);
    check_pair(&with("tcp://*"), &with("tcp://0.0.0.0"), &[]);
    check_pair(&with("tcp://localhost"), &with("tcp://127.0.0.1"), &[]);
    check_pair(&with("ipc:///run/x"), &with("ipc:///run/x"), &[]);
    check_pair(
        &publisher("socket_options = {SNDHWM = 5, ZMQ_LINGER = 1}"),
        &publisher("max_queue_size = 7, socket_options = {linger = 1, sndhwm = 5}"),
        &[],
    );
    check_pair(
        &publisher("socket_options = {SNDHWM = 5}"),
        &publisher("socket_options = {SNDHWM = 6}"),
        &[
            "b.toml:1:25: error: zmq.publisher.port: `b` binds tcp://*:5555, which `a` (zmq.publisher, a.toml:1:25) binds already with other socket_options\n  hint: publishers that share an endpoint share one ZeroMQ socket: write the same socket_options in both",
        ],
    );
}

#[test]
fn two_services_may_not_bind_one_endpoint() {
    let port = "zmq.publisher.port = 5555\n";
    let pull = "zmq.pull.port = 5555\n";
    check_pair(
        pull,
        pull,
        &[
            "b.toml:1:17: error: zmq.pull.port: `b` binds tcp://*:5555, which `a` (zmq.pull, a.toml:1:17) binds already\n  hint: give one of them another port, or let one connect with `bind = false`",
        ],
    );
    check_pair(
        port,
        "[zmq.pull]\naddress = \"tcp://127.0.0.1\"\nport = 5555\n",
        &[
            "b.toml:3:8: error: zmq.pull.port: `b` binds tcp://127.0.0.1:5555, which `a` (zmq.publisher, a.toml:1:22) as tcp://*:5555 binds already\n  hint: give one of them another port, or let one connect with `bind = false`",
        ],
    );
    let ipc = "[zmq.publisher]\naddress = \"ipc:///run/x\"\nport = 1\n";
    check_pair(
        ipc,
        "[zmq.subscriber]\naddress = \"ipc:///run/x\"\nbind = true\n",
        &[
            "b.toml:2:11: error: zmq.subscriber.address: `b` binds ipc:///run/x, which `a` (zmq.publisher, a.toml:2:11) binds already\n  hint: give one of them another address, or let one connect with `bind = false`",
        ],
    );
    check_pair(port, "zmq.subscriber.port = 5555", &[]);
    check_pair(port, "zmq.publisher = {port = 5555, bind = false}", &[]);
    check_pair(port, "zmq.publisher.port = 5556", &[]);
    let other = |host: &str| format!("zmq.publisher = {{port = 5555, address = \"tcp://{host}\"}}");
    check_pair(&other("10.0.0.1"), &other("10.0.0.2"), &[]);
    check_pair(
        &other("*"),
        &other("127.0.0.1"),
        &[
            "b.toml:1:25: error: zmq.publisher.port: `b` binds tcp://127.0.0.1:5555, which `a` (zmq.publisher, a.toml:1:25) as tcp://*:5555 binds already\n  hint: give one of them another port, or let one connect with `bind = false`",
        ],
    );
    check_pair(
        &other("*:5555"),
        "",
        &[
            "a.toml:1:41: error: zmq.publisher.address: the address `tcp://*:5555` has a port in it\n  hint: write the port as `port = …` and the address without it",
        ],
    );
    check_pair("zmq = 5", "zmq.workers = [1]", &[]);
}

#[test]
fn sockets_of_tables_with_other_names_are_known_by_their_keys() {
    let value = json!({
        "events": {"publisher": {"address": "tcp://*", "port": 5555, "bind": true}},
        "updates": {"subscriber": {"address": "tcp://localhost", "port": 5556, "bind": false}},
        "press": {"publisher": {"address": "12 Fleet Street", "port": "side door"}},
    });
    let (found, problems) = endpoints::endpoints([(&value, &Origins::new("chronicle", "c.toml"))]);
    let told: Vec<_> = found.iter().map(|it| (it.key.as_str(), it.endpoint.as_str())).collect();
    assert_eq!(
        told,
        [("events.publisher", "tcp://*:5555"), ("updates.subscriber", "tcp://localhost:5556")]
    );
    assert_eq!(problems, []);
    let lonely: Vec<_> = endpoints::unbound(&found).iter().map(ToString::to_string).collect();
    assert_eq!(lonely.len(), 1, "{lonely:?}");
    assert!(
        lonely[0].starts_with("warning: chronicle.updates.subscriber: `chronicle` connects to")
    );
}
