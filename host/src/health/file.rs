//! A folder of files that are each replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::logging::file_name;

/// The folder, and what was last said of files that could not be written.
pub(super) struct Folder {
    directory: PathBuf,
    /// By service: the cause that is in the log.
    failures: BTreeMap<String, String>,
}

impl Folder {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, failures: BTreeMap::new() }
    }

    /// Replaces a service's file. A failure goes to the log once, until another one or a success
    /// takes its place; the next write tries again.
    pub(super) fn write(&mut self, service_type: &str, content: &[u8]) {
        let path = self.directory.join(file_name(service_type, ".json"));
        match replace(&self.directory, &path, content) {
            Ok(()) => {
                if self.failures.remove(service_type).is_some() {
                    tracing::info!(file = %path.display(), "health file can be written again");
                }
            }
            Err(error) => {
                let cause = error.to_string();
                if self.failures.get(service_type) != Some(&cause) {
                    tracing::warn!(
                        file = %path.display(), %error,
                        hint = "free space, or let the host's user write there; `[health] directory` \
                                in exphost.toml names another place",
                        "cannot write a health file; whoever reads it will find it stale"
                    );
                }
                self.failures.insert(service_type.to_owned(), cause);
            }
        }
    }
}

/// Writes beside the file and renames, so that no reader sees half of it. It is not synced to the
/// disk: after a power cut it would be stale in any case.
fn replace(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    // Not `.json` at the end: readers take every such file for a service's.
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = create(&beside).or_else(|error| match error.kind() {
        ErrorKind::NotFound => fs::create_dir_all(directory).and_then(|()| create(&beside)),
        // Left by a host that was killed.
        ErrorKind::AlreadyExists => fs::remove_file(&beside).and_then(|()| create(&beside)),
        _ => Err(error),
    });
    let replaced = written
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        // Whether it is there or not: the next write makes room for itself.
        let _ = fs::remove_file(&beside);
    }
    replaced
}

/// A new file that others may read; whose umask says otherwise decides.
fn create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whatever_was_left_there() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("logs/health");
        let mut folder = Folder::new(directory.clone());
        let content = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        folder.write("core", b"1");
        assert_eq!(content("core.json"), "1");
        fs::write(directory.join("core.json.new"), "half of it, of a host that was killed")
            .unwrap();
        folder.write("core", b"2");
        assert_eq!(content("core.json"), "2");
        folder.write("../sly", b"3");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "and nothing beside them");
        assert_eq!(content("%2E.%2Fsly.json"), "3");
    }

    #[test]
    fn a_failure_is_said_once_a_cause_and_forgotten_when_it_is_over() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("health");
        fs::write(&directory, "a file where the folder should be").unwrap();
        let mut folder = Folder::new(directory.clone());
        folder.write("core", b"1");
        let said = folder.failures.clone();
        assert_eq!(said.keys().collect::<Vec<_>>(), ["core"]);
        folder.write("core", b"1");
        assert_eq!(folder.failures, said);
        fs::remove_file(&directory).unwrap();
        folder.write("core", b"1");
        assert!(folder.failures.is_empty());
        assert_eq!(fs::read_to_string(directory.join("core.json")).unwrap(), "1");
    }
}
