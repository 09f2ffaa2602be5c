//! The loop of a development run: files are saved, plugins are built, services are reloaded.
//!
//! Everything happens on one thread, which reacts to one kind of event; builds, reloads and the
//! watcher report to it. What decides how soon new code is live:
//!
//! * A build starts [`SETTLE`] after the last of a burst of saves. Most editors write a file in
//!   several steps; they take a few milliseconds.
//! * A change of what is being built stops that build at once: it would only delay the next.
//! * One build runs at a time, the one that was saved last first. Two at once would wait for each
//!   other, because cargo locks its target directory.
//! * Nothing waits for a reload but the next reload of the same plugin.

mod outcome;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::build::{Built, Hear, Job, Place, Progress};
use super::needs::Needed;
use super::notice::{self, Notices, Say, Tone};
use super::reload::Reloaded;
use super::shelf::Shelf;
use super::sources::{Concern, Depth, Sources};
use super::watch::Change;
use super::workspace::{PluginPackage, Workspace};
use crate::problem::Problem;
use crate::supervisor::orders::Orders;

/// How long it must be quiet after a save before a build starts.
pub const SETTLE: Duration = Duration::from_millis(30);

/// How long a stopped build may take to end when the host has ended.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What the loop works with; tests bring their own.
pub trait Tools {
    /// A build that runs.
    type Job: Stop;

    /// Starts a build; `hear` is told what comes of it, once [`Progress::Over`].
    fn build(&mut self, package: &PluginPackage, place: Place, hear: Hear) -> Self::Job;

    /// Reads the manifests and the project.
    ///
    /// # Errors
    /// When they make no sense at the moment.
    fn survey(&mut self) -> Result<(Workspace, Vec<Needed>), Box<Problem>>;

    /// Watches these directories from now on, and says which it cannot watch.
    fn watch(&mut self, wanted: BTreeMap<PathBuf, Depth>) -> Vec<Problem>;
}

/// Something that can be stopped. It still reports its end.
pub trait Stop {
    /// Asks it to end now.
    fn stop(&self);
}

impl Stop for Job {
    fn stop(&self) {
        Self::stop(self);
    }
}

/// What the loop reacts to.
#[derive(Debug)]
pub enum Event {
    /// Files were saved.
    Changed(Change),
    /// It has been quiet since.
    Settled,
    /// Something is heard of the build.
    Build(Progress),
    /// A service runs new code.
    Live(Box<Reloaded>),
    /// A reload is over.
    Reloaded(Box<Reloaded>),
    /// The host has ended.
    End,
}

/// Why a plugin is to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Since when.
    pub since: Instant,
    /// The file that was saved; `None` at the start.
    pub file: Option<PathBuf>,
}

struct Plugin {
    needed: Needed,
    /// A build is to be made.
    wanted: Option<Cause>,
    /// How many of its services are being reloaded.
    reloading: usize,
    /// A newer build, until those reloads are over: a file that changes under a reload is refused.
    waiting: Option<(Built, Cause)>,
    /// Whether what lies on the shelf is what runs, as far as is known.
    is_live: bool,
}

struct Building<J> {
    plugin: String,
    cause: Cause,
    job: J,
    /// Its sources have changed since.
    is_outdated: bool,
}

struct Settling {
    since: Instant,
    files: Vec<PathBuf>,
    concern: Concern,
    until: Instant,
}

impl Settling {
    /// Why there is to be a build. Of the files it names one that is still there: many editors save
    /// by way of another file, whose name nobody has seen.
    fn cause(&self) -> Cause {
        let file = self.files.iter().find(|file| file.is_file()).or(self.files.first());
        Cause { since: self.since, file: file.cloned() }
    }
}

/// The loop.
pub struct Work<W: Tools> {
    tools: W,
    shelf: Shelf,
    root: PathBuf,
    sources: Sources,
    plugins: Vec<Plugin>,
    building: Option<Building<W::Job>>,
    settling: Option<Settling>,
    settle: Duration,
    host: Option<Orders>,
    notices: Notices,
    events: Receiver<Event>,
    sender: Sender<Event>,
}

