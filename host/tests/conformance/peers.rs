//! The other end of the wire: either implementation, without anything of the host.

use std::time::{Duration, Instant};

use exphost::bus::transport::TransportKind;
use futures_util::StreamExt;
use plugin_api::zmq::SocketRole;
use tokio::runtime::Runtime;
use zeromq::{Socket, SocketRecv, SocketSend, ZmqError, ZmqMessage};

use crate::common::LIMIT;

/// A peer of the role that fits the host's.
pub(crate) enum Peer {
    Libzmq { _context: zmq2::Context, socket: zmq2::Socket, endpoint: String },
    Zeromq(Box<ZeromqPeer>),
}

pub(crate) struct ZeromqPeer {
    runtime: Runtime,
    socket: Kind,
    endpoint: String,
}

enum Kind {
    Publisher(zeromq::PubSocket),
    Subscriber(zeromq::SubSocket),
    Push(zeromq::PushSocket),
    Pull(zeromq::PullSocket),
}

/// The role that talks with another.
pub(crate) fn opposite(role: SocketRole) -> SocketRole {
    match role {
        SocketRole::Publisher => SocketRole::Subscriber,
        SocketRole::Subscriber => SocketRole::Publisher,
        SocketRole::Push => SocketRole::Pull,
        SocketRole::Pull => SocketRole::Push,
    }
}

impl Peer {
    /// Opens a socket; a subscriber subscribes to everything.
    pub(crate) fn open(kind: TransportKind, role: SocketRole, bind: bool, endpoint: &str) -> Self {
        Self::open_with(kind, role, bind, endpoint, |_| ())
    }

    /// The same with a last word on a socket of libzmq.
    pub(crate) fn open_with(
        kind: TransportKind,
        role: SocketRole,
        bind: bool,
        endpoint: &str,
        tune: impl FnOnce(&zmq2::Socket),
    ) -> Self {
        match kind {
            TransportKind::Libzmq => libzmq(role, bind, endpoint, tune),
            TransportKind::Zeromq => Self::Zeromq(Box::new(ZeromqPeer::open(role, bind, endpoint))),
        }
    }

    /// Where it is bound, with the port it really has.
    pub(crate) fn endpoint(&self) -> &str {
        match self {
            Self::Libzmq { endpoint, .. } => endpoint,
            Self::Zeromq(peer) => &peer.endpoint,
        }
    }

    pub(crate) fn send(&mut self, frame: impl Into<Vec<u8>>) {
        self.send_parts(vec![frame.into()]);
    }

    pub(crate) fn send_parts(&mut self, parts: Vec<Vec<u8>>) {
        match self {
            Self::Libzmq { socket, .. } => socket.send_multipart(parts, 0).expect("sent"),
            Self::Zeromq(peer) => peer.send(parts),
        }
    }

    /// The next message, which comes within the limit.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        self.receive_within(LIMIT).expect("nothing came")
    }

    pub(crate) fn receive_within(&mut self, limit: Duration) -> Option<Vec<u8>> {
        match self {
            Self::Libzmq { socket, .. } => {
                let ms = i64::try_from(limit.as_millis()).expect("milliseconds");
                let readable = socket.poll(zmq2::POLLIN, ms).expect("poll") == 1;
                readable.then(|| socket.recv_bytes(0).expect("received"))
            }
            Self::Zeromq(peer) => peer.receive(limit),
        }
    }

    /// Ends it, so that its endpoint is free.
    pub(crate) fn close(self) {
        match self {
            Self::Libzmq { .. } => {}
            Self::Zeromq(peer) => peer.close(),
        }
    }
}

