//! A server with a made-up supervisor, and a client that can misbehave.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use exphost::bus::{Bus, BusConfig, BusHandle};
use exphost::control::{Client, Limits, Lock, Place, Server};
use exphost::environment::{Mode, Process};
use exphost::logging::{Level, Levels};
use exphost::message::SocketId;
use exphost::service::mailbox::{Mailbox, MailboxLimits};
use exphost::supervisor::orders::{
    Decision, LevelChange, Listener, Order, Orders, Progress, Publication, Published, Refused,
    Report, Step, Verdict,
};
use exphost::supervisor::status::{
    Kept, LastError, Pending, RestartStatus, ServiceStatus, Status, Whereabouts,
};
use jiff::Timestamp;
use plugin_api::abi::SendOutcome;
use plugin_api::state::HealthStatus;
use plugin_api::zmq::{SocketRole, SocketSpec};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Only ever waited out by a test that fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A served socket. Its supervisor knows `heartbeat`, which reloads well; `core`, which is refused; and
/// `stuck`, which stops when `release` says so and whose reload never ends.
pub(crate) struct Host {
    pub(crate) directory: TempDir,
    pub(crate) place: Place,
    pub(crate) orders: Orders,
    pub(crate) release: Arc<Notify>,
    /// Heard when nobody listens any more to the reload that never ends.
    pub(crate) abandoned: Arc<Notify>,
    /// Ends the supervisor.
    pub(crate) end: Arc<Notify>,
    /// The bus that a tap listens to.
    bus: BusHandle,
    pub(crate) served: JoinHandle<()>,
    _lock: Lock,
}

pub(crate) fn place_in(directory: &TempDir, project: &str) -> Place {
    let session = directory.path().display().to_string();
    let env = BTreeMap::from([("XDG_RUNTIME_DIR".to_owned(), session)]);
    let process = Process { env: &env, mode: Mode::Development, executable: PathBuf::new() };
    Place::of_host(project, None, &process)
}

impl Host {
    pub(crate) fn start() -> Self {
        Self::start_with(Limits::default())
    }

    pub(crate) fn start_with(limits: Limits) -> Self {
        Self::start_as("test", limits)
    }

    pub(crate) fn start_as(project: &str, limits: Limits) -> Self {
        let (orders, inbox) = Orders::channel();
        let (release, abandoned) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let end = Arc::new(Notify::new());
        let config = BusConfig { allow_port_zero: true, ..BusConfig::default() };
        let bus = Bus::start(config).expect("a bus");
        let handle = bus.handle();
        let made_up = MadeUp {
            project: project.to_owned(),
            bus,
            release: Arc::clone(&release),
            abandoned: Arc::clone(&abandoned),
        };
        tokio::spawn(made_up.supervise(inbox, Arc::clone(&end)));
        let directory = TempDir::new().expect("a directory");
        let lock = Lock::take(place_in(&directory, project)).expect("nobody else has it");
        let server = Server::bind_with(&lock, limits).expect("bound");
        let served = tokio::spawn(server.serve(orders.clone()));
        let place = lock.place().clone();
        Self { directory, place, orders, release, abandoned, end, bus: handle, served, _lock: lock }
    }

    pub(crate) async fn raw(&self) -> Raw {
        let mut raw = Raw::connect(&self.place).await;
        let hello = raw.line().await.expect("a greeting");
        assert_eq!(hello["hello"]["project"], "test");
        raw
    }

    /// A publisher of a service on its bus.
    pub(crate) fn publisher(&self) -> SocketId {
        let role = SocketRole::Publisher;
        let spec = SocketSpec::new(role, "zmq.publisher", "tcp://127.0.0.1", 0, true);
        let mailbox = Mailbox::new(MailboxLimits::default()).expect("a mailbox");
        self.bus.open("core", spec, Arc::new(mailbox)).expect("open")
    }

    pub(crate) fn send(&self, publisher: SocketId, topic: &str, payload: &[u8]) {
        assert_eq!(self.bus.send(publisher, topic, payload), SendOutcome::Queued);
    }

    /// A well-behaved client, which blocks.
    pub(crate) async fn client<R: Send + 'static>(
        &self,
        f: impl FnOnce(Client) -> R + Send + 'static,
    ) -> R {
        let place = self.place.clone();
        let work = move || f(Client::connect(&[place]).expect("connected"));
        tokio::task::spawn_blocking(work).await.expect("no panic")
    }
}

