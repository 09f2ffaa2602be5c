//! The control socket with a made-up supervisor behind it: what a client may do to it, and what the
//! commands make of its answers.
//!
//! No test sleeps: every wait is for a line, the end of a connection or a report, bounded by `LIMIT`.

mod commands;
mod places;
mod requests;
mod rudeness;
mod support;
