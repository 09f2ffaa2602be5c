//! Peers on the bare `zeromq` crate.

use std::thread;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use zeromq::{PubSocket, PullSocket, PushSocket, Socket, SocketRecv, SocketSend, SubSocket};

use super::{Station, Told, age, stamp, text};

fn tcp(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

/// What a service of the host has too: a runtime of one thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(future)
}

async fn publisher(port: u16) -> PubSocket {
    let mut socket = PubSocket::new();
    socket.bind(&tcp(port)).await.expect("the port is free");
    socket
}

/// It connects only to what is there, so it tries until it is.
async fn subscriber(port: u16) -> SubSocket {
    loop {
        let mut socket = SubSocket::new();
        if socket.connect(&tcp(port)).await.is_ok() {
            socket.subscribe("").await.expect("a subscription can be sent");
            return socket;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn receive(socket: &mut SubSocket) -> Bytes {
    let message = socket.recv().await.expect("the connection holds");
    message.get(0).expect("a message has a frame").clone()
}

async fn send(socket: &mut PubSocket, frame: impl Into<Bytes>) {
    socket.send(frame.into().into()).await.expect("a publisher can send");
}

async fn publish(socket: &mut PubSocket, n: u64, frame: Vec<u8>, mark: Vec<u8>) {
    let frame = Bytes::from(frame);
    for _ in 0..n {
        send(socket, frame.clone()).await;
    }
    send(socket, mark).await;
}

/// One service.
pub(super) fn station(bench: u16, out: u16) {
    block_on(async {
        let (mut out, mut bench) = (publisher(out).await, subscriber(bench).await);
        let mut station = Station::default();
        loop {
            match station.told(&receive(&mut bench).await) {
                Told::Counted | Told::Race(_) => {}
                Told::Answer(frame) => send(&mut out, frame).await,
                Told::Numbers { n, frame, mark } => publish(&mut out, n, frame, mark).await,
            }
        }
    })
}

/// Two services with tcp between them: there is no `inproc`.
pub(super) fn pair(bench: u16, out: u16, to: u16, fro: u16) {
    thread::spawn(move || block_on(second(to, fro, out)));
    block_on(async {
        let (mut to, mut bench) = (publisher(to).await, subscriber(bench).await);
        let mut from_second = subscriber(fro).await;
        let mut station = Station::default();
        loop {
            let message = receive(&mut bench).await;
            match station.told(&message) {
                // The other one answers.
                Told::Answer(_) | Told::Counted => send(&mut to, message).await,
                Told::Numbers { n, frame, mark } => publish(&mut to, n, frame, mark).await,
                Told::Race(tosses) => {
                    for _ in 0..tosses {
                        send(&mut to, stamp()).await;
                        receive(&mut from_second).await;
                    }
                    send(&mut to, "over {}").await;
                }
            }
        }
    })
}

async fn second(to: u16, fro: u16, out: u16) {
    let (mut fro, mut out) = (publisher(fro).await, publisher(out).await);
    let mut first = subscriber(to).await;
    let (mut station, mut delays) = (Station::default(), Vec::new());
    loop {
        let message = receive(&mut first).await;
        if message.starts_with(b"stamp ") {
            delays.push(age(&message));
            send(&mut fro, "back {}").await;
        } else if message.starts_with(b"over ") {
            let delays = std::mem::take(&mut delays);
            send(&mut out, text("delays", &json!(delays))).await;
        } else if let Told::Answer(frame) = station.told(&message) {
            send(&mut out, frame).await;
        }
    }
}

/// Takes tasks and pushes results.
pub(super) fn worker(tasks: u16, results: u16) {
    block_on(async {
        let (mut push, mut pull) = (PushSocket::new(), PullSocket::new());
        push.connect(&tcp(results)).await.expect("the bench has bound");
        pull.connect(&tcp(tasks)).await.expect("the bench has bound");
        loop {
            pull.recv().await.expect("the connection holds");
            let result = Bytes::from_static(super::RESULT);
            push.send(result.into()).await.expect("a result can be sent");
        }
    })
}
