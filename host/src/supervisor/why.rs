//! Why a service is as it is: the chain of causes, and what to do. A pure question about a status, so
//! whoever has one can ask it.

use jiff::Timestamp;
use plugin_api::state::HealthStatus;
use serde::{Deserialize, Serialize};

use super::status::{ServiceStatus, Status, Unresponsive};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The service that was asked about.
    pub service: String,
    /// Its state, as `status` has it.
    pub state: String,
    /// Whether there is nothing the matter with it.
    pub well: bool,
    /// What is the matter, each followed by its own cause: the last is where it begins.
    pub causes: Vec<Cause>,
    /// What to do about it, the first first.
    pub hints: Vec<String>,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The service that it is about.
    pub service: String,
    /// What kind of matter it is, for programs: `hangs`, `stopped`, `waits`, `restarts`, `given_up`,
    /// `failed`, `reloading`, `refused`, `not_ready`, `unhealthy`, `file_missing`, `underway`.
    pub kind: String,
    /// In words.
    pub text: String,
    /// Since when, or when; null where nobody knows.
    pub at: Option<Timestamp>,
    /// How many links lie before it on its way from the service that was asked about.
    pub depth: usize,
}

/// Why a service is as it is; `None` when the status has no such service.
#[must_use]
pub fn why(status: &Status, service: &str, now: Timestamp) -> Option<Why> {
    let asked = find(status, service)?;
    let mut inquiry = Inquiry { status, now, causes: Vec::new(), hints: Vec::new(), seen: vec![] };
    inquiry.ask(asked, 0);
    let well = inquiry.causes.is_empty();
    let Inquiry { causes, hints, .. } = inquiry;
    Some(Why { service: asked.name.clone(), state: asked.state.clone(), well, causes, hints })
}

fn find<'a>(status: &'a Status, service: &str) -> Option<&'a ServiceStatus> {
    status.services.iter().find(|it| it.name == service)
}

struct Inquiry<'a> {
    status: &'a Status,
    now: Timestamp,
    causes: Vec<Cause>,
    hints: Vec<String>,
    seen: Vec<&'a str>,
}

impl<'a> Inquiry<'a> {
    fn ask(&mut self, service: &'a ServiceStatus, depth: usize) {
        if self.seen.contains(&service.name.as_str()) {
            return;
        }
        self.seen.push(&service.name);
        // What keeps it from running, of which there is one; then what is the matter besides.
        if !self.keeps_it(service, depth) {
            self.bothers_it(service, depth);
        }
        self.refusal(service, depth);
        if service.file_missing {
            let file = service.file.display();
            let text = format!("its plugin file is gone; what was loaded from it runs on: {file}");
            self.cause(service, "file_missing", text, None, depth);
            self.hint("put the file back before the host is restarted".to_owned());
        }
    }

    /// What keeps it from running, or from responding.
    fn keeps_it(&mut self, service: &'a ServiceStatus, depth: usize) -> bool {
        let name = &service.name;
        if let Some(hang) = &service.unresponsive {
            self.hang(service, hang, depth);
        } else if let Some(at) = service.stopped_at {
            let text = if service.state == "failed" {
                "was stopped by order, and hangs: its thread was left behind"
            } else {
                "was stopped by order, and stays so until it is started by order"
            };
            self.cause(service, "stopped", text.to_owned(), Some(at), depth);
            self.hint(format!("`exphost start {name}` starts it"));
        } else if !service.restart.waits_for.is_empty() {
            let text = format!("waits for {}", service.restart.waits_for.join(", "));
            self.cause(service, "waits", text, Some(service.since), depth);
            for other in &service.restart.waits_for {
                if let Some(other) = find(self.status, other) {
                    self.ask(other, depth + 1);
                }
            }
        } else if service.state == "failed" {
            self.failure(service, depth);
        } else {
            return false;
        }
        true
    }

    fn hang(&mut self, service: &ServiceStatus, hang: &Unresponsive, depth: usize) {
        let (name, long) = (&service.name, self.ago(hang.since));
        let text = format!("has not responded for {long}: {}", hang.in_words());
        self.cause(service, "hangs", text, Some(hang.since), depth);
        if hang.cause == "slow" {
            let hint = "its runtime turns, so its tasks go on; look at what it awaits";
            self.hint(hint.to_owned());
        }
        match hang.phase.as_str() {
            "run" => {
                self.hint(format!("`exphost restart {name}` puts a new instance in its place"));
                let key = "on_hang = \"restart\"";
                self.hint(format!("`{key}` in its table [exphost] would have done so by itself"));
            }
            "stop" => {
                self.hint("it is left behind, or killed, after its `stop_timeout`".to_owned())
            }
            _ => self.hint("it is stopped after its `start_timeout`".to_owned()),
        }
    }

