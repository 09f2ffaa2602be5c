//! Whole lives under a made-up host: what is handed over and when, and new configurations.
//!
//! A life runs on the test's own thread, so the host is a thread's own and no pointer is needed.

mod dispatch;
mod pulse;
mod snapshots;
mod sockets;
mod workers;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::PoisonError;

use super::*;
use crate::abi::{
    ByteSink, CallsiteInfo, ConfigOutcome, EnvelopeKind, HostVtable, LogRecord,
    PrefixTypeTrait as _, RSlice, RStr, Restored, Step, TransitionReply,
};
use crate::log::tests::ONE_HOST_AT_A_TIME;
use crate::prelude::*;
use crate::state::Method;

const HANDOVER: u8 = EnvelopeKind::Handover.code();
const STOP: u8 = EnvelopeKind::Stop.code();
const CONFIG: u8 = EnvelopeKind::Config.code();
/// A word of a host to come.
const UNKNOWN: u8 = 200;

/// What the host has, and what it heard.
struct Fake {
    state: ServiceState,
    waiting: Option<SavedState>,
    config: Option<Vec<u8>>,
    words: VecDeque<u8>,
    /// What it says when it has an answer to its configuration.
    after_answer: Vec<u8>,
    keeps: bool,
    notes: Vec<String>,
    /// Stands in for the eventfd: what is written to one end makes the other readable.
    wake: (UnixStream, UnixStream),
}

thread_local! {
    static HOST: RefCell<Option<Fake>> = const { RefCell::new(None) };
}

fn with_host<T>(f: impl FnOnce(&mut Fake) -> T) -> T {
    HOST.with_borrow_mut(|host| f(host.as_mut().expect("a test has set up a host")))
}

fn note(text: impl Into<String>) {
    with_host(|host| host.notes.push(text.into()));
}

