//! Peers on bare libzmq.

use std::thread;

use serde_json::json;
use zmq2::{Context, Message, Socket};

use super::{Station, Told, age, stamp, text};

fn tcp(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

fn publisher(context: &Context, endpoint: &str) -> Socket {
    let socket = context.socket(zmq2::PUB).expect("a socket");
    socket.set_sndhwm(0).expect("an option");
    socket.bind(endpoint).expect("the endpoint is free");
    socket
}

fn subscriber(context: &Context, endpoint: &str) -> Socket {
    let socket = context.socket(zmq2::SUB).expect("a socket");
    socket.set_rcvhwm(0).expect("an option");
    socket.set_subscribe(b"").expect("an option");
    socket.connect(endpoint).expect("an address");
    socket
}

fn send(socket: &Socket, frame: &[u8]) {
    socket.send(frame, 0).expect("a publisher can send");
}

fn publish(socket: &Socket, n: u64, frame: &[u8], mark: &[u8]) {
    for _ in 0..n {
        send(socket, frame);
    }
    send(socket, mark);
}

/// One service.
pub(super) fn station(bench: u16, out: u16) {
    let context = Context::new();
    let out = publisher(&context, &tcp(out));
    let bench = subscriber(&context, &tcp(bench));
    let (mut station, mut message) = (Station::default(), Message::new());
    while bench.recv(&mut message, 0).is_ok() {
        match station.told(&message) {
            Told::Counted | Told::Race(_) => {}
            Told::Answer(frame) => send(&out, &frame),
            Told::Numbers { n, frame, mark } => publish(&out, n, &frame, &mark),
        }
    }
}

/// Two services with `inproc` between them.
pub(super) fn pair(bench: u16, out: u16) {
    let context = Context::new();
    let to = publisher(&context, "inproc://to");
    let fro = publisher(&context, "inproc://fro");
    let (to_second, to_first) =
        (subscriber(&context, "inproc://to"), subscriber(&context, "inproc://fro"));
    let bench = subscriber(&context, &tcp(bench));
    let out = publisher(&context, &tcp(out));
    thread::spawn(move || second(&to_second, &fro, &out));
    let (mut station, mut message) = (Station::default(), Message::new());
    while bench.recv(&mut message, 0).is_ok() {
        match station.told(&message) {
            // The other one answers.
            Told::Answer(_) | Told::Counted => send(&to, &message),
            Told::Numbers { n, frame, mark } => publish(&to, n, &frame, &mark),
            Told::Race(tosses) => {
                for _ in 0..tosses {
                    send(&to, &stamp());
                    to_first.recv(&mut message, 0).expect("it comes back");
                }
                send(&to, b"over {}");
            }
        }
    }
}

fn second(first: &Socket, fro: &Socket, out: &Socket) {
    let (mut station, mut message) = (Station::default(), Message::new());
    let mut delays = Vec::new();
    while first.recv(&mut message, 0).is_ok() {
        if message.starts_with(b"stamp ") {
            delays.push(age(&message));
            send(fro, b"back {}");
        } else if message.starts_with(b"over ") {
            send(out, &text("delays", &json!(std::mem::take(&mut delays))));
        } else if let Told::Answer(frame) = station.told(&message) {
            send(out, &frame);
        }
    }
}

/// Takes tasks and pushes results.
pub(super) fn worker(tasks: u16, results: u16) {
    let context = Context::new();
    let push = context.socket(zmq2::PUSH).expect("a socket");
    push.connect(&tcp(results)).expect("an address");
    let pull = context.socket(zmq2::PULL).expect("a socket");
    pull.connect(&tcp(tasks)).expect("an address");
    let mut message = Message::new();
    while pull.recv(&mut message, 0).is_ok() {
        send(&push, super::RESULT);
    }
}
