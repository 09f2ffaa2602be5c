//! What the system told since the watching thread last asked.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// More files than this are not remembered by name; the folders are looked through instead.
const MOST_FILES: usize = 4096;

/// What was told, each thing once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Files that something happened to.
    pub(super) files: BTreeSet<PathBuf>,
    /// Folders that something happened to themselves, by number.
    pub(super) folders: BTreeSet<usize>,
    /// Whether something was told that got lost: anything may have happened.
    pub(super) missed: bool,
    ended: bool,
}

/// Where what is told waits, merged, for the thread to take it. It cannot grow without bounds.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    heard: Mutex<Heard>,
    something: Condvar,
}

impl Inbox {
    /// Something happened to a file.
    pub(super) fn put_file(&self, file: PathBuf) {
        self.put(|heard| {
            if heard.files.len() < MOST_FILES {
                heard.files.insert(file);
            } else {
                heard.missed = true;
            }
        });
    }

    /// Something happened to a folder itself.
    pub(super) fn put_folder(&self, index: usize) {
        self.put(|heard| {
            heard.folders.insert(index);
        });
    }

    /// Something happened, and nobody knows what.
    pub(super) fn put_missed(&self) {
        self.put(|heard| heard.missed = true);
    }

    /// There is nothing to wait for any more.
    pub(super) fn end(&self) {
        self.put(|heard| heard.ended = true);
    }

    /// Waits until there is something, or until `wake`, and takes it. `None` after the end.
    pub(super) fn wait(&self, wake: Instant) -> Option<Heard> {
        let mut heard = self.lock();
        while *heard == Heard::default() {
            let left = wake.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.something.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if heard.ended { None } else { Some(std::mem::take(&mut heard)) }
    }

    fn put(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.lock());
        self.something.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        // Nothing that is done under the lock can be left half done.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_twice_is_heard_once_and_a_flood_becomes_one_look() {
        let (inbox, now) = (Inbox::default(), Instant::now());
        inbox.put_file("a.so".into());
        inbox.put_file("a.so".into());
        inbox.put_folder(1);
        let heard = inbox.wait(now).expect("not ended");
        assert_eq!((heard.files.len(), heard.folders.len(), heard.missed), (1, 1, false));
        assert_eq!(inbox.wait(now), Some(Heard::default()));

        for number in 0..MOST_FILES + 10 {
            inbox.put_file(format!("{number}.so").into());
        }
        let heard = inbox.wait(now).expect("not ended");
        assert_eq!((heard.files.len(), heard.missed), (MOST_FILES, true));
        inbox.put_file("a.so".into());
        inbox.end();
        assert_eq!(inbox.wait(now), None);
    }
}
