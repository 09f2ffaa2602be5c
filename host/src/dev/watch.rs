//! Hears of files that are saved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::sources::Depth;
use crate::problem::Problem;

/// Files that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These, at that time.
    Files(Vec<PathBuf>, Instant),
    /// The system lost count; any of them may have.
    Any(Instant),
}

/// Watches directories.
#[derive(Debug)]
pub struct Watch {
    watcher: RecommendedWatcher,
    watched: BTreeMap<PathBuf, Depth>,
}

impl Watch {
    /// Watches nothing yet; `tell` is called on a thread of the watcher's.
    ///
    /// # Errors
    /// When the system gives no watcher.
    pub fn new(tell: impl Fn(Change) + Send + 'static) -> Result<Self, Box<Problem>> {
        let hear = move |event: notify::Result<Event>| {
            if let Some(change) = change(event) {
                tell(change);
            }
        };
        match notify::recommended_watcher(hear) {
            Ok(watcher) => Ok(Self { watcher, watched: BTreeMap::new() }),
            Err(error) => Err(Box::new(
                Problem::error(format!("cannot watch files: {error}"))
                    .hint("raise the sysctl fs.inotify.max_user_instances"),
            )),
        }
    }

    /// Watches these directories and no others. Those that are watched already are asked for again:
    /// one that was removed and made anew, as git does it, is another directory to the system.
    ///
    /// Returns what cannot be watched.
    pub fn follow(&mut self, wanted: BTreeMap<PathBuf, Depth>) -> Vec<Problem> {
        for (directory, depth) in &self.watched {
            if wanted.get(directory) != Some(depth) {
                // One that is gone is not watched any more in any case.
                let _ = self.watcher.unwatch(directory);
            }
        }
        let mut problems = Vec::new();
        for (directory, depth) in &wanted {
            let mode = match depth {
                Depth::Itself => RecursiveMode::NonRecursive,
                Depth::Below => RecursiveMode::Recursive,
            };
            if let Err(error) = self.watcher.watch(directory, mode) {
                let problem = Problem::warning(format!("cannot be watched: {error}"));
                problems.push(problem.in_file(directory).hint(
                    "changes there are not noticed; raise the sysctl fs.inotify.max_user_watches, \
                     or see that the directory is there",
                ));
            }
        }
        self.watched = wanted;
        problems
    }
}

/// What an event says of the content of files. Cargo and every editor read files and touch their
/// attributes, which is nothing.
fn change(event: notify::Result<Event>) -> Option<Change> {
    let now = Instant::now();
    let Ok(event) = event else { return Some(Change::Any(now)) };
    if event.need_rescan() {
        return Some(Change::Any(now));
    }
    match event.kind {
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => None,
        _ => Some(Change::Files(event.paths, now)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    /// Waits for a change of `file`.
    fn hear(changes: &Receiver<Change>, file: &Path) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match changes.recv_timeout(left).expect("the change is heard of") {
                Change::Files(files, _) if files.iter().any(|it| it == file) => return,
                _ => {}
            }
        }
    }

    #[test]
    fn saves_are_heard_of_however_an_editor_makes_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let code = directory.path().join("src");
        fs::create_dir(&code).expect("a directory");
        let file = code.join("lib.rs");
        fs::write(&file, "1").expect("written");
        let (sender, changes) = channel();
        let mut watch = Watch::new(move |change| drop(sender.send(change))).expect("a watcher");
        let wanted = BTreeMap::from([
            (directory.path().to_owned(), Depth::Itself),
            (code.clone(), Depth::Below),
        ]);
        assert_eq!(watch.follow(wanted.clone()), []);

        fs::write(&file, "2").expect("written");
        hear(&changes, &file);
        fs::write(code.join("new"), "3").expect("written");
        fs::rename(code.join("new"), &file).expect("renamed");
        hear(&changes, &code.join("new"));
        hear(&changes, &file);

        // As git does it when the other branch has no such directory.
        fs::remove_dir_all(&code).expect("removed");
        fs::create_dir(&code).expect("a directory");
        hear(&changes, &code);
        assert_eq!(watch.follow(wanted), []);
        fs::write(&file, "4").expect("written");
        hear(&changes, &file);
    }

    #[test]
    fn reading_and_touching_is_no_change() {
        use notify::event::{AccessKind, CreateKind, MetadataKind};
        let event = |kind| Ok(Event::new(kind).add_path("/w/src/lib.rs".into()));
        assert_eq!(change(event(EventKind::Access(AccessKind::Any))), None);
        let touched = EventKind::Modify(ModifyKind::Metadata(MetadataKind::WriteTime));
        assert_eq!(change(event(touched)), None);
        let made = change(event(EventKind::Create(CreateKind::File)));
        assert!(matches!(made, Some(Change::Files(..))), "{made:?}");
        let lost = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert!(matches!(change(Ok(lost)), Some(Change::Any(_))));
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let mut watch = Watch::new(|_| ()).expect("a watcher");
        let problems = watch.follow(BTreeMap::from([("/nonexistent".into(), Depth::Itself)]));
        let [problem] = &problems[..] else { panic!("one problem: {problems:?}") };
        assert_eq!(problem.file.as_deref(), Some(Path::new("/nonexistent")));
    }
}
