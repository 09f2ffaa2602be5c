//! Every way to load a plugin badly, and one to load it well, with a real library.
//!
//! The library is the `handmade` fixture. Bad ones are copies of it with patched bytes, so that each
//! differs from a good one in what is tested and in nothing else. What is closed after it has run is
//! `fixture-leftovers`, for `export_service!` brings what closing rests on.

mod bad_files;
mod good_plugin;
mod probing;
mod running;
mod support;
mod unloading;
