//! A service in a process of its own: what it does to its memory, its threads and its process costs
//! that service alone.
//!
//! The child is this executable again. It opens the plugin and runs it as the host would
//! ([`child`]), with a host ([`remote`]) whose every function is a question over a private channel
//! ([`wire`]). In the host a thread for each child, its [`clerk`], answers them from what the host
//! holds for the service: mailbox, sockets, state machine, health, log. So all of that is where it is
//! for any other service, and outlives the child.
//!
//! What holds:
//!
//! * **A message is the host's until the child asks for it**, and it asks for one at a time: a child
//!   that dies takes along what its handler had in hand, and the tasks that it had not finished.
//! * **A child does not outlive its host.** The kernel kills it when the clerk's thread ends, however
//!   that comes about, and the channel's end tells it the same.
//! * **Signals at the terminal are the host's**: the child has a process group of its own and does not
//!   heed those that ask a process to end, for the host asks it itself.
//! * **The host does not wait for a child**: the clerk does. [`Child::kill`] needs nobody's consent.

mod answers;
mod child;
mod clerk;
mod memory;
mod remote;
#[cfg(test)]
mod tests;
mod wire;

pub use self::child::{is_service_process, service_main};
pub use self::clerk::{Child, ChildRequest};
