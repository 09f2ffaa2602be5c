//! A service as the host keeps it.
pub mod mailbox;
