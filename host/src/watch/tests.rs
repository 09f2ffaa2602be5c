//! Real files in real folders, and the system as it is. What may not happen too early is shown with a
//! made-up clock in `settle.rs`; here nothing waits but for a report.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, DataChange, Flag, ModifyKind, RemoveKind};
use notify::{Config, Event, EventHandler, EventKind, RecursiveMode, Watcher, WatcherKind};
use tempfile::TempDir;

use super::*;

/// How long a report may take; only a test that fails waits for it.
const DEADLINE: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_millis(100);
/// The system must tell: nobody looks.
const NEVER: Duration = Duration::from_secs(3600);
/// Somebody looks often.
const OFTEN: Duration = Duration::from_millis(50);

/// One report: a file, and how it looked when it was told of.
type Report = (PathBuf, Option<Stamp>);

/// A watch over `plugins` and `config` in a temporary directory.
struct Rig {
    directory: TempDir,
    told: Receiver<Report>,
    watch: Option<Watch>,
    /// Reports so far, newest last.
    reports: Vec<Report>,
    /// How many files have been written to see whether all before them has been told.
    fences: usize,
}

impl Rig {
    fn new(rescan: Duration) -> Self {
        Self::of::<notify::RecommendedWatcher>(rescan, |_| {})
    }

    /// With a watcher of this kind, in a directory that has been prepared.
    fn of<W: Watcher + Send + 'static>(rescan: Duration, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["plugins", "config", "builds"] {
            fs::create_dir(directory.path().join(name)).expect("a folder");
        }
        prepare(directory.path());
        let plan = WatchPlan {
            plugins: Some(directory.path().join("plugins")),
            config: vec![directory.path().join("config")],
            settle: SETTLE,
            rescan,
        };
        let (sender, told) = channel();
        let tell = move |change| {
            let (files, kind) = match change {
                Change::Plugins(files) => (files, Kind::Plugin),
                Change::Config(files) => (files, Kind::Config),
            };
            for file in files {
                assert_eq!(Kind::of_name(&file), Some(kind), "{}", file.display());
                let stamp = Stamp::of(&file);
                // The test may have ended.
                let _ = sender.send((file, stamp));
            }
        };
        let watch = Watch::begin_with::<W>(plan, tell).expect("a thread");
        Self { directory, told, watch: Some(watch), reports: Vec::new(), fences: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    /// Waits for the next report of this file; reports of others are kept.
    #[track_caller]
    fn wait_for(&mut self, name: &str) -> Report {
        let file = self.path(name);
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(report) = self.told.recv_timeout(left) else {
                panic!("{name} was not told of; told were {:?}", self.reports);
            };
            self.reports.push(report.clone());
            if report.0 == file {
                return report;
            }
        }
    }

    /// Waits until everything that the system told of so far has been passed on, and takes the
    /// reports: a file that is changed now settles after all those, and is the last by its name.
    #[track_caller]
    fn all_reports(&mut self) -> Vec<Report> {
        self.fences += 1;
        let fence = format!("config/zz-fence-{}.toml", self.fences);
        self.write(&fence, "a fence");
        self.wait_for(&fence);
        let is_fence = |file: &Path| file.to_string_lossy().contains("/zz-fence-");
        let reports = std::mem::take(&mut self.reports);
        reports.into_iter().filter(|(file, _)| !is_fence(file)).collect()
    }

    /// Does something to a file: it is told of as it is in the end, and not as it was on the way.
    #[track_caller]
    fn check(&mut self, what: &str, name: &str, operation: impl FnOnce(&Self)) {
        let file = self.path(name);
        let began = Instant::now();
        operation(self);
        let was_quick = began.elapsed() < SETTLE;
        let last = Stamp::of(&file);
        while self.wait_for(name).1 != last {}
        let reports = self.all_reports();
        assert!(reports.iter().all(|report| report.0 == file), "{what}: {reports:?}");
        // A machine that stood still in the middle may rightly have shown the middle.
        let is_final = reports.iter().all(|report| report.1 == last);
        assert!(is_final || !was_quick, "{what}: told too early: {reports:?}");
    }
}

/// Whether the system watches a directory for this process.
fn is_watched(directory: &Path) -> bool {
    let metadata = fs::metadata(directory).expect("a directory");
    let inode = format!(" ino:{:x} ", metadata.ino());
    let descriptors = fs::read_dir("/proc/self/fdinfo").expect("this is Linux");
    // Descriptors of other tests come and go.
    let texts = descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts
        .into_iter()
        .any(|text| text.lines().any(|line| line.starts_with("inotify ") && line.contains(&inode)))
}

