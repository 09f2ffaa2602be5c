//! What systemd is told: that the project is up, how it goes, that it is alive, that it reloads, that
//! it stops. Nothing is told where nobody listens (`NOTIFY_SOCKET` is not set).
//!
//! The protocol is one datagram of `KEY=value` lines. The crate `sd-notify` reaches no abstract
//! socket and waits when the receiver is busy; here nothing waits, because the supervisor speaks.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::Instant;

use crate::environment::Env;

/// How many times a watchdog is fed in the time that it would wait for once.
const FEEDS: u32 = 3;

/// How soon a busy receiver is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// How many messages wait for a busy receiver.
const MOST_WAITING: usize = 16;

/// The longest status line, in characters.
const LONGEST_STATUS: usize = 200;

/// How the project is at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Whether each service that can run has started, or has failed to.
    pub settled: bool,
    /// Whether a reload is under way.
    pub reloading: bool,
    /// Whether the host stops.
    pub stopping: bool,
    /// The critical service that is not alive; the watchdog is not fed while there is one.
    pub dead: Option<String>,
    /// In one line, for people.
    pub summary: String,
}

/// The service manager, which may not be there.
#[derive(Debug, Default)]
pub struct Systemd {
    wire: Option<Wire>,
    talk: Talk,
}

impl Systemd {
    /// The one that started this process, as it said in the environment.
    #[must_use]
    pub fn of_environment(env: &dyn Env, pid: u32, now: Instant) -> Self {
        let Some(name) = env.get_non_empty("NOTIFY_SOCKET") else { return Self::default() };
        let wire = match Wire::open(&name) {
            Ok(wire) => wire,
            Err(error) => {
                tracing::warn!(socket = name, %error, "systemd cannot be told anything");
                return Self::default();
            }
        };
        let talk = Talk { watchdog: watchdog(env, pid), due: now, ..Talk::default() };
        Self { wire: Some(wire), talk }
    }

    /// When there will be something to tell although nothing has happened: the watchdog is to be fed,
    /// or a busy receiver is to be tried again.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let wire = self.wire.as_ref()?;
        let feeding = self.talk.watchdog.map(|_| self.talk.due);
        feeding.into_iter().chain(wire.retry_at).min()
    }

    /// Somebody asked for a reload, which begins now.
    pub fn reload_begins(&mut self) {
        self.talk.reload_asked = true;
    }

    /// Tells what is new.
    pub fn tell(&mut self, picture: &Picture, now: Instant) {
        let Some(wire) = &mut self.wire else { return };
        for message in self.talk.messages(picture, now) {
            wire.put(message);
        }
        wire.send(now);
    }
}

/// Seconds within which the watchdog wants to be fed, if it is this process that is watched.
fn watchdog(env: &dyn Env, pid: u32) -> Option<Duration> {
    let number = |name| env.get_non_empty(name)?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|watched| watched == u64::from(pid));
    let within = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0)?;
    Some(Duration::from_micros(within))
}

/// What has been said, so that what is said next follows from it.
#[derive(Debug)]
struct Talk {
    watchdog: Option<Duration>,
    due: Instant,
    is_ready: bool,
    reload_asked: bool,
    reloading: bool,
    is_stopping: bool,
    status: String,
    dead: Option<String>,
}

impl Default for Talk {
    fn default() -> Self {
        Self {
            watchdog: None,
            due: Instant::now(),
            is_ready: false,
            reload_asked: false,
            reloading: false,
            is_stopping: false,
            status: String::new(),
            dead: None,
        }
    }
}

