//! Watches the health files of an installation's services, those of this host and those of Python,
//! and tells people what happens to them: in the log, by a webhook, and by ntfy.

mod config;
mod delivery;
mod files;
mod http;
mod level;
mod monitor;
mod notice;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use plugin_api::prelude::*;
use plugin_api::tokio::task::spawn_blocking;
use plugin_api::tracing;

pub use crate::config::Config;
use crate::delivery::Outbox;
use crate::level::Level;
use crate::monitor::{Moment, Monitor, Rules};
use crate::notice::{Buffer, Notice};

/// The version of [`Memory`]'s form.
const MEMORY_VERSION: u32 = 1;

saved_state! {
    /// What the next instance goes on with.
    struct Memory {
        monitor: Monitor,
        /// What people believe to have been told, and were not yet.
        buffer: Buffer,
    }
}

struct HealthService {
    config: Config,
    rules: Rules,
    directory: PathBuf,
    memory: Memory,
    /// There from the start, if notices are sent.
    outbox: Option<Outbox>,
}

impl Service for HealthService {
    type Config = Config;

    fn validate(config: &Config, problems: &mut ConfigProblems) {
        config.validate(problems);
    }

    async fn new(config: Config, _: &Context) -> Result<Self> {
        Ok(Self {
            rules: rules(&config),
            directory: directory(&config),
            memory: Memory::default(),
            outbox: None,
            config,
        })
    }

    async fn restore_state(&mut self, _: &Context, state: SavedState) -> Result<()> {
        self.memory = state.read(MEMORY_VERSION)?;
        Ok(())
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        let directory = self.directory.display();
        tracing::info!(%directory, dry_run = self.config.dry_run, "watching health files");
        if !self.config.dry_run {
            self.outbox = Some(Outbox::begin(ctx, &self.config));
        }
        ctx.tick_every(Duration::from_secs_f64(self.config.check_interval));
        Ok(())
    }

    async fn save_state(&mut self, _: &Context) -> Result<Option<SavedState>> {
        SavedState::of(MEMORY_VERSION, &self.memory)
    }

    async fn on_tick(&mut self, ctx: &Context) -> Result<()> {
        let directory = self.directory.clone();
        let seen = spawn_blocking(move || files::look(&directory, SystemTime::now())).await?;
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                let message = format!("{}: {error}", self.directory.display());
                ctx.record_health_check("files", HealthStatus::Error, &message);
                return Ok(());
            }
        };
        ctx.record_health_check("files", HealthStatus::Healthy, "can be read");
        let now = now();
        let findings = self.memory.monitor.look(&seen, &self.rules, now);
        for service in &findings.outlived {
            self.delete(service);
        }
        self.memory.buffer.add(findings.events, now);
        self.tell(ctx, Duration::from_secs_f64(self.config.buffer_time), now);
        Ok(())
    }
}

impl HealthService {
    /// Tells what has waited for `time`.
    fn tell(&mut self, ctx: &Context, time: Duration, now: Moment) {
        let Some(notice) = self.memory.buffer.take(ctx.project(), time, now) else { return };
        log(&notice);
        let Some(outbox) = &self.outbox else { return };
        for request in http::requests(&notice, ctx.project(), &self.config) {
            let target = request.target;
            if !outbox.put(request) {
                tracing::warn!(to = target, "too many notices wait; this one is only in the log");
                let message = "takes too long; a notice was dropped";
                ctx.record_health_check(target, HealthStatus::Warning, message);
            }
        }
    }

    fn delete(&self, service: &str) {
        match files::delete(&self.directory, service) {
            Ok(()) => tracing::info!(service, "old health file deleted"),
            Err(error) => tracing::warn!(service, %error, "cannot delete an old health file"),
        }
    }
}

fn log(notice: &Notice) {
    let (title, body) = (&notice.title, &notice.body);
    match notice.level {
        None => tracing::info!(title, body, "notice"),
        Some(Level::Warning) => tracing::warn!(title, body, "notice"),
        Some(Level::Error | Level::Fatal) => tracing::error!(title, body, "notice"),
    }
}

fn now() -> Moment {
    // A clock before 1970 is one that has not been set; everything is then of one moment.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn rules(config: &Config) -> Rules {
    let seconds = Duration::from_secs_f64;
    const DAY: f64 = 86_400.0;
    Rules {
        expected: config.services.iter().cloned().collect(),
        ignored: config.ignore.iter().cloned().collect(),
        stale_after: seconds(config.stale_after),
        grace_period: seconds(config.grace_period),
        cooldown: seconds(config.cooldown),
        notify_on: config.notify_on,
        notify_recovery: config.notify_recovery,
        delete_after: Some(config.delete_after_days)
            .filter(|days| *days > 0.0)
            .map(|days| seconds(days * DAY)),
    }
}

#[allow(clippy::disallowed_methods, reason = "a plugin is given no environment by its host")]
fn directory(config: &Config) -> PathBuf {
    if !config.directory.is_empty() {
        return PathBuf::from(&config.directory);
    }
    let variable = |name: &str| std::env::var(name).ok();
    // Everything of a process's own in /proc belongs to its effective user.
    let owner = std::fs::metadata("/proc/self");
    let is_root = owner.is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    files::usual_directory(variable, is_root, Path::new("/etc/experimance"))
}

export_service!(HealthService);
