#![doc = include_str!("../../../infra/control-protocol.md")]

use std::num::NonZeroU64;

use jiff::Timestamp;
use plugin_api::stats::Statistics;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bus::tap::Direction;
use crate::config::nearest::known_names;
use crate::supervisor::orders::LevelChange;

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;

/// The longest request, in bytes, without its line end.
pub const LONGEST_REQUEST: usize = 64 * 1024;

/// The commands there are.
const COMMANDS: [&str; 11] = [
    "status",
    "why",
    "stats",
    "logs",
    "log_level",
    "tap",
    "publish",
    "reload",
    "restart",
    "start",
    "stop",
];

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How everything is.
    Status {},
    /// Why a service is as it is.
    Why {
        /// The service.
        service: String,
    },
    /// What is counted of one service, or of each.
    Stats {
        /// The service; absent when all are meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// Where the log files are.
    Logs {
        /// The service; absent when all are meant, and the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// How much is logged, after a change if one is given.
    LogLevel {
        /// The level that is wanted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<LevelChange>,
        /// The service that is meant; absent when it is the host and all services.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// Tell of the messages that pass the bus, as they do.
    Tap {
        /// The beginning of their topics; absent when all are meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
        /// After how many messages to end; absent when there is no end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<NonZeroU64>,
    },
    /// Publish a message by a service's own publisher.
    Publish {
        /// The topic.
        topic: String,
        /// The payload.
        payload: Value,
        /// The service; may be absent when only one has a publisher.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// Have one service, or all, run what its plugin file and its configuration say now.
    Reload {
        /// The service; absent when all are meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// Whether all are meant.
        #[serde(default, skip_serializing_if = "is_false")]
        all: bool,
        /// Whether a lower version may take the place of a higher one.
        #[serde(default, skip_serializing_if = "is_false")]
        force: bool,
    },
    /// Stop a service and start it again as it is.
    Restart {
        /// The service.
        service: String,
    },
    /// Start a service that does not run.
    Start {
        /// The service.
        service: String,
    },
    /// Stop a service.
    Stop {
        /// The service.
        service: String,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Request {
    /// Reads a request out of a line.
    ///
    /// # Errors
    /// What is wrong with the line, as it is answered.
    pub fn parse(line: &[u8]) -> Result<Self, Failure> {
        const SHAPE: &str = "a request is one line like {\"command\":\"status\"}";
        let bad = |message: String| Failure::new(Code::BadRequest, message).hint(SHAPE);
        let value: Value = serde_json::from_slice(line)
            .map_err(|error| bad(format!("the line is not JSON: {error}")))?;
        if !value.is_object() {
            return Err(bad("the line is not a JSON object".to_owned()));
        }
        let Some(command) = value.get("command").and_then(Value::as_str) else {
            return Err(bad("the request has no text `command`".to_owned()));
        };
        if !COMMANDS.contains(&command) {
            let message = format!("there is no command `{}`", shortened(command));
            let failure = Failure::new(Code::UnknownCommand, message);
            return Err(Failure { hint: known_names(command, &COMMANDS, "commands"), ..failure });
        }
        let wrong = format!("`{command}` cannot be asked like that");
        let request = serde_json::from_value(value)
            .map_err(|error| bad(format!("{wrong}: {}", shortened(&error.to_string()))))?;
        match request {
            Self::Reload { service: None, all: false, .. } => {
                Err(bad(format!("{wrong}: it needs a `service`, or `all`")))
            }
            Self::Reload { service: Some(_), all: true, .. } => {
                Err(bad(format!("{wrong}: it takes either a `service` or `all`")))
            }
            request => Ok(request),
        }
    }

    /// The command, as it is written.
    #[must_use]
    pub const fn command(&self) -> &'static str {
        match self {
            Self::Status {} => "status",
            Self::Why { .. } => "why",
            Self::Restart { .. } => "restart",
            Self::Stats { .. } => "stats",
            Self::Logs { .. } => "logs",
            Self::LogLevel { .. } => "log_level",
            Self::Tap { .. } => "tap",
            Self::Publish { .. } => "publish",
            Self::Reload { .. } => "reload",
            Self::Start { .. } => "start",
            Self::Stop { .. } => "stop",
        }
    }
}

/// What a stranger wrote, fit to be repeated to him.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A line of the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first line of a connection.
    Hello(Hello),
    /// The order is the host's.
    Accepted(Accepted),
    /// A piece of the answer.
    Item(Value),
    /// The answer is complete.
    Done(Done),
    /// The answer is not to be had, or not all of it.
    Error(Failure),
}

impl Line {
    /// Reads a line of a host; `None` for a kind of line that a newer host may send.
    ///
    /// # Errors
    /// When it is no line of any host.
    pub fn parse(line: &str) -> Result<Option<Self>, serde_json::Error> {
        match serde_json::from_str(line) {
            Ok(line) => Ok(Some(line)),
            Err(error) => {
                let object: serde_json::Map<String, Value> = serde_json::from_str(line)?;
                let known = ["hello", "accepted", "item", "done", "error"];
                let is_new = object.len() == 1 && !known.iter().any(|it| object.contains_key(*it));
                if is_new { Ok(None) } else { Err(error) }
            }
        }
    }
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The host's version.
    pub version: String,
    /// Its project, with its variant.
    pub project: String,
    /// Its process.
    pub pid: u32,
}

impl Hello {
    /// What this process says of itself.
    #[must_use]
    pub fn of_this_process(project: &str) -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            project: project.to_owned(),
            pid: std::process::id(),
        }
    }
}

/// An order that the host has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The command.
    pub command: String,
    /// The services that it concerns, in the order of their turns.
    pub services: Vec<String>,
}

