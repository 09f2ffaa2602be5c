//! When files are written: the tests watch the folder as a reader could.

use std::sync::mpsc;

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use plugin_api::abi::Severity;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::bus::{Bus, BusConfig};
use crate::plugin::host_side::ServiceHost as _;
use crate::service::mailbox::{Mailbox, MailboxLimits};

const DEADLINE: Duration = Duration::from_secs(30);

/// A service `core`, whose file goes to a folder that is watched.
struct Bench {
    hosted: Arc<Hosted>,
    folder: TempDir,
    replaced: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
    _bus: Bus,
}

impl Bench {
    fn new() -> Self {
        let bus = Bus::start(BusConfig::default()).unwrap();
        let mailbox = Arc::new(Mailbox::new(MailboxLimits::default()).unwrap());
        let listener = Box::new(|_: &str, _| {});
        let hosted = Arc::new(Hosted::new("core".to_owned(), mailbox, bus.handle(), listener));
        let folder = tempfile::tempdir().unwrap();
        let (tell, replaced) = mpsc::channel();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
                if event.is_ok_and(|event| event.kind == renamed) {
                    // Nobody counts any more when the test has ended.
                    let _ = tell.send(());
                }
            })
            .unwrap();
        watcher.watch(folder.path(), RecursiveMode::NonRecursive).unwrap();
        Self { hosted, folder, replaced, _watcher: watcher, _bus: bus }
    }

    fn begin(&self, refresh: Duration) -> HealthFiles {
        let hosted = Arc::clone(&self.hosted);
        let (name, service_type) = ("core".to_owned(), "core".to_owned());
        let subject = Subject { hosted, name, service_type };
        HealthFiles::begin_with(self.folder.path().to_owned(), vec![subject], refresh).unwrap()
    }

    fn fail(&self) {
        self.hosted.record_error(Severity::Error, "test", "an error");
    }

    fn wait_for_file(&self) {
        self.replaced.recv_timeout(DEADLINE).expect("a file is written");
    }

    fn file(&self) -> Value {
        let bytes = std::fs::read(self.folder.path().join("core.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// Longer than any test takes: what is written then is written because of a change.
const NEVER: Duration = Duration::from_secs(3_600);

#[test]
fn a_change_is_written_at_once_and_many_together() {
    let bench = Bench::new();
    let files = bench.begin(NEVER);
    bench.wait_for_file();
    assert_eq!(bench.file()["error_count"], 0);
    let began = Instant::now();
    (0..500).for_each(|_| bench.fail());
    while bench.file()["error_count"] != 500 {
        bench.wait_for_file();
    }
    files.tell("core", Facts { began: None, restarts: 7 });
    while bench.file()["restart_count"] != 7 {
        bench.wait_for_file();
    }
    files.close();
    let most = began.elapsed().as_millis() / PAUSE.as_millis() + 3;
    let writes = 2 + bench.replaced.try_iter().count() as u128;
    assert!(writes <= most, "{writes} writes for 501 changes, of at most {most}");
}

#[test]
fn a_file_is_refreshed_though_nothing_changes() {
    let bench = Bench::new();
    let files = bench.begin(Duration::from_millis(20));
    bench.wait_for_file();
    let first = bench.file();
    bench.wait_for_file();
    bench.wait_for_file();
    let later = bench.file();
    assert_ne!(first["last_updated"], later["last_updated"]);
    assert_eq!(first["error_count"], later["error_count"]);
    files.close();
}

#[test]
fn the_last_word_is_written_before_the_end() {
    let bench = Bench::new();
    let files = bench.begin(NEVER);
    bench.fail();
    files.close();
    assert_eq!(bench.file()["overall_status"], "error");
    assert_eq!(bench.file()["error_count"], 1);
}