/// A connection on which a test may write what it likes.
pub(crate) struct Raw {
    pub(crate) stream: BufReader<UnixStream>,
}

impl Raw {
    pub(crate) async fn connect(place: &Place) -> Self {
        let stream = UnixStream::connect(place.socket()).await.expect("somebody listens");
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.expect("it is read");
    }

    pub(crate) async fn send(&mut self, request: &str) {
        self.write(format!("{request}\n").as_bytes()).await;
    }

    /// The next line; `None` when the connection has ended.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        let mut text = String::new();
        let read = timeout(LIMIT, self.stream.read_line(&mut text)).await.expect("in time");
        match read {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&text).expect("a line is JSON")),
        }
    }

    /// The lines of one answer.
    pub(crate) async fn answer(&mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await.expect("the answer has an end");
            let is_last = line.get("done").is_some() || line.get("error").is_some();
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    pub(crate) async fn ask(&mut self, request: &str) -> Vec<Value> {
        self.send(request).await;
        self.answer().await
    }

    /// The code of the error that a request is answered with.
    pub(crate) async fn error(&mut self, request: &str) -> String {
        let answer = self.ask(request).await;
        answer[0]["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// Reads on until the host has closed the connection.
    pub(crate) async fn wait_for_end(mut self) {
        let mut rest = Vec::new();
        // A reset is an end too: it says that the host has left something unread.
        let _ = timeout(LIMIT, self.stream.read_to_end(&mut rest)).await.expect("it ends");
    }
}

struct MadeUp {
    project: String,
    bus: Bus,
    release: Arc<Notify>,
    abandoned: Arc<Notify>,
}

impl MadeUp {
    async fn supervise(self, mut inbox: mpsc::Receiver<Order>, end: Arc<Notify>) {
        // Kept as a supervisor keeps those who wait.
        let mut waiting = Vec::new();
        loop {
            let order = tokio::select! {
                order = inbox.recv() => order,
                () = end.notified() => return,
            };
            match order {
                None => return,
                Some(Order::Status(reply)) => drop(reply.send(status(&self.project))),
                Some(Order::Reload { service, force, listener }) => {
                    if service == "stuck" {
                        say(&listener, step("stuck", "identify"));
                        let (abandoned, heard) = (Arc::clone(&self.abandoned), listener.clone());
                        tokio::spawn(async move {
                            heard.closed().await;
                            abandoned.notify_one();
                        });
                        waiting.push(listener);
                    } else {
                        reload(&service, force, &listener);
                    }
                }
                Some(Order::Stop { service, listener }) => {
                    say(&listener, progress(&service, "stopping", false));
                    let release = Arc::clone(&self.release);
                    tokio::spawn(async move {
                        if service == "stuck" {
                            release.notified().await;
                        }
                        say(&listener, progress(&service, "stopped", true));
                    });
                }
                Some(Order::Restart { service, listener }) => {
                    say(&listener, progress(&service, "stopping", false));
                    say(&listener, progress(&service, "running", true));
                }
                Some(Order::Start { service, listener }) => {
                    let error = format!("`{service}` runs already");
                    say(&listener, Report::Refused(Refused { error, hint: None }));
                }
                Some(Order::LogLevel { service, change, reply }) => {
                    drop(reply.send(levels(service.as_deref(), change)));
                }
                Some(Order::LogFiles { reply, .. }) => {
                    let error = "the host writes no log files".to_owned();
                    drop(reply.send(Err(Refused { error, hint: None })));
                }
                Some(Order::Publish { publication, reply }) => {
                    drop(reply.send(Ok(published(publication))));
                }
                Some(Order::Listen { topic, reply }) => {
                    let heard = self.bus.handle().listen(topic);
                    let refused = |error: exphost::bus::tap::TooMany| Refused {
                        error: error.to_string(),
                        hint: None,
                    };
                    drop(reply.send(heard.map_err(refused)));
                }
                Some(Order::LookForPlugins | Order::LookForConfig) => {}
            }
        }
    }
}

fn say(listener: &Listener, report: Report) {
    // A client may have gone away.
    let _ = listener.send(report);
}

fn step(service: &str, step: &str) -> Report {
    let (service, step) = (service.to_owned(), step.to_owned());
    Report::Step(Step { service, step, ok: true, ms: 1.5, detail: None })
}

fn progress(service: &str, state: &str, done: bool) -> Report {
    let (service, state) = (service.to_owned(), state.to_owned());
    Report::Progress(Progress { service, state, done, ok: true, detail: None })
}

fn reload(service: &str, force: bool, listener: &Listener) {
    let (from, to) = (Some("1.2.0".to_owned()), Some("1.3.0".to_owned()));
    let name = service.to_owned();
    let good = Verdict {
        service: name,
        verdict: Decision::Reloaded,
        from,
        to,
        ms: 61.25,
        gap_ms: Some(4.0),
        reason: None,
        hint: None,
    };
    match service {
        "heartbeat" => {
            say(listener, step(service, "identify"));
            say(listener, step(service, "probe"));
            say(listener, Report::Verdict(good));
        }
        "core" if force => say(listener, Report::Verdict(good)),
        "core" => {
            let (verdict, gap_ms) = (Decision::Refused, None);
            let (reason, hint) = (Some("it is older".to_owned()), Some("use --force".to_owned()));
            say(listener, Report::Verdict(Verdict { verdict, gap_ms, reason, hint, ..good }));
        }
        _ => {
            let error = format!("there is no service `{service}`");
            let hint = Some("did you mean `heartbeat`?".to_owned());
            say(listener, Report::Refused(Refused { error, hint }));
        }
    }
}

fn levels(service: Option<&str>, change: Option<LevelChange>) -> Result<Levels, Refused> {
    if service.is_some_and(|service| service != "heartbeat") {
        return Err(Refused { error: "there is no such service".to_owned(), hint: None });
    }
    let mut levels = Levels {
        level: Level::Info,
        default: Level::Info,
        libraries: Level::Warning,
        services: BTreeMap::new(),
    };
    match (service, change) {
        (Some(service), Some(LevelChange::To(level))) => {
            levels.services.insert(service.to_owned(), level);
        }
        (None, Some(LevelChange::To(level))) => levels.level = level,
        (_, Some(LevelChange::Default) | None) => {}
    }
    Ok(levels)
}

fn published(publication: Publication) -> Published {
    Published {
        service: publication.service.unwrap_or_else(|| "heartbeat".to_owned()),
        key: "zmq.publisher".to_owned(),
        endpoint: "tcp://127.0.0.1:5555".to_owned(),
        topic: publication.topic,
        size: publication.payload.len(),
        connections: 2,
        joined: 1,
    }
}

fn status(project: &str) -> Status {
    let services = vec![of_core(), service("heartbeat")];
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Status { project: project.to_owned(), pid: std::process::id(), version, uptime: 75.0, services }
}

fn service(name: &str) -> ServiceStatus {
    ServiceStatus {
        name: name.to_owned(),
        plugin: name.to_owned(),
        version: "1.2.0".to_owned(),
        generation: 7,
        sha256: "ab".repeat(32),
        file: PathBuf::from(format!("/usr/lib/exphost/plugins/lib{name}.so")),
        state: "running".to_owned(),
        health: HealthStatus::Healthy,
        since: Timestamp::now(),
        uptime: Some(70.5),
        restarts: 0,
        restart: RestartStatus::default(),
        ready: true,
        state_saved_at: None,
        unresponsive: None,
        depends_on: Vec::new(),
        stopped_at: None,
        messages_sent: 12,
        messages_received: 3_456,
        dropped: 0,
        queue_depth: 2,
        whereabouts: Whereabouts::default(),
        statistics: plugin_api::stats::Statistics::default(),
        pending: None,
        file_missing: false,
        reloading: None,
        kept: Vec::new(),
        last_error: None,
    }
}

/// A service with everything that can be the matter.
fn of_core() -> ServiceStatus {
    let at: Timestamp = "2026-01-02T12:04:31Z".parse().expect("a time");
    ServiceStatus {
        health: HealthStatus::Error,
        uptime: None,
        restarts: 3,
        restart: RestartStatus {
            gave_up: false,
            next_at: None,
            reason: Some("on_message next: no such era".to_owned()),
            waits_for: Vec::new(),
        },
        pending: Some(Pending {
            version: Some("1.3.0".to_owned()),
            sha256: None,
            at,
            step: "probe".to_owned(),
            reason: "the plugin\npanicked \u{1b}[31m".to_owned(),
        }),
        file_missing: true,
        reloading: Some("stop".to_owned()),
        kept: vec![Kept {
            generation: 6,
            version: "1.1.0".to_owned(),
            reason: "a thread of it still runs".to_owned(),
        }],
        last_error: Some(LastError {
            at,
            place: "on_message next".to_owned(),
            message: "no such era".to_owned(),
        }),
        ..service("core")
    }
}