    fn failure(&mut self, service: &ServiceStatus, depth: usize) {
        let (name, restart) = (&service.name, &service.restart);
        let times = restarts(service.restarts);
        let (kind, text) = match (restart.next_at, restart.gave_up) {
            (Some(next), false) => {
                let left = self.until(next);
                ("restarts", format!("crash loop: {times}, the next in {left}"))
            }
            (Some(next), true) => {
                let left = self.until(next);
                ("restarts", format!("fails again and again: {times}, tried again in {left}"))
            }
            (None, true) => ("given_up", format!("failed too often, {times}, and is given up")),
            (None, false) => ("failed", "failed, and is not started again by itself".to_owned()),
        };
        self.cause(service, kind, text, Some(service.since), depth);
        let error = service.last_error.as_ref();
        if let Some(reason) = &restart.reason {
            let at = error.map(|error| error.at);
            self.cause(service, "failed", reason.clone(), at, depth + 1);
        } else if let Some(error) = error {
            let text = format!("{}: {}", error.place, error.message);
            self.cause(service, "failed", text, Some(error.at), depth + 1);
        }
        self.hint(format!("`exphost logs {name}` has what it said before"));
        self.hint(match restart.next_at {
            Some(_) => format!("mend it, then `exphost reload {name}`"),
            None => format!("mend it, then `exphost start {name}`"),
        });
    }

    /// What is the matter with one that runs or is about to.
    fn bothers_it(&mut self, service: &ServiceStatus, depth: usize) {
        if let Some(step) = &service.reloading {
            let text = format!("is being reloaded, at {step}");
            self.cause(service, "reloading", text, None, depth);
        } else if service.state != "running" {
            let text = format!("is {} for {}", service.state, self.ago(service.since));
            self.cause(service, "underway", text, Some(service.since), depth);
        } else if !service.ready {
            let text = "runs, and has not said that it is ready".to_owned();
            self.cause(service, "not_ready", text, Some(service.since), depth);
            self.hint("it says so by `ctx.ready()`; `ready = \"running\"` does without".to_owned());
        }
        if let Some(reason) = &service.restart.reason {
            let text =
                format!("runs again, after {} and this: {reason}", restarts(service.restarts));
            self.cause(service, "failed", text, Some(service.since), depth);
        }
        // A refused build makes a warning of its own.
        let is_unwell = service.health > HealthStatus::Warning
            || (service.health == HealthStatus::Warning && service.pending.is_none());
        if is_unwell && service.restart.reason.is_none() {
            self.ill_health(service, depth);
        }
    }

    fn ill_health(&mut self, service: &ServiceStatus, depth: usize) {
        let name = &service.name;
        let (text, at) = match &service.last_error {
            Some(error) => {
                (format!("latest error, in {}: {}", error.place, error.message), Some(error.at))
            }
            None => ("a health check of its own says so".to_owned(), None),
        };
        let word = service.health.as_str();
        self.cause(service, "unhealthy", format!("its health is {word}: {text}"), at, depth);
        self.hint(format!("`exphost logs {name}` has what it said"));
    }

    fn refusal(&mut self, service: &ServiceStatus, depth: usize) {
        let Some(pending) = &service.pending else { return };
        let is_of_config = matches!(pending.step.as_str(), "config" | "apply");
        let what = match (&pending.version, is_of_config) {
            (_, true) => "its new configuration".to_owned(),
            (Some(version), false) => format!("the newer build {version}"),
            (None, false) => "a newer build".to_owned(),
        };
        let (step, version) = (&pending.step, &service.version);
        let text =
            format!("{what} was refused at {step}, and {version} goes on: {}", pending.reason);
        self.cause(service, "refused", text, Some(pending.at), depth);
        self.hint(if is_of_config {
            "correct the file; `exphost check` says whether it is right".to_owned()
        } else {
            format!("build it anew, then `exphost reload {}`", service.name)
        });
    }

    fn cause(
        &mut self,
        service: &ServiceStatus,
        kind: &str,
        text: String,
        at: Option<Timestamp>,
        depth: usize,
    ) {
        let (service, kind) = (service.name.clone(), kind.to_owned());
        self.causes.push(Cause { service, kind, text, at, depth });
    }

    fn hint(&mut self, hint: String) {
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }

    fn ago(&self, at: Timestamp) -> String {
        seconds(self.now.duration_since(at).as_secs_f64())
    }

    fn until(&self, at: Timestamp) -> String {
        seconds(at.duration_since(self.now).as_secs_f64())
    }
}

fn restarts(times: u64) -> String {
    match times {
        1 => "1 restart".to_owned(),
        times => format!("{times} restarts"),
    }
}

