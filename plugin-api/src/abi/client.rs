//! The host's functions as safe methods: the plugin's end of [`HostVtable`](super::HostVtable).
#![allow(unsafe_code)]

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use abi_stable::std_types::{RSlice, RStr};
use jiff::Timestamp;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{
    ByteSink, ConfigOutcome, Counter, EnvelopeKind, HostHandle, RawEnvelope, Restored, SendOutcome,
    Severity, Step,
};
use crate::handover::SavedState;
use crate::state::{HealthStatus, IllegalTransition, Method, ServiceState, StateRecord};
use crate::zmq::SocketSpec;

/// A word of the host's, which may be newer than this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Known(EnvelopeKind),
    Unknown(u8),
}

/// The host as the plugin's code sees it.
#[derive(Clone, Copy)]
pub(crate) struct Host(pub(crate) HostHandle);

impl Host {
    pub(crate) fn transition(
        self,
        method: Method,
        step: Step,
    ) -> Result<StateRecord, IllegalTransition> {
        let reply = (self.0.vtable.transition())(self.0.context, method.code(), step.code());
        let state = ServiceState::from_code(reply.state).unwrap_or(ServiceState::Initializing);
        if !reply.accepted {
            return Err(IllegalTransition { method, step, state });
        }
        let at = Timestamp::from_millisecond(reply.entered_at_ms).unwrap_or_default();
        Ok(StateRecord { state, at })
    }

    pub(crate) fn record_error(self, severity: Severity, place: &str, message: &str) {
        (self.0.vtable.record_error())(
            self.0.context,
            severity.code(),
            RStr::from_str(place),
            RStr::from_str(message),
        );
    }

    pub(crate) fn reset_error_status(self) {
        (self.0.vtable.reset_error_status())(self.0.context);
    }

    pub(crate) fn record_health_check(
        self,
        name: &str,
        status: HealthStatus,
        message: &str,
        metadata: &[u8],
    ) {
        (self.0.vtable.record_health_check())(
            self.0.context,
            RStr::from_str(name),
            status.code(),
            RStr::from_str(message),
            RSlice::from_slice(metadata),
        );
    }

    pub(crate) fn health(self) -> HealthStatus {
        HealthStatus::from_code((self.0.vtable.health())(self.0.context))
            .unwrap_or(HealthStatus::Unknown)
    }

    pub(crate) fn statistics(self) -> Vec<u8> {
        let mut json = Vec::new();
        // SAFETY: the sink goes to one call, which keeps no copy of it.
        let sink = unsafe { ByteSink::appending_to(&mut json) };
        (self.0.vtable.statistics())(self.0.context, sink);
        json
    }

    pub(crate) fn count(self, counter: Counter, amount: u64) {
        (self.0.vtable.count())(self.0.context, counter.code(), amount);
    }

    /// The mailbox's eventfd, watched by the present tokio runtime. It is a duplicate, so that its
    /// life does not depend on the host's.
    pub(crate) fn mailbox_events(self) -> std::io::Result<AsyncFd<File>> {
        let fd = (self.0.vtable.mailbox_fd())(self.0.context);
        if fd < 0 {
            return Err(std::io::Error::other("the host gave no eventfd for the mailbox"));
        }
        // SAFETY: the host keeps the descriptor open for as long as `run` lasts, and this call is
        // made from within it; the borrow ends with the statement.
        let duplicate = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
        // SAFETY: a `File` owns its descriptor, always answers with the same one, and closes it
        // only when it is dropped, which `AsyncFd` does after it has ended the registration.
        unsafe { AsyncFd::register_with_interest(File::from(duplicate), Interest::READABLE) }
            .map_err(std::io::Error::from)
    }

    pub(crate) fn mailbox_control(self) -> Option<Word> {
        match (self.0.vtable.mailbox_control())(self.0.context) {
            u8::MAX => None,
            code => Some(EnvelopeKind::from_code(code).map_or(Word::Unknown(code), Word::Known)),
        }
    }

    /// The next message. One at a time, so that all that has not been handled is still the host's
    /// when the service is swapped for a new build.
    pub(crate) fn mailbox_take(self) -> Option<RawEnvelope> {
        let mut slot = MaybeUninit::<RawEnvelope>::uninit();
        match (self.0.vtable.mailbox_take())(self.0.context, slot.as_mut_ptr(), 1) {
            // SAFETY: a return of 1 says that the host has written one envelope to the slot.
            1 => Some(unsafe { slot.assume_init() }),
            _ => None,
        }
    }

