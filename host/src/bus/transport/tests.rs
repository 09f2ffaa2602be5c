//! What a configuration may ask of a transport.

use plugin_api::zmq::{SocketRole, SocketSpec};

use super::*;

fn refusal(config: &BusConfig, role: SocketRole, address: &str, bind: bool) -> Option<BusError> {
    let spec = SocketSpec::new(role, "zmq.test", address, 5555, bind);
    config.plan(&spec).err()
}

fn on_zeromq() -> BusConfig {
    BusConfig { transport: TransportKind::Zeromq, ..BusConfig::default() }
}

#[test]
fn zeromq_binds_beyond_loopback_only_when_the_configuration_insists() {
    let pull = SocketRole::Pull;
    for address in ["tcp://*", "tcp://0.0.0.0", "tcp://10.0.0.5", "tcp://[::]", "tcp://eth0"] {
        let error = refusal(&on_zeromq(), pull, address, true).expect("refused");
        assert!(error.message.contains("aborts the process"), "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("zeromq_beyond_loopback = true")));
        let insists = BusConfig { zeromq_beyond_loopback: true, ..on_zeromq() };
        assert_eq!(refusal(&insists, pull, address, true), None);
        let libzmq = BusConfig { transport: TransportKind::Libzmq, ..on_zeromq() };
        assert_eq!(refusal(&libzmq, pull, address, true), None);
    }
    for address in ["tcp://localhost", "tcp://127.0.0.1", "tcp://[::1]", "ipc:///run/x.sock"] {
        assert_eq!(refusal(&on_zeromq(), pull, address, true), None, "{address}");
    }
    assert_eq!(refusal(&on_zeromq(), pull, "tcp://10.0.0.5", false), None, "connects");
}

#[test]
fn zeromq_refuses_the_endpoints_that_it_does_not_have() {
    for role in [SocketRole::Push, SocketRole::Pull] {
        let error = refusal(&on_zeromq(), role, "inproc://x", true).expect("refused");
        assert!(error.message.contains("no inproc for PUSH and PULL"), "{error}");
    }
    for role in [SocketRole::Publisher, SocketRole::Subscriber] {
        assert_eq!(refusal(&on_zeromq(), role, "inproc://x", true), None);
    }
    let error = refusal(&on_zeromq(), SocketRole::Pull, "ipc://@x", false).expect("refused");
    assert!(error.message.contains("no abstract ipc names"), "{error}");
}

#[test]
fn what_is_not_built_is_named_with_a_way_out() {
    let error = TransportKind::Zeromq.missing();
    assert_eq!(error.message, "this build of exphost has no transport zeromq");
    let hint = error.hint.expect("a hint");
    assert!(hint.contains(TransportKind::default().name()) && hint.contains("--features zeromq"));
    assert!(TransportKind::default().is_built());
    for kind in TransportKind::ALL.into_iter().filter(|kind| !kind.is_built()) {
        assert!(maker(&BusConfig { transport: kind, ..BusConfig::default() }).is_err());
    }
}