/// Waits until the service has heard all that was said.
async fn heard() {
    let all = async {
        while with_host(|host| !host.words.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("the service listens");
}

fn say(words: &[u8]) {
    with_host(|host| {
        host.words.extend(words);
        host.wake.0.write_all(&[1]).expect("the other end is there");
    });
}

extern "C" fn register_callsite(_: *const (), callsite: &CallsiteInfo<'_>) -> u64 {
    u64::from(callsite.level)
}

extern "C" fn callsite_enabled(_: *const (), level: u64) -> bool {
    level <= 2
}

extern "C" fn log(_: *const (), record: &LogRecord<'_>) {
    // Panics come as errors; they are recorded as well.
    if record.callsite == 2 {
        note(format!("warning: {}", record.fields.iter().next().map_or("", |it| it.text.as_str())));
    }
}

extern "C" fn transition(_: *const (), method: u8, step: u8) -> TransitionReply {
    let method = Method::from_code(method).expect("a method");
    let step = Step::from_code(step).expect("a step");
    with_host(|host| {
        let next = method.next(step, host.state);
        host.state = next.ok().flatten().unwrap_or(host.state);
        TransitionReply { accepted: next.is_ok(), state: host.state.code(), entered_at_ms: 0 }
    })
}

extern "C" fn record_error(_: *const (), severity: u8, place: RStr<'_>, message: RStr<'_>) {
    let severity = Severity::from_code(severity).expect("a severity");
    note(format!("{severity:?} in {place}: {message}"));
}

extern "C" fn mailbox_fd(_: *const ()) -> i32 {
    with_host(|host| host.wake.1.as_raw_fd())
}

extern "C" fn mailbox_control(_: *const ()) -> u8 {
    with_host(|host| host.words.pop_front().unwrap_or(u8::MAX))
}

extern "C" fn take_state(_: *const (), sink: ByteSink) -> i64 {
    let Some(state) = with_host(|host| host.waiting.take()) else { return -1 };
    sink.write(&state.bytes);
    i64::from(state.version)
}

extern "C" fn state_restored(_: *const (), restored: u8, reason: RStr<'_>) {
    let restored = Restored::from_code(restored).expect("a fate");
    note(format!("{restored:?} {reason}"));
}

extern "C" fn keep_state(
    _: *const (),
    version: u32,
    bytes: RSlice<'_, u8>,
    reason: ByteSink,
) -> bool {
    let keeps = with_host(|host| host.keeps);
    if keeps {
        note(format!("kept {version} {}", String::from_utf8_lossy(bytes.as_slice())));
    } else {
        reason.write(b"no room");
    }
    keeps
}

extern "C" fn take_config(_: *const (), sink: ByteSink) -> bool {
    with_host(|host| host.config.take()).inspect(|json| sink.write(json)).is_some()
}

extern "C" fn answer_config(_: *const (), outcome: u8, message: RStr<'_>) {
    let outcome = ConfigOutcome::from_code(outcome).expect("an answer");
    note(format!("{outcome:?} {message}"));
    let words = with_host(|host| std::mem::take(&mut host.after_answer));
    say(&words);
}

fn table() -> HostVtable {
    HostVtable {
        register_callsite,
        callsite_enabled,
        log,
        transition,
        record_error,
        mailbox_fd,
        mailbox_control,
        take_state,
        state_restored,
        keep_state,
        take_config,
        answer_config,
        beat: pulse::beat,
        ..sockets::table()
    }
}

config! {
    /// How a method of the service ends.
    enum Act {
        #[default]
        Well,
        Error,
        Fresh,
        Fatal,
        Panic,
        Pending,
    }
}

impl Act {
    async fn out(self) -> Result<()> {
        match self {
            Self::Well => Ok(()),
            Self::Error => Err(Error::new("an error")),
            Self::Fresh => Err(Error::start_fresh("not needed")),
            Self::Fatal => Err(Error::fatal("a fatal error")),
            Self::Panic => panic!("a panic"),
            Self::Pending => std::future::pending().await,
        }
    }
}

config! {
    /// What happens in the service's life.
    struct Config {
        /// What the host says while the service starts.
        said_in_start: Vec<u8> = vec![],
        /// What the host says in the first tick.
        said: Vec<u8> = vec![HANDOVER],
        tick: Act = Act::Well,
        save: Act = Act::Well,
        on_config: Act = Act::Well,
        /// Whether a new configuration takes a new instance.
        restart: bool = false,
        restore: Act = Act::Well,
    }
}

saved_state! {
    struct Memory {
        ticks: u64,
    }
}

struct Ticking {
    config: Config,
    memory: Memory,
    in_handler: bool,
}

impl Service for Ticking {
    type Config = Config;

    async fn new(config: Config, _: &Context) -> Result<Self> {
        Ok(Self { config, memory: Memory::default(), in_handler: false })
    }

    async fn restore_state(&mut self, _: &Context, state: SavedState) -> Result<()> {
        self.config.restore.out().await?;
        self.memory = state.read(1)?;
        Ok(())
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        note("start");
        say(&self.config.said_in_start);
        heard().await;
        ctx.tick_every(Duration::from_secs(600));
        Ok(())
    }

    async fn on_tick(&mut self, _: &Context) -> Result<()> {
        self.in_handler = true;
        say(&std::mem::take(&mut self.config.said));
        heard().await;
        // The word is known, and the handler has not ended.
        tokio::task::yield_now().await;
        self.memory.ticks += 1;
        self.in_handler = false;
        self.config.tick.out().await
    }

    async fn on_config(&mut self, _: &Context, config: Config) -> Result<ConfigChange> {
        note(if self.in_handler { "on_config in a handler" } else { "on_config" });
        config.on_config.out().await?;
        Ok(if config.restart { ConfigChange::Restart } else { ConfigChange::Applied })
    }

    async fn save_state(&mut self, ctx: &Context) -> Result<Option<SavedState>> {
        note(format!("save_state {}", ctx.state()));
        self.config.save.out().await?;
        SavedState::of(1, &self.memory)
    }

    async fn stop(&mut self, _: &Context) -> Result<()> {
        note("stop");
        Ok(())
    }
}

/// A service that leaves everything to the defaults.
struct Plain;

impl Service for Plain {
    type Config = Config;

    async fn new(_: Config, ctx: &Context) -> Result<Self> {
        ctx.tick_every(Duration::from_secs(600));
        Ok(Self)
    }

    async fn on_tick(&mut self, _: &Context) -> Result<()> {
        say(&[CONFIG]);
        Ok(())
    }
}

/// Lives one life; how it ended, and what the host heard.
fn life_of<S: Service<Config = Config>>(
    config: Config,
    timeout: Duration,
    set_up: impl FnOnce(&mut Fake),
) -> (RunOutcome, Vec<String>) {
    let _one = ONE_HOST_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let wake = UnixStream::pair().expect("two ends");
    wake.1.set_nonblocking(true).expect("a socket can be that");
    let mut fake = Fake {
        state: ServiceState::Initializing,
        waiting: None,
        config: None,
        words: VecDeque::new(),
        after_answer: vec![HANDOVER],
        keeps: true,
        notes: Vec::new(),
        wake,
    };
    set_up(&mut fake);
    HOST.set(Some(fake));
    let vtable = table().leak_into_prefix();
    let request = Request {
        service: "fake".to_owned(),
        project: "experimance".to_owned(),
        stop_timeout: timeout,
    };
    let outcome = run::<S>(HostHandle { context: std::ptr::null(), vtable }, request, || {
        Ok(super::Given { config, arguments: Default::default() })
    });
    (outcome, HOST.take().expect("still there").notes)
}

fn life(config: Config, set_up: impl FnOnce(&mut Fake)) -> (RunOutcome, Vec<String>) {
    life_of::<Ticking>(config, Duration::from_secs(60), set_up)
}

fn memory(version: u32, ticks: u64) -> Option<SavedState> {
    let bytes = format!(r#"{{"ticks":{ticks}}}"#).into_bytes();
    Some(SavedState { version, bytes })
}

const SAVED: [&str; 3] = ["save_state STOPPING", r#"kept 1 {"ticks":1}"#, "stop"];

#[test]
fn the_handler_at_work_ends_before_the_state_is_saved() {
    let (outcome, notes) = life(Config::default(), |_| {});
    assert_eq!(outcome, RunOutcome::Stopped);
    assert_eq!(notes, [&["start"], &SAVED[..]].concat());
}

#[test]
fn a_state_goes_on_from_instance_to_instance() {
    let (outcome, notes) = life(Config::default(), |host| host.waiting = memory(1, 41));
    assert_eq!(outcome, RunOutcome::Stopped);
    let kept = r#"kept 1 {"ticks":42}"#;
    assert_eq!(notes, ["Continued ", "start", "save_state STOPPING", kept, "stop"]);
}

#[test]
fn a_plain_stop_saves_nothing_and_is_the_last_word() {
    for said in [vec![STOP], vec![HANDOVER, STOP], vec![STOP, HANDOVER]] {
        let (outcome, notes) = life(Config { said, ..Config::default() }, |_| {});
        assert_eq!((outcome, notes), (RunOutcome::Stopped, strings(&["start", "stop"])));
    }
}

#[test]
fn a_word_that_is_not_known_hides_none_that_is() {
    // More than the wake-ups that one write causes.
    let said = vec![UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, HANDOVER];
    let (_, notes) = life(Config { said, ..Config::default() }, |_| {});
    assert!(notes[1..5].iter().all(|it| it.starts_with("warning: the host said")), "{notes:?}");
    assert_eq!(notes[5..], SAVED);
}

#[test]
fn an_instance_that_only_started_hands_over_what_it_was_given() {
    let config = Config { said_in_start: vec![HANDOVER], ..Config::default() };
    let (_, notes) = life(config, |host| host.waiting = memory(1, 41));
    let kept = r#"kept 1 {"ticks":41}"#;
    assert_eq!(notes, ["Continued ", "start", "save_state STOPPING", kept, "stop"]);
}

#[test]
fn an_instance_that_is_stopped_before_it_took_over_leaves_the_state_alone() {
    struct Hesitant(Ticking);
    impl Service for Hesitant {
        type Config = Config;
        async fn new(config: Config, ctx: &Context) -> Result<Self> {
            ctx.stopping().await;
            Ok(Self(Ticking::new(config, ctx).await?))
        }
        async fn save_state(&mut self, ctx: &Context) -> Result<Option<SavedState>> {
            self.0.save_state(ctx).await
        }
    }
    let (outcome, notes) =
        life_of::<Hesitant>(Config::default(), Duration::from_secs(60), |host| {
            host.waiting = memory(1, 41);
            host.words.push_back(HANDOVER);
        });
    assert_eq!((outcome, notes), (RunOutcome::Stopped, Vec::new()));
}

#[test]
fn nothing_is_saved_after_a_panic_or_a_fatal_error() {
    for (tick, outcome, said) in [
        (Act::Panic, RunOutcome::Panicked, "Panic in on_tick: panicked: a panic"),
        (Act::Fatal, RunOutcome::Failed, "Fatal in on_tick: a fatal error"),
    ] {
        let ended = life(Config { tick, ..Config::default() }, |_| {});
        assert_eq!(ended, (outcome, strings(&["start", said, "stop"])));
    }
    let (outcome, notes) = life(Config { tick: Act::Error, ..Config::default() }, |_| {});
    assert_eq!(outcome, RunOutcome::Stopped);
    assert_eq!(notes, [&["start", "Error in on_tick: an error"], &SAVED[..]].concat());
}

#[test]
fn a_failed_save_is_recorded_and_the_stop_goes_on() {
    let saving = |save, keeps| {
        let short = Duration::from_millis(300);
        life_of::<Ticking>(Config { save, ..Config::default() }, short, |host| host.keeps = keeps)
    };
    for (save, keeps, outcome, said) in [
        (Act::Error, true, RunOutcome::Stopped, "Error in save_state: an error"),
        (Act::Well, false, RunOutcome::Stopped, "Error in save_state: no room"),
        (Act::Panic, true, RunOutcome::Panicked, "Panic in save_state: panicked: a panic"),
        (
            Act::Pending,
            true,
            RunOutcome::Stopped,
            "Error in save_state: save_state() did not end within",
        ),
    ] {
        let (ended, notes) = saving(save, keeps);
        assert_eq!(ended, outcome, "{notes:?}");
        assert_eq!(notes[..2], ["start", "save_state STOPPING"]);
        assert!(notes[2].starts_with(said), "{notes:?}");
        assert_eq!(notes[3..], ["stop"]);
    }
}

#[test]
fn a_state_that_is_refused_ends_the_instance_before_it_starts() {
    let other_version = "Error in restore_state: the saved state is of version 2, and this build \
                         reads version 1";
    let panic = "Panic in restore_state: panicked: a panic";
    for (restore, version, outcome, said) in [
        (Act::Well, 2, RunOutcome::Failed, other_version),
        (Act::Error, 1, RunOutcome::Failed, "Error in restore_state: an error"),
        (Act::Panic, 1, RunOutcome::Panicked, panic),
    ] {
        let config = Config { restore, ..Config::default() };
        let ended = life(config, |host| host.waiting = memory(version, 1));
        assert_eq!(ended, (outcome, strings(&[said, "stop"])));
    }
}

#[test]
fn a_service_may_choose_to_start_fresh() {
    let config = Config { restore: Act::Fresh, ..Config::default() };
    let (outcome, notes) = life(config, |host| host.waiting = memory(1, 41));
    assert_eq!(outcome, RunOutcome::Stopped);
    assert!(notes[0].starts_with("warning: starting fresh"), "{notes:?}");
    assert_eq!(notes[1], "StartedFresh not needed");
    assert_eq!(notes[2..], [&["start"], &SAVED[..]].concat());
}

#[test]
fn a_service_that_restores_nothing_lets_no_state_get_lost() {
    let timeout = Duration::from_secs(60);
    let (outcome, notes) =
        life_of::<Plain>(Config::default(), timeout, |host| host.waiting = memory(3, 1));
    assert_eq!(outcome, RunOutcome::Failed);
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("Error in restore_state: a state of version 3"), "{notes:?}");
}

/// A life with a configuration that waits; what the host heard between start and stop.
fn reconfigured(json: &str) -> (RunOutcome, Vec<String>) {
    let config = Config { said: vec![CONFIG], ..Config::default() };
    let (outcome, mut notes) = life(config, |host| host.config = Some(json.as_bytes().to_vec()));
    assert_eq!(notes.remove(0), "start");
    assert_eq!(notes.pop().as_deref(), Some("stop"));
    (outcome, notes)
}

#[test]
fn a_configuration_is_looked_at_between_two_handlers() {
    let answered = |answer| [&["on_config", answer], &SAVED[..2]].concat();
    let (outcome, notes) = reconfigured("{}");
    assert_eq!(outcome, RunOutcome::Stopped);
    assert_eq!(notes, answered("Applied "));
    assert_eq!(reconfigured(r#"{"restart": true}"#).1, answered("RestartWanted "));
    assert_eq!(reconfigured(r#"{"on_config": "error"}"#).1, answered("Refused an error"));
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_without_asking_the_service() {
    let (_, notes) = reconfigured(r#"{"restart": "perhaps"}"#);
    assert!(notes[0].starts_with("Refused restart: invalid type"), "{notes:?}");
    assert_eq!(notes[1..], SAVED[..2]);
}

#[test]
fn a_panic_over_a_configuration_ends_the_service_and_refuses_it() {
    let panic = "Panic in on_config: panicked: a panic";
    let expected = strings(&["on_config", panic, "Refused panicked: a panic"]);
    let ended = reconfigured(r#"{"on_config": "panic"}"#);
    assert_eq!(ended, (RunOutcome::Panicked, expected));
    let (outcome, notes) = reconfigured(r#"{"on_config": "fatal"}"#);
    assert_eq!(outcome, RunOutcome::Failed);
    assert_eq!(notes[1..], ["Fatal in on_config: a fatal error", "Refused a fatal error"]);
}

#[test]
fn a_service_without_on_config_asks_for_a_restart_and_keeps_nothing() {
    let (outcome, notes) = life_of::<Plain>(Config::default(), Duration::from_secs(60), |host| {
        host.config = Some(b"{}".to_vec());
    });
    assert_eq!((outcome, notes), (RunOutcome::Stopped, strings(&["RestartWanted "])));
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
