//! Peers on the wire that are libzmq, the engine the Python services run, at the other end of it.
//!
//! Each waits for at most [`DEADLINE`], after which the test has failed.

use std::time::Duration;

use serde_json::Value;

use super::DEADLINE;
use super::peers::split;

fn socket(kind: zmq2::SocketType) -> zmq2::Socket {
    let socket = zmq2::Context::new().socket(kind).expect("a socket");
    let deadline = i32::try_from(DEADLINE.as_millis()).expect("it is short");
    socket.set_rcvtimeo(deadline).expect("an option");
    socket.set_sndtimeo(deadline).expect("an option");
    socket.set_linger(0).expect("an option");
    // What a test counts must not be lost by the test.
    socket.set_rcvhwm(0).expect("an option");
    socket
}

fn address(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

/// A SUB socket.
pub struct Subscriber(zmq2::Socket);

impl Subscriber {
    /// Connects to a publisher on this machine, which need not be there yet, and subscribes.
    pub fn connect(port: u16, topics: &[&str]) -> Self {
        let socket = socket(zmq2::SUB);
        for topic in topics {
            socket.set_subscribe(topic.as_bytes()).expect("a subscription");
        }
        socket.connect(&address(port)).expect("an address");
        Self(socket)
    }

    /// The next message: topic and JSON.
    ///
    /// # Panics
    /// When none has come within [`DEADLINE`].
    pub fn next(&mut self) -> (String, Value) {
        split(&self.0.recv_bytes(0).expect("a message comes"))
    }

    /// Sets how long [`Subscriber::try_next`] waits.
    pub fn set_patience(&mut self, patience: Duration) {
        let ms = i32::try_from(patience.as_millis()).expect("it is short");
        self.0.set_rcvtimeo(ms).expect("an option");
    }

    /// The next message, if one comes in time.
    pub fn try_next(&mut self) -> Option<(String, Value)> {
        match self.0.recv_bytes(0) {
            Ok(frame) => Some(split(&frame)),
            Err(zmq2::Error::EAGAIN) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message of a topic.
    pub fn wait_for_topic(&mut self, wanted: &str) -> Value {
        loop {
            let (topic, json) = self.next();
            if topic == wanted {
                return json;
            }
        }
    }
}

/// A publisher.
pub struct Publisher(zmq2::Socket);

impl Publisher {
    /// Binds a free port, which it tells. Who subscribes when is libzmq's own affair.
    pub fn bind() -> (Self, u16) {
        let socket = socket(zmq2::PUB);
        socket.bind("tcp://127.0.0.1:*").expect("a port is free");
        let endpoint = socket.get_last_endpoint().expect("a bound socket has one");
        let endpoint = endpoint.expect("an address is text");
        let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok());
        (Self(socket), port.expect("it ends in the port"))
    }

    /// Connects to a SUB that the host binds, and waits until the host has subscribed.
    ///
    /// # Panics
    /// When it has not within [`DEADLINE`].
    pub fn connect(port: u16) -> Self {
        // XPUB is PUB that hands its subscriptions to the program.
        let socket = socket(zmq2::XPUB);
        socket.set_sndhwm(0).expect("an option");
        socket.connect(&address(port)).expect("an address");
        let subscription = socket.recv_bytes(0).expect("the host subscribes");
        assert_eq!(subscription.first(), Some(&1));
        Self(socket)
    }

    /// Sends one frame as it is.
    pub fn send_frame(&self, frame: &[u8]) {
        self.0.send(frame, 0).expect("a publisher can always send");
    }

    /// Sends a message.
    pub fn send(&self, topic: &str, json: &Value) {
        self.send_frame(format!("{topic} {json}").as_bytes());
    }
}
