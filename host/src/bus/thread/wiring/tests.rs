//! When wires are opened and closed, on a transport that is made up and writes it down.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use plugin_api::abi::SendOutcome;
use plugin_api::zmq::{SocketRole, SocketSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::bus::transport::{
    Interest, OpenError, PeerEvent, Received, Sent, SocketPlan, Transport,
};
use crate::bus::{Bus, BusConfig, BusHandle};
use crate::message::SocketId;
use crate::service::mailbox::{Mailbox, MailboxLimits};

const LIMIT: Duration = Duration::from_secs(30);

/// What the transport was asked for, and how it is to answer.
#[derive(Default)]
struct State {
    said: Vec<String>,
    /// Nothing can be sent.
    full: bool,
    /// So many are connected to each wire.
    connections: usize,
    /// This many openings fail from now on.
    failures: usize,
    /// What can be received by each wire.
    waiting: BTreeMap<i32, Vec<String>>,
}

#[derive(Clone, Default)]
struct Script(Arc<(Mutex<State>, Condvar)>);

impl Script {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("a lock")
    }

    fn says(&self, what: String) {
        self.state().said.push(what);
        self.0.1.notify_all();
    }

    /// Waits until it has said so many things, and returns them.
    fn said(&self, count: usize) -> Vec<String> {
        let end = Instant::now() + LIMIT;
        let mut state = self.state();
        while state.said.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "only {:?}", state.said);
            state = self.0.1.wait_timeout(state, left).expect("a lock").0;
        }
        state.said.clone()
    }

    fn bus(&self) -> Bus {
        let script = self.clone();
        Bus::start_on(BusConfig::default(), move || Box::new(script)).expect("a bus")
    }
}

impl Transport for Script {
    fn open(&mut self, id: SocketId, plan: &SocketPlan) -> Result<String, OpenError> {
        let verb = if plan.bind { "bind" } else { "connect" };
        let left = self.state().failures.checked_sub(1);
        if let Some(left) = left {
            self.state().failures = left;
            self.says(format!("{verb} {} fails", id.0));
            return Err(OpenError::Exhausted);
        }
        self.says(format!("{verb} {} {}", id.0, plan.topics.join(",")));
        Ok(plan.endpoint.to_string())
    }

    fn wait(
        &mut self,
        interests: &[Interest],
        wake: BorrowedFd<'_>,
        timeout: Option<Duration>,
        ready: &mut Vec<Interest>,
    ) {
        ready.clear();
        let limit = Timespec::try_from(timeout.unwrap_or(LIMIT)).expect("a time");
        poll(&mut [PollFd::new(&wake, PollFlags::IN)], Some(&limit)).expect("poll");
        if !self.state().full {
            let writable = interests.iter().filter(|interest| interest.write);
            ready.extend(writable.map(|interest| Interest { read: false, ..*interest }));
        }
    }

    fn receive(&mut self, id: SocketId, each: &mut dyn FnMut(Received) -> ControlFlow<()>) {
        let waiting = self.state().waiting.remove(&id.0);
        let mut waiting = waiting.unwrap_or_default().into_iter();
        while let Some(frame) = waiting.next() {
            if each(Received::Frame(Bytes::from(frame))).is_break() {
                self.state().waiting.insert(id.0, waiting.collect());
                return;
            }
        }
    }

    fn send(&mut self, id: SocketId, frame: &Bytes) -> Sent {
        if self.state().full {
            return Sent::Full;
        }
        self.says(format!("send {} {}", id.0, String::from_utf8_lossy(frame)));
        Sent::Sent
    }

    fn subscribe(&mut self, id: SocketId, topic: &str, wanted: bool) -> Result<(), String> {
        self.says(format!("subscribe {} {topic} {wanted}", id.0));
        Ok(())
    }

    fn events(&mut self, _: &mut dyn FnMut(SocketId, PeerEvent)) {}

    fn connections(&self, _: SocketId) -> usize {
        self.state().connections
    }

    fn release(&mut self, _: SocketId) -> bool {
        true
    }

