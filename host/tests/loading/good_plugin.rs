//! A loaded plugin runs, uses its whole vtable, and cannot do harm with wrong numbers.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use exphost::message::{Envelope, SocketId};
use exphost::plugin::host_side::ServiceHost;
use exphost::plugin::instance::Instance;
use exphost::plugin::library::RunRequest;
use plugin_api::SavedState;
use plugin_api::abi::{
    ConfigOutcome, Counter, EnvelopeKind, Restored, RunOutcome, SendOutcome, Severity, Step,
};
use plugin_api::state::{
    HealthStatus, IllegalTransition, Method, ServiceState, StateLog, StateRecord,
};
use plugin_api::zmq::SocketSpec;

use crate::support::{DEADLINE, Workbench, good};

/// A host that writes down what it is asked, with a mailbox that was filled before.
struct NotedHost {
    log: StateLog,
    waiting: Mutex<VecDeque<Envelope>>,
    notes: Mutex<Vec<String>>,
    eventfd: rustix::fd::OwnedFd,
    refuse_sockets: bool,
    refuse_states: bool,
    panics: bool,
    state: Mutex<Option<Arc<SavedState>>>,
}

impl NotedHost {
    fn new(waiting: Vec<Envelope>) -> Self {
        let now = "2024-01-01T00:00:00Z".parse().expect("a time");
        Self {
            log: StateLog::new(now),
            waiting: Mutex::new(waiting.into()),
            notes: Mutex::default(),
            eventfd: rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("one"),
            refuse_sockets: false,
            refuse_states: false,
            panics: false,
            state: Mutex::default(),
        }
    }

    fn note(&self, text: impl Into<String>) {
        self.notes.lock().expect("no panic").push(text.into());
    }

    fn notes(&self) -> Vec<String> {
        self.notes.lock().expect("no panic").clone()
    }
}

impl ServiceHost for NotedHost {
    fn service(&self) -> &str {
        "noted"
    }

    fn transition(&self, method: Method, step: Step) -> Result<StateRecord, IllegalTransition> {
        assert!(!self.panics, "the host panics");
        let StateRecord { state: before, at } = self.log.current();
        if let Some(state) = method.next(step, before)?.filter(|state| *state != before) {
            self.log.record(StateRecord { state, at });
        }
        Ok(self.log.current())
    }

    fn state(&self) -> StateRecord {
        self.log.current()
    }

    fn record_error(&self, severity: Severity, place: &str, message: &str) {
        self.note(format!("{severity:?} in {place}: {message}"));
    }

    fn reset_error_status(&self) {
        self.note("reset");
    }

    fn record_health_check(
        &self,
        name: &str,
        status: HealthStatus,
        message: &str,
        metadata: &[u8],
    ) {
        self.note(format!("check {name} {status:?} {message} {}", metadata.len()));
    }

    fn health(&self) -> HealthStatus {
        HealthStatus::Healthy
    }

    fn statistics(&self) -> Vec<u8> {
        b"{}".to_vec()
    }

    fn count(&self, counter: Counter, amount: u64) {
        self.note(format!("{counter:?} {amount}"));
    }

    fn mailbox_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    fn mailbox_control(&self) -> Option<EnvelopeKind> {
        let mut waiting = self.waiting.lock().expect("no panic");
        let word = waiting.front().map(|next| next.kind);
        let word = word.filter(|kind| *kind != EnvelopeKind::Message);
        if word.is_some() {
            waiting.pop_front();
        }
        word
    }

    fn mailbox_take_without(&self, held: &[i32]) -> Option<Envelope> {
        let mut waiting = self.waiting.lock().expect("no panic");
        let is_held = |next: &Envelope| next.socket.is_some_and(|id| held.contains(&id.0));
        let at =
            waiting.iter().position(|next| next.kind == EnvelopeKind::Message && !is_held(next))?;
        waiting.remove(at)
    }

    fn await_room(&self, _: SocketId) -> bool {
        true
    }

    fn give_back(&self, socket: SocketId, topic: &str, payload: &[u8]) -> bool {
        self.note(format!("give back {socket:?} {topic} {}", payload.len()));
        false
    }

