//! libzmq: with what is below it, the one place that names its binding.
//!
//! Invariants: every socket has a monitor, whose events are drained at every wait and which is
//! switched off before either end is closed; the context is terminated only after every socket is
//! closed; nothing here waits but `wait` and `terminate`.

mod lend;
mod memory;

use std::collections::{BTreeMap, HashMap};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use plugin_api::zmq::SocketRole;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use zmq2::{Context, DONTWAIT, Message, POLLIN, POLLOUT, PollItem, Socket, SocketEvent};

use self::lend::send;
use super::{COPY_UP_TO, Interest, OpenError, PeerEvent, Received, Sent, SocketPlan, Transport};
use crate::bus::endpoint::Endpoint;
use crate::bus::options::SocketOption;
use crate::message::SocketId;

/// After a disconnect libzmq announces its next attempt at once. When it has not for so long, it
/// never will (libzmq issue 4196), and the connection is set up anew.
const HEAL_AFTER: Duration = Duration::from_secs(2);

/// What a monitor tells. MONITOR_STOPPED is not among it: libzmq would send that from a thread of
/// its own, to a receiver that is gone.
const MONITORED: u16 = SocketEvent::CONNECTED as u16
    | SocketEvent::ACCEPTED as u16
    | SocketEvent::CONNECT_DELAYED as u16
    | SocketEvent::CONNECT_RETRIED as u16
    | SocketEvent::DISCONNECTED as u16
    | SocketEvent::CLOSED as u16
    | SocketEvent::ACCEPT_FAILED as u16
    | SocketEvent::HANDSHAKE_FAILED_NO_DETAIL as u16
    | SocketEvent::HANDSHAKE_FAILED_PROTOCOL as u16
    | SocketEvent::HANDSHAKE_FAILED_AUTH as u16;

struct Entry {
    socket: Socket,
    monitor: Socket,
    monitor_address: String,
    /// Whether it may still have something to send when it is closed.
    sends: bool,
    /// The monitor was replaced by one that is listened to while the socket closes.
    parting: bool,
    /// What a connecting socket connects to.
    connects_to: Option<String>,
    /// What a binding socket has bound, with its real port.
    bound: Option<String>,
    /// Connections by descriptor, and who is at the other end.
    peers: HashMap<i32, String>,
    /// When a connecting socket lost its connection, until libzmq says that it tries again.
    silent_since: Option<Instant>,
}

/// A closed socket whose endpoint is not free yet.
struct Parting {
    monitor: Socket,
    bound: String,
}

/// libzmq as a transport.
pub struct LibZmq {
    context: Option<Context>,
    sockets: BTreeMap<SocketId, Entry>,
    parting: BTreeMap<SocketId, Parting>,
    events: Vec<(SocketId, PeerEvent)>,
}

