//! Plugin files: identify, stage, probe, load, run.
//!
//! Only this module opens libraries, and only `library.rs` in it names `abi_stable`.
//!
//! # Safety
//! Running code that somebody put into a directory can only be made sound step by step, and each
//! step rests on the ones before it. **The load order is the argument:**
//!
//! 1. [`identify`] reads the file's bytes and runs nothing. What passes is a complete shared library
//!    for this machine that says it is a plugin, of a plugin-api that this host serves, with panics
//!    that unwind, and with the entry that step 4 looks up.
//! 2. [`permissions`] sees to it that nobody but root and the host's user could have written it.
//! 3. [`stage`] copies it to where nobody else can write, under a name of its own, and compares the
//!    hash: what is checked from now on, and what will be mapped, are the bytes of step 1.
//! 4. [`probe`] opens the copy in a child process and takes it through everything that step 5 does.
//!    A file that crashes, hangs or exits there is never opened here.
//! 5. [`library`] opens it in this process: bind everything at once (a missing symbol is an error now
//!    and not a crash later), check the header, compare the layout of every type that crosses the
//!    boundary, and only then take the module. After that each function of the module has the
//!    signature that the host believes it has; this is what all calls in `library.rs` and `vtable.rs`
//!    rest on.
//!    The build of a service that has a process of its own is not opened here but there ([`code`]), by the
//!    same steps; it shares that process with nobody.
//! 6. [`instance`] calls `run` on a thread of its own. No plugin code runs on a thread that outlives
//!    it: the short calls of step 5 have a thread each, which is joined.
//! 7. [`unload`] closes a library when it is proved that nothing leads into it any more, and else
//!    leaves it mapped for ever. So no code or static of a plugin is ever gone while somebody may
//!    still use it.
//!
//! What this does not give is protection from a plugin that means harm: it shares the address
//! space. The steps keep accidents out: half-copied files, other builds, other machines, forgotten
//! threads.

pub mod code;
mod dependencies;
pub(crate) mod desk;
pub mod error;
pub mod host_side;
pub mod identify;
pub mod instance;
pub mod library;
pub mod permissions;
pub mod probe;
pub mod scan;
pub mod stage;
pub mod unload;
mod vtable;
