//! The exphost library.
pub mod environment;
pub mod logging;
pub mod message;
pub mod plugin;
pub mod problem;
