//! Health files: how each service is doing, for readers outside of the host, in the form that the
//! Python services have.
//!
//! One thread of its own looks at all services and writes, so that a slow or full disk holds up
//! nobody. It is woken by every change and puts what comes in quick succession into one write; with
//! no change at all it writes every [`REFRESH`], by which a reader knows that the host lives.
//!
//! A service that stopped keeps its file, marked `unknown` by the check `lifecycle`: a reader can
//! tell a stop from a service that was never there and from one that died, whose file stays as it
//! was. While the host runs, the mark is as fresh as the other files; when the host has ended it
//! grows old as the file of a stopped Python service does.

mod document;
mod file;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use plugin_api::state::HealthStatus;

use self::document::Document;
pub use self::document::Facts;
use self::file::Folder;
use crate::environment::Mode;
use crate::service::Hosted;

/// How often a file is written when nothing changes: twice in the 30 s that readers are promised.
pub const REFRESH: Duration = Duration::from_secs(15);

/// How long after a write the next one may come.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the last write may take before the host ends without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the files are when nobody says otherwise.
#[must_use]
pub fn usual_directory(mode: Mode) -> PathBuf {
    match mode {
        Mode::Development => PathBuf::from("logs/health"),
        Mode::Production => PathBuf::from("/var/cache/experimance/health"),
    }
}

/// A service whose health is written down.
pub struct Subject {
    /// What is to be looked at.
    pub hosted: Arc<Hosted>,
    /// Its name in the project.
    pub name: String,
    /// The name of its file, without ending: what the Python services call their type.
    pub service_type: String,
}

/// The files of a project's services.
pub struct HealthFiles {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    word: Mutex<Word>,
    woken: Condvar,
}

/// What the thread has been told and has not taken up.
#[derive(Default)]
struct Word {
    facts: BTreeMap<String, Facts>,
    changed: bool,
    closing: bool,
}

impl Shared {
    fn word(&self) -> MutexGuard<'_, Word> {
        self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, say: impl FnOnce(&mut Word)) {
        say(&mut self.word());
        self.woken.notify_one();
    }

    /// Waits for a word, or for `until`; in the time of `pause` only for the last one.
    fn wait(&self, pause: Instant, until: Instant) -> (BTreeMap<String, Facts>, bool) {
        let mut word = self.word();
        loop {
            let now = Instant::now();
            let due = if word.changed { pause } else { until };
            if word.closing || now >= due {
                word.changed = false;
                return (word.facts.clone(), word.closing);
            }
            let waited = self.woken.wait_timeout(word, due - now);
            word = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl HealthFiles {
    /// Begins to write the files of `subjects` into `directory`, which is made when it is missing.
    ///
    /// # Errors
    /// When there is no thread to be had. What is wrong with the directory goes to the log, once.
    pub fn begin(directory: PathBuf, subjects: Vec<Subject>) -> std::io::Result<Self> {
        Self::begin_with(directory, subjects, REFRESH)
    }

    fn begin_with(
        directory: PathBuf,
        subjects: Vec<Subject>,
        refresh: Duration,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        for subject in &subjects {
            let shared = Arc::clone(&shared);
            let wake = Box::new(move || shared.wake(|word| word.changed = true));
            subject.hosted.health_record().call_on_change(wake);
        }
        let (end, ended) = channel();
        let mut writer = Writer::new(Folder::new(directory), subjects, refresh);
        let told = Arc::clone(&shared);
        thread::Builder::new().name("health".to_owned()).spawn(move || {
            writer.write_until_closed(&told);
            // Nobody waits for it any more when that took too long.
            let _ = end.send(());
        })?;
        Ok(Self { shared, ended })
    }

    /// Says what the supervisor knows of a service and its record does not.
    pub fn tell(&self, service: &str, facts: Facts) {
        // It is called for each service after every event: mostly there is nothing to wake anybody for.
        if self.shared.word().facts.get(service) == Some(&facts) {
            return;
        }
        self.shared.wake(|word| {
            word.changed = true;
            word.facts.insert(service.to_owned(), facts);
        });
    }

    /// Writes all files a last time and ends.
    pub fn close(self) {
        self.shared.wake(|word| word.closing = true);
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the health files take too long to write; the last word is not in them");
        }
    }
}

/// The thread's own.
struct Writer {
    folder: Folder,
    subjects: Vec<Known>,
    refresh: Duration,
}

struct Known {
    subject: Subject,
    /// What is in the file, and since when.
    written: Option<(u64, Facts, Instant)>,
    status: Option<HealthStatus>,
}

impl Writer {
    fn new(folder: Folder, subjects: Vec<Subject>, refresh: Duration) -> Self {
        let subjects =
            subjects.into_iter().map(|subject| Known { subject, written: None, status: None });
        Self { folder, subjects: subjects.collect(), refresh }
    }

    fn write_until_closed(&mut self, shared: &Shared) {
        let begin = Instant::now();
        let (mut pause, mut until) = (begin, begin);
        loop {
            let (facts, closing) = shared.wait(pause, until);
            let now = Instant::now();
            for known in &mut self.subjects {
                let facts = facts.get(&known.subject.name).copied().unwrap_or_default();
                if closing || known.is_due(facts, now, self.refresh) {
                    known.write(&mut self.folder, facts, now);
                }
            }
            if closing {
                return;
            }
            pause = Instant::now() + PAUSE;
            let due = self.subjects.iter().filter_map(|known| known.written);
            until = due.map(|(_, _, at)| at + self.refresh).min().unwrap_or(now + self.refresh);
        }
    }
}

impl Known {
    fn is_due(&self, facts: Facts, now: Instant, refresh: Duration) -> bool {
        let revision = self.subject.hosted.health_record().revision();
        self.written.is_none_or(|(written, told, at)| {
            written != revision || told != facts || now.duration_since(at) >= refresh
        })
    }

    fn write(&mut self, folder: &mut Folder, facts: Facts, now: Instant) {
        let health = self.subject.hosted.health_record();
        // Before what it counts: a change in between is written once more.
        let revision = health.revision();
        let (view, counted) = (health.view(), self.subject.hosted.count_up());
        let document = Document::new(&self.subject.name, &view, &counted, facts, Timestamp::now());
        folder.write(&self.subject.service_type, &document.to_json());
        self.written = Some((revision, facts, now));
        if self.status.replace(view.overall) != Some(view.overall) {
            let service = &self.subject.name;
            tracing::debug!(service, status = %view.overall, "health status written");
        }
    }
}

#[cfg(test)]
mod tests;
