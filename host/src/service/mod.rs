//! A service as the host holds it, whatever instance of it runs: its state machine, mailbox,
//! health and counters.

pub mod counters;
pub mod handover;
pub mod health;
pub mod hosted;
pub mod liveness;
pub mod mailbox;
pub mod notice;
pub mod sockets;
pub mod state;

pub use hosted::Hosted;
