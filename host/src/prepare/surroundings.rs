//! What lies around a project and is looked at by `exphost check` alone: directories that the host
//! will write to, and peers that nobody of the project is.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Prepared;
use crate::config::endpoints::{endpoints, unbound};
use crate::control::Place;
use crate::environment::Process;
use crate::problem::{Problem, Severity};

/// What is wrong or worth knowing around a project that has been made ready.
#[must_use]
pub fn around(prepared: &Prepared, process: &Process<'_>) -> Vec<Problem> {
    let configurations = prepared.services.iter().map(|it| (&it.config, &it.origins));
    let (sockets, _) = endpoints(configurations);
    // Who is missing can be said only when everybody can be asked.
    let mut problems = if prepared.is_good() { unbound(&sockets) } else { Vec::new() };
    let socket = prepared.settings.control.socket.as_deref();
    let socket = Place::of_host(&prepared.project, socket, process).socket().to_owned();
    let control = socket.parent().map(Path::to_owned).unwrap_or_default();
    let directories = [
        (prepared.log_settings.directory(), "logs", Severity::Error),
        (control, "the control socket", Severity::Error),
        (prepared.health_dir.clone(), "health files", Severity::Warning),
        (prepared.state_dir.clone(), "what outlives the host", Severity::Warning),
    ];
    let closed = directories.into_iter().filter_map(|(directory, holds, severity)| {
        let problem = cannot_write(&directory, holds)?;
        Some(Problem { severity, ..problem })
    });
    problems.extend(closed);
    problems
}

/// What keeps this user from writing there, or from making the directory.
fn cannot_write(directory: &Path, holds: &str) -> Option<Problem> {
    let relative = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let there = nearest_there(relative);
    let reason = if !there.is_dir() {
        format!("{} is no directory", there.display())
    } else if let Err(error) = access(&there, Access::WRITE_OK | Access::EXEC_OK) {
        format!("{}: {}", there.display(), std::io::Error::from(error))
    } else {
        return None;
    };
    let problem =
        Problem::error(format!("nothing can be written here, where {holds} go: {reason}"));
    let hint = "let the user of the host write there (`chown`), or name another directory";
    Some(problem.in_file(directory).hint(hint))
}

/// The directory, or the nearest above it that exists, in which it would be made.
fn nearest_there(directory: &Path) -> PathBuf {
    let there = directory.ancestors().find(|it| it.exists());
    match there {
        Some(there) if !there.as_os_str().is_empty() => there.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_may_be_made_below_one_that_can_be_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert_eq!(cannot_write(&directory.path().join("a/b"), "logs"), None);
        assert_eq!(cannot_write(Path::new("not-there-yet"), "logs"), None);
        let problem = cannot_write(&file.join("logs"), "logs").expect("a file is no directory");
        assert_eq!(
            problem.message,
            format!(
                "nothing can be written here, where logs go: {} is no directory",
                file.display()
            )
        );
        // The kernel's own: nobody writes there, root included.
        assert!(cannot_write(Path::new("/proc/self/x"), "logs").is_some());
    }
}
