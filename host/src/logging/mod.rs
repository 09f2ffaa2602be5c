//! Logging.
pub mod bridge;