/// For a sentence: tenths where they matter.
fn seconds(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-05-04T09:00:12Z";

    /// A status with services that run well, save for what is given of each.
    fn status(services: &[(&str, Value)]) -> Status {
        let service = |(name, given): &(&str, Value)| {
            let mut service = json!({
                "name": name, "plugin": name, "version": "1.2.0", "generation": 1, "sha256": "ab",
                "file": "/p/lib.so", "state": "running", "health": "healthy",
                "since": "2026-05-04T09:00:00Z", "uptime": 12.0, "restarts": 0, "ready": true,
                "messages_sent": 0, "messages_received": 0, "dropped": 0, "queue_depth": 0,
                "pending": null, "file_missing": false, "reloading": null, "kept": [],
                "last_error": null,
            });
            for (key, value) in given.as_object().expect("a table") {
                service[key] = value.clone();
            }
            service
        };
        let services: Vec<_> = services.iter().map(service).collect();
        let host =
            json!({"project": "p", "pid": 1, "version": "1", "uptime": 1.0, "services": services});
        serde_json::from_value(host).expect("a status")
    }

    fn ask(services: &[(&str, Value)]) -> Why {
        let now = NOW.parse().expect("a time");
        why(&status(services), services[0].0, now).expect("there is such a service")
    }

    /// Kinds, texts and depths of the causes.
    fn told(why: &Why) -> Vec<(&str, &str, usize)> {
        why.causes.iter().map(|it| (it.kind.as_str(), it.text.as_str(), it.depth)).collect()
    }

    #[test]
    fn nothing_is_the_matter_with_a_service_that_runs() {
        let why = ask(&[("core", json!({}))]);
        assert!(why.well && why.causes.is_empty() && why.hints.is_empty(), "{why:?}");
        assert!(super::why(&status(&[]), "core", NOW.parse().unwrap()).is_none());
    }

    #[test]
    fn a_chain_leads_to_where_it_begins() {
        let why = ask(&[
            (
                "display",
                json!({"state": "initializing", "restart": {
                "gave_up": false, "next_at": null, "reason": null, "waits_for": ["core"]}}),
            ),
            (
                "core",
                json!({"state": "failed", "restarts": 4, "restart": {
                "gave_up": false, "next_at": "2026-05-04T09:00:15Z", "reason": "no camera", "waits_for": []}}),
            ),
        ]);
        let expected = [
            ("waits", "waits for core", 0),
            ("restarts", "crash loop: 4 restarts, the next in 3.0 s", 1),
            ("failed", "no camera", 2),
        ];
        assert_eq!(told(&why), expected);
        assert_eq!(why.causes[1].service, "core");
        assert!(why.hints[0].contains("exphost logs core"), "{why:?}");
    }

    #[test]
    fn a_circle_of_waiting_services_has_an_end() {
        let waits = |name: &str| {
            json!({"state": "initializing", "restart": {
            "gave_up": false, "next_at": null, "reason": null, "waits_for": [name]}})
        };
        let why = ask(&[("a", waits("b")), ("b", waits("a"))]);
        assert_eq!(told(&why), [("waits", "waits for b", 0), ("waits", "waits for a", 1)]);
    }

    #[test]
    fn a_service_that_hangs_is_told_with_its_place_and_time() {
        let hang = |cause: &str| {
            json!({"health": "error", "unresponsive": {
            "since": "2026-05-04T09:00:00Z", "phase": "run", "handler": "on_message",
            "topic": "command", "cause": cause}})
        };
        let why = ask(&[("core", hang("blocked"))]);
        let text = "has not responded for 12 s: its thread is blocked in on_message `command`";
        assert_eq!(told(&why), [("hangs", text, 0)]);
        assert!(why.hints[0].contains("exphost restart core"), "{why:?}");
        let slow = ask(&[("core", hang("slow"))]);
        assert!(slow.causes[0].text.contains("longer than `handler_timeout`"), "{slow:?}");
    }

    #[test]
    fn what_the_operator_stopped_and_what_was_refused_say_what_to_do() {
        let at = "2026-05-04T08:00:00Z";
        let why = ask(&[("core", json!({"state": "stopped", "stopped_at": at}))]);
        assert_eq!(why.causes[0].kind, "stopped");
        assert_eq!(why.hints, ["`exphost start core` starts it"]);
        let refused = |step: &str| {
            json!({"health": "warning", "pending": {
            "version": "1.3.0", "sha256": null, "at": at, "step": step, "reason": "no good"}})
        };
        let why = ask(&[("core", refused("config"))]);
        let text = "its new configuration was refused at config, and 1.2.0 goes on: no good";
        assert_eq!(told(&why), [("refused", text, 0)]);
        let why = ask(&[("core", refused("probe"))]);
        assert!(why.causes[0].text.starts_with("the newer build 1.3.0"), "{why:?}");
    }

    #[test]
    fn a_service_that_is_given_up_or_unwell_says_why() {
        let failed = json!({"state": "failed", "restarts": 10, "restart": {
            "gave_up": true, "next_at": null, "reason": "it panicked", "waits_for": []}});
        let why = ask(&[("core", failed)]);
        assert_eq!(why.causes[0].kind, "given_up");
        assert_eq!(why.causes[1].text, "it panicked");
        let unwell = json!({"health": "error", "last_error": {
            "at": "2026-05-04T09:00:00Z", "place": "on_tick", "message": "no light"}});
        let why = ask(&[("core", unwell)]);
        assert_eq!(why.causes[0].text, "its health is error: latest error, in on_tick: no light");
    }
}
