//! The system's side of watching: which folders it watches for us, and what it tells.
//!
//! A watch belongs to a directory, not to its name: it goes with the directory when that is removed
//! or moved away. So the directory that a name stands for is compared at each look, and watched anew
//! when it is another.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher};

use super::folder::Folder;
use super::inbox::Inbox;
use super::stamp::Stamp;

/// Sorts what the system tells into the inbox.
pub(super) fn hear(folders: &[Folder], inbox: &Inbox, event: notify::Result<Event>) {
    let Ok(event) = event else {
        inbox.put_missed();
        return;
    };
    if event.need_rescan() {
        inbox.put_missed();
    }
    // Looking at a file and copying it are accesses too: they must not cause the next look.
    let is_change = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    if !is_change {
        return;
    }
    for path in &event.paths {
        for (index, folder) in folders.iter().enumerate() {
            if path == folder.absolute() {
                inbox.put_folder(index);
            } else if let Some(file) = folder.file_of_event(path) {
                inbox.put_file(file);
            }
        }
    }
}

/// The folders with the system's watches on them.
pub(super) struct Notifier<W> {
    /// `None` when the system gave us none.
    watcher: Option<W>,
    folders: Vec<Watched>,
    rescan: f64,
}

struct Watched {
    folder: Folder,
    coverage: Coverage,
    is_unreadable: bool,
}

/// How a folder is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coverage {
    /// Nobody has asked for it.
    New,
    /// The system watches this directory, given by device and inode.
    Watched((u64, u64)),
    /// There is no directory of that name.
    Missing,
    /// The system refuses to.
    Refused,
}

impl<W: Watcher> Notifier<W> {
    /// Without a watcher, folders are looked through and that is all.
    pub(super) fn new(watcher: notify::Result<W>, folders: Vec<Folder>, rescan: Duration) -> Self {
        let rescan = rescan.as_secs_f64();
        if let Err(error) = &watcher {
            let hint = hint(error);
            tracing::warn!(%error, hint, every_s = rescan, "the system does not tell of changes; the folders are looked through instead");
        }
        let watched = |folder| Watched { folder, coverage: Coverage::New, is_unreadable: false };
        let folders = folders.into_iter().map(watched).collect();
        Self { watcher: watcher.ok(), folders, rescan }
    }

    /// How many folders there are.
    pub(super) fn len(&self) -> usize {
        self.folders.len()
    }

    /// A folder by its number.
    pub(super) fn folder(&self, index: usize) -> &Folder {
        &self.folders[index].folder
    }

    /// Has the system watch a folder, if it does not yet; `anew` also when it seems to.
    pub(super) fn cover(&mut self, index: usize, anew: bool) {
        let Watched { folder, coverage, .. } = &mut self.folders[index];
        let before = *coverage;
        let there = folder.identity();
        if !anew && there.map(Coverage::Watched) == Some(before) {
            return;
        }
        if let (Coverage::Watched(_), Some(watcher)) = (before, &mut self.watcher) {
            // An error says that it has ended by itself, with the directory.
            let _ = watcher.unwatch(folder.absolute());
        }
        let watch = |watcher: &mut W| watcher.watch(folder.absolute(), RecursiveMode::NonRecursive);
        let watched = self.watcher.as_mut().map_or(Ok(()), watch);
        *coverage = match (there, watched) {
            (None, _) => Coverage::Missing,
            (Some(directory), Ok(())) => Coverage::Watched(directory),
            (Some(_), Err(error)) => {
                if before != Coverage::Refused {
                    let (folder, hint) = (folder.path().display(), hint(&error));
                    tracing::warn!(%folder, %error, hint, every_s = self.rescan, "the system does not tell of changes in a folder; it is looked through instead");
                }
                Coverage::Refused
            }
        };
        tell_turn(folder, before, *coverage);
    }

    /// The files in a folder that count; `None` when it cannot be told which there are.
    pub(super) fn scan(&mut self, index: usize) -> Option<BTreeMap<PathBuf, Stamp>> {
        let Watched { folder, is_unreadable, .. } = &mut self.folders[index];
        match folder.scan() {
            Ok(found) => {
                *is_unreadable = false;
                Some(found)
            }
            Err(error) => {
                if !std::mem::replace(is_unreadable, true) {
                    let folder = folder.path().display();
                    let hint = "check who may read it";
                    tracing::warn!(%folder, %error, hint, "a watched folder cannot be read");
                }
                None
            }
        }
    }
}

/// Says what has become of a folder, where that is news.
fn tell_turn(folder: &Folder, before: Coverage, now: Coverage) {
    let path = folder.path().display();
    match (before, now) {
        (Coverage::Missing, Coverage::Missing) => {}
        (_, Coverage::Missing) => {
            tracing::warn!(folder = %path, "a watched folder is not there; it is looked for");
        }
        (Coverage::Missing, Coverage::Watched(_)) => {
            tracing::info!(folder = %path, "a watched folder is there");
        }
        (Coverage::Refused, Coverage::Watched(_)) => {
            tracing::info!(folder = %path, "the system tells of changes in a folder now");
        }
        _ => {}
    }
}

/// What to do about an error of the system's watching.
fn hint(error: &notify::Error) -> &'static str {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "raise fs.inotify.max_user_watches (sysctl)",
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(libc::EMFILE) => {
            "raise fs.inotify.max_user_instances (sysctl), or the limit on open files"
        }
        notify::ErrorKind::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "check who may read the folder"
        }
        _ => "nothing is missed, it is only noticed later",
    }
}
