//! Write a service for exphost.

pub mod abi;
pub mod constants;
pub mod manifest;
pub mod state;
pub mod zmq;