/// The ways in which a file is replaced, each by a file of another length.
fn replace_in_every_way(rig: &mut Rig) {
    let name = "plugins/liba.so";
    rig.check("cargo's link", name, |rig| {
        rig.write("builds/liba.so", "built by cargo");
        fs::hard_link(rig.path("builds/liba.so"), rig.path(name)).expect("a link");
    });
    rig.check("cargo's next link", name, |rig| {
        fs::remove_file(rig.path("builds/liba.so")).expect("it is there");
        rig.write("builds/liba.so", "built by cargo once more");
        fs::remove_file(rig.path(name)).expect("it is there");
        fs::hard_link(rig.path("builds/liba.so"), rig.path(name)).expect("a link");
    });
    rig.check("cp", name, |rig| {
        rig.write("builds/other", "copied");
        fs::copy(rig.path("builds/other"), rig.path(name)).expect("a copy");
    });
    rig.check("mv", name, |rig| {
        rig.write("builds/other", "moved");
        fs::rename(rig.path("builds/other"), rig.path(name)).expect("a move");
    });
    rig.check("install", name, |rig| {
        fs::remove_file(rig.path(name)).expect("it is there");
        let mut file = File::create_new(rig.path(name)).expect("it is gone");
        file.write_all(b"installed").expect("a file");
        let mut permissions = file.metadata().expect("it is there").permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions).expect("it is ours");
    });
    rig.check("rsync", name, |rig| {
        rig.write("plugins/.liba.so.Xy12Zw", "came over the network");
        fs::rename(rig.path("plugins/.liba.so.Xy12Zw"), rig.path(name)).expect("a move");
    });
    rig.check("truncated, then completed", name, |rig| {
        rig.write(name, "half");
        rig.write(name, "half and the other half");
    });
    rig.check("touch", name, |rig| {
        let file = File::options().append(true).open(rig.path(name)).expect("it is there");
        file.set_modified(std::time::SystemTime::now()).expect("it is ours");
    });
    rig.check("removal", name, |rig| fs::remove_file(rig.path(name)).expect("it is there"));
    rig.check("return", name, |rig| rig.write(name, "back"));
    rig.check("a link in its place", name, |rig| {
        rig.write("builds/1", "one");
        fs::remove_file(rig.path(name)).expect("it is there");
        symlink("../builds/1", rig.path(name)).expect("a link");
    });
    rig.check("the link made to lead elsewhere", name, |rig| {
        rig.write("builds/2", "number two");
        symlink("../builds/2", rig.path("plugins/.new")).expect("a link");
        fs::rename(rig.path("plugins/.new"), rig.path(name)).expect("a move");
    });
}

#[test]
fn every_way_to_replace_a_file_is_told_by_the_system() {
    replace_in_every_way(&mut Rig::new(NEVER));
}

#[test]
fn every_way_to_replace_a_file_is_found_by_looking() {
    replace_in_every_way(&mut Rig::of::<notify::NullWatcher>(OFTEN, |_| {}));
}

#[test]
fn what_changes_behind_a_link_is_found_by_looking() {
    let mut rig = Rig::of::<notify::RecommendedWatcher>(OFTEN, |directory| {
        fs::write(directory.join("builds/1"), "one").expect("a file");
        symlink("../builds/1", directory.join("plugins/liba.so")).expect("a link");
    });
    for (what, text) in [("written", "number one"), ("written again", "one, for good")] {
        rig.check(what, "plugins/liba.so", |rig| rig.write("builds/1", text));
    }
    rig.check("removed", "plugins/liba.so", |rig| {
        fs::remove_file(rig.path("builds/1")).expect("it is there");
    });
}

#[test]
fn a_slow_writer_is_told_of_when_it_is_done() {
    let mut rig = Rig::new(OFTEN);
    let mut file = File::create(rig.path("plugins/liba.so")).expect("a file");
    // Longer than a file has to be left alone, with pauses that are shorter.
    for _ in 0..20 {
        file.write_all(&[7; 1000]).expect("room on the disk");
        let written = Instant::now();
        let early = rig.told.recv_timeout(SETTLE / 5);
        // A machine that stood still may rightly have shown the middle.
        assert_eq!(
            early.err(),
            Some(RecvTimeoutError::Timeout).filter(|_| written.elapsed() < SETTLE)
        );
    }
    drop(file);
    let (_, stamp) = rig.wait_for("plugins/liba.so");
    assert_eq!(stamp, Stamp::of(&rig.path("plugins/liba.so")));
    assert!(rig.all_reports().iter().all(|report| report.1 == stamp));
}