impl Talk {
    fn messages(&mut self, picture: &Picture, now: Instant) -> Vec<String> {
        let mut messages = Vec::new();
        let status = one_line(&picture.summary);
        if status != self.status {
            messages.push(format!("STATUS={status}"));
            self.status = status;
        }
        if picture.stopping && !self.is_stopping {
            self.is_stopping = true;
            messages.push("STOPPING=1".to_owned());
        }
        if !self.is_ready && picture.settled && !self.is_stopping {
            self.is_ready = true;
            messages.push("READY=1".to_owned());
        }
        // Before it is ready nobody asks by way of systemd.
        if std::mem::take(&mut self.reload_asked) && self.is_ready {
            self.reloading = true;
            messages.push(format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()));
        }
        if self.reloading && !picture.reloading {
            self.reloading = false;
            messages.push("READY=1".to_owned());
        }
        messages.extend(self.feed(picture, now));
        messages
    }

    fn feed(&mut self, picture: &Picture, now: Instant) -> Option<String> {
        let within = self.watchdog?;
        if now < self.due {
            return None;
        }
        self.due = now + within / FEEDS;
        // Services that stop with the host are not missed.
        let dead = picture.dead.clone().filter(|_| !picture.stopping);
        if dead != self.dead {
            match &dead {
                Some(service) => tracing::error!(
                    service,
                    seconds = within.as_secs_f64(),
                    "a critical service is gone: systemd's watchdog is not fed and will restart the host"
                ),
                None => tracing::warn!("critical services are back; the watchdog is fed again"),
            }
            self.dead.clone_from(&dead);
        }
        dead.is_none().then(|| "WATCHDOG=1".to_owned())
    }
}

fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(LONGEST_STATUS).collect()
}

fn monotonic_usec() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000
}

#[derive(Debug)]
struct Wire {
    socket: UnixDatagram,
    address: SocketAddr,
    /// What the receiver had no room for, oldest first.
    waiting: VecDeque<String>,
    /// When that is tried again.
    retry_at: Option<Instant>,
    /// What is in the log of a failure that lasts.
    failure: Option<String>,
}

