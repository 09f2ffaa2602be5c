//! How a running host is talked to: a Unix socket that only its user can open, and a lock that makes
//! it the only host of its project.
//!
//! [`protocol`] has what is said on the socket. The server never waits for a client in a way that the
//! supervisor could feel, and never for the supervisor longer than a client is promised.

mod answer;
pub mod client;
mod connection;
pub mod lock;
pub mod place;
pub mod protocol;
pub mod server;
mod tap;

pub use self::client::Client;
pub use self::lock::Lock;
pub use self::place::Place;
pub use self::server::{Limits, Server};
