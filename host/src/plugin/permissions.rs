//! Whether somebody else could have put the code there that the host is about to run.
//!
//! In production a plugin file, its directory and the directories above it must be writable by
//! nobody but root and the host's own user; in development the same findings are warnings.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{Fault, LoadError};
use crate::environment::Mode;

/// What an examined path is to the plugin file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file itself.
    File,
    /// The directory that holds it.
    Directory,
    /// A directory further up: a sticky one, like `/tmp`, keeps others from renaming what is in it.
    Ancestor,
}

/// One path on the way to the file, with what decides about it.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The path.
    pub path: PathBuf,
    /// What it is to the plugin file.
    pub place: Place,
    /// Permission bits, with the sticky bit.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
}

/// What is wrong with one path for a host of user `euid`.
#[must_use]
pub fn judge(examined: &Examined, euid: u32) -> Option<Fault> {
    const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let Examined { path, place, mode, uid } = examined;
    let (mode, path) = (mode & 0o7777, path.clone());
    if *uid != 0 && *uid != euid {
        return Some(Fault::ForeignOwner { path, uid: *uid });
    }
    let sheltered = *place == Place::Ancestor && mode & STICKY != 0;
    (mode & GROUP_OR_OTHERS_WRITE != 0 && !sheltered)
        .then_some(Fault::WritableByOthers { path, mode })
}

/// Examines `file` and the way to it. In production the first finding is an error; in development
/// every finding is returned as a warning's text.
///
/// # Errors
/// In production, when somebody else may change the file; in either mode, when that cannot be found
/// out.
pub fn check(file: &Path, mode: Mode) -> Result<Vec<String>, LoadError> {
    let euid = rustix::process::geteuid().as_raw();
    let way = examine(file).map_err(|fault| LoadError::new(file, fault))?;
    let mut findings = way.iter().filter_map(|examined| judge(examined, euid));
    match mode {
        Mode::Production => match findings.next() {
            Some(fault) => Err(LoadError::new(file, fault)),
            None => Ok(Vec::new()),
        },
        Mode::Development => Ok(findings.map(|fault| fault.to_string()).collect()),
    }
}

/// The file, its directory and everything above. A link is followed: the directory that holds the
/// link and the way to its target are examined alike.
fn examine(file: &Path) -> Result<Vec<Examined>, Fault> {
    let unknown = |path: &Path, source| Fault::PermissionsUnknown { path: path.to_owned(), source };
    let mut places = Vec::new();
    let target = file.canonicalize().map_err(|source| unknown(file, source))?;
    let named_in = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let named_in = named_in.canonicalize().map_err(|source| unknown(named_in, source))?;
    places.push((target.clone(), Place::File));
    for directory in target.parent().into_iter().chain([named_in.as_path()]) {
        places.push((directory.to_owned(), Place::Directory));
        places.extend(directory.ancestors().skip(1).map(|up| (up.to_owned(), Place::Ancestor)));
    }
    let mut examined: Vec<Examined> = Vec::with_capacity(places.len());
    for (path, place) in places {
        if examined.iter().any(|known| known.path == path && known.place == place) {
            continue;
        }
        let metadata = path.metadata().map_err(|source| unknown(&path, source))?;
        examined.push(Examined { path, place, mode: metadata.mode(), uid: metadata.uid() });
    }
    Ok(examined)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: u32 = 1000;

    fn finding(place: Place, mode: u32, uid: u32) -> Option<String> {
        let examined = Examined { path: "/plugins/x.so".into(), place, mode, uid };
        judge(&examined, HOST).map(|fault| fault.to_string())
    }

    #[test]
    fn root_and_the_host_may_write_and_nobody_else() {
        for place in [Place::File, Place::Directory, Place::Ancestor] {
            assert_eq!(finding(place, 0o100_755, 0), None);
            assert_eq!(finding(place, 0o755, HOST), None);
            for mode in [0o775, 0o757, 0o777, 0o720, 0o602] {
                let text = finding(place, mode, HOST).expect("refused");
                assert!(text.contains(&format!("{mode:04o}")), "{text}");
            }
            let text = finding(place, 0o755, 1001).expect("refused");
            assert!(text.contains("/plugins/x.so belongs to user 1001"), "{text}");
        }
    }

    #[test]
    fn a_sticky_directory_shelters_what_is_below_but_not_the_files_in_it() {
        assert_eq!(finding(Place::Ancestor, 0o1777, 0), None);
        assert!(finding(Place::Directory, 0o1777, 0).is_some());
    }

    #[test]
    fn development_warns_where_production_refuses() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("x.so");
        std::fs::write(&file, b"x").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("set");
        let error = check(&file, Mode::Production).expect_err("refused");
        assert_eq!(error.step(), "permissions");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("chmod go-w ")));
        let warnings = check(&file, Mode::Development).expect("only warned about");
        assert!(warnings.iter().any(|text| text.contains("x.so may be written")), "{warnings:?}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("set");
        let warnings = check(&file, Mode::Development).expect("examined");
        assert!(!warnings.iter().any(|text| text.contains("x.so may be written")), "{warnings:?}");
    }
}