impl Wire {
    /// A path, or with an `@` in front a name that is in no file system.
    fn open(name: &str) -> io::Result<Self> {
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
            None => {
                let message = "NOTIFY_SOCKET is neither a path nor an abstract name";
                return Err(io::Error::new(ErrorKind::InvalidInput, message));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, waiting: VecDeque::new(), retry_at: None, failure: None })
    }

    /// Takes a message to be sent. A status, and food for the watchdog, take the place of those of
    /// their kind that still wait.
    fn put(&mut self, message: String) {
        let replaces = ["STATUS=", "WATCHDOG="].iter().find(|kind| message.starts_with(**kind));
        if let Some(kind) = replaces {
            self.waiting.retain(|other| !other.starts_with(*kind));
        }
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(message);
    }

    /// Sends what waits, as far as the receiver has room for it.
    fn send(&mut self, now: Instant) {
        self.retry_at = None;
        while let Some(message) = self.waiting.front() {
            let sent = self.socket.send_to_addr(message.as_bytes(), &self.address);
            if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                self.retry_at = Some(now + RETRY);
                return;
            }
            let failure = sent.err().map(|error| error.to_string());
            if failure != self.failure {
                if let Some(error) = &failure {
                    tracing::warn!(error, message, "systemd could not be told");
                }
                self.failure = failure;
            }
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn talk(watchdog: Option<u64>, now: Instant) -> Talk {
        Talk { watchdog: watchdog.map(Duration::from_secs), due: now, ..Talk::default() }
    }

    fn picture(summary: &str) -> Picture {
        Picture { summary: summary.to_owned(), ..Picture::default() }
    }

    #[test]
    fn ready_is_said_once_and_only_what_is_new_of_the_rest() {
        let now = Instant::now();
        let mut talk = talk(None, now);
        assert_eq!(talk.messages(&picture("0 of 1 running"), now), ["STATUS=0 of 1 running"]);
        assert!(talk.messages(&picture("0 of 1 running"), now).is_empty());
        let settled = Picture { settled: true, ..picture("1 of 1\nrunning") };
        assert_eq!(talk.messages(&settled, now), ["STATUS=1 of 1 running", "READY=1"]);
        assert!(talk.messages(&settled, now).is_empty());
        let stopping = Picture { stopping: true, ..settled.clone() };
        assert_eq!(talk.messages(&stopping, now), ["STOPPING=1"]);
        assert!(talk.messages(&stopping, now).is_empty());
    }

    #[test]
    fn a_reload_ends_with_ready() {
        let now = Instant::now();
        let mut talk = talk(None, now);
        let settled = Picture { settled: true, ..Picture::default() };
        talk.messages(&settled, now);
        talk.reload_asked = true;
        let busy = Picture { reloading: true, ..settled.clone() };
        let messages = talk.messages(&busy, now);
        assert!(messages[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{messages:?}");
        assert_eq!(messages.len(), 1);
        assert!(talk.messages(&busy, now).is_empty());
        assert_eq!(talk.messages(&settled, now), ["READY=1"]);
        talk.reload_asked = true;
        assert_eq!(talk.messages(&settled, now).len(), 2, "one that had nothing to do");
    }

    #[test]
    fn the_watchdog_is_fed_thrice_in_its_time_and_not_while_a_critical_service_is_gone() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut talk = talk(Some(30), begin);
        let gone = Picture { dead: Some("core".to_owned()), ..Picture::default() };
        assert_eq!(talk.messages(&Picture::default(), at(0)), ["WATCHDOG=1"]);
        assert!(talk.messages(&Picture::default(), at(9)).is_empty());
        assert_eq!(talk.messages(&Picture::default(), at(10)), ["WATCHDOG=1"]);
        assert!(talk.messages(&gone, at(20)).is_empty());
        assert_eq!(talk.due, at(30), "it is asked again");
        assert_eq!(talk.messages(&Picture::default(), at(30)), ["WATCHDOG=1"]);
        let stopping = Picture { stopping: true, ..gone };
        assert_eq!(talk.messages(&stopping, at(40)), ["STOPPING=1", "WATCHDOG=1"]);
    }

    #[test]
    fn only_the_watchdog_of_this_process_counts() {
        let env = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let within = |pairs| {
            let env: BTreeMap<String, String> = env(pairs);
            watchdog(&env, 7)
        };
        assert_eq!(within(&[("WATCHDOG_USEC", "2500000")]), Some(Duration::from_millis(2500)));
        assert_eq!(within(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(within(&[("WATCHDOG_USEC", "0"), ("WATCHDOG_PID", "7")]), None);
        assert_eq!(within(&[("WATCHDOG_USEC", "soon")]), None);
        assert_eq!(within(&[]), None);
    }

    #[test]
    fn a_busy_receiver_is_told_later_and_only_what_still_holds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver.set_nonblocking(true).unwrap();
        let mut wire = Wire::open(path.to_str().unwrap()).unwrap();
        let now = Instant::now();
        let mut sent = 0;
        while wire.retry_at.is_none() {
            wire.put(format!("STATUS={sent}"));
            wire.send(now);
            sent += 1;
        }
        for message in ["WATCHDOG=1", "READY=1", "STATUS=last", "WATCHDOG=1"] {
            wire.put(message.to_owned());
            wire.send(now);
        }
        assert_eq!(wire.retry_at, Some(now + RETRY));
        let mut heard = Vec::new();
        let mut buffer = [0; 64];
        while let Ok(length) = receiver.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            wire.send(now);
        }
        assert_eq!(heard.split_off(heard.len() - 3), ["READY=1", "STATUS=last", "WATCHDOG=1"]);
        assert_eq!(heard.len(), sent - 1, "the last of them had no room and was overtaken");
        assert_eq!((wire.retry_at, wire.failure), (None, None));
    }

    #[test]
    fn a_socket_that_makes_no_sense_is_refused() {
        assert!(Wire::open("relative/path").is_err());
        assert!(Wire::open("@exphost-nobody-listens").is_ok());
    }
}
