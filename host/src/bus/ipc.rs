//! The file behind an ipc endpoint: libzmq removes whatever is in the way when it binds, even the
//! socket of a living process, so the host looks first. The control socket's is looked at alike.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::error::BusError;

/// Makes sure that `path` can be bound: its directory exists, and nobody listens there. A file that
/// a process left behind is removed.
///
/// # Errors
/// When the directory is missing, something else is there, or somebody listens.
pub(crate) fn prepare(path: &Path) -> Result<(), BusError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(BusError::new(format!("the directory {} does not exist", directory.display()))
            .hint(format!("create it: mkdir -p {}", directory.display())));
    }
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(path, &error)),
        Ok(metadata) => metadata.file_type(),
    };
    if !kind.is_socket() {
        return Err(BusError::new(format!("{} exists and is not a socket", path.display()))
            .hint("choose another path, or remove the file"));
    }
    if somebody_listens(path).map_err(|errno| unusable(path, &errno.into()))? {
        return Err(BusError::new(format!("somebody listens on {} already", path.display()))
            .hint(format!("find it with: ss -xlp src {}", path.display())));
    }
    tracing::info!(path = %path.display(), "removing the socket file that a process left behind");
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unusable(path, &error)),
        _ => Ok(()),
    }
}

/// Without blocking: a listener whose queue is full answers EAGAIN, and listens all the same.
fn somebody_listens(path: &Path) -> Result<bool, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS | Errno::PROTOTYPE) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> BusError {
    BusError::new(format!("cannot use {}: {error}", path.display()))
        .hint("check the owner and the permissions of the file and its directory")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_stale_file_goes_a_living_one_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.sock");
        assert_eq!(prepare(&path), Ok(()));
        let listener = UnixListener::bind(&path).expect("bound");
        let error = prepare(&path).expect_err("somebody listens");
        assert!(error.message.contains("somebody listens on") && error.message.contains("x.sock"));
        assert!(path.exists());
        drop(listener);
        assert!(path.exists(), "left behind");
        assert_eq!(prepare(&path), Ok(()));
        assert!(!path.exists());
    }

    #[test]
    fn other_files_and_missing_directories_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notes.txt");
        fs::write(&path, "precious").expect("written");
        assert!(prepare(&path).expect_err("not a socket").message.contains("not a socket"));
        assert!(path.exists());
        let error = prepare(&directory.path().join("no/x.sock")).expect_err("no directory");
        assert!(error.hint.is_some_and(|hint| hint.starts_with("create it: mkdir -p")));
    }
}
