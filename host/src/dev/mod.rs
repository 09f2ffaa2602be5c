//! `exphost dev`: builds the plugins of a workspace, runs a project with them, and has each service
//! run new code as soon as its source is saved and compiles. Until it compiles, the old runs on.
//!
//! [`workspace`] says which packages are plugins and what each is built from, [`needs`] which of
//! them a project runs. [`watch`] hears of saves, [`sources`] says whom one concerns. [`build`] has
//! cargo build, [`shelf`] keeps the result, [`work`] is the loop over all that, and [`bench`] sets
//! it up.
//!
//! # From a save to new code
//! The way is [`work::SETTLE`], cargo, the copy to the shelf, the host's own reload; it ends when the
//! new instance is RUNNING. A constant of `plugins/heartbeat` changed, the dev profile, two quiet
//! cores, medians of 21 saves in three rounds between as many bare builds: 0.48 s from save to live
//! (cargo 0.39, reload 0.05) beside 0.42 s for `cargo build -p heartbeat` alone.
//!
//! So what remains is the compiler's, and much of that is linking. On x86-64 Linux rustc brings its
//! own `lld`; with GNU ld in its place the same call of rustc took 0.71 s and not 0.32 s (medians of
//! nine each, in turns). Where there is no lld by default it is worth its installation. Debug
//! information is `line-tables-only` in the workspace already.
//!
//! What can be lost here is lost by waiting for another cargo: an editor that checks at each save
//! holds the lock of the target directory just then. It is said when it happens; giving the editor
//! a target directory of its own ends it (`rust-analyzer.cargo.targetDir = true`).

pub mod bench;
pub mod build;
pub mod cargo;
pub mod needs;
pub mod notice;
pub mod reload;
pub mod shelf;
pub mod sources;
pub mod watch;
pub mod work;
pub mod workspace;
