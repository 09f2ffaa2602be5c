//! Events, collected for a while and put into words. No clock, no network.

use std::time::Duration;

use plugin_api::prelude::*;

use crate::level::Level;
use crate::monitor::{Event, Kind, Moment};

/// One notice has no more events; the others are counted.
const MOST_EVENTS: usize = 50;

/// What one message to people says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) title: String,
    /// A line for each event.
    pub(crate) body: String,
    /// The worst of the events; `None` when there are good news alone.
    pub(crate) level: Option<Level>,
    pub(crate) events: Vec<Event>,
    /// Events that had no room.
    pub(crate) left_out: usize,
}

saved_state! {
    /// Events that wait for others.
    pub(crate) struct Buffer {
        events: Vec<Event>,
        left_out: usize,
        since: Option<Moment>,
    }
}

impl Buffer {
    /// Takes events in; the first one opens the time in which others are collected.
    pub(crate) fn add(&mut self, events: Vec<Event>, now: Moment) {
        if !events.is_empty() {
            self.since.get_or_insert(now);
        }
        for event in events {
            if self.events.len() < MOST_EVENTS {
                self.events.push(event);
            } else {
                self.left_out += 1;
            }
        }
    }

    /// The notice, when `time` has passed since the first event.
    pub(crate) fn take(&mut self, project: &str, time: Duration, now: Moment) -> Option<Notice> {
        if now.saturating_sub(self.since?) < time {
            return None;
        }
        self.since = None;
        let events = std::mem::take(&mut self.events);
        Some(Notice::new(project, events, std::mem::take(&mut self.left_out)))
    }
}

impl Event {
    const fn level(&self) -> Option<Level> {
        match self.kind {
            Kind::Trouble(_, level) => Some(level),
            Kind::Recovered => None,
        }
    }

    fn word(&self) -> &'static str {
        self.level().map_or("recovered", Level::as_str)
    }
}

impl Notice {
    fn new(project: &str, events: Vec<Event>, left_out: usize) -> Self {
        let level = events.iter().filter_map(Event::level).max();
        let title = match events.as_slice() {
            [event] => format!("{project}: {} {}", event.service, event.word()),
            events => {
                let word = level.map_or("recovered", Level::as_str);
                format!("{project}: {} services, {word}", services(events))
            }
        };
        let line = |event: &Event| format!("{}: {} {}", event.word(), event.service, event.message);
        let mut lines: Vec<_> = events.iter().map(line).collect();
        if left_out > 0 {
            lines.push(format!("and {left_out} more"));
        }
        Self { title, body: lines.join("\n"), level, events, left_out }
    }

    /// As ntfy has it, from 1 to 5.
    pub(crate) const fn priority(&self) -> u8 {
        match self.level {
            None => 2,
            Some(Level::Warning) => 3,
            Some(Level::Error) => 4,
            Some(Level::Fatal) => 5,
        }
    }

    /// As ntfy has it: the name of a picture.
    pub(crate) const fn tag(&self) -> &'static str {
        match self.level {
            None => "white_check_mark",
            Some(Level::Warning) => "warning",
            Some(Level::Error) => "x",
            Some(Level::Fatal) => "rotating_light",
        }
    }

    /// What a webhook is given.
    pub(crate) fn to_json(&self, project: &str) -> Value {
        let event = |event: &Event| {
            let trouble = match event.kind {
                Kind::Trouble(trouble, _) => json!(trouble),
                Kind::Recovered => Value::Null,
            };
            json!({
                "service": event.service, "level": event.word(), "trouble": trouble,
                "message": event.message,
            })
        };
        json!({
            "project": project, "title": self.title, "message": self.body,
            "level": self.level.map_or("recovered", Level::as_str), "priority": self.priority(),
            "events": self.events.iter().map(event).collect::<Vec<_>>(), "left_out": self.left_out,
        })
    }
}

fn services(events: &[Event]) -> usize {
    let names: std::collections::BTreeSet<_> = events.iter().map(|event| &event.service).collect();
    names.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Trouble;

    const TIME: Duration = Duration::from_secs(5);

    fn at(second: u64) -> Moment {
        Duration::from_secs(second)
    }

    fn event(service: &str, level: Option<Level>) -> Event {
        let kind = level.map_or(Kind::Recovered, |level| Kind::Trouble(Trouble::Reported, level));
        Event { service: service.to_owned(), kind, message: "says so".to_owned() }
    }

    #[test]
    fn what_happens_within_the_time_is_one_notice() {
        let mut buffer = Buffer::default();
        buffer.add(Vec::new(), at(0));
        assert_eq!(buffer.take("studio", TIME, at(100)), None, "nothing waits");
        buffer.add(vec![event("core", Some(Level::Warning))], at(100));
        assert_eq!(buffer.take("studio", TIME, at(104)), None);
        buffer.add(vec![event("video", Some(Level::Fatal)), event("audio", None)], at(104));
        let notice = buffer.take("studio", TIME, at(105)).unwrap();
        assert_eq!(notice.title, "studio: 3 services, fatal");
        assert_eq!(
            notice.body,
            "warning: core says so\nfatal: video says so\nrecovered: audio says so"
        );
        assert_eq!((notice.priority(), notice.tag()), (5, "rotating_light"));
        assert_eq!(buffer.take("studio", TIME, at(200)), None, "it is told once");
    }

    #[test]
    fn what_waits_when_a_state_is_saved_is_told_by_the_next_instance_in_its_time() {
        let mut buffer = Buffer::default();
        buffer.add(vec![event("core", Some(Level::Error)), event("audio", None)], at(100));
        let saved = SavedState::of(1, &buffer).unwrap().unwrap();
        let mut next: Buffer = saved.read(1).unwrap();
        assert_eq!(next.take("studio", TIME, at(104)), None);
        assert_eq!(next.take("studio", TIME, at(105)), buffer.take("studio", TIME, at(105)));
    }

    #[test]
    fn one_event_stands_in_the_title() {
        let mut buffer = Buffer::default();
        buffer.add(vec![event("core", None)], at(0));
        let notice = buffer.take("studio", Duration::ZERO, at(0)).unwrap();
        assert_eq!(notice.title, "studio: core recovered");
        assert_eq!((notice.level, notice.priority(), notice.tag()), (None, 2, "white_check_mark"));
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut buffer = Buffer::default();
        for _ in 0..MOST_EVENTS + 7 {
            buffer.add(vec![event("core", Some(Level::Error))], at(0));
        }
        let notice = buffer.take("studio", TIME, at(5)).unwrap();
        assert_eq!((notice.events.len(), notice.left_out), (MOST_EVENTS, 7));
        assert!(notice.body.ends_with("\nand 7 more"));
        assert_eq!(notice.to_json("studio")["left_out"], 7);
    }
}
