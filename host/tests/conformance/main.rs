//! One suite for both transports: each case runs on either, through the public face of the bus,
//! against peers of both implementations.
//!
//! What `zeromq` is known not to do stands in [`LIMITS`]. Such a case shows the known way of
//! failing instead, or is skipped where that would end the process; so a limit that is gone is
//! noticed. `docs/transports.md` has the same list.

#[path = "../common/mod.rs"]
mod common;
mod limited;
mod moving;
mod peers;
mod surviving;

use std::sync::{PoisonError, RwLock};

use exphost::bus::transport::TransportKind;
use exphost::bus::{Bus, BusConfig};

/// Cases that the transport `zeromq` does not pass, and why.
pub(crate) const LIMITS: &[(&str, &str)] = &[
    ("a_heartbeat_is_answered", "a PING ends the connection"),
    ("hostile_bytes_harm_nobody", "a length of 2^62 aborts the process"),
    ("a_stalled_subscriber_costs_nobody_else", "the others wait until it is gone"),
    ("a_push_that_lost_its_peer_knows", "it is noticed at the next send, which is lost"),
    ("push_and_pull_meet_in_process", "there is no inproc"),
    ("an_abstract_ipc_name_is_an_address", "there are no abstract names"),
    ("every_interface_can_be_bound", "refused, because hostile bytes abort the process"),
];

/// Held for writing by the case that counts what the process holds.
static ALONE: RwLock<()> = RwLock::new(());

/// Runs a case on a transport, or what shows its limit.
#[expect(clippy::print_stdout, reason = "who reads the tests' output is told what was left out")]
fn run(kind: TransportKind, name: &str, case: fn(TransportKind)) {
    let counts = name == "a_hundred_sockets_leave_nothing_behind";
    let _among_others = (!counts).then(|| ALONE.read().unwrap_or_else(PoisonError::into_inner));
    let _alone = counts.then(|| ALONE.write().unwrap_or_else(PoisonError::into_inner));
    let limit = LIMITS.iter().find(|(limited, _)| *limited == name);
    match limit.filter(|_| kind == TransportKind::Zeromq) {
        None => case(kind),
        Some((_, reason)) => match limited::shows(name) {
            Some(show) => show(kind),
            None => println!("SKIPPED {name} on {}: {reason}", kind.name()),
        },
    }
}

/// A bus on a transport.
pub(crate) fn bus_on(kind: TransportKind) -> Bus {
    Bus::start(config_on(kind)).expect("a bus")
}

pub(crate) fn config_on(kind: TransportKind) -> BusConfig {
    BusConfig { transport: kind, zeromq_beyond_loopback: false, ..common::config() }
}

macro_rules! suite {
    ($($module:ident: $($case:ident)+;)+) => {
        const CASES: &[&str] = &[$($(stringify!($case)),+),+];

        #[cfg(feature = "libzmq")]
        mod libzmq {
            $($(#[test] fn $case() {
                super::run(super::TransportKind::Libzmq, stringify!($case), super::$module::$case);
            })+)+
        }

        #[cfg(feature = "zeromq")]
        mod zeromq {
            $($(#[test] fn $case() {
                super::run(super::TransportKind::Zeromq, stringify!($case), super::$module::$case);
            })+)+
        }
    };
}

suite! {
    moving:
        all_kinds_both_ways_over_tcp
        all_kinds_both_ways_over_ipc
        connecting_before_the_peer_binds
        bad_frames_are_counted_and_the_next_good_one_arrives
        a_changed_subscription_takes_effect
        an_oversized_message_is_refused_and_the_others_are_served
        a_full_pull_stops_reading_and_loses_nothing
        a_push_without_a_peer_waits_and_blocks_nobody
        a_publisher_and_a_subscriber_of_one_host_meet;
    surviving:
        the_binding_peer_restarts
        the_connecting_peer_restarts
        what_was_sent_before_closing_still_arrives
        an_endpoint_can_be_bound_again_as_soon_as_its_service_is_closed
        a_hundred_sockets_leave_nothing_behind;
    limited:
        a_heartbeat_is_answered
        hostile_bytes_harm_nobody
        a_stalled_subscriber_costs_nobody_else
        a_push_that_lost_its_peer_knows
        push_and_pull_meet_in_process
        an_abstract_ipc_name_is_an_address
        every_interface_can_be_bound;
}

#[test]
fn the_documented_limits_are_the_tested_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/transports.md");
    let text = std::fs::read_to_string(path).expect("docs/transports.md");
    let named = |line: &str| {
        let name = line.strip_prefix("| `")?.split_once('`')?.0;
        CASES.contains(&name).then(|| name.to_owned())
    };
    let documented: Vec<String> = text.lines().filter_map(named).collect();
    let tested: Vec<&str> = LIMITS.iter().map(|(name, _)| *name).collect();
    assert_eq!(documented, tested);
    assert!(tested.iter().all(|name| CASES.contains(name)), "every limit is a case");
}