#[test]
fn configuration_is_told_of_and_what_editors_leave_is_not() {
    let mut rig = Rig::new(OFTEN);
    for name in ["config/.core.toml.swp", "config/core.toml~", "config/.#core.toml", "config/a.so"]
    {
        rig.write(name, "an editor's");
    }
    rig.write("plugins/core.toml", "in the wrong folder");
    rig.write("plugins/liba.so.1", "another name");
    fs::create_dir(rig.path("config/folder.toml")).expect("a folder");
    fs::create_dir(rig.path("plugins/folder.so")).expect("a folder");
    assert_eq!(rig.all_reports(), []);
    rig.check("written in place", "config/core.toml", |rig| rig.write("config/core.toml", "a = 1"));
    rig.check("replaced", "config/core.toml", |rig| {
        rig.write("config/core.toml~", "a = 22");
        fs::rename(rig.path("config/core.toml~"), rig.path("config/core.toml")).expect("a move");
    });
}

#[test]
fn reading_is_no_change() {
    let mut rig = Rig::of::<notify::RecommendedWatcher>(NEVER, |directory| {
        fs::write(directory.join("plugins/liba.so"), "old").expect("a file");
    });
    fs::copy(rig.path("plugins/liba.so"), rig.path("builds/copy")).expect("a copy");
    assert_eq!(fs::read_dir(rig.path("plugins")).expect("a folder").count(), 1);
    assert_eq!(rig.all_reports(), []);
}

#[test]
fn a_folder_that_goes_and_comes_back_is_watched_again() {
    let mut rig = Rig::of::<notify::RecommendedWatcher>(OFTEN, |directory| {
        fs::write(directory.join("plugins/liba.so"), "old").expect("a file");
        fs::remove_dir(directory.join("config")).expect("an empty folder");
    });
    let plugins = rig.path("plugins");
    assert!(is_watched(&plugins));
    fs::remove_dir_all(&plugins).expect("a folder");
    assert_eq!(rig.wait_for("plugins/liba.so").1, None);
    fs::create_dir(&plugins).expect("it is gone");
    rig.write("plugins/liba.so", "back");
    assert!(rig.wait_for("plugins/liba.so").1.is_some());
    assert!(is_watched(&plugins));

    // One that never was.
    fs::create_dir(rig.path("config")).expect("it is not there");
    rig.write("config/core.toml", "a = 1");
    rig.wait_for("config/core.toml");
    assert!(is_watched(&rig.path("config")));

    // Another one takes its place.
    fs::create_dir(rig.path("next")).expect("a folder");
    rig.write("next/liba.so", "the next");
    fs::rename(&plugins, rig.path("last")).expect("a move");
    fs::rename(rig.path("next"), &plugins).expect("a move");
    let next = Stamp::of(&plugins.join("liba.so"));
    while rig.wait_for("plugins/liba.so").1 != next {}
    assert!(is_watched(&plugins) && !is_watched(&rig.path("last")));
}

#[test]
fn a_folder_behind_a_link_is_watched_where_the_link_leads() {
    let mut rig = Rig::of::<notify::RecommendedWatcher>(OFTEN, |directory| {
        fs::remove_dir(directory.join("plugins")).expect("an empty folder");
        for release in ["1", "2"] {
            fs::create_dir(directory.join(release)).expect("a folder");
            fs::write(directory.join(release).join("liba.so"), release).expect("a file");
        }
        symlink("1", directory.join("plugins")).expect("a link");
    });
    assert!(is_watched(&rig.path("1")));
    symlink("2", rig.path("new")).expect("a link");
    rig.check("the next release", "plugins/liba.so", |rig| {
        fs::rename(rig.path("new"), rig.path("plugins")).expect("a move");
        rig.write("2/liba.so", "2, mended");
    });
    assert!(is_watched(&rig.path("2")) && !is_watched(&rig.path("1")));
}

thread_local! {
    static HANDLER: RefCell<Option<Box<dyn EventHandler>>> = const { RefCell::new(None) };
}

/// What scripted watchers were asked to watch, by all tests: each has folders of its own.
static WATCHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A watcher of which a test says what it tells.
struct Scripted;

