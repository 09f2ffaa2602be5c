//! Tells those outside of the host how it goes: health files and systemd. Asked after each event, so
//! that nothing that changes a service has to think of it.

use jiff::Timestamp;
use tokio::time::Instant;

use super::supervised::{Life, Supervised};
use super::{Supervisor, Surroundings};
use crate::health::{Facts, HealthFiles, Subject};
use crate::service::health::Stage;
use crate::systemd::Picture;

/// Begins to write the services' health files, where there is a place for them.
pub(super) fn health_files(
    services: &[Supervised],
    around: &Surroundings,
) -> std::io::Result<Option<HealthFiles>> {
    let Some(directory) = around.health.clone() else { return Ok(None) };
    let subjects = services.iter().map(|service| Subject {
        hosted: std::sync::Arc::clone(&service.hosted),
        name: service.name.clone(),
        service_type: service.build.terms().service_type.clone(),
    });
    HealthFiles::begin(directory, subjects.collect()).map(Some)
}

impl Supervisor {
    /// Tells what is new.
    pub(super) fn tell_vitals(&mut self) {
        let at = Timestamp::now();
        for service in &self.services {
            service.hosted.health_record().note_stage(&service.stage(), at);
            if let Some(files) = &self.health_files {
                files.tell(&service.name, service.facts());
            }
        }
        let picture = self.picture();
        self.around.systemd.tell(&picture, Instant::now());
    }

    /// The last words.
    pub(super) fn close_vitals(&mut self) {
        let last = Picture { stopping: true, ..self.picture() };
        self.around.systemd.tell(&last, Instant::now());
        if let Some(files) = self.health_files.take() {
            files.close();
        }
    }

    fn picture(&self) -> Picture {
        let services = &self.services;
        let underway = |it: &Supervised| matches!(it.life, Life::Starting(..) | Life::Stopping(..));
        let dead = services.iter().find(|it| it.build.terms().critical && !it.is_live());
        Picture {
            settled: !services.iter().any(underway),
            reloading: services.iter().any(|it| it.transaction.is_some()),
            stopping: self.stopping.is_some(),
            dead: dead.map(|it| it.name.clone()),
            summary: self.summary(),
        }
    }

    /// `3 of 4 running; core: failed`.
    fn summary(&self) -> String {
        let running = |it: &&Supervised| matches!(it.life, Life::Running(_));
        let count = self.services.iter().filter(running).count();
        let others = self.services.iter().filter(|it| !running(it));
        let mut parts = vec![format!("{count} of {} running", self.services.len())];
        parts.extend(others.map(|it| format!("{}: {}", it.name, it.state_word())));
        parts.join("; ")
    }
}

impl Supervised {
    /// Where it is in its life, as health has it.
    fn stage(&self) -> Stage {
        let word = self.state_word();
        match word.as_str() {
            "running" => Stage::Running,
            // STOPPED is said before its thread has ended, which decides what becomes of it.
            "stopped" if !self.has_thread() => Stage::Stopped,
            "failed" if self.hangs() => Stage::Failed("it hangs".to_owned()),
            "failed" => Stage::Failed(self.last_words().unwrap_or_else(|| "no reason".to_owned())),
            _ => Stage::Underway,
        }
    }

    fn facts(&self) -> Facts {
        Facts { began: self.began.map(Instant::into_std), restarts: self.record.restarts() }
    }

    /// Whether it runs, or is rightly on its way to that; one that was stopped by order is missed by
    /// nobody. This is what the watchdog asks of critical services.
    fn is_live(&self) -> bool {
        match self.life {
            // Nothing but an order will start it.
            Life::Waiting => self.blocked_by.is_none(),
            Life::Pausing { .. } | Life::Starting(..) | Life::Stopping(..) => true,
            Life::Running(_) => !self.is_blocked_in_a_call(),
            Life::Resting => !self.hangs(),
            Life::Ended(_) | Life::Hung | Life::NotStarted => self.transaction.is_some(),
        }
    }
}
