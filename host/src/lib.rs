//! The host as a library: everything but `main`.
//!
//! Start with [`cli`] for what people type, [`prepare`] for how a project becomes services that are
//! ready to start, and [`supervisor`] for how they run.

pub mod bus;
pub mod cli;
pub mod config;
pub mod control;
pub mod dev;
pub mod environment;
pub mod health;
pub mod isolated;
pub mod keep;
pub mod logging;
pub mod message;
pub mod plugin;
pub mod prepare;
pub mod problem;
pub mod project;
pub mod service;
pub mod signals;
pub mod supervisor;
pub mod systemd;
pub mod watch;
