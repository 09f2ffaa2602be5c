//! What the host answers to each call of a child.

use std::io::{self, ErrorKind, Write};

use bytes::Bytes;
use plugin_api::abi::{ConfigOutcome, Counter, EnvelopeKind, Restored, RunOutcome, Severity, Step};
use plugin_api::state::{HealthStatus, Method, StateRecord};
use serde::Serialize;

use super::wire::{self, Call, Frame, Stepped, Taken, nonsense};
use crate::logging;
use crate::message::SocketId;
use crate::plugin::desk::Desk;
use crate::plugin::host_side::ServiceHost;

/// What follows from a call.
pub(super) enum Answered {
    /// The child goes on.
    Goes,
    /// That was its last word.
    Ended(RunOutcome),
}

/// Answers for one child.
pub(super) struct Answerer {
    desk: Desk,
    /// Messages that it took, less those that it gave back.
    taken: u64,
    /// Messages of which it said what became of them.
    done: u64,
}

/// What a call is answered with, until it is written: that is not done while the host is held, for a child
/// that was stopped does not read.
#[derive(Default)]
struct Reply {
    head: Vec<u8>,
    body: Bytes,
}

impl Reply {
    fn with(&mut self, value: &impl Serialize, body: impl Into<Bytes>) -> io::Result<()> {
        self.body = body.into();
        wire::put(&mut self.head, value, &self.body)
    }

    fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.with(value, Bytes::new())
    }
}

impl Answerer {
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk, taken: 0, done: 0 }
    }

    /// How many messages the child has taken without saying what became of them: at most so many, and
    /// fewer when it could not say so any more, are lost if it dies. An error outside of a handler
    /// is taken for one of them, which makes it fewer.
    pub(super) fn in_hand(&self) -> u64 {
        self.taken.saturating_sub(self.done)
    }

    /// Does what a call asks for, and answers it.
    ///
    /// # Errors
    /// `InvalidData` when the call makes no sense; otherwise when the child is gone, or cut off.
    pub(super) fn answer(&mut self, frame: &Frame, to: impl Write) -> io::Result<Answered> {
        let call: Call<'_> = frame.head()?;
        if let Call::Ended { outcome } = call {
            return Ok(Answered::Ended(known(RunOutcome::from_code(outcome))?));
        }
        let (desk, mut reply) = (self.desk, Reply::default());
        let done = desk.with_host(|host| {
            if note(host, &call, &frame.body)? {
                self.count(&call);
                return Ok(());
            }
            self.reply_to(host, &call, &frame.body, &mut reply)
        });
        done.unwrap_or(Err(ErrorKind::ConnectionAborted.into()))?;
        if !reply.head.is_empty() {
            wire::send(to, &mut reply.head, &reply.body)?;
        }
        Ok(Answered::Goes)
    }

    fn count(&mut self, call: &Call<'_>) {
        if let Call::Count { amount, .. } = call {
            self.done = self.done.saturating_add(*amount);
        }
    }

    /// Answers a call. Those by which messages change hands are counted, the others are questions.
    fn reply_to(
        &mut self,
        host: &dyn ServiceHost,
        call: &Call<'_>,
        body: &[u8],
        reply: &mut Reply,
    ) -> io::Result<()> {
        match call {
            Call::GiveBack { socket, topic } => {
                let kept = host.give_back(SocketId(*socket), topic, body);
                self.taken = self.taken.saturating_sub(1);
                reply.value(&kept)
            }
            Call::Take { held } => {
                let Some(envelope) = host.mailbox_take_without(held) else {
                    return reply.value(&None::<Taken>);
                };
                self.taken += 1;
                let taken = Taken {
                    kind: envelope.kind.code(),
                    socket: envelope.socket.map(|SocketId(number)| number),
                    topic_len: envelope.topic_len,
                    payload_start: envelope.payload_start,
                };
                reply.with(&Some(taken), envelope.bytes)
            }
            _ => answer_question(host, call, body, reply),
        }
    }
}

/// Does what a call says that has no answer; false for one that has.
fn note(host: &dyn ServiceHost, call: &Call<'_>, body: &[u8]) -> io::Result<bool> {
    match call {
        Call::Log { callsite, spans, fields } => host.log(*callsite, spans, fields),
        Call::RecordError { severity, place, message } => {
            host.record_error(known(Severity::from_code(*severity))?, place, message);
        }
        Call::ResetErrorStatus => host.reset_error_status(),
        Call::RecordHealthCheck { name, status, message } => {
            let status = known(HealthStatus::from_code(*status))?;
            host.record_health_check(name, status, message, body);
        }
        Call::Count { counter, amount } => {
            host.count(known(Counter::from_code(*counter))?, *amount)
        }
        Call::Ready => host.ready(),
        Call::Beat { place } => host.beat(place),
        Call::StateRestored { restored, reason } => {
            host.state_restored(known(Restored::from_code(*restored))?, reason);
        }
        Call::AnswerConfig { outcome, message } => {
            host.answer_config(known(ConfigOutcome::from_code(*outcome))?, message);
        }
        Call::Say { level, text } => say(host.service(), *level, text),
        _ => return Ok(false),
    }
    Ok(true)
}

/// What the host's own code in the child has to say.
fn say(service: &str, level: u8, text: &str) {
    let _scope = logging::service_scope(service);
    match level {
        1 => tracing::error!("{text}"),
        2 => tracing::warn!("{text}"),
        _ => tracing::info!("{text}"),
    }
}

fn answer_question(
    host: &dyn ServiceHost,
    call: &Call<'_>,
    body: &[u8],
    reply: &mut Reply,
) -> io::Result<()> {
    match call {
        Call::Transition { method, step } => {
            let (method, step) =
                (known(Method::from_code(*method))?, known(Step::from_code(*step))?);
            let taken = host.transition(method, step);
            reply.value(&stepped(taken.is_ok(), taken.unwrap_or_else(|_| host.state())))
        }
        Call::State => reply.value(&stepped(true, host.state())),
        Call::Health => reply.value(&host.health().code()),
        Call::Statistics => reply.with(&(), host.statistics()),
        Call::Control => reply.value(&host.mailbox_control().map(EnvelopeKind::code)),
        Call::Send { socket, topic } => {
            reply.value(&host.send(SocketId(*socket), topic, body).code())
        }
        Call::AwaitRoom { socket } => reply.value(&host.await_room(SocketId(*socket))),
        Call::OpenSocket => {
            let spec = serde_json::from_slice(body).map_err(nonsense)?;
            reply.value(&host.open_socket(spec).map(|SocketId(number)| number))
        }
        Call::TakeState => match host.take_state() {
            Some(state) => reply.with(&Some(state.version), state.bytes.clone()),
            None => reply.value(&None::<u32>),
        },
        Call::KeepState { version } => reply.value(&host.copy_state(*version, body)),
        Call::TakeConfig => {
            let json = host.take_config();
            reply.with(&json.is_some(), json.unwrap_or_default())
        }
        Call::RegisterCallsite(callsite) => reply.value(&host.register_callsite(callsite)),
        Call::CallsiteEnabled(callsite) => reply.value(&host.callsite_enabled(*callsite)),
        _ => Err(nonsense("a call that this host does not know")),
    }
}

fn stepped(accepted: bool, record: StateRecord) -> Stepped {
    let StateRecord { state, at } = record;
    Stepped { accepted, state: state.code(), entered_at_ms: at.as_millisecond() }
}

/// A code of the frozen boundary, which both ends have in the same version.
fn known<T>(code: Option<T>) -> io::Result<T> {
    code.ok_or_else(|| nonsense("an unknown code"))
}
