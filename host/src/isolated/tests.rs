//! Both ends of the channel in one process, with a host in between that writes down what it is asked.

use std::io::{BufReader, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::Timestamp;
use plugin_api::SavedState;
use plugin_api::abi::{
    ConfigOutcome, Counter, EnvelopeKind, Restored, RunOutcome, SendOutcome, Severity, Step,
};
use plugin_api::state::{HealthStatus, IllegalTransition, Method, ServiceState, StateRecord};
use plugin_api::zmq::{SocketRole, SocketSpec};
use rustix::event::{EventfdFlags, eventfd};

use super::answers::{Answered, Answerer};
use super::remote::Remote;
use super::wire::{self, Call};
use crate::logging::bridge::{Callsite, Value};
use crate::message::{Envelope, SocketId};
use crate::plugin::desk::Desk;
use crate::plugin::host_side::ServiceHost;

/// Writes down what it is told, and has an answer to everything.
struct Noting {
    told: Mutex<Vec<String>>,
    bell: OwnedFd,
}

impl Noting {
    fn new() -> Self {
        let bell = eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor is free");
        Self { told: Mutex::default(), bell }
    }

    fn note(&self, what: impl std::fmt::Debug) {
        self.told.lock().expect("nobody panics").push(format!("{what:?}"));
    }
}

const AT: StateRecord = StateRecord { state: ServiceState::Running, at: Timestamp::UNIX_EPOCH };

impl ServiceHost for Noting {
    fn service(&self) -> &str {
        "core"
    }
    fn register_callsite(&self, callsite: &Callsite<'_>) -> u64 {
        self.note((callsite.name, callsite.line, &callsite.fields));
        77
    }
    fn callsite_enabled(&self, callsite: u64) -> bool {
        callsite == 77
    }
    fn log(&self, callsite: u64, spans: &str, fields: &[(usize, Value<'_>)]) {
        self.note((callsite, spans, fields));
    }
    fn transition(&self, method: Method, step: Step) -> Result<StateRecord, IllegalTransition> {
        let refused = IllegalTransition { method, step, state: ServiceState::Stopped };
        if method == Method::Start { Ok(AT) } else { Err(refused) }
    }
    fn state(&self) -> StateRecord {
        AT
    }
    fn record_error(&self, severity: Severity, place: &str, message: &str) {
        self.note((severity, place, message));
    }
    fn reset_error_status(&self) {
        self.note("reset");
    }
    fn record_health_check(&self, name: &str, status: HealthStatus, text: &str, more: &[u8]) {
        self.note((name, status, text, more));
    }
    fn health(&self) -> HealthStatus {
        HealthStatus::Warning
    }
    fn statistics(&self) -> Vec<u8> {
        b"{\"handled\":5}".to_vec()
    }
    fn count(&self, counter: Counter, amount: u64) {
        self.note((counter, amount));
    }
    fn mailbox_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
    fn mailbox_control(&self) -> Option<EnvelopeKind> {
        Some(EnvelopeKind::Handover)
    }
    fn mailbox_take(&self, _: usize, _: &mut dyn FnMut(Envelope)) {}
    fn mailbox_take_without(&self, held: &[i32]) -> Option<Envelope> {
        held.is_empty().then(|| Envelope {
            kind: EnvelopeKind::Task,
            socket: Some(SocketId(4)),
            topic_len: 2,
            payload_start: 3,
            bytes: Bytes::from_static(b"ab {}"),
        })
    }
    fn await_room(&self, socket: SocketId) -> bool {
        socket != SocketId(1)
    }
    fn give_back(&self, socket: SocketId, topic: &str, payload: &[u8]) -> bool {
        self.note((socket, topic, payload));
        true
    }
    fn ready(&self) {
        self.note("ready");
    }
    fn beat(&self, place: &str) {
        self.note(("beat", place));
    }
    fn open_socket(&self, spec: SocketSpec) -> Result<SocketId, String> {
        if spec.key == "zmq.pull" { Ok(SocketId(9)) } else { Err(format!("not {}", spec.key)) }
    }
    fn send(&self, socket: SocketId, topic: &str, payload: &[u8]) -> SendOutcome {
        self.note((socket, topic, payload.len()));
        SendOutcome::Full
    }
    fn take_state(&self) -> Option<Arc<SavedState>> {
        Some(Arc::new(SavedState { version: 3, bytes: b"state".to_vec() }))
    }
    fn state_restored(&self, restored: Restored, reason: &str) {
        self.note((restored, reason));
    }
    fn keep_state(&self, state: SavedState) -> Result<(), String> {
        if state.bytes.len() == 2_000_000 { Ok(()) } else { Err("another length".to_owned()) }
    }
    fn take_config(&self) -> Option<Vec<u8>> {
        Some(b"{}".to_vec())
    }
    fn answer_config(&self, outcome: ConfigOutcome, message: &str) {
        self.note((outcome, message));
    }
}

/// The clerk's part, which ends with the channel: what was in hand then, and the child's last word.
type Clerk = std::thread::JoinHandle<(u64, Option<RunOutcome>)>;

/// A child's end, its host, and the clerk's part.
fn joined() -> (Remote, Arc<Noting>, Clerk) {
    let (theirs, ours) = UnixStream::pair().expect("descriptors are free");
    let host = Arc::new(Noting::new());
    let bell = host.bell.try_clone().expect("a descriptor is free");
    let desk = Desk::open(Arc::<Noting>::clone(&host)).expect("a desk is free");
    let clerk = std::thread::spawn(move || {
        let (mut answerer, mut reader) = (Answerer::new(desk), BufReader::new(&ours));
        let mut outcome = None;
        while let Ok(frame) = wire::read(&mut reader) {
            match answerer.answer(&frame, &ours).expect("it makes sense") {
                Answered::Goes => {}
                Answered::Ended(how) => outcome = Some(how),
            }
        }
        desk.close();
        (answerer.in_hand(), outcome)
    });
    let remote = Remote::new("core".to_owned(), bell, BufReader::new(theirs), || {});
    (remote, host, clerk)
}

fn spec(key: &str) -> SocketSpec {
    SocketSpec::new(SocketRole::Pull, key, "tcp://127.0.0.1", 5555, true)
}

#[test]
fn what_the_child_asks_its_host_answers() {
    let (remote, _host, _clerk) = joined();
    assert_eq!(remote.transition(Method::Start, Step::Begin), Ok(AT));
    let refused = remote.transition(Method::Run, Step::Begin).expect_err("refused");
    assert_eq!(refused.state, ServiceState::Running, "the state that the host is in");
    assert_eq!((remote.state(), remote.health()), (AT, HealthStatus::Warning));
    assert_eq!(remote.statistics(), b"{\"handled\":5}");
    assert_eq!(remote.mailbox_control(), Some(EnvelopeKind::Handover));
    let taken = remote.mailbox_take_without(&[]).expect("one waits");
    assert_eq!((taken.kind, taken.socket), (EnvelopeKind::Task, Some(SocketId(4))));
    assert_eq!((taken.topic_len, taken.payload_start, &*taken.bytes), (2, 3, &b"ab {}"[..]));
    assert_eq!(remote.mailbox_take_without(&[4]), None);
    assert_eq!((remote.await_room(SocketId(1)), remote.await_room(SocketId(2))), (false, true));
    assert_eq!(remote.open_socket(spec("zmq.pull")), Ok(SocketId(9)));
    assert_eq!(remote.open_socket(spec("zmq.push")), Err("not zmq.push".to_owned()));
    let state = remote.take_state().expect("one waits");
    assert_eq!((state.version, &*state.bytes), (3, &b"state"[..]));
    assert_eq!(remote.take_config(), Some(b"{}".to_vec()));
    let state = |len| SavedState { version: 1, bytes: vec![1; len] };
    assert_eq!(remote.keep_state(state(2_000_000)), Ok(()));
    assert_eq!(remote.keep_state(state(5)), Err("another length".to_owned()));
    let too_large =
        remote.keep_state(state(SavedState::MAX_BYTES + 1)).expect_err("the host judges");
    assert!(too_large.ends_with(": 67108864 are the limit"), "{too_large}");
}

#[test]
fn what_the_child_tells_its_host_hears_in_order() {
    let (remote, host, clerk) = joined();
    let (name, target, file) = ("event", "core", Some("lib.rs"));
    let callsite = Callsite { name, target, level: 3, file, line: Some(5), fields: vec!["n"] };
    assert_eq!(remote.register_callsite(&callsite), 77);
    assert!(remote.callsite_enabled(77));
    remote.log(77, "span", &[(0, Value::Float(0.5)), (1, Value::Text("x"))]);
    remote.record_error(Severity::Panic, "start", "it broke");
    remote.reset_error_status();
    remote.record_health_check("disk", HealthStatus::Error, "full", b"{}");
    remote.count(Counter::Handled, 2);
    assert_eq!(remote.send(SocketId(3), "t", &[0; 70_000]), SendOutcome::Full);
    assert!(remote.give_back(SocketId(3), "t", b"{}"));
    remote.ready();
    remote.beat("on_tick");
    remote.state_restored(Restored::StartedFresh, "too old");
    remote.answer_config(ConfigOutcome::Refused, "no");
    remote.tell(&Call::Ended { outcome: RunOutcome::Panicked.code() }, &[]);
    drop(remote);
    let (_, outcome) = clerk.join().expect("the clerk does not panic");
    assert_eq!(outcome, Some(RunOutcome::Panicked));
    let told = host.told.lock().expect("nobody panics");
    let expected = [
        "(\"event\", Some(5), [\"n\"])",
        "(77, \"span\", [(0, Float(0.5)), (1, Text(\"x\"))])",
        "(Panic, \"start\", \"it broke\")",
        "\"reset\"",
        "(\"disk\", Error, \"full\", [123, 125])",
        "(Handled, 2)",
        "(SocketId(3), \"t\", 70000)",
        "(SocketId(3), \"t\", [123, 125])",
        "\"ready\"",
        "(\"beat\", \"on_tick\")",
        "(StartedFresh, \"too old\")",
        "(Refused, \"no\")",
    ];
    assert_eq!(*told, expected);
}

#[test]
fn what_was_taken_and_not_done_is_in_hand() {
    let (remote, _host, clerk) = joined();
    for _ in 0..5 {
        remote.mailbox_take_without(&[]).expect("one waits");
    }
    remote.count(Counter::Handled, 1);
    remote.count(Counter::HandlerError, 1);
    remote.give_back(SocketId(4), "ab", b"{}");
    drop(remote);
    assert_eq!(clerk.join().expect("the clerk does not panic").0, 2);
}

#[test]
fn a_child_whose_host_is_gone_is_answered_with_no() {
    let (theirs, ours) = UnixStream::pair().expect("descriptors are free");
    drop(ours);
    let bell = eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor is free");
    let remote = Remote::new("core".to_owned(), bell, BufReader::new(theirs), || {});
    assert_eq!(remote.mailbox_take_without(&[]), None);
    assert_eq!(remote.send(SocketId(1), "", b"{}"), SendOutcome::Closed);
    assert!(remote.open_socket(spec("zmq.pull")).is_err());
    assert!(remote.await_room(SocketId(1)), "it learns the rest when it sends");
}

#[test]
fn nonsense_and_calls_after_a_cut_are_errors_of_their_own() {
    let desk = Desk::open(Arc::new(Noting::new())).expect("a desk is free");
    let frame = |call: &Call<'_>| {
        let mut bytes = Vec::new();
        wire::put(&mut bytes, call, &[]).expect("it is short");
        wire::read(bytes.as_slice()).expect("a frame")
    };
    let mut answerer = Answerer::new(desk);
    let mut kind = |call: Call<'_>| {
        let mut answer = Vec::new();
        answerer.answer(&frame(&call), &mut answer).map(|_| answer.len()).map_err(|it| it.kind())
    };
    assert_eq!(kind(Call::Ended { outcome: 200 }), Err(ErrorKind::InvalidData));
    assert_eq!(kind(Call::Count { counter: 99, amount: 1 }), Err(ErrorKind::InvalidData));
    assert_eq!(kind(Call::OpenSocket), Err(ErrorKind::InvalidData), "without a specification");
    assert_eq!(kind(Call::Ready), Ok(0), "no answer");
    assert!(kind(Call::Health).is_ok_and(|len| len > 0));
    desk.cut_off();
    assert_eq!(kind(Call::Health), Err(ErrorKind::ConnectionAborted));
    desk.close();
}