/// The end of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Whether what was ordered has come about.
    pub ok: bool,
}

/// What is counted of a service: an item of the answer to `stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// The service.
    pub service: String,
    /// Seconds since its present instance was started; null when none runs.
    pub uptime: Option<f64>,
    /// The figures, since the host started.
    pub statistics: Statistics,
}

/// What an item of the answer to `tap` tells of. On the wire each is one JSON object, told apart by its
/// fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tapped {
    /// A message that passed.
    Message(TappedMessage),
    /// Messages that passed, and that there was no room for.
    Lost {
        /// How many.
        dropped: u64,
    },
}

/// A message that passed the bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TappedMessage {
    /// When.
    pub at: Timestamp,
    /// Whose socket it passed.
    pub service: String,
    /// The configuration key of the socket.
    pub key: String,
    /// Which way, as the service sees it.
    pub direction: Direction,
    /// Whether it came from another service of this host.
    pub local: bool,
    /// Its topic; empty for tasks and results.
    pub topic: String,
    /// Bytes of the payload.
    pub size: usize,
    /// The payload; null when it is not JSON, or longer than 64 KiB.
    pub payload: Value,
    /// The beginning of a payload that is not JSON, or too long; null otherwise.
    pub text: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which kind of failure, for programs.
    pub code: Code,
    /// What is wrong, for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The line is not a request.
    BadRequest,
    /// There is no such command.
    UnknownCommand,
    /// The line is too long.
    TooLong,
    /// Too many clients.
    TooMany,
    /// The order makes no sense.
    Refused,
    /// The host does not get round to it.
    NoAnswer,
    /// The host is ending.
    Ending,
    /// A code that a newer host has.
    #[serde(other)]
    Other,
}

impl Failure {
    /// A failure without a hint.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::Levels;
    use crate::supervisor::orders::{LogFile, Published, Report};
    use crate::supervisor::status::Status;
    use crate::supervisor::why::Why;

    /// The lines of the page's JSON examples.
    fn examples() -> Vec<&'static str> {
        let page = include_str!("../../../infra/control-protocol.md");
        let blocks = page.split("```json\n").skip(1);
        blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines()).collect()
    }

    /// Whether an item reads as one of those that a client may get.
    fn is_known(item: &Value) -> bool {
        fn reads<T: serde::de::DeserializeOwned>(item: &Value) -> bool {
            T::deserialize(item).is_ok()
        }
        reads::<Status>(item)
            || reads::<Why>(item)
            || reads::<Report>(item)
            || reads::<Counted>(item)
            || reads::<LogFile>(item)
            || reads::<Levels>(item)
            || reads::<Published>(item)
            || reads::<Tapped>(item)
    }

    #[test]
    fn the_examples_of_the_page_are_lines_of_the_protocol() {
        let (requests, answers): (Vec<_>, Vec<_>) =
            examples().into_iter().partition(|line| line.starts_with("{\"command\""));
        assert!(requests.len() >= 6 && answers.len() >= 12, "{requests:?} {answers:?}");
        for text in requests {
            let request = Request::parse(text.as_bytes()).expect(text);
            assert_eq!(serde_json::to_string(&request).expect("serialises"), text);
        }
        for text in answers {
            let line = Line::parse(text).expect(text).expect(text);
            let again: Value = serde_json::to_value(&line).expect("serialises");
            assert_eq!(again, serde_json::from_str::<Value>(text).expect("JSON"));
            if let Line::Item(item) = line {
                assert!(is_known(&item), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_request_is_told_why() {
        let code = |text: &str| Request::parse(text.as_bytes()).expect_err(text).code;
        for text in [
            "",
            "status",
            "[]",
            "{}",
            r#"{"command":1}"#,
            r#"{"command":"status","#,
            r#"{"command":"status","service":"x"}"#,
            r#"{"command":"stop"}"#,
            r#"{"command":"stop","service":7}"#,
            r#"{"command":"stats","service":7}"#,
            r#"{"command":"log_level","level":"LOUD"}"#,
            r#"{"command":"tap","count":0}"#,
            r#"{"command":"publish","topic":"x"}"#,
            r#"{"command":"reload"}"#,
            r#"{"command":"reload","service":"x","all":true}"#,
            r#"{"command":"reload","service":"x","forced":true}"#,
        ] {
            assert_eq!(code(text), Code::BadRequest, "{text}");
        }
        assert_eq!(
            Request::parse(&[b'{', 0xff, b'}']).expect_err("not UTF-8").code,
            Code::BadRequest
        );
        let failure = Request::parse(br#"{"command":"statuss"}"#).expect_err("no command");
        assert_eq!(failure.code, Code::UnknownCommand);
        assert!(failure.hint.is_some_and(|hint| hint.contains("`status`")));
        let long = format!(r#"{{"command":"{}"}}"#, "x".repeat(9_000));
        let failure = Request::parse(long.as_bytes()).expect_err("no command");
        assert!(failure.message.len() < 300, "{}", failure.message.len());
    }

    #[test]
    fn lines_of_a_newer_host_are_passed_over() {
        assert_eq!(Line::parse(r#"{"progress":{"percent":3}}"#).expect("a line"), None);
        let line = Line::parse(r#"{"error":{"code":"tired","message":"x","hint":null,"at":1}}"#);
        let expected = Line::Error(Failure::new(Code::Other, "x"));
        assert_eq!(line.expect("a line"), Some(expected));
        assert!(Line::parse(r#"{"done":{}}"#).is_err());
        assert!(Line::parse("HTTP/1.1 400 Bad Request").is_err());
    }
}
