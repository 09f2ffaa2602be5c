//! Integration tests: they start the real binary with real plugins and talk to it as peers do.
#![allow(clippy::disallowed_methods, reason = "tests look at the real surroundings")]

#[path = "../harness/mod.rs"]
mod harness;

mod architecture;
mod bad_files;
mod broken_configs;
mod commands;
mod config_commands;
mod config_errors;
mod contracts;
mod control;
mod dev;
mod fault_table;
mod faults;
mod file_operations;
mod hangs;
mod health;
mod health_plugin;
mod hostile;
mod insight;
mod isolation;
mod logs;
mod older_plugins;
mod operating;
mod operator_stops;
mod readme;
mod recovery;
mod reload;
mod restarts;
mod run;
mod same_host;
mod sockets;
mod stalled;
mod systemd;
mod tasks;
mod throughput;
mod transports;
mod workers;
