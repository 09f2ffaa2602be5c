//! The bus thread on a transport that is made up, for what depends on the order of things.

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
/// More than one batch.
const BURST: usize = 1500;

/// Takes everything at once. While the first burst is half sent it sends one message itself, and
/// it tells how many messages it had whenever the bus goes to sleep.
struct Script {
    handle: Receiver<BusHandle>,
    go: Receiver<()>,
    sent: usize,
    asleep: Sender<usize>,
}

impl Transport for Script {
    fn open(&mut self, _: SocketId, _: &SocketPlan) -> Result<String, OpenError> {
        Ok("tcp://127.0.0.1:5555".to_owned())
    }

    fn wait(
        &mut self,
        interests: &[Interest],
        wake: BorrowedFd<'_>,
        timeout: Option<Duration>,
        ready: &mut Vec<Interest>,
    ) {
        ready.clear();
        if interests.is_empty() || timeout.is_some() {
            if let Ok(handle) = self.handle.try_recv() {
                assert_eq!(self.sent, 1000, "one batch");
                assert_eq!(handle.send(interests[0].id, "late", b"{}"), SendOutcome::Queued);
            }
        } else if self.sent == 0 {
            // The burst begins when the bus is here, and is there as a whole before it looks.
            let _ = self.asleep.send(0);
            let _ = self.go.recv_timeout(LIMIT);
        }
        let mut fds = [PollFd::new(&wake, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&now)).expect("poll") == 0 && timeout.is_none() {
            if self.sent > 0 {
                let _ = self.asleep.send(self.sent);
            }
            poll(&mut fds, Some(&Timespec { tv_sec: 30, tv_nsec: 0 })).expect("poll");
        }
    }

    fn receive(&mut self, _: SocketId, _: &mut dyn FnMut(Received) -> ControlFlow<()>) {}

    fn send(&mut self, _: SocketId, _: &Bytes) -> Sent {
        self.sent += 1;
        Sent::Sent
    }

    fn subscribe(&mut self, _: SocketId, _: &str, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn events(&mut self, _: &mut dyn FnMut(SocketId, PeerEvent)) {}

    fn connections(&self, _: SocketId) -> usize {
        0
    }

    fn release(&mut self, _: SocketId) -> bool {
        true
    }

    fn close(&mut self, _: SocketId, _: Duration) {}

    fn terminate(&mut self) {}
}

#[test]
fn what_is_queued_between_two_batches_is_sent_too() {
    let ((give, handle), (start, go), (asleep, slept)) = (channel(), channel(), channel());
    let script = Mutex::new(Some(Script { handle, go, sent: 0, asleep }));
    let make = move || {
        let script = script.lock().expect("a lock").take().expect("once");
        Box::new(script) as Box<dyn Transport>
    };
    let bus = Bus::start_on(BusConfig::default(), make).expect("a bus");
    let handle = bus.handle();
    let mailbox = Arc::new(Mailbox::new(MailboxLimits::default()).expect("a mailbox"));
    let role = SocketRole::Publisher;
    let spec = SocketSpec::new(role, "zmq.publisher", "tcp://127.0.0.1", 5555, true);
    let socket = handle.open("core", spec, mailbox).expect("open");
    assert_eq!(slept.recv_timeout(LIMIT), Ok(0), "the bus waits");
    for _ in 0..BURST {
        assert_eq!(handle.send(socket, "burst", b"{}"), SendOutcome::Queued);
    }
    give.send(handle.clone()).expect("given");
    start.send(()).expect("started");
    assert_eq!(slept.recv_timeout(LIMIT), Ok(BURST + 1));
    bus.shutdown(LIMIT).expect("closed");
}