/// A received message as owned bytes, so that a large frame is never copied.
struct Frame(Message);

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl LibZmq {
    /// A context of its own.
    #[must_use]
    pub fn new(io_threads: u8) -> Self {
        memory::keep_freed();
        let context = Context::new();
        if let Err(error) = context.set_io_threads(i32::from(io_threads.max(1))) {
            tracing::warn!(%error, io_threads, "libzmq keeps its default number of I/O threads");
        }
        let (sockets, parting) = (BTreeMap::new(), BTreeMap::new());
        Self { context: Some(context), sockets, parting, events: Vec::new() }
    }

    /// The version of the library.
    #[must_use]
    pub fn version() -> String {
        let (major, minor, patch) = zmq2::version();
        format!("{major}.{minor}.{patch}")
    }

    fn try_open(&self, id: SocketId, plan: &SocketPlan) -> zmq2::Result<Entry> {
        let context = self.context.as_ref().ok_or(zmq2::Error::ETERM)?;
        let socket = context.socket(kind(plan.role))?;
        for (option, value) in &plan.options {
            set(&socket, *option, *value)?;
        }
        for topic in &plan.topics {
            if plan.role == SocketRole::Subscriber {
                socket.set_subscribe(topic.as_bytes())?;
            }
        }
        let address = format!("inproc://exphost.monitor.{}", id.0);
        let monitor = context.socket(zmq2::PAIR)?;
        monitor.set_linger(0)?;
        // Without bound: a full queue would block libzmq's I/O thread, and with it every socket.
        monitor.set_rcvhwm(0)?;
        let mut entry = Entry {
            socket,
            monitor,
            monitor_address: address,
            sends: matches!(plan.role, SocketRole::Publisher | SocketRole::Push),
            parting: false,
            connects_to: None,
            bound: None,
            peers: HashMap::new(),
            silent_since: None,
        };
        entry.socket.monitor(&entry.monitor_address, i32::from(MONITORED))?;
        entry.monitor.connect(&entry.monitor_address)?;
        let endpoint = plan.endpoint.to_string();
        let has_wire = !matches!(plan.endpoint, Endpoint::Inproc(_));
        if plan.bind {
            entry.socket.bind(&endpoint)?;
            let bound = entry.socket.get_last_endpoint()?.unwrap_or(endpoint);
            entry.bound = has_wire.then_some(bound);
        } else {
            entry.socket.connect(&endpoint)?;
            entry.connects_to = has_wire.then_some(endpoint);
        }
        Ok(entry)
    }

    /// Closes a bound socket and listens for the end of its listener. `unbind` would end the
    /// connections that were made through the endpoint, and drop what they still had to send.
    fn part(&mut self, id: SocketId) -> zmq2::Result<()> {
        let context = self.context.as_ref().ok_or(zmq2::Error::ETERM)?;
        let entry = self.sockets.get_mut(&id).ok_or(zmq2::Error::ENOTSOCK)?;
        let bound = entry.bound.clone().ok_or(zmq2::Error::EINVAL)?;
        let monitor = context.socket(zmq2::PAIR)?;
        monitor.set_linger(0)?;
        let address = format!("{}.parting", entry.monitor_address);
        // Of all that a binding socket tells, the end of its listener comes once: nothing is left
        // to block libzmq when nobody listens any more.
        entry.socket.monitor(&address, i32::from(SocketEvent::CLOSED as u16))?;
        monitor.connect(&address)?;
        entry.parting = true;
        self.sockets.remove(&id);
        self.parting.insert(id, Parting { monitor, bound });
        Ok(())
    }

    fn drain_monitors(&mut self) {
        for (id, Parting { monitor, bound }) in &self.parting {
            while let Some((event, _, address)) = next_event(monitor) {
                if event == SocketEvent::CLOSED as u16 && address == *bound {
                    self.events.push((*id, PeerEvent::Released));
                }
            }
        }
        for (id, entry) in &mut self.sockets {
            let mut changed = false;
            while let Some((event, value, address)) = next_event(&entry.monitor) {
                changed = true;
                if let Some(event) = entry.note(event, value, address) {
                    self.events.push((*id, event));
                }
            }
            if changed {
                // A socket frees what a connection leaves behind when it is next used, and a PUB that
                // has nothing to say is not. Asking for its events is a use.
                let _ = guarded(|| entry.socket.get_events());
            }
        }
    }

    fn heal(&mut self, now: Instant) {
        for (id, entry) in &mut self.sockets {
            let silent = entry.silent_since.is_some_and(|since| now >= since + HEAL_AFTER);
            let Some(endpoint) = entry.connects_to.as_ref().filter(|_| silent) else { continue };
            entry.silent_since = None;
            // The answer of `disconnect` does not matter: the endpoint may be gone altogether.
            let _ = guarded(|| entry.socket.disconnect(endpoint));
            match guarded(|| entry.socket.connect(endpoint)) {
                Ok(()) => self.events.push((*id, PeerEvent::Healed { peer: endpoint.clone() })),
                Err(error) => {
                    tracing::warn!(%endpoint, %error, "cannot connect anew");
                    entry.silent_since = Some(now);
                }
            }
        }
    }

    fn poll(
        &self,
        interests: &[Interest],
        wake: BorrowedFd<'_>,
        ms: i64,
        ready: &mut Vec<Interest>,
    ) {
        let mut polled = Vec::with_capacity(interests.len());
        let mut items = Vec::with_capacity(1 + interests.len() + self.sockets.len());
        for interest in interests {
            let mut events = zmq2::PollEvents::empty();
            events.set(POLLIN, interest.read);
            events.set(POLLOUT, interest.write);
            if let Some(entry) = self.sockets.get(&interest.id).filter(|_| !events.is_empty()) {
                items.push(entry.socket.as_poll_item(events));
                polled.push(interest.id);
            }
        }
        items.push(PollItem::from_fd(wake.as_raw_fd(), POLLIN));
        items.extend(self.sockets.values().map(|entry| entry.monitor.as_poll_item(POLLIN)));
        items.extend(self.parting.values().map(|parting| parting.monitor.as_poll_item(POLLIN)));
        // A signal ends the wait early, which is harmless: the bus looks at everything again.
        if !matches!(guarded(|| zmq2::poll(&mut items, ms)), Ok(count) if count > 0) {
            return;
        }
        ready.extend(polled.iter().zip(&items).filter_map(|(id, item)| {
            let (read, write) = (item.is_readable(), item.is_writable());
            (read || write).then_some(Interest { id: *id, read, write })
        }));
    }
}

