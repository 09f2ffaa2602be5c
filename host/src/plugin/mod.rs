//! Plugin files: identify, stage, probe, load, run.
pub mod host_side;
