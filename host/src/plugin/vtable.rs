//! The host's end of the vtable: what runs when a plugin calls its host.
//!
//! # Safety
//! Every function here is called by foreign code, on a thread of the plugin's. Three things make
//! that sound:
//!
//! * **The context is never followed.** It is a number that is looked up, see [`Desk`]: after its
//!   run, and for one that was made up, there is nobody, and the answer means "no".
//! * **Nothing unwinds into the plugin.** Each body runs in `catch_unwind`. The payload of a caught
//!   panic is forgotten, not dropped: its drop could panic again.
//! * **What the plugin hands in is of the checked layout.** References and slices come from types
//!   whose layout `library.rs` compared before it let any function be called, so an `RStr` is what
//!   the plugin's own `RStr` is: valid UTF-8, borrowed for the call. Only numbers can be wrong in
//!   meaning, and each is looked at before it is used. That a plugin does not forge an `RStr` by
//!   `unsafe` code of its own is trust, as it is for all code in one address space.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use plugin_api::abi::export::{PrefixRefTrait, WithMetadata};
use plugin_api::abi::{
    ByteSink, CallsiteInfo, ConfigOutcome, Counter, EnvelopeKind, FieldKind, HostBytes, HostHandle,
    HostVtable, HostVtableRef, LogField, LogRecord, RSlice, RStr, RawEnvelope, Restored,
    SendOutcome, Severity, Step, TransitionReply,
};
use plugin_api::state::{HealthStatus, Method, ServiceState};
use plugin_api::zmq::SocketSpec;

use super::desk::Desk;
use super::host_side::ServiceHost;
use crate::logging::bridge::{Callsite, Value};
use crate::message::{Envelope, SocketId};

static VTABLE: WithMetadata<HostVtable> = WithMetadata::new(HostVtable {
    register_callsite,
    callsite_enabled,
    log,
    transition,
    record_error,
    reset_error_status,
    record_health_check,
    health,
    statistics,
    count,
    mailbox_fd,
    mailbox_control,
    mailbox_take,
    open_socket,
    send,
    take_state,
    state_restored,
    keep_state,
    take_config,
    answer_config,
    mailbox_take_without,
    await_room,
    give_back,
    ready,
    beat,
});

/// What a plugin gets for the run at `desk`.
pub(super) fn handle(desk: Desk) -> HostHandle {
    HostHandle {
        context: desk.context(),
        vtable: HostVtableRef::from_prefix_ref(VTABLE.static_as_prefix()),
    }
}

/// Runs the body of one vtable function; `otherwise` is the answer after the run and after a panic.
fn answer<T>(
    context: *const (),
    function: &'static str,
    otherwise: T,
    body: impl FnOnce(&dyn ServiceHost) -> T,
) -> T {
    let desk = Desk::of(context);
    match catch_unwind(AssertUnwindSafe(|| desk.with_host(body))) {
        Ok(Some(value)) => value,
        Ok(None) => otherwise,
        Err(payload) => {
            std::mem::forget(payload);
            // Asking for the name and logging may be what panicked.
            let logged = catch_unwind(|| {
                let service = desk.with_host(|host| host.service().to_owned());
                tracing::error!(service, function, "the host panicked in a call from a plugin");
            });
            if let Err(payload) = logged {
                std::mem::forget(payload);
            }
            otherwise
        }
    }
}

/// A number from a plugin that this host does not know.
fn unknown_code(host: &dyn ServiceHost, what: &'static str, code: u8) {
    tracing::warn!(service = host.service(), what, code, "a plugin passed an unknown code");
}

extern "C" fn register_callsite(context: *const (), callsite: &CallsiteInfo<'_>) -> u64 {
    answer(context, "register_callsite", 0, |host| {
        host.register_callsite(&Callsite {
            name: callsite.name.as_str(),
            target: callsite.target.as_str(),
            level: callsite.level,
            file: Some(callsite.file.as_str()).filter(|file| !file.is_empty()),
            line: Some(callsite.line).filter(|line| *line != 0),
            fields: callsite.fields.as_slice().iter().map(|name| name.as_str()).collect(),
        })
    })
}

