//! When a file that something happened to has come to rest: a question of what was seen and when, and
//! of nothing else.
//!
//! Each file is waited for on its own, so that one that is written without end holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stamp::Stamp;

/// Files at rest and files that are not. A stamp that is `None` is that of no file.
#[derive(Debug)]
pub(super) struct Settling {
    settle: Duration,
    /// The files as they were told of last.
    known: BTreeMap<PathBuf, Stamp>,
    moving: BTreeMap<PathBuf, Moving>,
}

/// A file that something happened to.
#[derive(Debug)]
struct Moving {
    /// How it looked then.
    stamp: Option<Stamp>,
    /// Nothing has happened to it since.
    since: Instant,
}

impl Settling {
    /// A file must have been left alone for `settle`.
    pub(super) fn new(settle: Duration) -> Self {
        Self { settle, known: BTreeMap::new(), moving: BTreeMap::new() }
    }

    /// Takes a file for told.
    pub(super) fn know(&mut self, file: PathBuf, stamp: Stamp) {
        self.known.insert(file, stamp);
    }

    /// Something happened to a file, which now looks like this.
    pub(super) fn touch(&mut self, file: PathBuf, stamp: Option<Stamp>, now: Instant) {
        self.moving.insert(file, Moving { stamp, since: now });
    }

    /// Compares what a folder holds with what was last seen of it.
    pub(super) fn compare(&mut self, folder: &Path, found: BTreeMap<PathBuf, Stamp>, now: Instant) {
        let seen = self.known.keys().chain(self.moving.keys());
        let seen = seen.filter(|file| file.parent() == Some(folder));
        let files: BTreeSet<PathBuf> = seen.chain(found.keys()).cloned().collect();
        for file in files {
            let stamp = found.get(&file).copied();
            let before = match self.moving.get(&file) {
                Some(moving) => moving.stamp,
                None => self.known.get(&file).copied(),
            };
            if stamp != before {
                self.touch(file, stamp, now);
            }
        }
    }

    /// The files that have come to rest by now. Those that `look` shows to have changed meanwhile
    /// have to wait once more.
    pub(super) fn settled(
        &mut self,
        now: Instant,
        look: impl Fn(&Path) -> Option<Stamp>,
    ) -> Vec<PathBuf> {
        let due = |moving: &Moving| now.saturating_duration_since(moving.since) >= self.settle;
        let due = self.moving.iter().filter(|(_, moving)| due(moving));
        let due: Vec<_> = due.map(|(file, moving)| (file.clone(), moving.stamp)).collect();
        let mut settled = Vec::new();
        for (file, before) in due {
            let stamp = look(&file);
            if stamp != before {
                self.touch(file, stamp, now);
                continue;
            }
            self.moving.remove(&file);
            let known = match stamp {
                Some(stamp) => self.known.insert(file.clone(), stamp),
                None => self.known.remove(&file),
            };
            // One that came and went meanwhile is nobody's concern. One that looks as it was told
            // of is told again: what is written through a mapping need not show in a stamp.
            if stamp.is_some() || known.is_some() {
                settled.push(file);
            }
        }
        settled
    }

    /// When to ask for the settled ones next; `None` when all is at rest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.moving.values().map(|moving| moving.since + self.settle).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that was made up, with a clock that was.
    struct Folder {
        settling: Settling,
        files: BTreeMap<PathBuf, Stamp>,
        begin: Instant,
        now: Instant,
    }

    impl Folder {
        /// `old.so` is in it and known.
        fn new() -> Self {
            let now = Instant::now();
            let mut settling = Settling::new(Duration::from_millis(250));
            settling.know("p/old.so".into(), Stamp::made_up(1));
            let files = BTreeMap::from([("p/old.so".into(), Stamp::made_up(1))]);
            Self { settling, files, begin: now, now }
        }

        /// Changes a file without anybody being told; 0 removes it.
        fn change_unheard(&mut self, file: &str, size: u64) {
            let file = PathBuf::from("p").join(file);
            match size {
                0 => self.files.remove(&file),
                _ => self.files.insert(file, Stamp::made_up(size)),
            };
        }

        /// Changes a file, and the system tells.
        fn change(&mut self, file: &str, size: u64) {
            self.change_unheard(file, size);
            let file = PathBuf::from("p").join(file);
            let stamp = self.files.get(&file).copied();
            self.settling.touch(file, stamp, self.now);
        }

        fn look_through(&mut self) {
            self.settling.compare(Path::new("p"), self.files.clone(), self.now);
        }

