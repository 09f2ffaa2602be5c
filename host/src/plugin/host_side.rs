//! What the loader needs of the host to run a service: the safe face of the host's vtable.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use plugin_api::SavedState;
use plugin_api::abi::{
    ConfigOutcome, Counter, EnvelopeKind, Restored, SendOutcome, Severity, Step,
};
use plugin_api::state::{HealthStatus, IllegalTransition, Method, StateRecord};
use plugin_api::zmq::SocketSpec;

use crate::logging::bridge::{self, Callsite, Value};
use crate::message::{Envelope, SocketId};

/// The host as one service instance sees it. Every method may be called from any thread of the
/// plugin, so it must return quickly and must not call back into plugin code.
pub trait ServiceHost: Send + Sync + 'static {
    /// The service's name in its project.
    fn service(&self) -> &str;
    /// Makes a place that logs known; its number.
    fn register_callsite(&self, callsite: &Callsite<'_>) -> u64 {
        bridge::register(callsite)
    }
    /// Whether the events of a place are wanted.
    fn callsite_enabled(&self, callsite: u64) -> bool {
        bridge::enabled(self.service(), callsite)
    }
    /// Logs an event in the service's name; `fields` are numbers of the place's fields.
    fn log(&self, callsite: u64, spans: &str, fields: &[(usize, Value<'_>)]) {
        bridge::emit(self.service(), callsite, spans, fields);
    }
    /// A step of the lifecycle, as the plugin reports it.
    ///
    /// # Errors
    /// When the step is illegal in the present state.
    fn transition(&self, method: Method, step: Step) -> Result<StateRecord, IllegalTransition>;
    /// The present state.
    fn state(&self) -> StateRecord;
    /// Records an error: how grave, where (`on_message`, `task beat`), what.
    fn record_error(&self, severity: Severity, place: &str, message: &str);
    /// Clears the sticky error status.
    fn reset_error_status(&self);
    /// Records a health check; `metadata` is a JSON object or empty.
    fn record_health_check(&self, name: &str, status: HealthStatus, message: &str, metadata: &[u8]);
    /// The overall health.
    fn health(&self) -> HealthStatus;
    /// The statistics, as a JSON object.
    fn statistics(&self) -> Vec<u8>;
    /// Adds to a counter that the plugin's side keeps.
    fn count(&self, counter: Counter, amount: u64);
    /// The mailbox's eventfd.
    fn mailbox_fd(&self) -> BorrowedFd<'_>;
    /// Takes the next word of the host to the service. A new word makes the eventfd readable.
    fn mailbox_control(&self) -> Option<EnvelopeKind>;
    /// Takes up to `limit` messages, oldest first. After an
    /// empty answer the eventfd becomes readable at the next arrival.
    fn mailbox_take(&self, limit: usize, each: &mut dyn FnMut(Envelope));
    /// Takes the oldest message that did not come by one of these sockets.
    fn mailbox_take_without(&self, held: &[i32]) -> Option<Envelope>;
    /// Whether a socket takes a message now; otherwise the word `Room` follows once it does.
    fn await_room(&self, socket: SocketId) -> bool;
    /// Takes back a message that was not dealt with; whether it is kept.
    fn give_back(&self, socket: SocketId, topic: &str, payload: &[u8]) -> bool;
    /// The service does what it is there for.
    fn ready(&self);
    /// The service's runtime turns, in the midst of the author's function `place`, if that is neither
    /// empty nor [`NO_HANDLER`](plugin_api::abi::NO_HANDLER).
    fn beat(&self, place: &str);
    /// Opens a socket.
    ///
    /// # Errors
    /// With one line that says why not, and what to do.
    fn open_socket(&self, spec: SocketSpec) -> Result<SocketId, String>;
    /// Sends; never blocks.
    fn send(&self, socket: SocketId, topic: &str, payload: &[u8]) -> SendOutcome;
    /// Takes the state that waits for this instance; it is there once.
    fn take_state(&self) -> Option<Arc<SavedState>>;
    /// What became of the state that was taken; `reason` says why it was given up.
    fn state_restored(&self, restored: Restored, reason: &str);
    /// Keeps the state that the instance leaves to the next one.
    ///
    /// # Errors
    /// With one line that says why not.
    fn keep_state(&self, state: SavedState) -> Result<(), String>;
    /// The same for a state that is still its sender's: of one that is too large no copy is made.
    ///
    /// # Errors
    /// With one line that says why not.
    fn copy_state(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > SavedState::MAX_BYTES {
            let (len, limit) = (bytes.len(), SavedState::MAX_BYTES);
            return Err(format!("the host keeps no state of {len} bytes: {limit} are the limit"));
        }
        self.keep_state(SavedState { version, bytes: bytes.to_vec() })
    }
    /// Takes the configuration that waits, as JSON.
    fn take_config(&self) -> Option<Vec<u8>>;
    /// What became of the configuration that was taken; `message` says why it was refused.
    fn answer_config(&self, outcome: ConfigOutcome, message: &str);
}