extern "C" fn callsite_enabled(context: *const (), callsite: u64) -> bool {
    answer(context, "callsite_enabled", false, |host| host.callsite_enabled(callsite))
}

extern "C" fn log(context: *const (), record: &LogRecord<'_>) {
    answer(context, "log", (), |host| {
        let fields: Vec<_> = record.fields.as_slice().iter().filter_map(value_of).collect();
        host.log(record.callsite, record.spans.as_str(), &fields);
    });
}

fn value_of<'a>(field: &'a LogField<'_>) -> Option<(usize, Value<'a>)> {
    let value = match FieldKind::from_code(field.kind)? {
        FieldKind::Text => Value::Text(field.text.as_str()),
        FieldKind::Signed => Value::Signed(field.bits.cast_signed()),
        FieldKind::Unsigned => Value::Unsigned(field.bits),
        FieldKind::Float => Value::Float(f64::from_bits(field.bits)),
        FieldKind::Bool => Value::Bool(field.bits != 0),
    };
    Some((usize::try_from(field.index).ok()?, value))
}

extern "C" fn transition(context: *const (), method: u8, step: u8) -> TransitionReply {
    let gone =
        TransitionReply { accepted: false, state: ServiceState::Stopped.code(), entered_at_ms: 0 };
    answer(context, "transition", gone, |host| {
        let taken = match (Method::from_code(method), Step::from_code(step)) {
            (Some(method), Some(step)) => host.transition(method, step).ok(),
            (None, _) => {
                unknown_code(host, "lifecycle method", method);
                None
            }
            (_, None) => {
                unknown_code(host, "lifecycle step", step);
                None
            }
        };
        let record = taken.unwrap_or_else(|| host.state());
        TransitionReply {
            accepted: taken.is_some(),
            state: record.state.code(),
            entered_at_ms: record.at.as_millisecond(),
        }
    })
}

extern "C" fn record_error(context: *const (), severity: u8, place: RStr<'_>, message: RStr<'_>) {
    answer(context, "record_error", (), |host| {
        // An error of unknown gravity is still an error.
        let severity = Severity::from_code(severity).unwrap_or_else(|| {
            unknown_code(host, "severity", severity);
            Severity::Error
        });
        host.record_error(severity, place.as_str(), message.as_str());
    });
}

extern "C" fn reset_error_status(context: *const ()) {
    answer(context, "reset_error_status", (), |host| host.reset_error_status());
}

extern "C" fn record_health_check(
    context: *const (),
    name: RStr<'_>,
    status: u8,
    message: RStr<'_>,
    metadata: RSlice<'_, u8>,
) {
    answer(context, "record_health_check", (), |host| {
        let status = HealthStatus::from_code(status).unwrap_or_else(|| {
            unknown_code(host, "health status", status);
            HealthStatus::Unknown
        });
        host.record_health_check(name.as_str(), status, message.as_str(), metadata.as_slice());
    });
}

extern "C" fn health(context: *const ()) -> u8 {
    answer(context, "health", HealthStatus::Unknown.code(), |host| host.health().code())
}

extern "C" fn statistics(context: *const (), sink: ByteSink) {
    let json = answer(context, "statistics", b"{}".to_vec(), ServiceHost::statistics);
    sink.write(&json);
}

extern "C" fn count(context: *const (), counter: u8, amount: u64) {
    answer(context, "count", (), |host| match Counter::from_code(counter) {
        Some(counter) => host.count(counter, amount),
        None => unknown_code(host, "counter", counter),
    });
}

extern "C" fn mailbox_fd(context: *const ()) -> i32 {
    answer(context, "mailbox_fd", -1, |host| host.mailbox_fd().as_raw_fd())
}

extern "C" fn mailbox_control(context: *const ()) -> u8 {
    const NONE: u8 = u8::MAX;
    let word = answer(context, "mailbox_control", None, ServiceHost::mailbox_control);
    // A service that comes back after it was cut off shall end.
    let last_word = || Desk::of(context).must_be_told_to_stop().then_some(EnvelopeKind::Stop);
    word.or_else(last_word).map_or(NONE, EnvelopeKind::code)
}