    /// The next message that did not come by one of the `held` sockets. A host that is too old to
    /// know of held ones does not load a plugin of this version.
    pub(crate) fn mailbox_take_without(self, held: &[i32]) -> Option<RawEnvelope> {
        let Some(take) = self.0.vtable.mailbox_take_without() else { return self.mailbox_take() };
        let mut slot = MaybeUninit::<RawEnvelope>::uninit();
        take(self.0.context, RSlice::from_slice(held), slot.as_mut_ptr()).then(|| {
            // SAFETY: `true` says that the host has written one envelope to the slot.
            unsafe { slot.assume_init() }
        })
    }

    /// Whether a socket takes a message now; otherwise the host says `Room` once it does.
    pub(crate) fn await_room(self, socket: i32) -> bool {
        self.0.vtable.await_room().is_none_or(|ask| ask(self.0.context, socket))
    }

    /// Gives a message back that was not dealt with; whether the host keeps it.
    pub(crate) fn give_back(self, socket: i32, topic: &str, payload: &[u8]) -> bool {
        self.0.vtable.give_back().is_some_and(|give_back| {
            let (topic, payload) = (RStr::from_str(topic), RSlice::from_slice(payload));
            give_back(self.0.context, socket, topic, payload)
        })
    }

    /// Says that the service does what it is there for.
    pub(crate) fn ready(self) {
        if let Some(ready) = self.0.vtable.ready() {
            ready(self.0.context);
        }
    }

    /// Says that the service's runtime turns, and what it is in the midst of.
    pub(crate) fn beat(self, place: &str) {
        if let Some(beat) = self.0.vtable.beat() {
            beat(self.0.context, RStr::from_str(place));
        }
    }

    pub(crate) fn open_socket(self, spec: &SocketSpec) -> Result<i32, String> {
        let spec = serde_json::to_vec(spec).map_err(|error| error.to_string())?;
        let mut reason = Vec::new();
        // SAFETY: the sink goes to one call, which keeps no copy of it.
        let sink = unsafe { ByteSink::appending_to(&mut reason) };
        let socket = (self.0.vtable.open_socket())(self.0.context, RSlice::from_slice(&spec), sink);
        if socket >= 0 { Ok(socket) } else { Err(String::from_utf8_lossy(&reason).into_owned()) }
    }

    pub(crate) fn send(self, socket: i32, topic: &str, payload: &[u8]) -> SendOutcome {
        let code = (self.0.vtable.send())(
            self.0.context,
            socket,
            RStr::from_str(topic),
            RSlice::from_slice(payload),
        );
        SendOutcome::from_code(code).unwrap_or(SendOutcome::Closed)
    }

    /// The state that the instance before left for this one; `None` also from a host that knows
    /// nothing of states.
    pub(crate) fn take_state(self) -> Option<SavedState> {
        let take_state = self.0.vtable.take_state()?;
        let mut bytes = Vec::new();
        // SAFETY: the sink goes to one call, which keeps no copy of it.
        let sink = unsafe { ByteSink::appending_to(&mut bytes) };
        let version = u32::try_from(take_state(self.0.context, sink)).ok()?;
        Some(SavedState { version, bytes })
    }

    pub(crate) fn state_restored(self, restored: Restored, reason: &str) {
        if let Some(state_restored) = self.0.vtable.state_restored() {
            state_restored(self.0.context, restored.code(), RStr::from_str(reason));
        }
    }

    pub(crate) fn keep_state(self, state: &SavedState) -> Result<(), String> {
        let Some(keep_state) = self.0.vtable.keep_state() else {
            return Err("the host is too old to keep a state".to_owned());
        };
        let mut reason = Vec::new();
        // SAFETY: the sink goes to one call, which keeps no copy of it.
        let sink = unsafe { ByteSink::appending_to(&mut reason) };
        let bytes = RSlice::from_slice(&state.bytes);
        let kept = keep_state(self.0.context, state.version, bytes, sink);
        if kept { Ok(()) } else { Err(String::from_utf8_lossy(&reason).into_owned()) }
    }

    pub(crate) fn take_config(self) -> Option<Vec<u8>> {
        let take_config = self.0.vtable.take_config()?;
        let mut json = Vec::new();
        // SAFETY: the sink goes to one call, which keeps no copy of it.
        let sink = unsafe { ByteSink::appending_to(&mut json) };
        take_config(self.0.context, sink).then_some(json)
    }

    pub(crate) fn answer_config(self, outcome: ConfigOutcome, message: &str) {
        if let Some(answer_config) = self.0.vtable.answer_config() {
            answer_config(self.0.context, outcome.code(), RStr::from_str(message));
        }
    }
}