fn libzmq(role: SocketRole, bind: bool, endpoint: &str, tune: impl FnOnce(&zmq2::Socket)) -> Peer {
    let context = zmq2::Context::new();
    let kind = match role {
        SocketRole::Publisher => zmq2::PUB,
        SocketRole::Subscriber => zmq2::SUB,
        SocketRole::Push => zmq2::PUSH,
        SocketRole::Pull => zmq2::PULL,
    };
    let socket = context.socket(kind).expect("a socket");
    let limit = i32::try_from(LIMIT.as_millis()).expect("milliseconds");
    socket.set_sndtimeo(limit).expect("an option");
    socket.set_linger(0).expect("an option");
    socket.set_reconnect_ivl(10).expect("an option");
    if role == SocketRole::Subscriber {
        socket.set_subscribe(b"").expect("subscribed");
    }
    tune(&socket);
    if bind {
        socket.bind(endpoint).expect("bound");
    } else {
        socket.connect(endpoint).expect("connected");
    }
    let endpoint = socket.get_last_endpoint().expect("an option").expect("an endpoint");
    Peer::Libzmq { _context: context, socket, endpoint }
}

macro_rules! each {
    ($kind:expr, $socket:ident => $body:expr) => {
        match $kind {
            Kind::Publisher($socket) => $body,
            Kind::Subscriber($socket) => $body,
            Kind::Push($socket) => $body,
            Kind::Pull($socket) => $body,
        }
    };
}

impl ZeromqPeer {
    fn open(role: SocketRole, bind: bool, endpoint: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (socket, endpoint) = runtime.block_on(async {
            let mut socket = match role {
                SocketRole::Publisher => Kind::Publisher(zeromq::PubSocket::new()),
                SocketRole::Push => Kind::Push(zeromq::PushSocket::new()),
                SocketRole::Pull => Kind::Pull(zeromq::PullSocket::new()),
                SocketRole::Subscriber => {
                    let mut socket = zeromq::SubSocket::new();
                    socket.subscribe("").await.expect("subscribed");
                    Kind::Subscriber(socket)
                }
            };
            let endpoint = each!(&mut socket, socket => if bind {
                socket.bind(endpoint).await.expect("bound").to_string()
            } else {
                socket.connect(endpoint).await.expect("connected");
                endpoint.to_owned()
            });
            (socket, endpoint)
        });
        Self { runtime, socket, endpoint }
    }

    fn send(&mut self, parts: Vec<Vec<u8>>) {
        let parts: Vec<_> = parts.into_iter().map(bytes::Bytes::from).collect();
        let mut message = ZmqMessage::try_from(parts).expect("parts");
        let socket = &mut self.socket;
        let send = async move {
            let push = match socket {
                Kind::Publisher(socket) => return socket.send(message).await.expect("sent"),
                Kind::Push(socket) => socket,
                Kind::Subscriber(_) | Kind::Pull(_) => panic!("it only receives"),
            };
            let mut monitor = push.monitor();
            // It has no queue for a peer that is still to come.
            while let Err(error) = push.send(message).await {
                let ZmqError::ReturnToSender { message: returned, .. } = error else {
                    panic!("{error}");
                };
                message = returned;
                // A peer that came before the monitor did told nobody.
                let _ = tokio::time::timeout(Duration::from_millis(20), monitor.next()).await;
            }
        };
        let sent = self.runtime.block_on(async { tokio::time::timeout(LIMIT, send).await });
        sent.expect("sent in time");
    }

    fn receive(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let socket = &mut self.socket;
        let end = Instant::now() + limit;
        let receive = async {
            loop {
                let received = match socket {
                    Kind::Subscriber(socket) => socket.recv().await,
                    Kind::Pull(socket) => socket.recv().await,
                    Kind::Publisher(_) | Kind::Push(_) => panic!("it only sends"),
                };
                // An error is the end of one connection; there may be another.
                if let Ok(message) = received {
                    assert_eq!(message.len(), 1, "one frame");
                    return message.into_vec().remove(0).to_vec();
                }
            }
        };
        self.runtime.block_on(async {
            tokio::time::timeout(end.saturating_duration_since(Instant::now()), receive).await.ok()
        })
    }

    fn close(self) {
        let Self { runtime, socket, .. } = self;
        runtime.block_on(async { each!(socket, socket => drop(socket.close().await)) });
        runtime.shutdown_timeout(LIMIT);
    }
}