/// Where events come from and go to.
pub type Channel = (Sender<Event>, Receiver<Event>);

/// Ends the loop of a host that has ended.
#[derive(Debug)]
pub struct Handle {
    sender: Sender<Event>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Stops what is being built, and waits until nothing of it is left.
    pub fn end(self) {
        // It may have ended by itself, of a panic that has been reported.
        let _ = self.sender.send(Event::End);
        let _ = self.thread.join();
    }
}

impl<W: Tools> Work<W> {
    /// A loop that does nothing yet. Changes are to be sent to the channel as events.
    pub fn new(
        tools: W,
        shelf: Shelf,
        (workspace, needed): (Workspace, Vec<Needed>),
        say: Say,
        (sender, events): Channel,
    ) -> Self {
        let mut work = Self {
            tools,
            shelf,
            root: PathBuf::new(),
            sources: Sources::default(),
            plugins: Vec::new(),
            building: None,
            settling: None,
            settle: SETTLE,
            host: None,
            notices: Notices::new(say),
            events,
            sender,
        };
        work.take_stock(&workspace, needed);
        work
    }

    /// Another time of quiet before a build starts.
    #[must_use]
    pub fn with_settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// A channel for [`Work::new`].
    #[must_use]
    pub fn channel() -> Channel {
        channel()
    }

    /// Builds every plugin once, and returns when each has a library to start with: this build's,
    /// or when that fails one of an earlier run.
    pub fn get_ready(&mut self) {
        let names = self.plugins.iter().map(|plugin| plugin.needed.package.name.as_str());
        let text =
            format!("builds {}, and again at each save", names.collect::<Vec<_>>().join(", "));
        self.notices.tell(Tone::Quiet, "dev", &text);
        // Before the first build, so that no save falls between.
        self.watch();
        self.build_next();
        let mut is_told = false;
        loop {
            let is_idle = self.building.is_none() && self.settling.is_none();
            let missing =
                self.plugins.iter().filter(|it| !self.shelf.has(&it.needed.package.library));
            let missing: Vec<_> = missing.map(|it| it.needed.package.name.clone()).collect();
            if is_idle && missing.is_empty() {
                return;
            }
            if is_idle && !is_told {
                let names = missing.join(", ");
                let text = format!("waits until {names} can be built; mend it and save");
                self.notices.tell(Tone::Bad, "dev", &text);
            }
            is_told = is_idle;
            let event = self.next_event();
            self.handle(event);
        }
    }