    fn ready(&self) {
        self.note("ready");
    }

    fn beat(&self, _: &str) {}

    fn mailbox_take(&self, limit: usize, each: &mut dyn FnMut(Envelope)) {
        let mut waiting = self.waiting.lock().expect("no panic");
        let messages = waiting.iter().take_while(|next| next.kind == EnvelopeKind::Message).count();
        waiting.drain(..limit.min(messages)).for_each(each);
    }

    fn open_socket(&self, spec: SocketSpec) -> Result<SocketId, String> {
        if self.refuse_sockets {
            return Err("port 5555 is taken".to_owned());
        }
        self.note(format!("{:?} {}", spec.role, spec.endpoint()));
        Ok(SocketId(7))
    }

    fn send(&self, socket: SocketId, topic: &str, payload: &[u8]) -> SendOutcome {
        self.note(format!("send {} {topic} {}", socket.0, String::from_utf8_lossy(payload)));
        SendOutcome::Queued
    }

    fn take_state(&self) -> Option<Arc<SavedState>> {
        self.state.lock().expect("no panic").take()
    }

    fn state_restored(&self, restored: Restored, reason: &str) {
        self.note(format!("{restored:?} {reason}"));
    }

    fn keep_state(&self, state: SavedState) -> Result<(), String> {
        if self.refuse_states {
            return Err("no room".to_owned());
        }
        let SavedState { version, bytes } = state;
        self.note(format!("keep {version} {}", String::from_utf8_lossy(&bytes)));
        Ok(())
    }

    fn take_config(&self) -> Option<Vec<u8>> {
        Some(b"{\"n\": 1}".to_vec())
    }

    fn answer_config(&self, outcome: ConfigOutcome, message: &str) {
        self.note(format!("{outcome:?} {message}"));
    }
}

fn message(text: &'static str) -> Envelope {
    let topic_len = text.find(' ').expect("a space");
    Envelope {
        kind: EnvelopeKind::Message,
        socket: Some(SocketId(1)),
        topic_len,
        payload_start: topic_len + 1,
        bytes: Bytes::from_static(text.as_bytes()),
    }
}

