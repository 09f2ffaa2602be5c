//! The client's end of the socket: finds the host of a project and asks it.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use serde_json::Value;

use super::place::{self, Place};
use super::protocol::{Failure, Hello, Line, PROTOCOL, Request};
use crate::problem::Problem;

/// How long a host may take for what it promises within a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest line that is taken from a host.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;

/// A connection to a running host.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    hello: Hello,
    place: Place,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The host says why.
    Refused(Failure),
    /// The host says nothing.
    Lost(Box<Problem>),
}

impl NoAnswer {
    /// As it is shown to people.
    #[must_use]
    pub fn problem(self) -> Box<Problem> {
        match self {
            Self::Refused(failure) => {
                Box::new(Problem { hint: failure.hint, ..Problem::error(failure.message) })
            }
            Self::Lost(problem) => problem,
        }
    }
}

impl Client {
    /// Connects to the host that listens at the first of `places` where one does; they are those of
    /// one project.
    ///
    /// # Errors
    /// When none does, or the one that does is not to be talked to.
    pub fn connect(places: &[Place]) -> Result<Self, Box<Problem>> {
        let mut barred = None;
        for place in places.iter().filter(|place| place.fits()) {
            match UnixStream::connect(place.socket()) {
                Ok(stream) => return Self::greet(stream, place),
                // A file without a listener was left behind by a host that was killed.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound
                            | ErrorKind::ConnectionRefused
                            | ErrorKind::NotADirectory
                    ) => {}
                Err(error) => barred = barred.or(Some((place, error))),
            }
        }
        Err(Box::new(match barred {
            Some((place, error)) => {
                let hint = "a host can be talked to by its own user and by root";
                Problem::error(format!("cannot connect to the host: {error}"))
                    .in_file(place.socket())
                    .hint(hint)
            }
            None => nobody(places),
        }))
    }

    fn greet(stream: UnixStream, place: &Place) -> Result<Self, Box<Problem>> {
        let at_place = |message: String| Problem::error(message).in_file(place.socket());
        let broken = |error: io::Error| Box::new(at_place(format!("cannot talk to it: {error}")));
        if let Some(reason) = distrust(&stream).map_err(broken)? {
            return Err(Box::new(at_place(reason).hint("do not trust what it says; remove it")));
        }
        stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
        let mut stream = BufReader::new(stream);
        let hello = match read(&mut stream) {
            Ok(Line::Hello(hello)) => hello,
            Ok(Line::Error(failure)) => return Err(NoAnswer::Refused(failure).problem()),
            Ok(_) => return Err(Box::new(at_place("it is not a host of exphost".to_owned()))),
            Err(problem) => return Err(Box::new(problem.in_file(place.socket()))),
        };
        let Hello { protocol, version, project, pid } = &hello;
        if *protocol != PROTOCOL {
            let message = format!(
                "the host, process {pid}, is exphost {version} and speaks another protocol ({protocol}) \
                 than this one ({PROTOCOL})"
            );
            return Err(Box::new(
                at_place(message).hint("use the exphost that it was started with"),
            ));
        }
        if project != place.project() {
            let wanted = place.project();
            let message =
                format!("the host, process {pid}, runs project `{project}` and not `{wanted}`");
            let hint = format!("use --project {project}, or give each project its own `socket`");
            return Err(Box::new(at_place(message).hint(hint)));
        }
        Ok(Self { stream, hello, place: place.clone() })
    }

    /// Who answers.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Where it listens.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Asks, gives each piece of the answer to `each` as it comes, and returns whether what was
    /// ordered has come about.
    ///
    /// # Errors
    /// When the host refuses, or the connection ends before the answer does.
    pub fn ask(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Value),
    ) -> Result<bool, NoAnswer> {
        self.ask_while(request, |item| {
            each(item);
            ControlFlow::Continue(())
        })
    }

    /// [`Client::ask`] for as long as `each` wants to go on; after that the connection is of no more use.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn ask_while(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Value) -> ControlFlow<()>,
    ) -> Result<bool, NoAnswer> {
        let pid = self.hello.pid;
        let lost = |error: io::Error| {
            let message = format!("cannot talk to the host, process {pid}: {error}");
            NoAnswer::Lost(Box::new(
                Problem::error(message).hint("its log tells what became of it"),
            ))
        };
        let mut text = serde_json::to_vec(request).map_err(|error| lost(error.into()))?;
        text.push(b'\n');
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).map_err(lost)?;
        self.stream.get_mut().write_all(&text).map_err(lost)?;
        loop {
            let line = read(&mut self.stream);
            match line.map_err(NoAnswer::Lost)? {
                Line::Accepted(_) => {
                    // From here on it takes the time that the services take.
                    self.stream.get_ref().set_read_timeout(None).map_err(lost)?;
                }
                Line::Item(item) => {
                    if each(item).is_break() {
                        return Ok(true);
                    }
                }
                Line::Done(done) => return Ok(done.ok),
                Line::Error(failure) => return Err(NoAnswer::Refused(failure)),
                Line::Hello(_) => {}
            }
        }
    }
}