impl Entry {
    /// Keeps the account of connections and translates a monitor's event.
    fn note(&mut self, event: u16, value: i32, address: String) -> Option<PeerEvent> {
        const CONNECTED: u16 = SocketEvent::CONNECTED as u16;
        const ACCEPTED: u16 = SocketEvent::ACCEPTED as u16;
        const DELAYED: u16 = SocketEvent::CONNECT_DELAYED as u16;
        const RETRIED: u16 = SocketEvent::CONNECT_RETRIED as u16;
        const DISCONNECTED: u16 = SocketEvent::DISCONNECTED as u16;
        const CLOSED: u16 = SocketEvent::CLOSED as u16;
        const ACCEPT_FAILED: u16 = SocketEvent::ACCEPT_FAILED as u16;
        const NO_HANDSHAKE: u16 = SocketEvent::HANDSHAKE_FAILED_NO_DETAIL as u16;
        const BAD_PROTOCOL: u16 = SocketEvent::HANDSHAKE_FAILED_PROTOCOL as u16;
        const NOT_ALLOWED: u16 = SocketEvent::HANDSHAKE_FAILED_AUTH as u16;
        let refused = |reason: String| Some(PeerEvent::Refused { peer: address.clone(), reason });
        match event {
            CONNECTED | ACCEPTED => {
                self.silent_since = None;
                let peer = if event == ACCEPTED { peer_of(value) } else { None };
                let peer = peer.unwrap_or(address);
                self.peers.insert(value, peer.clone());
                Some(PeerEvent::Connected { peer })
            }
            DISCONNECTED => {
                self.silent_since = self.connects_to.is_some().then(Instant::now);
                let peer = self.peers.remove(&value).unwrap_or(address);
                Some(PeerEvent::Lost { peer })
            }
            DELAYED | RETRIED => {
                self.silent_since = None;
                None
            }
            CLOSED if self.bound.as_ref() == Some(&address) => Some(PeerEvent::Released),
            NO_HANDSHAKE => refused("the connection ended before the ZeroMQ handshake".to_owned()),
            BAD_PROTOCOL => refused(format!("not a fitting ZeroMQ peer (error {value:#x})")),
            NOT_ALLOWED => refused("authentication failed".to_owned()),
            ACCEPT_FAILED => {
                refused(format!("cannot accept: {}", std::io::Error::from_raw_os_error(value)))
            }
            _ => None,
        }
    }
}

/// libzmq's I/O thread sends a monitor's events with a blocking send. A connection that comes or
/// goes while the socket lingers, with the receiving end gone, would block it for ever, and with it
/// every socket of the host. The binding cannot switch a monitor off, but a second one that tells
/// nothing takes the place of the first.
impl Drop for Entry {
    fn drop(&mut self) {
        if self.parting {
            return;
        }
        let nobody = format!("{}.off", self.monitor_address);
        if let Err(error) = guarded(|| self.socket.monitor(&nobody, 0)) {
            tracing::debug!(%error, "the monitor of a closing socket ended with an error");
        }
    }
}

impl Transport for LibZmq {
    fn open(&mut self, id: SocketId, plan: &SocketPlan) -> Result<String, OpenError> {
        let entry = guarded(|| self.try_open(id, plan)).map_err(open_error)?;
        let endpoint = entry.bound.clone().unwrap_or_else(|| plan.endpoint.to_string());
        self.sockets.insert(id, entry);
        Ok(endpoint)
    }

