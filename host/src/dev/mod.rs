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
//! new instance is RUNNING. A constant of `plugins/heartbeat` changed, the dev profile, two shared
//! cores, medians of 21 saves in turns with 21 bare builds: 0.45 s from save to live (cargo 0.36,
//! reload 0.04) beside 0.37 s for `cargo build -p heartbeat` alone.
//!
//! So what remains is rustc's, and a good part of that is linking. On x86-64 Linux rustc brings its
//! own `lld`; with GNU ld in its place the compiler took about twice as long (0.9 s, not 0.47 s, on
//! a busier machine), so where there is no lld by default it is worth its installation. Debug
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