fn request(mode: &str) -> RunRequest {
    RunRequest {
        service: "noted".to_owned(),
        project: "experimance".to_owned(),
        config: format!(r#"{{"mode": "{mode}"}}"#).into_bytes(),
        stop_timeout: DEADLINE,
    }
}

/// Runs the fixture to its end.
fn run(host: Arc<NotedHost>, mode: &str) -> RunOutcome {
    let library = Workbench::new().opened(good());
    library.run(host, &request(mode))
}

#[test]
fn a_service_runs_from_new_to_stop_on_a_thread_of_its_own() {
    let mut waiting = vec![message("a {\"n\":1}"), message("b 2"), message("c 3"), message("d 4")];
    waiting.extend([message("e 5"), Envelope::control(EnvelopeKind::Stop)]);
    let host = Arc::new(NotedHost::new(waiting));
    let bench = Workbench::new();
    let library = bench.opened(good());
    assert_eq!(library.manifest().expect("a manifest").name, "handmade");
    assert_eq!(library.check_config(br#"{"mode": []}"#).len(), 1);
    let (tell, told) = mpsc::channel();
    let on_end = move |outcome| {
        let name = std::thread::current().name().map(str::to_owned);
        tell.send((outcome, name)).expect("somebody listens");
    };
    let instance = Instance::spawn(library, Arc::clone(&host) as _, request("serve"), on_end)
        .expect("a thread");
    let (outcome, name) = told.recv_timeout(DEADLINE).expect("ended");
    instance.join();
    assert_eq!((outcome, name.as_deref()), (RunOutcome::Stopped, Some("noted")));
    let states: Vec<_> = host.log.history().iter().map(|record| record.state).collect();
    use ServiceState::{Initialized, Initializing, Running, Started, Starting, Stopped, Stopping};
    assert_eq!(states, [Initializing, Initialized, Starting, Started, Running, Stopping, Stopped]);
    let mut expected =
        vec!["Publisher tcp://*:5555".to_owned(), "check handmade Healthy fine 0".into()];
    for sent in ["a {\"n\":1}", "b 2", "c 3", "d 4", "e 5"] {
        expected.extend([format!("send 7 {sent}"), "Handled 1".into()]);
    }
    assert_eq!(host.notes(), expected);
    assert_eq!(Arc::strong_count(&host), 1, "nothing keeps the host's side after the run");
}

#[test]
fn a_panic_of_the_service_ends_its_run_and_nothing_else() {
    let host = Arc::new(NotedHost::new(Vec::new()));
    assert_eq!(run(Arc::clone(&host), "panic"), RunOutcome::Panicked);
    assert_eq!(Arc::strong_count(&host), 1);
}

#[test]
fn a_failure_and_its_reason_reach_the_host() {
    let host = Arc::new(NotedHost::new(Vec::new()));
    assert_eq!(run(Arc::clone(&host), "fail"), RunOutcome::Failed);
    assert_eq!(host.notes(), ["Fatal in new: no such device"]);
    let host = Arc::new(NotedHost { refuse_sockets: true, ..NotedHost::new(Vec::new()) });
    assert_eq!(run(Arc::clone(&host), "serve"), RunOutcome::Failed);
    assert_eq!(host.notes(), ["Fatal in start: port 5555 is taken"]);
}

#[test]
fn unknown_codes_are_refused_one_by_one() {
    let host = Arc::new(NotedHost::new(Vec::new()));
    assert_eq!(run(Arc::clone(&host), "bad codes"), RunOutcome::Stopped);
    let notes = host.notes();
    assert_eq!(
        notes,
        ["Error in somewhere: something", "check x Unknown  0", "RestartWanted unknown"]
    );
    assert_eq!(host.state().state, ServiceState::Initializing);
}

/// A host with a state for the fixture, which will be asked to hand over; what it noted of that.
fn handed_over(version: u32, refuse_states: bool) -> Vec<String> {
    let waiting =
        [EnvelopeKind::Config, EnvelopeKind::Handover].map(Envelope::control).into_iter().collect();
    let state = Arc::new(SavedState { version, bytes: b"abc".to_vec() });
    let state = Mutex::new(Some(state));
    let host = Arc::new(NotedHost { refuse_states, state, ..NotedHost::new(waiting) });
    assert_eq!(run(Arc::clone(&host), "serve"), RunOutcome::Stopped);
    let sockets = |note: &String| note.starts_with("Publisher") || note.starts_with("check");
    host.notes().into_iter().filter(|note| !sockets(note)).collect()
}

#[test]
fn a_state_crosses_both_ways_and_a_configuration_is_answered() {
    let refused = "Refused taken true: {\"n\": 1}";
    assert_eq!(handed_over(1, false), ["Continued ", refused, "keep 1 abcx"]);
    let fresh = "StartedFresh version 4294967295 means nothing to me";
    assert_eq!(handed_over(u32::MAX, false), [fresh, refused, "keep 1 x"]);
    let not_kept = "Error in save_state: no room";
    assert_eq!(handed_over(1, true), ["Continued ", refused, not_kept]);
}

#[test]
fn a_panic_of_the_host_does_not_reach_the_plugin() {
    let host = Arc::new(NotedHost { panics: true, ..NotedHost::new(Vec::new()) });
    // The refused first step ends the service in an orderly way.
    assert_eq!(run(host, "serve"), RunOutcome::Failed);
}

#[test]
fn generations_of_one_file_are_different_code() {
    let bench = Workbench::new();
    let old = bench.opened(good());
    let new = Workbench::new();
    let new = new.opened(&crate::support::behaving("fail"));
    assert_eq!(old.manifest().expect("the old one").name, "handmade");
    assert!(new.manifest().is_err(), "the new code answers, not the old one's");
}

#[test]
fn a_running_service_does_not_see_its_file_change() {
    let bench = Workbench::new();
    let library = bench.opened(good());
    bench.file(b"");
    assert_eq!(library.manifest().expect("still mapped").name, "handmade");
}