    /// Serves a running host until [`Event::End`].
    pub fn run(mut self, orders: Orders) {
        self.host = Some(orders);
        for plugin in &mut self.plugins {
            plugin.is_live = true;
        }
        loop {
            match self.next_event() {
                Event::End => break,
                event => self.handle(event),
            }
        }
        let Some(building) = self.building else { return };
        building.job.stop();
        let until = Instant::now() + LAST_WAIT;
        while let Ok(event) =
            self.events.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if matches!(event, Event::Build(Progress::Over(_))) {
                return;
            }
        }
    }

    /// Serves a running host on a thread of its own.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn spawn(self, orders: Orders) -> std::io::Result<Handle>
    where
        W: Send + 'static,
        W::Job: Send,
    {
        let sender = self.sender.clone();
        let thread = thread::Builder::new().name("dev".to_owned()).spawn(|| self.run(orders))?;
        Ok(Handle { sender, thread })
    }

    fn next_event(&self) -> Event {
        let Some(settling) = &self.settling else {
            // This end holds a sender too, so the channel does not close.
            return self.events.recv().unwrap_or(Event::End);
        };
        match self.events.recv_timeout(settling.until.saturating_duration_since(Instant::now())) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => Event::Settled,
            Err(RecvTimeoutError::Disconnected) => Event::End,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Changed(change) => self.on_changed(change),
            Event::Settled => self.on_settled(),
            Event::Build(Progress::Waits(what)) => {
                if let Some(building) = &self.building {
                    self.notices.tell(Tone::Quiet, &building.plugin, &format!("cargo is {what}"));
                }
            }
            Event::Build(Progress::Over(outcome)) => self.on_build_over(outcome),
            Event::Live(reloaded) => self.tell_live(&reloaded),
            Event::Reloaded(reloaded) => self.on_reloaded(&reloaded),
            Event::End => {}
        }
    }

    fn on_changed(&mut self, change: Change) {
        let (since, files, concern) = match change {
            Change::Files(mut files, at) => {
                let mut concern = Concern::default();
                files.retain(|file| {
                    let one = self.sources.concern(file);
                    let matters = !one.is_none();
                    concern.add(one);
                    matters
                });
                (at, files, concern)
            }
            Change::Any(at) => (at, Vec::new(), self.sources.all()),
        };
        if concern.is_none() {
            return;
        }
        if let Some(building) = &mut self.building
            && concern.plugins.contains(&building.plugin)
        {
            building.is_outdated = true;
            building.job.stop();
        }
        let until = Instant::now() + self.settle;
        let settling = self.settling.get_or_insert_with(|| Settling {
            since,
            files: Vec::new(),
            concern: Concern::default(),
            until,
        });
        settling.files.extend(files);
        settling.concern.add(concern);
        settling.until = until;
    }

    fn on_settled(&mut self) {
        let Some(settled) = self.settling.take() else { return };
        if settled.concern.is_manifest {
            match self.tools.survey() {
                Ok((workspace, needed)) => self.take_stock(&workspace, needed),
                Err(problem) => {
                    self.notices.problem(&problem);
                    for plugin in settled.concern.plugins {
                        self.tell_what_runs(&plugin, "not built");
                    }
                    return;
                }
            }
        }
        let cause = settled.cause();
        for plugin in &mut self.plugins {
            if settled.concern.plugins.contains(&plugin.needed.package.name) {
                plugin.wanted = Some(cause.clone());
            }
        }
        self.watch();
        self.build_next();
    }

    /// Takes what the manifests say for what there is; a plugin that was not there is to be built.
    fn take_stock(&mut self, workspace: &Workspace, needed: Vec<Needed>) {
        self.root.clone_from(&workspace.root);
        self.sources.update(workspace, &needed);
        for needed in &needed {
            self.notices.fit([&*needed.package.name]);
            self.notices.fit(needed.services.iter().map(String::as_str));
        }
        let now = Instant::now();
        let mut known = std::mem::take(&mut self.plugins);
        self.plugins = needed
            .into_iter()
            .map(|needed| {
                let same = |it: &Plugin| it.needed.package.name == needed.package.name;
                match known.iter().position(same) {
                    Some(index) => Plugin { needed, ..known.swap_remove(index) },
                    None => Plugin {
                        needed,
                        wanted: Some(Cause { since: now, file: None }),
                        reloading: 0,
                        waiting: None,
                        is_live: false,
                    },
                }
            })
            .collect();
    }

    fn watch(&mut self) {
        for problem in self.tools.watch(self.sources.watched()) {
            self.notices.problem(&problem);
        }
    }

    fn build_next(&mut self) {
        if self.building.is_some() || self.settling.is_some() {
            return;
        }
        let newest =
            self.plugins.iter().filter_map(|it| it.wanted.as_ref()).map(|it| it.since).max();
        let Some(newest) = newest else { return };
        let is_next = |it: &&mut Plugin| it.wanted.as_ref().is_some_and(|it| it.since == newest);
        let Some(plugin) = self.plugins.iter_mut().find(is_next) else { return };
        let Some(cause) = plugin.wanted.take() else { return };
        let package = &plugin.needed.package;
        if let Some(file) = &cause.file {
            let text = format!("{} saved, building", notice::file(&self.root, file));
            self.notices.tell(Tone::Quiet, &package.name, &text);
        }
        let place = if self.host.is_some() { Place::Background } else { Place::Foreground };
        let sender = Mutex::new(self.sender.clone());
        let hear: Hear = Arc::new(move |progress| {
            let sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
            // The receiver is gone only when the loop has ended.
            let _ = sender.send(Event::Build(progress));
        });
        let job = self.tools.build(package, place, hear);
        let plugin = package.name.clone();
        self.building = Some(Building { plugin, cause, job, is_outdated: false });
    }
}
