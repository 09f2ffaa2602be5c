//! The host as it is seen in an isolated service's process: each question goes over the channel.

use std::io::BufReader;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use plugin_api::SavedState;
use plugin_api::abi::{
    ConfigOutcome, Counter, EnvelopeKind, Restored, SendOutcome, Severity, Step,
};
use plugin_api::state::{HealthStatus, IllegalTransition, Method, ServiceState, StateRecord};
use plugin_api::zmq::SocketSpec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{self, Call, Frame, Stepped, Taken};
use crate::logging::bridge::{Callsite, Value};
use crate::message::{Envelope, SocketId};
use crate::plugin::host_side::ServiceHost;

/// Written before the next question at the latest; more than this goes at once.
const UNWRITTEN: usize = 8 << 10;

/// The far end of the channel, which is the host's clerk.
pub(super) struct Remote {
    service: String,
    /// The mailbox's eventfd, which the host writes.
    bell: OwnedFd,
    line: Mutex<Line>,
    /// Called when there is no host any more. Does not come back, save in tests.
    on_lost: fn(),
}

struct Line {
    reader: BufReader<UnixStream>,
    /// What needs no answer and can wait until something does.
    unwritten: Vec<u8>,
}

impl Remote {
    pub(super) fn new(
        service: String,
        bell: OwnedFd,
        reader: BufReader<UnixStream>,
        on_lost: fn(),
    ) -> Self {
        let line = Mutex::new(Line { reader, unwritten: Vec::new() });
        Self { service, bell, line, on_lost }
    }

    /// Says something that has no answer.
    pub(super) fn tell(&self, call: &Call<'_>, body: &[u8]) {
        let told = self.with_line(|line| line.write(call, body));
        self.heed(told);
    }

    /// The same for what comes with every message: it goes with the next question.
    fn tell_soon(&self, call: &Call<'_>) {
        let told = self.with_line(|line| {
            wire::put(&mut line.unwritten, call, &[])?;
            if line.unwritten.len() < UNWRITTEN { Ok(()) } else { line.flush() }
        });
        self.heed(told);
    }

    /// Asks; `None` when there is nobody to answer.
    fn ask<T: DeserializeOwned>(&self, call: &Call<'_>, body: &[u8]) -> Option<(T, Vec<u8>)> {
        let answered = self.with_line(|line| {
            line.write(call, body)?;
            let frame: Frame = wire::read(&mut line.reader)?;
            Ok((frame.head()?, frame.body))
        });
        self.heed(answered)
    }

    fn value<T: DeserializeOwned>(&self, call: &Call<'_>) -> Option<T> {
        self.ask(call, &[]).map(|(value, _)| value)
    }

    fn with_line<T>(&self, act: impl FnOnce(&mut Line) -> T) -> T {
        // A panic in the midst of a frame would be found out by the host.
        act(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn heed<T>(&self, result: std::io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            // A call that is too long to be made: nothing was written, and the rest goes on.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => None,
            Err(_) => {
                (self.on_lost)();
                None
            }
        }
    }
}

impl Line {
    fn write(&mut self, head: &impl Serialize, body: &[u8]) -> std::io::Result<()> {
        wire::write(self.reader.get_ref(), &mut self.unwritten, head, body)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::Write::write_all(&mut self.reader.get_ref(), &self.unwritten)?;
        self.unwritten.clear();
        Ok(())
    }
}

fn record(stepped: &Stepped) -> StateRecord {
    StateRecord {
        state: ServiceState::from_code(stepped.state).unwrap_or(ServiceState::Stopped),
        at: Timestamp::from_millisecond(stepped.entered_at_ms).unwrap_or_default(),
    }
}

const NO_HOST: &str = "the host is gone";

impl ServiceHost for Remote {
    fn service(&self) -> &str {
        &self.service
    }

    fn register_callsite(&self, callsite: &Callsite<'_>) -> u64 {
        self.value(&Call::RegisterCallsite(callsite.clone())).unwrap_or_default()
    }

    fn callsite_enabled(&self, callsite: u64) -> bool {
        self.value(&Call::CallsiteEnabled(callsite)).unwrap_or_default()
    }