impl Watcher for Scripted {
    fn new<F: EventHandler>(handler: F, _: Config) -> notify::Result<Self> {
        HANDLER.set(Some(Box::new(handler)));
        Ok(Self)
    }

    fn watch(&mut self, path: &Path, mode: RecursiveMode) -> notify::Result<()> {
        assert_eq!(mode, RecursiveMode::NonRecursive);
        WATCHED.lock().expect("nobody panics with it").push(path.to_owned());
        Ok(())
    }

    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        Ok(())
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}

fn times_watched(folder: &Path) -> usize {
    let watched = WATCHED.lock().expect("nobody panics with it");
    watched.iter().filter(|path| *path == folder).count()
}

fn hear(event: notify::Result<Event>) {
    HANDLER.with_borrow_mut(|handler| {
        handler.as_mut().expect("it has been made on this thread").handle_event(event);
    });
}

#[test]
fn when_the_system_has_lost_count_the_folders_are_looked_through_at_once() {
    let mut rig = Rig::of::<Scripted>(NEVER, |_| {});
    let lost = || Event::new(EventKind::Other).set_flag(Flag::Rescan);
    for (number, event) in
        [Ok(lost()), Err(notify::Error::generic("broken"))].into_iter().enumerate()
    {
        let name = format!("plugins/lib{number}.so");
        rig.write(&name, "new");
        hear(event);
        rig.wait_for(&name);
        // A folder may have been replaced meanwhile.
        assert_eq!(times_watched(&rig.path("config")), number + 2);
    }
}

#[test]
fn a_folder_that_something_happened_to_is_watched_anew() {
    // The directory may be another one though it has the number of the one that was removed.
    let mut rig = Rig::of::<Scripted>(NEVER, |_| {});
    rig.write("plugins/liba.so", "in the new folder");
    hear(Ok(Event::new(EventKind::Remove(RemoveKind::File)).add_path(rig.path("plugins"))));
    rig.wait_for("plugins/liba.so");
    assert_eq!([times_watched(&rig.path("plugins")), times_watched(&rig.path("config"))], [2, 1]);
}

#[test]
fn only_changes_of_the_systems_events_count() {
    let mut rig = Rig::of::<Scripted>(NEVER, |_| {});
    let root = rig.directory.path().to_owned();
    let event = |kind, name: &str| Event::new(kind).add_path(root.join(name));
    rig.write("plugins/liba.so", "new");
    rig.write("plugins/libb.so", "new");
    for access in
        [AccessKind::Read, AccessKind::Open(AccessMode::Any), AccessKind::Close(AccessMode::Read)]
    {
        hear(Ok(event(EventKind::Access(access), "plugins/liba.so")));
        hear(Ok(event(EventKind::Access(access), "plugins")));
    }
    hear(Ok(event(EventKind::Access(AccessKind::Close(AccessMode::Write)), "plugins/libb.so")));
    rig.wait_for("plugins/libb.so");
    hear(Ok(event(EventKind::Modify(ModifyKind::Data(DataChange::Any)), "plugins/libb.so")));
    rig.wait_for("plugins/libb.so");
    assert_eq!(rig.reports.len(), 2, "{:?}", rig.reports);
}

/// A system that is out of watches.
struct Refusing;

impl Watcher for Refusing {
    fn new<F: EventHandler>(_: F, _: Config) -> notify::Result<Self> {
        Ok(Self)
    }

    fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
        Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch))
    }

    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        Err(notify::Error::watch_not_found())
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}

/// A system that is out of watchers.
struct Absent;

impl Watcher for Absent {
    fn new<F: EventHandler>(_: F, _: Config) -> notify::Result<Self> {
        Err(notify::Error::io(std::io::Error::from_raw_os_error(libc::EMFILE)))
    }

    fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
        unreachable!("there is none")
    }

    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        unreachable!("there is none")
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}

#[test]
fn without_the_systems_help_changes_are_found_by_looking() {
    for mut rig in [Rig::of::<Refusing>(OFTEN, |_| {}), Rig::of::<Absent>(OFTEN, |_| {})] {
        rig.check("written", "plugins/liba.so", |rig| rig.write("plugins/liba.so", "new"));
    }
}

#[test]
fn dropping_the_watch_ends_its_thread() {
    let mut rig = Rig::new(NEVER);
    let began = Instant::now();
    rig.watch = None;
    assert!(began.elapsed() < DEADLINE);
    assert_eq!(rig.told.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
}
