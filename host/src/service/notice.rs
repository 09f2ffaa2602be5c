//! What a service's thread tells the supervisor.

use plugin_api::state::StateRecord;

use super::handover::{ConfigAnswer, StateFate};

/// Something that the supervisor has to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The service has entered a state.
    Entered(StateRecord),
    /// The service says that it does what it is there for.
    Ready,
    /// The instance has dealt with the state that waited for it. Comes before it is STARTING; there
    /// is none when no state waited, and when the state was refused, which ends the instance.
    StateDealtWith(StateFate),
    /// It beats again after a silence, or a handler of it has become slow, or no longer is.
    Pulse,
    /// The instance has given its state: as a snapshot, or for the next one.
    StateKept,
    /// The service has looked at the configuration that was offered to it.
    Config(ConfigAnswer),
}

/// Called with the service's name and every notice, on the service's thread; it must be quick.
pub type Listener = Box<dyn Fn(&str, Notice) + Send + Sync>;
