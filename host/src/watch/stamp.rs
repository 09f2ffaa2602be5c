//! What a file looks like from outside: enough to see that it was changed, without opening it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The looks of a file at one moment. Two equal ones with time between them: nobody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    entry: Looks,
    /// What the entry leads to, if it is a symbolic link and leads somewhere. Both count: a link may
    /// be made to lead elsewhere, and what it leads to may be written.
    target: Option<Looks>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Looks {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The one that nobody can set at will.
    changed: (i64, i64),
}

impl Looks {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Stamp {
    /// The looks of a file; `None` when there is none. A directory is none, whatever its name.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let entry = fs::symlink_metadata(path).ok()?;
        let target = if entry.is_symlink() { fs::metadata(path).ok() } else { None };
        if target.as_ref().unwrap_or(&entry).is_dir() {
            return None;
        }
        Some(Self { entry: Looks::of(&entry), target: target.as_ref().map(Looks::of) })
    }

    #[cfg(test)]
    pub(super) fn made_up(size: u64) -> Self {
        let (modified, changed) = ((0, 0), (0, 0));
        Self { entry: Looks { device: 0, inode: 0, size, modified, changed }, target: None }
    }
}
