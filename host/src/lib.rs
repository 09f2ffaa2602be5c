//! The exphost library.
pub mod config;
pub mod environment;
pub mod message;
pub mod plugin;
pub mod problem;
pub mod project;