    fn close(&mut self, id: SocketId, linger: Duration) {
        self.says(format!("close {} {}", id.0, linger.as_millis()));
    }

    fn terminate(&mut self) {}
}

fn spec(role: SocketRole, bind: bool, topics: &[&str]) -> SocketSpec {
    let spec = SocketSpec::new(role, "zmq.it", "tcp://127.0.0.1", 5555, bind);
    SocketSpec { topics: topics.iter().map(|topic| (*topic).to_owned()).collect(), ..spec }
}

fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox::new(MailboxLimits::default()).expect("a mailbox"))
}

fn open(handle: &BusHandle, service: &str, spec: SocketSpec, mailbox: &Arc<Mailbox>) -> SocketId {
    handle.open(service, spec, Arc::clone(mailbox)).expect("open")
}

fn take_all(mailbox: &Mailbox) -> Vec<String> {
    let mut all = Vec::new();
    mailbox.take(usize::MAX, &mut |envelope| {
        all.push(String::from_utf8_lossy(&envelope.bytes).into_owned());
    });
    all
}

/// What was asked of the bus thread before has happened: it obeys in order.
fn settled(handle: &BusHandle) {
    assert!(handle.close_service_within("nobody", LIMIT));
}

#[test]
fn a_listener_has_no_wire_before_its_publisher_has_sent_its_last() {
    let script = Script::default();
    let (bus, inside) = (script.bus(), mailbox());
    let handle = bus.handle();
    let publisher = open(&handle, "core", spec(SocketRole::Publisher, true, &[]), &inside);
    let listener = open(&handle, "display", spec(SocketRole::Subscriber, false, &["a"]), &inside);
    script.state().full = true;
    assert_eq!(handle.send(publisher, "a", b"1"), SendOutcome::Queued);
    assert_eq!(take_all(&inside), ["a 1"]);
    handle.close_service("core");
    settled(&handle);
    assert_eq!(script.said(1), ["bind 1 "], "by a wire it would hear it again");
    script.state().full = false;
    settled(&handle);
    let said = script.said(4);
    assert_eq!(said[1..], ["send 1 a 1", "close 1 1000", "connect 3 a"]);
    handle.resubscribe(listener, &["a".to_owned()], &["b".to_owned()]);
    assert_eq!(script.said(6)[4..], ["subscribe 3 b true", "subscribe 3 a false"]);
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn what_came_by_the_wire_is_taken_before_it_is_closed() {
    let script = Script::default();
    let (bus, inside) = (script.bus(), mailbox());
    let handle = bus.handle();
    open(&handle, "display", spec(SocketRole::Subscriber, false, &["a"]), &inside);
    let before: Vec<_> = (0..2500).map(|number| format!("a {number}")).collect();
    script.state().waiting.insert(1, before.clone());
    let publisher = open(&handle, "core", spec(SocketRole::Publisher, true, &[]), &mailbox());
    assert_eq!(handle.send(publisher, "a", b"here"), SendOutcome::Queued);
    let all = take_all(&inside);
    assert_eq!(all.len(), 2501);
    assert!(all[..2500] == before && all[2500..] == ["a here"]);
    assert_eq!(script.said(3)[..3], ["connect 1 a", "bind 2 ", "close 1 0"]);
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn a_publishers_wire_is_closed_before_the_listener_is_bound() {
    let script = Script::default();
    let (bus, inside) = (script.bus(), mailbox());
    let handle = bus.handle();
    let publisher = open(&handle, "core", spec(SocketRole::Publisher, false, &[]), &mailbox());
    assert_eq!(handle.send(publisher, "a", b"before"), SendOutcome::Queued);
    assert_eq!(script.said(2), ["connect 1 ", "send 1 a before"]);
    let bound = spec(SocketRole::Subscriber, true, &["a"]);
    script.state().failures = 1;
    handle.open("display", bound.clone(), Arc::clone(&inside)).expect_err("no descriptor is left");
    assert_eq!(script.said(5)[2..], ["close 1 0", "bind 2 fails", "connect 3 "]);
    open(&handle, "display", bound, &inside);
    assert_eq!(script.said(7)[5..], ["close 3 0", "bind 4 a"]);
    assert_eq!(handle.send(publisher, "a", b"here"), SendOutcome::Queued);
    assert_eq!(take_all(&inside), ["a here"]);
    // The next opening fails, and is tried again.
    script.state().failures = 1;
    handle.close_service("display");
    let said = script.said(10);
    assert_eq!(said[7..], ["close 4 0", "connect 5 fails", "connect 6 "], "none was sent outside");
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn nobody_outside_holds_nobody_up_here() {
    let script = Script::default();
    let (bus, inside) = (script.bus(), mailbox());
    let handle = bus.handle();
    script.state().full = true;
    let small = SocketSpec { max_queue_size: Some(2), ..spec(SocketRole::Publisher, true, &[]) };
    let publisher = open(&handle, "core", small, &mailbox());
    open(&handle, "display", spec(SocketRole::Subscriber, false, &["a"]), &inside);
    for _ in 0..3 {
        assert_eq!(handle.send(publisher, "a", b"1"), SendOutcome::Queued);
        assert_eq!(handle.send(publisher, "b", b"2"), SendOutcome::Queued);
    }
    assert_eq!(take_all(&inside), ["a 1"; 3]);
    assert_eq!(handle.stats()[0].dropped_outbox_full, 0, "nobody misses it");
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn who_does_not_read_outside_is_not_felt_here() {
    let script = Script::default();
    let (bus, inside) = (script.bus(), mailbox());
    let handle = bus.handle();
    script.state().full = true;
    script.state().connections = 1;
    let small = SocketSpec { max_queue_size: Some(2), ..spec(SocketRole::Publisher, true, &[]) };
    let publisher = open(&handle, "core", small, &mailbox());
    open(&handle, "display", spec(SocketRole::Subscriber, false, &["a"]), &inside);
    let send = |topic, payload| handle.send(publisher, topic, payload);
    assert_eq!([send("a", b"1"), send("b", b"2")], [SendOutcome::Queued; 2]);
    settled(&handle);
    assert_eq!(send("b", b"3"), SendOutcome::Full, "nobody got it");
    assert_eq!(send("a", b"4"), SendOutcome::Queued);
    assert_eq!(take_all(&inside), ["a 1", "a 4"]);
    assert_eq!(handle.stats()[0].dropped_outbox_full, 2);
    script.state().full = false;
    settled(&handle);
    assert_eq!(script.said(3)[1..], ["send 1 a 1", "send 1 b 2"]);
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn who_shares_a_wire_sends_in_turn_and_the_last_one_closes_it() {
    let script = Script::default();
    let bus = script.bus();
    let handle = bus.handle();
    let publisher = spec(SocketRole::Publisher, true, &[]);
    let first = open(&handle, "core", publisher.clone(), &mailbox());
    let second = open(&handle, "beat", publisher.clone(), &mailbox());
    assert_eq!(handle.send(first, "a", b"1"), SendOutcome::Queued);
    assert_eq!(script.said(2), ["bind 1 ", "send 1 a 1"]);
    assert_eq!(handle.send(second, "a", b"2"), SendOutcome::Queued);
    assert_eq!(script.said(3)[2], "send 1 a 2");
    // One that has still to send may be joined; nothing is bound anew.
    script.state().full = true;
    assert_eq!(handle.send(second, "a", b"3"), SendOutcome::Queued);
    handle.close_service("core");
    handle.close_service("beat");
    let third = open(&handle, "late", publisher, &mailbox());
    script.state().full = false;
    settled(&handle);
    assert_eq!(script.said(4)[3], "send 1 a 3");
    assert_eq!(handle.send(third, "a", b"4"), SendOutcome::Queued);
    assert_eq!(script.said(5)[4], "send 1 a 4");
    assert!(handle.close_service_within("late", LIMIT));
    assert_eq!(script.said(6)[5], "close 1 1000");
    bus.shutdown(LIMIT).expect("closed");
    assert_eq!(script.said(6).len(), 6);
}
