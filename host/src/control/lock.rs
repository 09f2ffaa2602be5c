//! One host for each project: a lock on a file, which the system takes back when the process ends in
//! whatever way.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::place::Place;
use crate::problem::Problem;

/// The right to be the host at a [`Place`], for as long as this is kept. In the file stand the
/// process's id and its project, for whoever comes second.
#[derive(Debug)]
pub struct Lock {
    file: File,
    place: Place,
}

impl Lock {
    /// Makes this process the host at `place`.
    ///
    /// # Errors
    /// When another process is that already, or the directory or the file cannot be used.
    pub fn take(place: Place) -> Result<Self, Box<Problem>> {
        place.prepare()?;
        let path = place.lock();
        let unusable = |error: std::io::Error| {
            let message = format!("cannot take the lock of project `{}`: {error}", place.project());
            let hint = "check the owner and the permissions of the file and its directory";
            Box::new(Problem::error(message).in_file(&path).hint(hint))
        };
        let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        // The standard library closes every file in a child that runs another program.
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_link)
            .open(&path)
            .map_err(unusable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Box::new(taken(&place, &mut file))),
            Err(errno) => return Err(unusable(errno.into())),
        }
        // Whoever comes second in between finds an empty file, never the id of a dead process.
        file.set_len(0).map_err(unusable)?;
        let content = format!("{} {}\n", std::process::id(), place.project());
        file.write_all(content.as_bytes()).map_err(unusable)?;
        Ok(Self { file, place })
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file stays: deleting it would let two processes hold locks on two files of one name.
        if let Err(error) = self.file.rewind().and_then(|()| self.file.set_len(0)) {
            tracing::debug!(%error, "could not empty the lock file");
        }
    }
}

/// What to tell the process that came second.
fn taken(place: &Place, file: &mut File) -> Problem {
    const LONGEST: u64 = 1024;
    let mut content = String::new();
    // A file that cannot be read names nobody; the lock is taken all the same.
    let _ = file.take(LONGEST).read_to_string(&mut content);
    let (pid, holder) = content.trim().split_once(' ').unwrap_or(("", ""));
    let (project, socket) = (place.project(), place.socket().display());
    let process = if pid.is_empty() {
        "its process has not told its id yet".to_owned()
    } else {
        format!("process {pid}")
    };
    if holder.is_empty() || holder == project {
        Problem::error(format!("a host of project `{project}` is running already: {process}")).hint(
            format!(
                "`exphost --project {project} status` shows how it is, SIGTERM to it ends it; \
                 a new build needs no second host: `exphost --project {project} reload --all`"
            ),
        )
    } else {
        Problem::error(format!(
            "project `{holder}` is running and has the socket {socket}: {process}"
        ))
        .hint("give each project a `socket` of its own in [control] of its exphost.toml, or none")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::environment::{Mode, Process};

    fn place(project: &str, socket: &Path) -> Place {
        let env = BTreeMap::new();
        let process = Process { env: &env, mode: Mode::Development, executable: PathBuf::new() };
        Place::of_host(project, Some(socket), &process)
    }

    #[test]
    fn the_second_is_refused_and_told_of_the_first() {
        let base = tempfile::tempdir().expect("a directory");
        let socket = base.path().join("own/p.sock");
        let first = Lock::take(place("p", &socket)).expect("the first");
        let refusal = Lock::take(place("p", &socket)).expect_err("the second").to_string();
        let me = std::process::id();
        let expected = format!("a host of project `p` is running already: process {me}\n");
        assert!(refusal.contains(&expected), "{refusal}");
        let refusal = Lock::take(place("q", &socket)).expect_err("another project").to_string();
        assert!(refusal.contains("project `p` is running") && refusal.contains("p.sock"));
        drop(first);
        let again = Lock::take(place("q", &socket)).expect("free again");
        let content = fs::read_to_string(again.place().lock()).expect("read");
        assert_eq!(content, format!("{me} q\n"));
    }

    #[test]
    fn what_a_killed_process_left_is_no_hindrance() {
        let base = tempfile::tempdir().expect("a directory");
        let place = place("p", &base.path().join("p.sock"));
        fs::write(place.lock(), "999999999 a-longer-name-than-ours\n").expect("written");
        let lock = Lock::take(place).expect("nobody holds it");
        let path = lock.place().lock();
        let content = fs::read_to_string(&path).expect("read");
        assert_eq!(content, format!("{} p\n", std::process::id()));
        drop(lock);
        assert_eq!(fs::read_to_string(&path).expect("it stays"), "");
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let base = tempfile::tempdir().expect("a directory");
        let place = place("p", &base.path().join("p.sock"));
        fs::write(base.path().join("precious"), "precious").expect("written");
        std::os::unix::fs::symlink(base.path().join("precious"), place.lock()).expect("linked");
        assert!(Lock::take(place).is_err());
        let precious = fs::read_to_string(base.path().join("precious"));
        assert_eq!(precious.expect("read"), "precious");
    }
}
