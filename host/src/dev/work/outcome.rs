//! What becomes of a build: it goes onto the shelf, the host runs it, and people are told.

use tokio::sync::oneshot;

use super::{Building, Cause, Tools, Work};
use crate::dev::build::{Built, Outcome};
use crate::dev::notice::{self, Tone, seconds};
use crate::dev::reload::{Reload, Reloaded};
use crate::supervisor::orders::{Decision, Order, Report};

impl<W: Tools> Work<W> {
    pub(super) fn on_build_over(&mut self, outcome: Outcome) {
        let Some(Building { plugin, cause, is_outdated, .. }) = self.building.take() else {
            return;
        };
        match outcome {
            // Whatever came of it, the next build is wanted already or about to be.
            _ if is_outdated => {}
            Outcome::Stopped => {
                self.tell_what_runs(&plugin, "build was interrupted; save again to repeat it");
            }
            Outcome::Failed(said, took) => {
                self.notices.quote(&said);
                self.tell_what_runs(&plugin, &format!("build failed after {}", seconds(took)));
            }
            Outcome::Built(built) => {
                if !built.is_fresh {
                    self.notices.quote(&built.warnings);
                }
                self.sources.took_in(&plugin, built.inputs.clone());
                self.install(&plugin, built, cause);
                self.watch();
            }
        }
        self.build_next();
    }

    /// Puts a build on the shelf, and has the host run it when it is another than before.
    fn install(&mut self, name: &str, built: Built, cause: Cause) {
        let Some(plugin) = self.plugins.iter_mut().find(|it| it.needed.package.name == name) else {
            return;
        };
        if plugin.reloading > 0 {
            plugin.waiting = Some((built, cause));
            return;
        }
        let differs = match self.shelf.put(&built.library) {
            Ok(differs) => differs,
            Err(error) => {
                let (from, to) = (built.library.display(), self.shelf.path().display());
                let text = format!("{from} cannot be copied to {to}: {error}");
                self.notices.tell(Tone::Bad, name, &text);
                return;
            }
        };
        let took = seconds(built.took);
        let Some(orders) = &self.host else {
            let text =
                if built.is_fresh { "up to date".to_owned() } else { format!("built in {took}") };
            self.notices.tell(Tone::Good, name, &text);
            return;
        };
        if !differs && plugin.is_live {
            let text = format!("nothing changed (build {took})");
            self.notices.tell(Tone::Quiet, name, &text);
            return;
        }
        plugin.is_live = true;
        plugin.reloading = plugin.needed.services.len();
        for service in &plugin.needed.services {
            let order = Reload {
                plugin: name.to_owned(),
                service: service.clone(),
                cause: cause.clone(),
                build: built.took,
            };
            let sender = self.sender.clone();
            order.give(orders.clone(), move |event| {
                // The receiver is gone only when the loop has ended.
                let _ = sender.send(event);
            });
        }
    }

    pub(super) fn on_reloaded(&mut self, reloaded: &Reloaded) {
        let succeeded = self.tell_end(reloaded);
        let name = &reloaded.order.plugin;
        let Some(plugin) = self.plugins.iter_mut().find(|it| it.needed.package.name == *name)
        else {
            return;
        };
        plugin.is_live &= succeeded;
        plugin.reloading = plugin.reloading.saturating_sub(1);
        if plugin.reloading == 0
            && let Some((built, cause)) = plugin.waiting.take()
        {
            self.install(name, built, cause);
        }
    }

    pub(super) fn tell_live(&mut self, reloaded: &Reloaded) {
        self.notices.tell(Tone::Good, &reloaded.order.service, &reloaded.summary());
        self.notices.add(&notice::steps(&reloaded.steps));
    }

    /// Tells how a reload ended; whether the new build runs.
    fn tell_end(&mut self, reloaded: &Reloaded) -> bool {
        let service = &reloaded.order.service;
        let (text, hint) = match &reloaded.end {
            Some(Report::Verdict(verdict)) if verdict.verdict == Decision::Reloaded => {
                // Nothing had to be started when the service had not had its turn yet.
                if reloaded.live.is_none() {
                    self.tell_live(reloaded);
                }
                return true;
            }
            Some(Report::Verdict(verdict)) => {
                (notice::turned_away(verdict, &reloaded.steps), verdict.hint.as_ref())
            }
            Some(Report::Refused(refused)) => {
                (format!("not reloaded: {}", refused.error), refused.hint.as_ref())
            }
            // The host is ending, which it says itself.
            Some(Report::Step(_) | Report::Progress(_)) | None => return false,
        };
        let runs = self.what_runs(std::slice::from_ref(service));
        self.notices.tell(Tone::Bad, service, &format!("{text}{runs}"));
        if let Some(hint) = hint {
            self.notices.add(&format!("hint: {hint}"));
        }
        false
    }

    /// Tells that there is no new build of a plugin, and what there is instead.
    pub(super) fn tell_what_runs(&mut self, name: &str, what: &str) {
        let plugin = self.plugins.iter().find(|it| it.needed.package.name == name);
        let Some(needed) = plugin.map(|plugin| plugin.needed.clone()) else { return };
        let runs = match self.host {
            Some(_) => self.what_runs(&needed.services),
            None if self.shelf.has(&needed.package.library) => {
                "; the latest build that succeeded is used".to_owned()
            }
            None => String::new(),
        };
        self.notices.tell(Tone::Bad, name, &format!("{what}{runs}"));
    }

    /// `; 0.1.0 (generation 3) runs on`, as the host says.
    fn what_runs(&self, services: &[String]) -> String {
        let ask = || {
            let (answer, status) = oneshot::channel();
            self.host.as_ref()?.give_blocking(Order::Status(answer)).ok()?;
            notice::what_runs(&status.blocking_recv().ok()?, services)
        };
        ask().map(|runs| format!("; {runs}")).unwrap_or_default()
    }
}