    fn log(&self, callsite: u64, spans: &str, fields: &[(usize, Value<'_>)]) {
        self.tell(&Call::Log { callsite, spans, fields: fields.to_vec() }, &[]);
    }

    fn transition(&self, method: Method, step: Step) -> Result<StateRecord, IllegalTransition> {
        let call = Call::Transition { method: method.code(), step: step.code() };
        let refused = |state| IllegalTransition { method, step, state };
        let stepped: Stepped = self.value(&call).ok_or(refused(ServiceState::Stopped))?;
        let record = record(&stepped);
        if stepped.accepted { Ok(record) } else { Err(refused(record.state)) }
    }

    fn state(&self) -> StateRecord {
        let gone = Stepped { accepted: false, state: u8::MAX, entered_at_ms: 0 };
        record(&self.value(&Call::State).unwrap_or(gone))
    }

    fn record_error(&self, severity: Severity, place: &str, message: &str) {
        self.tell(&Call::RecordError { severity: severity.code(), place, message }, &[]);
    }

    fn reset_error_status(&self) {
        self.tell(&Call::ResetErrorStatus, &[]);
    }

    fn record_health_check(
        &self,
        name: &str,
        status: HealthStatus,
        message: &str,
        metadata: &[u8],
    ) {
        self.tell(&Call::RecordHealthCheck { name, status: status.code(), message }, metadata);
    }

    fn health(&self) -> HealthStatus {
        let code = self.value(&Call::Health);
        code.and_then(HealthStatus::from_code).unwrap_or(HealthStatus::Unknown)
    }

    fn statistics(&self) -> Vec<u8> {
        self.ask::<()>(&Call::Statistics, &[]).map_or_else(|| b"{}".to_vec(), |((), json)| json)
    }

    fn count(&self, counter: Counter, amount: u64) {
        self.tell_soon(&Call::Count { counter: counter.code(), amount });
    }

    fn mailbox_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn mailbox_control(&self) -> Option<EnvelopeKind> {
        let word: Option<u8> = self.value(&Call::Control)?;
        EnvelopeKind::from_code(word?)
    }

    fn mailbox_take(&self, limit: usize, each: &mut dyn FnMut(Envelope)) {
        (0..limit).map_while(|_| self.mailbox_take_without(&[])).for_each(each);
    }

    fn mailbox_take_without(&self, held: &[i32]) -> Option<Envelope> {
        let (taken, frame) = self.ask::<Option<Taken>>(&Call::Take { held: held.to_vec() }, &[])?;
        let Taken { kind, socket, topic_len, payload_start } = taken?;
        Some(Envelope {
            kind: EnvelopeKind::from_code(kind)?,
            socket: socket.map(SocketId),
            topic_len,
            payload_start,
            bytes: Bytes::from(frame),
        })
    }

    fn await_room(&self, SocketId(socket): SocketId) -> bool {
        self.value(&Call::AwaitRoom { socket }).unwrap_or(true)
    }

    fn give_back(&self, SocketId(socket): SocketId, topic: &str, payload: &[u8]) -> bool {
        self.ask(&Call::GiveBack { socket, topic }, payload).is_some_and(|(kept, _)| kept)
    }

    fn ready(&self) {
        self.tell(&Call::Ready, &[]);
    }

    fn beat(&self, place: &str) {
        self.tell(&Call::Beat { place }, &[]);
    }

    fn open_socket(&self, spec: SocketSpec) -> Result<SocketId, String> {
        let spec = serde_json::to_vec(&spec).map_err(|error| error.to_string())?;
        let answer = self.ask::<Result<i32, String>>(&Call::OpenSocket, &spec);
        answer.map_or(Err(NO_HOST.to_owned()), |(opened, _)| opened).map(SocketId)
    }

    fn send(&self, SocketId(socket): SocketId, topic: &str, payload: &[u8]) -> SendOutcome {
        if payload.len() > wire::LONGEST_BODY {
            return SendOutcome::TooLarge;
        }
        let code = self.ask(&Call::Send { socket, topic }, payload);
        code.and_then(|(code, _)| SendOutcome::from_code(code)).unwrap_or(SendOutcome::Closed)
    }

    fn take_state(&self) -> Option<Arc<SavedState>> {
        let (version, bytes) = self.ask::<Option<u32>>(&Call::TakeState, &[])?;
        Some(Arc::new(SavedState { version: version?, bytes }))
    }

    fn state_restored(&self, restored: Restored, reason: &str) {
        self.tell(&Call::StateRestored { restored: restored.code(), reason }, &[]);
    }

    fn keep_state(&self, state: SavedState) -> Result<(), String> {
        let call = Call::KeepState { version: state.version };
        let answer = self.ask::<Result<(), String>>(&call, &state.bytes);
        answer.map_or(Err(NO_HOST.to_owned()), |(kept, _)| kept)
    }

    fn take_config(&self) -> Option<Vec<u8>> {
        let (there, json) = self.ask::<bool>(&Call::TakeConfig, &[])?;
        there.then_some(json)
    }

    fn answer_config(&self, outcome: ConfigOutcome, message: &str) {
        self.tell(&Call::AnswerConfig { outcome: outcome.code(), message }, &[]);
    }
}
