//! `exphost tap`: the messages that pass the running host's bus.

use std::num::NonZeroU64;
use std::ops::ControlFlow;

use clap::Args;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::reports::{ODD, plain};
use super::{Common, Exit, output, running};
use crate::bus::tap::Direction;
use crate::control::protocol::{Request, Tapped, TappedMessage};
use crate::environment::Process;

/// How much of a payload people are shown, in characters.
const SHOWN: usize = 200;

#[derive(Debug, Args)]
pub(super) struct TapArguments {
    /// The beginning of the topics that are wanted; all messages, tasks and results unless it is given
    topic: Option<String>,
    /// End after so many messages
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<NonZeroU64>,
    /// Print one JSON object a line, with the whole of each payload of up to 64 KiB
    #[arg(long)]
    json: bool,
}

pub(super) fn tap(common: &Common, process: &Process<'_>, wanted: TapArguments) -> Exit {
    let mut client = match running::connect(common, process) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let TapArguments { topic, count, json } = wanted;
    let zone = TimeZone::system();
    let each = |item: Value| {
        let line = if json { Some(item.to_string()) } else { text(item, &zone) };
        match line.map_or(Ok(()), |line| output::stream(&line)) {
            Ok(()) => ControlFlow::Continue(()),
            // Nobody reads it any more.
            Err(_) => ControlFlow::Break(()),
        }
    };
    match client.ask_while(&Request::Tap { topic, count }, each) {
        Ok(_) => Exit::Done,
        Err(no_answer) => running::complain(no_answer),
    }
}

/// One line for people; nothing for a kind of item that a newer host has.
fn text(item: Value, zone: &TimeZone) -> Option<String> {
    match serde_json::from_value(item).ok()? {
        Tapped::Message(message) => Some(of_message(&message, zone)),
        Tapped::Lost { dropped } => Some(format!(
            "{ODD}{dropped} messages passed faster than they were read, and are not shown{ODD:#}"
        )),
    }
}

/// `12:04:31.123 heartbeat zmq.publisher sent heartbeat (45 bytes) {"n":1}`.
fn of_message(message: &TappedMessage, zone: &TimeZone) -> String {
    let at = message.at.to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string();
    let (service, key) = (plain(&message.service), plain(&message.key));
    let way = match (message.direction, message.local) {
        (Direction::Sent, _) => "sent",
        (Direction::Received, false) => "received",
        (Direction::Received, true) => "received in this host",
    };
    let topic = match message.topic.as_str() {
        "" => String::new(),
        topic => format!(" {}", plain(topic)),
    };
    let (payload, is_whole) = match &message.text {
        Some(text) => (text.clone(), false),
        None => (message.payload.to_string(), true),
    };
    let (payload, cut) = match payload.char_indices().nth(SHOWN) {
        Some((end, _)) => (payload.get(..end).unwrap_or_default(), "…"),
        None => (payload.as_str(), if is_whole { "" } else { "…" }),
    };
    let (size, payload) = (message.size, plain(payload));
    format!("{at} {service} {key} {way}{topic} ({size} bytes) {payload}{cut}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_one_line_for_people() {
        let item = |payload: Value, text: Option<&str>, topic: &str| {
            json!({
                "at": "2026-01-02T12:04:31.1234Z", "service": "core", "key": "zmq.subscriber",
                "direction": "received", "local": true, "topic": topic, "size": 7,
                "payload": payload, "text": text,
            })
        };
        let shown = |item: Value| text(item, &TimeZone::UTC).unwrap();
        let head = "12:04:31.123 core zmq.subscriber received in this host";
        let expected = format!("{head} tick (7 bytes) {{\"n\":1}}");
        assert_eq!(shown(item(json!({"n": 1}), None, "tick")), expected);
        assert_eq!(
            shown(item(Value::Null, Some("\u{1b}x"), "")),
            format!("{head} (7 bytes) \\u{{1b}}x…")
        );
        let long = shown(item(json!("ü".repeat(500)), None, "tick"));
        assert_eq!(long.chars().filter(|c| *c == 'ü').count(), SHOWN - 1, "a quote goes first");
        assert!(shown(json!({"dropped": 12})).contains("12 messages"));
        assert_eq!(text(json!({"progress": 3}), &TimeZone::UTC), None);
    }
}
