//! Plugin files: identify, stage, probe, load, run.

pub mod error;
pub mod host_side;
pub mod identify;
pub mod permissions;
pub mod scan;
pub mod stage;
