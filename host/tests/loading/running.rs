//! Runs services on the host's real parts: bus, mailbox, state machine.

use std::sync::{Arc, mpsc};

use exphost::bus::{Bus, BusConfig};
use exphost::plugin::instance::Instance;
use exphost::plugin::library::{Library, RunRequest};
use exphost::service::Hosted;
use exphost::service::mailbox::{Mailbox, MailboxLimits};
use plugin_api::abi::RunOutcome;
use serde_json::Value;

use crate::support::DEADLINE;

/// A bus, for any number of services one after another.
pub(crate) struct House {
    bus: Bus,
}

/// A service that runs.
pub(crate) struct Running {
    pub(crate) instance: Instance,
    pub(crate) hosted: Arc<Hosted>,
    ended: mpsc::Receiver<RunOutcome>,
}

impl House {
    pub(crate) fn new() -> Self {
        let config = BusConfig { allow_port_zero: true, ..BusConfig::default() };
        Self { bus: Bus::start(config).expect("a bus") }
    }

    pub(crate) fn begin(&self, library: Arc<Library>, config: &Value) -> Running {
        let service = "guest".to_owned();
        let mailbox = Arc::new(Mailbox::new(MailboxLimits::default()).expect("a mailbox"));
        let listener = Box::new(|_: &str, _| ());
        let hosted = Hosted::new(service.clone(), mailbox, self.bus.handle(), listener);
        let hosted = Arc::new(hosted);
        let request = RunRequest {
            service,
            project: "experimance".to_owned(),
            config: config.to_string().into_bytes(),
            stop_timeout: DEADLINE,
        };
        let (tell, ended) = mpsc::channel();
        let on_end = move |outcome| tell.send(outcome).expect("somebody listens");
        let instance =
            Instance::spawn(library, Arc::clone(&hosted) as _, request, on_end).expect("a thread");
        Running { instance, hosted, ended }
    }

    /// Runs a service to its end, which must be a good one.
    pub(crate) fn run(&self, library: &Arc<Library>, config: &Value) {
        let running = self.begin(Arc::clone(library), config);
        assert_eq!(running.outcome(), RunOutcome::Stopped);
        running.instance.join();
        assert!(self.bus.handle().close_service_within("guest", DEADLINE));
    }
}

impl Running {
    pub(crate) fn outcome(&self) -> RunOutcome {
        self.ended.recv_timeout(DEADLINE).expect("it ends")
    }
}

/// The configuration of `fixture-leftovers`, with a publisher.
pub(crate) fn leaving(what: &str) -> Value {
    let publisher = serde_json::json!({"address": "tcp://127.0.0.1", "port": 0, "bind": true});
    serde_json::json!({"leave": what, "zmq": {"publisher": publisher}})
}
