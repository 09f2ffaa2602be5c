//! Watches folders for plugin files and configuration that change, and tells when a changed file has
//! come to rest.
//!
//! What the system tells of a file differs with how it was replaced (cargo's link, `cp`, `mv`,
//! `install`, rsync…), and of some changes it tells nothing, such as one behind a symbolic link. So
//! whatever is told means only that the file is worth a look; all folders are looked through every so
//! often as well; and a file is told of once it has been left alone for a while and looks the same
//! at both ends of that while (`settle.rs`).
//!
//! Nothing here opens a file, let alone loads one. A file that was only touched is told of too:
//! whether its content is another is for whoever is told to find out.

mod folder;
mod inbox;
mod notifier;
mod settle;
mod stamp;

#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use folder::{Folder, Kind};
use inbox::Inbox;
use notifier::{Notifier, hear};
use settle::Settling;
use stamp::Stamp;

/// What to watch.
#[derive(Clone, Debug)]
pub struct WatchPlan {
    /// The folder with the plugins.
    pub plugins: Option<PathBuf>,
    /// The folders with the TOML files.
    pub config: Vec<PathBuf>,
    /// How long a file must have been left alone before it is told of.
    pub settle: Duration,
    /// How often the folders are looked through for what the system did not tell.
    pub rescan: Duration,
}

/// Files that changed or went away and have come to rest since; each is in one of the folders as the
/// plan has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Plugin files.
    Plugins(Vec<PathBuf>),
    /// Configuration files.
    Config(Vec<PathBuf>),
}

/// A thread that watches. Dropping it ends the thread.
#[derive(Debug)]
pub struct Watch {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch. What happens after this has returned is not missed; what happened before is
    /// not told, so begin before the files are first read.
    ///
    /// A folder that is not there is watched as soon as it is. `tell` runs on the watch's thread and
    /// may take its time, but must come to an end once nobody wants to be told any more: dropping the
    /// watch waits for it.
    ///
    /// # Errors
    /// When there is no thread to be had. Where the system cannot tell of changes, the folders are
    /// looked through all the same, and a warning says so.
    pub fn begin(plan: WatchPlan, tell: impl FnMut(Change) + Send + 'static) -> io::Result<Self> {
        Self::begin_with::<notify::RecommendedWatcher>(plan, tell)
    }

    fn begin_with<W: notify::Watcher + Send + 'static>(
        plan: WatchPlan,
        tell: impl FnMut(Change) + Send + 'static,
    ) -> io::Result<Self> {
        let folders = Folder::of_plan(&plan)?;
        let inbox = Arc::new(Inbox::default());
        // The system is asked before the folders are looked through, and both before the thread
        // exists, so that there is no moment at which a change is noticed by neither.
        let (for_events, of_events) = (Arc::clone(&inbox), folders.clone());
        let watcher =
            W::new(move |event| hear(&of_events, &for_events, event), notify::Config::default());
        let mut watching = Watching {
            notifier: Notifier::new(watcher, folders, plan.rescan),
            inbox: Arc::clone(&inbox),
            settling: Settling::new(plan.settle),
            rescan: plan.rescan,
            tell,
        };
        watching.take_for_known();
        let thread = std::thread::Builder::new().name("watch".to_owned());
        let thread = thread.spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| watching.run())).is_err() {
                tracing::error!(
                    "the watching thread panicked: changed files are not noticed any more"
                );
            }
        })?;
        Ok(Self { inbox, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.inbox.end();
        if let Some(thread) = self.thread.take() {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Watching<W, T> {
    notifier: Notifier<W>,
    inbox: Arc<Inbox>,
    settling: Settling,
    rescan: Duration,
    tell: T,
}

impl<W: notify::Watcher, T: FnMut(Change)> Watching<W, T> {
    /// Takes what there is now for what has been told already.
    fn take_for_known(&mut self) {
        for index in 0..self.notifier.len() {
            self.notifier.cover(index, false);
            for (file, stamp) in self.notifier.scan(index).unwrap_or_default() {
                self.settling.know(file, stamp);
            }
        }
    }

    fn run(mut self) {
        let mut next_scan = Instant::now() + self.rescan;
        loop {
            let wake = self.settling.next().map_or(next_scan, |look| look.min(next_scan));
            let Some(heard) = self.inbox.wait(wake) else { return };
            let now = Instant::now();
            for file in heard.files {
                let stamp = Stamp::of(&file);
                self.settling.touch(file, stamp, now);
            }
            let scan_all = heard.missed || now >= next_scan;
            for index in 0..self.notifier.len() {
                let anew = heard.missed || heard.folders.contains(&index);
                if anew || scan_all {
                    self.look_through(index, anew, now);
                }
            }
            if scan_all {
                next_scan = now + self.rescan;
            }
            let settled = self.settling.settled(now, Stamp::of);
            self.report(settled);
        }
    }

    /// Compares a folder with what is known of it. `anew`: its watch may be worth nothing any more.
    fn look_through(&mut self, index: usize, anew: bool, now: Instant) {
        self.notifier.cover(index, anew);
        if let Some(found) = self.notifier.scan(index) {
            self.settling.compare(self.notifier.folder(index).path(), found, now);
        }
    }

    fn report(&mut self, settled: Vec<PathBuf>) {
        let is_plugin = |file: &PathBuf| Kind::of_name(file) == Some(Kind::Plugin);
        let (plugins, config): (Vec<_>, Vec<_>) = settled.into_iter().partition(is_plugin);
        if !plugins.is_empty() {
            (self.tell)(Change::Plugins(plugins));
        }
        if !config.is_empty() {
            (self.tell)(Change::Config(config));
        }
    }
}
