//! A host that does nothing, for tests to put their own functions into. It has a mailbox, which is the
//! test's own thread's.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::VecDeque;

use abi_stable::std_types::{RSlice, RStr};

use super::{ByteSink, CallsiteInfo, HostVtable, LogRecord, RawEnvelope, TransitionReply};

thread_local! {
    static MAILBOX: RefCell<VecDeque<RawEnvelope>> = const { RefCell::new(VecDeque::new()) };
}

/// Calls `f` with what waits in the mailbox, oldest first.
pub(crate) fn with_mailbox<T>(f: impl FnOnce(&mut VecDeque<RawEnvelope>) -> T) -> T {
    MAILBOX.with_borrow_mut(f)
}

/// A table whose functions answer with nothing: no state, no message, no socket.
pub(crate) fn idle_host() -> HostVtable {
    HostVtable {
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
    }
}

extern "C" fn register_callsite(_: *const (), _: &CallsiteInfo<'_>) -> u64 {
    0
}
extern "C" fn callsite_enabled(_: *const (), _: u64) -> bool {
    false
}
extern "C" fn log(_: *const (), _: &LogRecord<'_>) {}
extern "C" fn transition(_: *const (), _: u8, _: u8) -> TransitionReply {
    TransitionReply { accepted: true, state: 0, entered_at_ms: 0 }
}
extern "C" fn record_error(_: *const (), _: u8, _: RStr<'_>, _: RStr<'_>) {}
extern "C" fn reset_error_status(_: *const ()) {}
extern "C" fn record_health_check(
    _: *const (),
    _: RStr<'_>,
    _: u8,
    _: RStr<'_>,
    _: RSlice<'_, u8>,
) {
}
extern "C" fn health(_: *const ()) -> u8 {
    0
}
extern "C" fn statistics(_: *const (), _: ByteSink) {}
extern "C" fn count(_: *const (), _: u8, _: u64) {}
extern "C" fn mailbox_fd(_: *const ()) -> i32 {
    -1
}
extern "C" fn mailbox_control(_: *const ()) -> u8 {
    u8::MAX
}
extern "C" fn mailbox_take(_: *const (), _: *mut RawEnvelope, _: usize) -> usize {
    0
}
extern "C" fn open_socket(_: *const (), _: RSlice<'_, u8>, _: ByteSink) -> i32 {
    -1
}
extern "C" fn send(_: *const (), _: i32, _: RStr<'_>, _: RSlice<'_, u8>) -> u8 {
    0
}
extern "C" fn take_state(_: *const (), _: ByteSink) -> i64 {
    -1
}
extern "C" fn state_restored(_: *const (), _: u8, _: RStr<'_>) {}
extern "C" fn keep_state(_: *const (), _: u32, _: RSlice<'_, u8>, _: ByteSink) -> bool {
    false
}
extern "C" fn take_config(_: *const (), _: ByteSink) -> bool {
    false
}
extern "C" fn answer_config(_: *const (), _: u8, _: RStr<'_>) {}
extern "C" fn mailbox_take_without(
    _: *const (),
    held: RSlice<'_, i32>,
    slot: *mut RawEnvelope,
) -> bool {
    let next = with_mailbox(|mailbox| {
        let at = mailbox.iter().position(|envelope| !held.contains(&envelope.socket))?;
        mailbox.remove(at)
    });
    let Some(next) = next else { return false };
    // SAFETY: whoever calls a function of the table keeps its contract: the slot is there to be
    // written to.
    unsafe { slot.write(next) };
    true
}
extern "C" fn await_room(_: *const (), _: i32) -> bool {
    true
}
extern "C" fn give_back(_: *const (), _: i32, _: RStr<'_>, _: RSlice<'_, u8>) -> bool {
    false
}
extern "C" fn ready(_: *const ()) {}
extern "C" fn beat(_: *const (), _: RStr<'_>) {}