extern "C" fn mailbox_take(context: *const (), out: *mut RawEnvelope, capacity: usize) -> usize {
    // Outside of the body, so that what was handed over before a panic is not lost.
    let taken = Cell::new(0);
    answer(context, "mailbox_take", (), |host| {
        host.mailbox_take(capacity, &mut |envelope| {
            let Some(raw) = raw_envelope(envelope) else {
                tracing::error!(service = host.service(), "a malformed envelope was dropped");
                return;
            };
            if taken.get() == capacity {
                tracing::error!(service = host.service(), "the mailbox gave more than asked for");
                return;
            }
            // SAFETY: `out` has room for `capacity` envelopes (the table's contract), and
            // `taken` is less than that.
            let slot = unsafe { out.add(taken.get()) };
            // SAFETY: as above, and the slot is uninitialised, so nothing is overwritten.
            unsafe { slot.write(raw) };
            taken.set(taken.get() + 1);
        });
    });
    taken.get()
}

extern "C" fn mailbox_take_without(
    context: *const (),
    held: RSlice<'_, i32>,
    out: *mut RawEnvelope,
) -> bool {
    // Outside of the body, so that what was handed over before a panic is not lost.
    let taken = Cell::new(false);
    answer(context, "mailbox_take_without", (), |host| {
        while let Some(envelope) = host.mailbox_take_without(held.as_slice()) {
            let Some(raw) = raw_envelope(envelope) else {
                tracing::error!(service = host.service(), "a malformed envelope was dropped");
                continue;
            };
            // SAFETY: `out` has room for one envelope (the table's contract) and is uninitialised,
            // so nothing is overwritten; this is done once.
            unsafe { out.write(raw) };
            taken.set(true);
            return;
        }
    });
    taken.get()
}

/// An envelope as it crosses: the plugin will cut `bytes` at the two places, so they are checked.
fn raw_envelope(envelope: Envelope) -> Option<RawEnvelope> {
    let Envelope { kind, socket, topic_len, payload_start, bytes } = envelope;
    let cuts_fit = topic_len <= payload_start && payload_start <= bytes.len();
    cuts_fit.then(|| RawEnvelope {
        kind: kind.code(),
        socket: socket.map_or(-1, |SocketId(number)| number),
        topic_len,
        payload_start,
        bytes: host_bytes(bytes),
    })
}

/// Lends bytes to the plugin without a copy; the plugin gives them back through `release`.
fn host_bytes(bytes: Bytes) -> HostBytes {
    extern "C" fn release(owner: *const ()) {
        let dropped = catch_unwind(|| {
            // SAFETY: `owner` is the pointer that `Box::into_raw` gave below, and `HostBytes`
            // calls `release` once, in its drop.
            drop(unsafe { Box::from_raw(owner.cast::<Bytes>().cast_mut()) });
        });
        if let Err(payload) = dropped {
            std::mem::forget(payload);
        }
    }
    if bytes.is_empty() {
        return HostBytes::of_static(&[]);
    }
    let owner = Box::new(bytes);
    let (start, len) = (owner.as_ptr(), owner.len());
    // SAFETY: the box keeps the `Bytes` alive, whose memory neither moves nor changes, until
    // `release` drops it; dropping `Bytes` is allowed on any thread, and `release` does not unwind.
    unsafe { HostBytes::from_raw(start, len, Box::into_raw(owner).cast_const().cast(), release) }
}

extern "C" fn open_socket(context: *const (), spec: RSlice<'_, u8>, reason: ByteSink) -> i32 {
    let gone = Err("the host is closing this service".to_owned());
    let opened = answer(context, "open_socket", gone, |host| {
        let spec: SocketSpec = serde_json::from_slice(spec.as_slice())
            .map_err(|error| format!("the socket's specification cannot be read: {error}"))?;
        host.open_socket(spec)
    });
    match opened {
        Ok(SocketId(number)) => number,
        Err(text) => {
            reason.write(text.as_bytes());
            -1
        }
    }
}

extern "C" fn send(
    context: *const (),
    socket: i32,
    topic: RStr<'_>,
    payload: RSlice<'_, u8>,
) -> u8 {
    answer(context, "send", SendOutcome::Closed, |host| {
        host.send(SocketId(socket), topic.as_str(), payload.as_slice())
    })
    .code()
}

