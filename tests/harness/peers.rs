//! Peers on the wire: the pure-Rust `zeromq`, another implementation than the host's.
//!
//! Publishers are XPUB sockets, because those are told of every subscription: a test knows when
//! the host listens, instead of hoping.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use zeromq::{Socket, SocketRecv, SocketSend, SubSocket, XPubSocket, ZmqMessage};

use super::DEADLINE;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be built")
    })
}

/// Splits a frame as the installation's services do: at the first space.
pub fn split(frame: &[u8]) -> (String, Value) {
    let text = std::str::from_utf8(frame).expect("a frame is UTF-8");
    let (topic, json) = text.split_once(' ').expect("a frame has a topic");
    (topic.to_owned(), serde_json::from_str(json).expect("a frame's payload is JSON"))
}

/// A SUB socket.
pub struct Subscriber {
    socket: SubSocket,
}

impl Subscriber {
    /// Connects to a publisher on this machine and subscribes.
    pub fn connect(port: u16, topics: &[&str]) -> Self {
        let socket = runtime().block_on(async {
            let mut socket = SubSocket::new();
            socket.connect(&format!("tcp://127.0.0.1:{port}")).await.expect("the host has bound");
            for topic in topics {
                socket.subscribe(topic).await.expect("a subscription can be sent");
            }
            socket
        });
        Self { socket }
    }

    /// The next message within `deadline`: topic and JSON.
    pub fn next_within(&mut self, deadline: Duration) -> Option<(String, Value)> {
        let received = runtime().block_on(async { timeout(deadline, self.socket.recv()).await });
        let message = received.ok()?.expect("the connection holds");
        assert_eq!(message.len(), 1, "a message is one frame");
        Some(split(message.get(0).expect("a message has a frame")))
    }

    /// The next message that `wanted` takes.
    ///
    /// # Panics
    /// When none has come within [`DEADLINE`].
    pub fn wait_for(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while let Some((topic, json)) =
            self.next_within(end.saturating_duration_since(Instant::now()))
        {
            if wanted(&topic, &json) {
                return json;
            }
            seen.push(format!("{topic} {json}"));
        }
        panic!("the message never came; seen were {seen:#?}");
    }

    /// The next message of a topic.
    pub fn wait_for_topic(&mut self, wanted: &str) -> Value {
        self.wait_for(|topic, _| topic == wanted)
    }
}

/// A publishing socket, bound to a port of its own.
pub struct Publisher {
    socket: XPubSocket,
    port: u16,
}

impl Default for Publisher {
    fn default() -> Self {
        Self::bind()
    }
}

impl Publisher {
    /// Binds on this machine.
    pub fn bind() -> Self {
        runtime().block_on(async {
            let mut socket = XPubSocket::new();
            let endpoint = socket.bind("tcp://127.0.0.1:0").await.expect("a port is free");
            let zeromq::Endpoint::Tcp(_, port) = endpoint else {
                panic!("bound to TCP, not to {endpoint}");
            };
            Self { socket, port }
        })
    }

    /// The port it is bound to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until somebody has subscribed to each of `topics`, in any order.
    ///
    /// # Panics
    /// When that has not happened within [`DEADLINE`].
    pub fn wait_for_subscriptions(&mut self, topics: &[&str]) {
        let mut missing: Vec<&str> = topics.to_vec();
        let socket = &mut self.socket;
        let all_came = runtime().block_on(async {
            timeout(DEADLINE, async {
                while !missing.is_empty() {
                    // An error is a peer that has gone; others may come.
                    let Ok(message) = socket.recv().await else { continue };
                    let Some((1, topic)) = message
                        .get(0)
                        .and_then(|frame| frame.split_first().map(|(kind, topic)| (*kind, topic)))
                    else {
                        continue;
                    };
                    missing.retain(|wanted| wanted.as_bytes() != topic);
                }
            })
            .await
        });
        assert!(all_came.is_ok(), "nobody subscribed to {missing:?}");
    }

    /// Sends a message.
    pub fn send(&mut self, topic: &str, json: &Value) {
        self.send_frame(format!("{topic} {json}").into_bytes());
    }

    /// Sends one frame as it is.
    pub fn send_frame(&mut self, frame: Vec<u8>) {
        self.send_frames(vec![frame]);
    }

    /// Sends a message of several frames.
    pub fn send_frames(&mut self, frames: Vec<Vec<u8>>) {
        let frames: Vec<_> = frames.into_iter().map(bytes::Bytes::from).collect();
        let message = ZmqMessage::try_from(frames).expect("a message has a frame");
        runtime().block_on(self.socket.send(message)).expect("a publisher can always send");
    }

    /// Sends a message until `subscriber` hears an answer on `answered`. The host's PUB socket does
    /// not tell anyone when a subscription has arrived, so this is how a test finds out. Answers to
    /// messages sent meanwhile may follow.
    ///
    /// # Panics
    /// When none has come within [`DEADLINE`].
    pub fn ask_until_answered(
        &mut self,
        subscriber: &mut Subscriber,
        topic: &str,
        json: &Value,
        answered: &str,
    ) -> Value {
        const PATIENCE: Duration = Duration::from_millis(200);
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            self.send(topic, json);
            if let Some((came, answer)) = subscriber.next_within(PATIENCE)
                && came == answered
            {
                return answer;
            }
        }
        panic!("nobody answered {topic}");
    }
}