    fn wait(
        &mut self,
        interests: &[Interest],
        wake: BorrowedFd<'_>,
        timeout: Option<Duration>,
        ready: &mut Vec<Interest>,
    ) {
        ready.clear();
        let now = Instant::now();
        let heal = self.sockets.values().filter_map(|entry| entry.silent_since).min();
        let heal = heal.map(|since| (since + HEAL_AFTER).saturating_duration_since(now));
        let wait = [timeout, heal].into_iter().flatten().min();
        // Rounded up: rounded down, the last millisecond before a deadline would be a busy loop.
        let ms = wait.map_or(-1, |wait| wait.as_micros().div_ceil(1000).min(3_600_000) as i64);
        self.poll(interests, wake, ms, ready);
        self.drain_monitors();
        self.heal(Instant::now());
    }

    fn receive(&mut self, id: SocketId, each: &mut dyn FnMut(Received) -> ControlFlow<()>) {
        let Some(entry) = self.sockets.get(&id) else { return };
        loop {
            let message = match entry.socket.recv_msg(DONTWAIT) {
                Ok(message) => message,
                Err(zmq2::Error::EINTR) => continue,
                Err(_) => return,
            };
            let received = if message.get_more() {
                rest_of(&entry.socket, message)
            } else {
                Received::Frame(owned(message))
            };
            if each(received).is_break() {
                return;
            }
        }
    }

    fn send(&mut self, id: SocketId, frame: &Bytes) -> Sent {
        let Some(entry) = self.sockets.get_mut(&id) else {
            return Sent::Failed("the socket is closed".to_owned());
        };
        let socket = &mut entry.socket;
        match guarded(|| send(socket, frame)) {
            Ok(()) => Sent::Sent,
            Err(zmq2::Error::EAGAIN | zmq2::Error::EINTR) => Sent::Full,
            Err(error) => Sent::Failed(error.message().to_owned()),
        }
    }

    fn subscribe(&mut self, id: SocketId, topic: &str, wanted: bool) -> Result<(), String> {
        let entry = self.sockets.get(&id).ok_or("the socket is closed")?;
        let (socket, topic) = (&entry.socket, topic.as_bytes());
        let done = guarded(|| {
            if wanted { socket.set_subscribe(topic) } else { socket.set_unsubscribe(topic) }
        });
        done.map_err(|error| error.to_string())
    }

    fn events(&mut self, each: &mut dyn FnMut(SocketId, PeerEvent)) {
        for (id, event) in self.events.drain(..) {
            each(id, event);
        }
    }

    fn connections(&self, id: SocketId) -> usize {
        self.sockets.get(&id).map_or(0, |entry| entry.peers.len())
    }

    fn release(&mut self, id: SocketId) -> bool {
        let Some(entry) = self.sockets.get(&id) else { return true };
        // libzmq closes the listening descriptor on its own thread; its monitor tells when.
        let Some(bound) = &entry.bound else { return true };
        if entry.sends {
            return guarded(|| self.part(id)).is_err();
        }
        guarded(|| entry.socket.unbind(bound)).is_err()
    }

    fn close(&mut self, id: SocketId, linger: Duration) {
        self.parting.remove(&id);
        let Some(entry) = self.sockets.remove(&id) else { return };
        let linger = i32::try_from(linger.as_millis()).unwrap_or(i32::MAX);
        if let Err(error) = entry.socket.set_linger(linger) {
            tracing::warn!(%error, "cannot set the linger of a closing socket");
        }
    }

    fn terminate(&mut self) {
        self.sockets.clear();
        self.parting.clear();
        // The last reference: dropping it terminates the context.
        self.context = None;
    }
}

/// The binding panics on an errno it does not know (ENOTDIR, EROFS…), which must not end the bus.
fn guarded<T>(call: impl FnOnce() -> zmq2::Result<T>) -> zmq2::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(zmq2::Error::EINVAL))
}

fn kind(role: SocketRole) -> zmq2::SocketType {
    match role {
        SocketRole::Publisher => zmq2::PUB,
        SocketRole::Subscriber => zmq2::SUB,
        SocketRole::Push => zmq2::PUSH,
        SocketRole::Pull => zmq2::PULL,
    }
}

