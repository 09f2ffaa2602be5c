//! What the host offers a service: one table of functions and an opaque pointer.
#![allow(unsafe_code)]

use abi_stable::StableAbi;
use abi_stable::std_types::{RSlice, RStr};

use super::bytes::{ByteSink, RawEnvelope};

/// The host's functions. Each takes the opaque pointer of the [`HostHandle`] first, may be called
/// from any thread of the plugin, returns quickly unless its description says otherwise, and never
/// unwinds.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostVtableRef, prefix_fields = HostVtablePrefix)))]
#[sabi(missing_field(panic))]
pub struct HostVtable {
    /// Makes a place in the plugin's code known to the host's log and returns its number. Equal
    /// callsites get equal numbers, so that a reload adds none.
    pub register_callsite: extern "C" fn(*const (), &CallsiteInfo<'_>) -> u64,
    /// Whether the host wants events of this callsite at the present level.
    pub callsite_enabled: extern "C" fn(*const (), u64) -> bool,
    /// Logs one event.
    pub log: extern "C" fn(*const (), &LogRecord<'_>),
    /// Reports a step of a lifecycle method: codes of [`Method`](crate::state::Method) and
    /// [`Step`](super::Step). The host owns the state machine and may refuse.
    pub transition: extern "C" fn(*const (), u8, u8) -> TransitionReply,
    /// Records an error: a [`Severity`](super::Severity) code, where it happened, what happened.
    pub record_error: extern "C" fn(*const (), u8, RStr<'_>, RStr<'_>),
    /// Clears the sticky error status.
    pub reset_error_status: extern "C" fn(*const ()),
    /// Records a health check: name, [`HealthStatus`](crate::state::HealthStatus) code, message,
    /// metadata as a JSON object (or empty).
    pub record_health_check: extern "C" fn(*const (), RStr<'_>, u8, RStr<'_>, RSlice<'_, u8>),
    /// The overall status: a [`HealthStatus`](crate::state::HealthStatus) code.
    pub health: extern "C" fn(*const ()) -> u8,
    /// Writes the service's statistics as one JSON object.
    pub statistics: extern "C" fn(*const (), ByteSink),
    /// Adds to one of the counters: a [`Counter`](super::Counter) code and an amount.
    pub count: extern "C" fn(*const (), u8, u64),
    /// The eventfd that becomes readable when the mailbox has something. It belongs to the host
    /// and lives as long as the call of `run`; the plugin duplicates it.
    pub mailbox_fd: extern "C" fn(*const ()) -> i32,
    /// Takes the next word of the host to the service: an [`EnvelopeKind`](super::EnvelopeKind) code,
    /// or 255 when there is none. A new word always makes the eventfd readable.
    pub mailbox_control: extern "C" fn(*const ()) -> u8,
    /// Moves up to `capacity` envelopes to `out` and returns how many. After a 0 the eventfd will
    /// become readable at the next arrival. `out` points to uninitialised memory.
    pub mailbox_take: extern "C" fn(*const (), *mut RawEnvelope, usize) -> usize,
    /// Opens a socket from its specification (a JSON [`SocketSpec`](crate::zmq::SocketSpec)) and
    /// returns its number, or -1 with the reason in the sink. Waits for the bus thread, at most a
    /// few seconds.
    pub open_socket: extern "C" fn(*const (), RSlice<'_, u8>, ByteSink) -> i32,
    /// Sends topic (empty for PUSH) and JSON payload; a [`SendOutcome`](super::SendOutcome) code.
    #[sabi(last_prefix_field)]
    pub send: extern "C" fn(*const (), i32, RStr<'_>, RSlice<'_, u8>) -> u8,
    /// Takes the state that the instance before left for this one: its bytes go into the sink, its
    /// version is returned; -1 when there is none. It is there once. Since 1.1.
    #[sabi(missing_field(option))]
    pub take_state: extern "C" fn(*const (), ByteSink) -> i64,
    /// Reports what became of the state that was taken: a [`Restored`](super::Restored) code, and
    /// in words why it was not used. Since 1.1.
    #[sabi(missing_field(option))]
    pub state_restored: extern "C" fn(*const (), u8, RStr<'_>),
    /// Gives the host the state for the next instance: its version and its bytes. False when the
    /// host does not keep it, with the reason in the sink. Since 1.1.
    #[sabi(missing_field(option))]
    pub keep_state: extern "C" fn(*const (), u32, RSlice<'_, u8>, ByteSink) -> bool,
    /// Takes the configuration (JSON) that waits, into the sink; false when there is none. Since 1.1.
    #[sabi(missing_field(option))]
    pub take_config: extern "C" fn(*const (), ByteSink) -> bool,
    /// Reports what became of the configuration that was taken: a
    /// [`ConfigOutcome`](super::ConfigOutcome) code, and in words why it was refused. Since 1.1.
    #[sabi(missing_field(option))]
    pub answer_config: extern "C" fn(*const (), u8, RStr<'_>),
    /// Moves the oldest envelope to `out` that did not come by one of these sockets, and says whether
    /// there was one; otherwise as `mailbox_take`. What came by the others waits, and a socket that
    /// must not drop stops being read when its part of the mailbox is full. Since 1.2.
    #[sabi(missing_field(option))]
    pub mailbox_take_without: extern "C" fn(*const (), RSlice<'_, i32>, *mut RawEnvelope) -> bool,
    /// Whether a socket takes a message now. When it does not, a word
    /// [`Room`](super::EnvelopeKind::Room) follows once it does, or once it is closed. Since 1.2.
    #[sabi(missing_field(option))]
    pub await_room: extern "C" fn(*const (), i32) -> bool,
    /// Gives a message back that was taken and not dealt with: the socket it came by, topic (empty
    /// for PULL) and payload. It is the next to be taken, by this instance or the one after it.
    /// False when the host cannot keep it. Since 1.2.
    #[sabi(missing_field(option))]
    pub give_back: extern "C" fn(*const (), i32, RStr<'_>, RSlice<'_, u8>) -> bool,
    /// Says that the service does what it is there for: services that depend on it may start.
    /// Since 1.3.
    #[sabi(missing_field(option))]
    pub ready: extern "C" fn(*const ()),
    /// Says that the service's own runtime still turns, and in the midst of which of the author's
    /// functions it is; empty when of none, save perhaps the handler of the message that was taken
    /// last, and [`NO_HANDLER`] when not of that either. Since 1.3.
    #[sabi(missing_field(option))]
    pub beat: extern "C" fn(*const (), RStr<'_>),
}

/// What a beat says when the handler of the last message has ended and nobody comes for the next yet.
pub const NO_HANDLER: &str = "run";

/// What a service holds of its host.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct HostHandle {
    /// Passed back to every function of the table; opaque to the plugin.
    pub context: *const (),
    /// The functions.
    pub vtable: HostVtableRef,
}

// SAFETY: the table's contract says that every function may be called from any thread; the pointer
// is only ever handed back to them, and the host knows when it stands for a run that is over.
unsafe impl Send for HostHandle {}
// SAFETY: as above.
unsafe impl Sync for HostHandle {}

/// The answer to a reported step.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct TransitionReply {
    /// Whether the step was legal and has been taken.
    pub accepted: bool,
    /// The state afterwards: a [`ServiceState`](crate::state::ServiceState) code.
    pub state: u8,
    /// When the state was entered, in milliseconds since the Unix epoch.
    pub entered_at_ms: i64,
}

/// A place in the code that logs.
#[repr(C)]
#[derive(StableAbi)]
pub struct CallsiteInfo<'a> {
    /// `tracing`'s name of the callsite.
    pub name: RStr<'a>,
    /// Usually the module path.
    pub target: RStr<'a>,
    /// 1 error, 2 warning, 3 info, 4 debug, 5 trace.
    pub level: u8,
    /// Source file, empty when unknown.
    pub file: RStr<'a>,
    /// Line in it, 0 when unknown.
    pub line: u32,
    /// Names of the fields, in order.
    pub fields: RSlice<'a, RStr<'a>>,
}

/// One event.
#[repr(C)]
#[derive(StableAbi)]
pub struct LogRecord<'a> {
    /// The number that `register_callsite` returned.
    pub callsite: u64,
    /// The open spans, outermost first, as `name{field=value}:name…`; often empty.
    pub spans: RStr<'a>,
    /// The fields that were given a value.
    pub fields: RSlice<'a, LogField<'a>>,
}

/// One field of an event. Numbers and booleans are in `bits`, text in `text`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LogField<'a> {
    /// Which of the callsite's fields.
    pub index: u32,
    /// A [`FieldKind`] code.
    pub kind: u8,
    /// The value's 64 bits, for numbers (two's complement, or IEEE 754) and booleans (0 or 1).
    pub bits: u64,
    /// The value, for text.
    pub text: RStr<'a>,
}

super::codes::codes! {
    /// How the value of a [`LogField`] is to be read.
    FieldKind {
        /// Text in `text`.
        Text = 0,
        /// A signed number.
        Signed = 1,
        /// An unsigned number.
        Unsigned = 2,
        /// A floating-point number.
        Float = 3,
        /// A boolean.
        Bool = 4,
    }
}