extern "C" fn await_room(context: *const (), socket: i32) -> bool {
    // Whoever asks after the end is told that there is room, and learns the rest when it sends.
    answer(context, "await_room", true, |host| host.await_room(SocketId(socket)))
}

extern "C" fn give_back(
    context: *const (),
    socket: i32,
    topic: RStr<'_>,
    payload: RSlice<'_, u8>,
) -> bool {
    answer(context, "give_back", false, |host| {
        host.give_back(SocketId(socket), topic.as_str(), payload.as_slice())
    })
}

extern "C" fn ready(context: *const ()) {
    answer(context, "ready", (), ServiceHost::ready);
}

extern "C" fn beat(context: *const (), place: RStr<'_>) {
    answer(context, "beat", (), |host| host.beat(place.as_str()));
}

extern "C" fn take_state(context: *const (), sink: ByteSink) -> i64 {
    const NONE: i64 = -1;
    let Some(state) = answer(context, "take_state", None, ServiceHost::take_state) else {
        return NONE;
    };
    sink.write(&state.bytes);
    i64::from(state.version)
}

extern "C" fn state_restored(context: *const (), restored: u8, reason: RStr<'_>) {
    answer(context, "state_restored", (), |host| match Restored::from_code(restored) {
        Some(restored) => host.state_restored(restored, reason.as_str()),
        None => unknown_code(host, "fate of a state", restored),
    });
}

extern "C" fn keep_state(
    context: *const (),
    version: u32,
    bytes: RSlice<'_, u8>,
    reason: ByteSink,
) -> bool {
    let gone = Err("the host is closing this service".to_owned());
    let kept =
        answer(context, "keep_state", gone, |host| host.copy_state(version, bytes.as_slice()));
    if let Err(text) = &kept {
        reason.write(text.as_bytes());
    }
    kept.is_ok()
}

extern "C" fn take_config(context: *const (), sink: ByteSink) -> bool {
    let Some(json) = answer(context, "take_config", None, ServiceHost::take_config) else {
        return false;
    };
    sink.write(&json);
    true
}

extern "C" fn answer_config(context: *const (), outcome: u8, message: RStr<'_>) {
    answer(context, "answer_config", (), |host| {
        // Whatever else it means: the service does not work by the new configuration.
        let outcome = ConfigOutcome::from_code(outcome).unwrap_or_else(|| {
            unknown_code(host, "answer to a configuration", outcome);
            ConfigOutcome::RestartWanted
        });
        host.answer_config(outcome, message.as_str());
    });
}

#[cfg(test)]
mod tests {
    use plugin_api::abi::EnvelopeKind;

    use super::*;

    #[test]
    fn lent_bytes_are_the_hosts_own_and_come_back() {
        let bytes = Bytes::from(b"topic {}".to_vec());
        let start = bytes.as_ptr();
        let lent = host_bytes(bytes.clone());
        assert_eq!(lent.as_slice(), b"topic {}");
        assert_eq!(lent.as_slice().as_ptr(), start, "nothing was copied");
        assert!(!bytes.is_unique(), "the plugin's part keeps the memory");
        drop(lent);
        assert!(bytes.is_unique(), "and has given it back");
        assert!(host_bytes(Bytes::new()).as_slice().is_empty());
    }

    #[test]
    fn an_envelope_whose_parts_do_not_fit_does_not_cross() {
        let envelope = |topic_len, payload_start| Envelope {
            kind: EnvelopeKind::Message,
            socket: Some(SocketId(3)),
            topic_len,
            payload_start,
            bytes: Bytes::from_static(b"ab {}"),
        };
        let raw = raw_envelope(envelope(2, 3)).expect("fits");
        assert_eq!((raw.socket, raw.topic_len, raw.payload_start), (3, 2, 3));
        assert!(raw_envelope(envelope(2, 6)).is_none());
        assert!(raw_envelope(envelope(6, 5)).is_none());
        assert!(raw_envelope(envelope(usize::MAX, usize::MAX)).is_none());
        assert_eq!(raw_envelope(Envelope::control(EnvelopeKind::Stop)).expect("fits").socket, -1);
    }
}