fn set(socket: &Socket, option: SocketOption, value: i64) -> zmq2::Result<()> {
    let number = i32::try_from(value).unwrap_or(i32::MAX);
    match option {
        SocketOption::SndHwm => socket.set_sndhwm(number),
        SocketOption::RcvHwm => socket.set_rcvhwm(number),
        SocketOption::Linger => socket.set_linger(number),
        SocketOption::SndTimeo | SocketOption::RcvTimeo => Ok(()),
        SocketOption::Conflate => socket.set_conflate(value == 1),
        SocketOption::TcpKeepalive => socket.set_tcp_keepalive(number),
        SocketOption::TcpKeepaliveCnt => socket.set_tcp_keepalive_cnt(number),
        SocketOption::TcpKeepaliveIdle => socket.set_tcp_keepalive_idle(number),
        SocketOption::TcpKeepaliveIntvl => socket.set_tcp_keepalive_intvl(number),
        SocketOption::ReconnectIvl => socket.set_reconnect_ivl(number),
        SocketOption::ReconnectIvlMax => socket.set_reconnect_ivl_max(number),
        SocketOption::ConnectTimeout => socket.set_connect_timeout(number),
        SocketOption::HeartbeatIvl => socket.set_heartbeat_ivl(number),
        SocketOption::HeartbeatTimeout => socket.set_heartbeat_timeout(number),
        SocketOption::HeartbeatTtl => socket.set_heartbeat_ttl(number),
        SocketOption::HandshakeIvl => socket.set_handshake_ivl(number),
        SocketOption::MaxMsgSize => socket.set_maxmsgsize(value),
        SocketOption::Immediate => socket.set_immediate(value == 1),
        SocketOption::Ipv6 => socket.set_ipv6(value == 1),
        SocketOption::SndBuf => socket.set_sndbuf(number),
        SocketOption::RcvBuf => socket.set_rcvbuf(number),
        SocketOption::Backlog => socket.set_backlog(number),
        SocketOption::Tos => socket.set_tos(number),
    }
}

fn open_error(error: zmq2::Error) -> OpenError {
    match error {
        zmq2::Error::EADDRINUSE => OpenError::InUse,
        zmq2::Error::EADDRNOTAVAIL | zmq2::Error::ENODEV => OpenError::NoSuchAddress,
        zmq2::Error::EACCES => OpenError::Denied,
        zmq2::Error::EMFILE => OpenError::Exhausted,
        other => OpenError::Other(other.message().to_owned()),
    }
}

fn owned(message: Message) -> Bytes {
    if message.len() <= COPY_UP_TO {
        Bytes::copy_from_slice(&message)
    } else {
        Bytes::from_owner(Frame(message))
    }
}

/// Takes the other parts off the socket: they have all arrived, a message is delivered whole.
fn rest_of(socket: &Socket, first: Message) -> Received {
    let (mut parts, mut size) = (1, first.len());
    let head = owned(first);
    while let Ok(part) = socket.recv_msg(DONTWAIT) {
        parts += 1;
        size += part.len();
        if !part.get_more() {
            break;
        }
    }
    Received::Multipart { parts, size, head }
}

/// A monitor's message: two bytes of event, four of value, and the endpoint as a second part.
fn next_event(monitor: &Socket) -> Option<(u16, i32, String)> {
    let head = monitor.recv_msg(DONTWAIT).ok()?;
    let address = if head.get_more() {
        monitor.recv_msg(DONTWAIT).ok()?.as_str().unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    let event = u16::from_ne_bytes(head.get(..2)?.try_into().ok()?);
    let value = i32::from_ne_bytes(head.get(2..6)?.try_into().ok()?);
    Some((event, value, address))
}

/// Who is at the other end of an accepted connection. libzmq only tells the descriptor, which is
/// its own; a duplicate can be looked at without touching it. When the connection is gone already,
/// or the kernel does not let us, the log goes without the address.
fn peer_of(descriptor: i32) -> Option<String> {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
    let copy: OwnedFd = pidfd_getfd(&this, descriptor, PidfdGetfdFlags::empty()).ok()?;
    Some(format!("tcp://{}", TcpStream::from(copy).peer_addr().ok()?))
}