/// The next line of a kind that is known.
fn read(stream: &mut BufReader<UnixStream>) -> Result<Line, Box<Problem>> {
    let problem = |message: String, hint: &str| Box::new(Problem::error(message).hint(hint));
    loop {
        let mut text = Vec::new();
        match stream.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text) {
            Ok(_) if text.ends_with(b"\n") => {}
            Ok(_) => {
                let message = "the host ended before it had answered".to_owned();
                return Err(problem(message, "its log tells why"));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let message = format!("the host has not answered for {} s", PATIENCE.as_secs());
                let hint = "its process may be stopped (SIGSTOP) or the machine overloaded";
                return Err(problem(message, hint));
            }
            Err(error) => {
                let message = format!("cannot talk to the host: {error}");
                return Err(problem(message, "its log tells what became of it"));
            }
        }
        match Line::parse(String::from_utf8_lossy(&text).trim_end()) {
            Ok(Some(line)) => return Ok(line),
            Ok(None) => {}
            Err(error) => {
                let message = format!("the host's answer is not understood: {error}");
                return Err(problem(message, "is it a host of exphost, and of this version?"));
            }
        }
    }
}

/// Why whoever listens is not to be trusted. Root may talk to anybody's host.
fn distrust(stream: &UnixStream) -> io::Result<Option<String>> {
    let (me, host) = (rustix::process::geteuid(), socket_peercred(stream)?.uid);
    let is_trusted = host == me || host.is_root() || me.is_root();
    Ok((!is_trusted).then(|| format!("it belongs to user {}", host.as_raw())))
}

/// What to say when nobody listens.
fn nobody(places: &[Place]) -> Problem {
    let project = places.first().map(Place::project).unwrap_or_default();
    let looked: Vec<_> = places.iter().map(|it| it.socket().display().to_string()).collect();
    let running: Vec<_> = running(places).iter().map(|it| format!("`{it}`")).collect();
    let hint = if running.is_empty() {
        format!("start it with: exphost --project {project}")
    } else {
        format!("running are {}; name one with --project", running.join(", "))
    };
    let looked = looked.join(", ");
    Problem::error(format!("no host of project `{project}` is running (looked at {looked})"))
        .hint(hint)
}

/// The projects that have a host in the directories of these places.
fn running(places: &[Place]) -> Vec<String> {
    let entries = places.iter().filter_map(|place| fs::read_dir(place.directory()).ok()).flatten();
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut projects: Vec<_> = files
        .filter_map(|file| Some((place::project_of(&file)?, file)))
        .filter(|(_, file)| UnixStream::connect(file).is_ok())
        .map(|(project, _)| project)
        .collect();
    projects.sort();
    projects.dedup();
    projects
}