        /// Lets time pass, and asks for what is settled then.
        fn after(&mut self, ms: u64) -> Vec<String> {
            self.now += Duration::from_millis(ms);
            let settled = self.settling.settled(self.now, |file| self.files.get(file).copied());
            let name = |file: &PathBuf| file.strip_prefix("p").map(|it| it.display().to_string());
            settled.iter().map(|file| name(file).expect("in the folder")).collect()
        }

        /// When it wants to be asked next, in milliseconds since the beginning.
        fn next(&self) -> Option<u128> {
            self.settling.next().map(|next| next.duration_since(self.begin).as_millis())
        }
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn a_file_is_told_of_once_when_it_has_been_left_alone() {
        let mut folder = Folder::new();
        assert_eq!(folder.next(), None);
        folder.change("new.so", 5);
        assert_eq!(folder.next(), Some(250));
        assert_eq!(folder.after(249), NOTHING);
        assert_eq!(folder.after(1), ["new.so"]);
        assert_eq!(folder.next(), None);
        assert_eq!(folder.after(10_000), NOTHING);
    }

    #[test]
    fn a_slow_writer_is_waited_for_and_holds_up_nobody() {
        let mut folder = Folder::new();
        folder.change("other.so", 7);
        for chunk in 1..=100 {
            folder.change("old.so", 100 + chunk);
            let told = folder.after(249);
            assert!(!told.contains(&"old.so".to_owned()), "told before it was complete");
            assert_eq!(told == ["other.so"], chunk == 2, "{told:?}");
        }
        assert_eq!(folder.after(1), ["old.so"]);
        assert_eq!(folder.after(10_000), NOTHING);
    }

    #[test]
    fn two_looks_must_agree_even_when_nothing_was_told_between_them() {
        let mut folder = Folder::new();
        folder.change("old.so", 2);
        folder.change_unheard("old.so", 3);
        assert_eq!(folder.after(250), NOTHING);
        assert_eq!(folder.next(), Some(500));
        folder.change_unheard("old.so", 4);
        assert_eq!(folder.after(250), NOTHING);
        assert_eq!(folder.after(250), ["old.so"]);
    }

    #[test]
    fn a_file_is_gone_when_it_stays_away() {
        let mut folder = Folder::new();
        folder.change("old.so", 0);
        assert_eq!(folder.after(100), NOTHING);
        folder.change("old.so", 2);
        assert_eq!(folder.after(249), NOTHING);
        assert_eq!(folder.after(1), ["old.so"]);
        // It comes back and nobody says so.
        folder.change("old.so", 0);
        folder.change_unheard("old.so", 3);
        assert_eq!(folder.after(250), NOTHING);
        assert_eq!(folder.after(250), ["old.so"]);

        folder.change("old.so", 0);
        assert_eq!(folder.after(250), ["old.so"]);
        folder.look_through();
        assert_eq!(folder.after(250), NOTHING);
        folder.change("old.so", 3);
        assert_eq!(folder.after(250), ["old.so"]);
    }

    #[test]
    fn what_comes_and_goes_is_nobodys_concern() {
        let mut folder = Folder::new();
        folder.change("new.so", 1);
        assert_eq!(folder.after(100), NOTHING);
        folder.change("new.so", 0);
        assert_eq!(folder.after(1_000), NOTHING);
        assert_eq!(folder.next(), None);
    }

    #[test]
    fn a_file_that_was_only_touched_is_told_of() {
        let mut folder = Folder::new();
        folder.change("old.so", 1);
        assert_eq!(folder.after(250), ["old.so"]);
    }

    #[test]
    fn looking_through_finds_what_was_not_told() {
        let mut folder = Folder::new();
        folder.look_through();
        assert_eq!(folder.next(), None);
        folder.settling.know("q/elsewhere.so".into(), Stamp::made_up(1));
        folder.change_unheard("old.so", 2);
        folder.change_unheard("new.so", 2);
        folder.look_through();
        assert_eq!(folder.after(249), NOTHING);
        // A second look does not begin the wait anew, and a changed file does.
        folder.change_unheard("new.so", 3);
        folder.look_through();
        assert_eq!(folder.after(1), ["old.so"]);
        assert_eq!(folder.after(249), ["new.so"]);
        folder.change_unheard("old.so", 0);
        folder.look_through();
        assert_eq!(folder.after(250), ["old.so"]);
        folder.look_through();
        assert_eq!(folder.next(), None);
    }
}
