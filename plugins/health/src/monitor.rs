//! Decides what is told: from what is seen of the files, and when. No clock, no disk, no network.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plugin_api::prelude::*;

use crate::files::{Content, Report, Sight};
use crate::level::Level;

/// A moment, as the time since the Unix epoch: it goes on when a new build takes over.
pub(crate) type Moment = Duration;

/// What is told, and when not.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Services that must be there.
    pub(crate) expected: BTreeSet<String>,
    pub(crate) ignored: BTreeSet<String>,
    pub(crate) stale_after: Duration,
    pub(crate) grace_period: Duration,
    pub(crate) cooldown: Duration,
    pub(crate) notify_on: Level,
    pub(crate) notify_recovery: bool,
    /// After how long a file that is not written any more is deleted; never if it is not given.
    pub(crate) delete_after: Option<Duration>,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "plugin_api::serde")]
pub(crate) struct Event {
    pub(crate) service: String,
    pub(crate) kind: Kind,
    /// In words.
    pub(crate) message: String,
}

/// What happened to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "plugin_api::serde")]
pub(crate) enum Kind {
    /// Something is the matter with it, or something else than before.
    Trouble(Trouble, Level),
    /// It is well again.
    Recovered,
}

config! {
    /// What can be the matter with a service.
    pub enum Trouble {
        /// Its file is not there.
        Missing,
        /// Its file was not written again in time.
        Stale,
        /// Its file is none of a service.
        Broken,
        /// It says so itself.
        #[default]
        Reported,
    }
}

/// What comes of a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) events: Vec<Event>,
    /// Services whose files are to be deleted.
    pub(crate) outlived: Vec<String>,
}

saved_state! {
    /// What is known of the services.
    pub struct Monitor {
        /// When it began to look.
        began: Option<Moment>,
        services: BTreeMap<String, Known>,
    }
}

saved_state! {
    /// What is known of a service.
    #[derive(PartialEq, Eq)]
    struct Known {
        /// What people believe: the trouble that they were told of, if any.
        told: Option<(Trouble, Level)>,
        /// When they were told something of it.
        told_at: Option<Moment>,
        /// It was stale when it was first seen, and nobody expects it: left by a service that the
        /// installation does not have any more.
        is_relic: bool,
    }
}

/// What is the matter with a service at one moment, and the words for it.
type State = Option<(Trouble, Level, String)>;

impl Monitor {
    /// Takes in what was seen.
    pub(crate) fn look(
        &mut self,
        seen: &BTreeMap<String, Sight>,
        rules: &Rules,
        now: Moment,
    ) -> Findings {
        let began = *self.began.get_or_insert(now);
        let mut findings = Findings::default();
        let is_watched = |name: &&String| !rules.ignored.contains(*name);
        for (name, sight) in seen.iter().filter(|(name, _)| is_watched(name)) {
            let is_stale = sight.age >= rules.stale_after;
            let relic = is_stale && !rules.expected.contains(name);
            let known = self
                .services
                .entry(name.clone())
                .or_insert_with(|| Known { is_relic: relic, ..Known::default() });
            known.is_relic &= is_stale;
            if rules.delete_after.is_some_and(|after| sight.age >= after) {
                findings.outlived.push(name.clone());
            }
        }
        for name in &rules.expected {
            self.services.entry(name.clone()).or_default();
        }
        self.services.retain(|name, _| is_watched(&name));
        if now.saturating_sub(began) >= rules.grace_period {
            let services = self.services.iter_mut().filter(|(_, known)| !known.is_relic);
            let events = services.filter_map(|(name, known)| {
                known.event(name, state(seen.get(name), rules), rules, now)
            });
            findings.events.extend(events);
        }
        // Those that nobody expects are forgotten with their files.
        for name in &findings.outlived {
            if !rules.expected.contains(name) {
                self.services.remove(name);
            }
        }
        findings
    }
}

impl Known {
    /// What is to be told now, if anything; what is told is noted.
    fn event(&mut self, name: &str, state: State, rules: &Rules, now: Moment) -> Option<Event> {
        let service = name.to_owned();
        let state = state.filter(|(_, level, _)| *level >= rules.notify_on);
        let Some((trouble, level, message)) = state else {
            self.told.take()?;
            if !rules.notify_recovery {
                return None;
            }
            self.told_at = Some(now);
            let message = "is well again".to_owned();
            return Some(Event { service, kind: Kind::Recovered, message });
        };
        if self.told == Some((trouble, level)) {
            return None;
        }
        let is_worse = self.told.is_some_and(|(_, told)| level > told);
        let cools = self.told_at.is_some_and(|at| now.saturating_sub(at) < rules.cooldown);
        if cools && !is_worse {
            return None;
        }
        (self.told, self.told_at) = (Some((trouble, level)), Some(now));
        Some(Event { service, kind: Kind::Trouble(trouble, level), message })
    }
}

fn state(sight: Option<&Sight>, rules: &Rules) -> State {
    let Some(Sight { age, content }) = sight else {
        return Some((Trouble::Missing, Level::Error, "has no health file".to_owned()));
    };
    let report = match content {
        Content::Broken(why) => {
            return Some((Trouble::Broken, Level::Error, format!("has a broken file: {why}")));
        }
        Content::Report(report) => report,
    };
    if *age >= rules.stale_after && !report.stopped {
        let message = format!("has not been heard of for {} s", age.as_secs());
        return Some((Trouble::Stale, Level::Error, message));
    }
    let level = match report.status {
        HealthStatus::Unknown | HealthStatus::Healthy => return None,
        HealthStatus::Warning => Level::Warning,
        HealthStatus::Error => Level::Error,
        HealthStatus::Fatal => Level::Fatal,
    };
    Some((Trouble::Reported, level, words(report, level)))
}

fn words(report: &Report, level: Level) -> String {
    if report.message.is_empty() {
        return format!("reports {level}");
    }
    format!("reports {level}: {}", report.message)
}

#[cfg(test)]
#[path = "tests/monitor.rs"]
mod tests;
