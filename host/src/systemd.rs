//! What systemd is told: that the project is up, how it goes, that it is alive, that it reloads, that
//! it stops. Nothing is told where nobody listens (`NOTIFY_SOCKET` is not set).
//!
//! The protocol is one datagram of `KEY=value` lines. The crate `sd-notify` reaches no abstract
//! socket and waits when the receiver is busy; here nothing waits, because the supervisor speaks.

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::Instant;

use crate::environment::Env;

/// How many times a watchdog is fed in the time that it would wait for once.
const FEEDS: u32 = 3;

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

    /// When the watchdog is to be fed.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.talk.watchdog.map(|_| self.talk.due)
    }

    /// Somebody asked for a reload, which begins now.
    pub fn reload_begins(&mut self) {
        self.talk.reload_asked = true;
    }

    /// Tells what is new.
    pub fn tell(&mut self, picture: &Picture, now: Instant) {
        let Some(wire) = &mut self.wire else { return };
        for message in self.talk.messages(picture, now) {
            wire.send(&message);
        }
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
        Ok(Self { socket, address, failure: None })
    }

    fn send(&mut self, message: &str) {
        let sent = self.socket.send_to_addr(message.as_bytes(), &self.address);
        let failure = sent.err().map(|error| error.to_string());
        if failure != self.failure {
            if let Some(error) = &failure {
                tracing::warn!(error, message, "systemd could not be told");
            }
            self.failure = failure;
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
    fn a_socket_that_makes_no_sense_is_refused() {
        assert!(Wire::open("relative/path").is_err());
        assert!(Wire::open("@exphost-nobody-listens").is_ok());
    }
}
