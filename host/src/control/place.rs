//! Where the socket of a project's host is.

use std::fs::{self, DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::environment::{Mode, Process};
use crate::problem::Problem;

/// Where the socket is in production.
const SYSTEM: &str = "/run/exphost";

/// The bytes of a socket's path that the system takes, without the zero at the end.
const LONGEST_PATH: usize = 107;

/// The place of one project's socket and of the lock beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    project: String,
    socket: PathBuf,
    /// Whether the path was chosen by whoever configured the project. Then its directory need not be
    /// the host's own.
    is_configured: bool,
}

impl Place {
    /// Where the host of a project listens. `configured` is `[control] socket`.
    #[must_use]
    pub fn of_host(project: &str, configured: Option<&Path>, process: &Process<'_>) -> Self {
        let socket = match configured {
            Some(socket) => socket.to_owned(),
            None => Self::usual(project, process),
        };
        Self { project: project.to_owned(), socket, is_configured: configured.is_some() }
    }

    /// Where a host of a project may be listening: first where one would that was started in these
    /// surroundings, then where the system's is. A session that has a directory of its own keeps to
    /// that: who gives an order in it does not mean a host that somebody left running elsewhere.
    #[must_use]
    pub fn all(project: &str, configured: Option<&Path>, process: &Process<'_>) -> Vec<Self> {
        let first = Self::of_host(project, configured, process);
        if first.is_configured {
            return vec![first];
        }
        let [session, system, temporary] = directories(process);
        let temporary = temporary.filter(|_| session.is_none());
        let mut places = vec![first];
        for directory in [system, temporary].into_iter().flatten() {
            let socket = file(&directory, project);
            if places.iter().all(|place| place.socket != socket) {
                places.push(Self { project: project.to_owned(), socket, is_configured: false });
            }
        }
        places
    }

    fn usual(project: &str, process: &Process<'_>) -> PathBuf {
        let [session, system, temporary] = directories(process);
        let system = system.filter(|_| process.mode == Mode::Production);
        let directory = session.or(system).or(temporary).unwrap_or_default();
        file(&directory, project)
    }

    /// The project, with its variant.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The file whose lock says that a host is running.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        match self.socket.extension() {
            Some(extension) if extension == "sock" => self.socket.with_extension("lock"),
            // Appended to any other name, so that two sockets never share a lock.
            _ => {
                let mut path = self.socket.clone().into_os_string();
                path.push(".lock");
                path.into()
            }
        }
    }

    /// The directory of both.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self.socket.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        }
    }

    /// Makes the directory if it is missing, and makes sure that nobody else can put anything there.
    ///
    /// # Errors
    /// When the path is too long for a socket, or the directory cannot be used or trusted.
    pub fn prepare(&self) -> Result<(), Box<Problem>> {
        if !self.fits() {
            let length = self.socket.as_os_str().len();
            let message = format!(
                "the path of the control socket is too long: {length} bytes, {LONGEST_PATH} are possible"
            );
            return Err(Box::new(Problem::error(message).in_file(&self.socket).hint(ANOTHER_PATH)));
        }
        let directory = self.directory();
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                let message = format!("cannot make the directory of the control socket: {error}");
                return Err(Box::new(
                    Problem::error(message).in_file(directory).hint(ANOTHER_PATH),
                ));
            }
            _ => {}
        }
        // A link is followed where somebody chose the path (`/var/run` is one). In the usual places
        // it could only be somebody else's.
        let metadata = if self.is_configured { fs::metadata } else { fs::symlink_metadata };
        let metadata = metadata(directory).map_err(|error| {
            let message = format!("cannot look at the directory of the control socket: {error}");
            Box::new(Problem::error(message).in_file(directory).hint(ANOTHER_PATH))
        })?;
        match self.distrust(&metadata) {
            None => Ok(()),
            Some(reason) => {
                let message = format!("cannot keep the control socket here: {reason}");
                let hint = format!("remove or mend it (chmod go-w), or {ANOTHER_PATH}");
                Err(Box::new(Problem::error(message).in_file(directory).hint(hint)))
            }
        }
    }

    /// Whether the path is short enough for a socket.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.socket.as_os_str().as_bytes().len() <= LONGEST_PATH
    }

    /// Why somebody else could put a socket into the directory.
    fn distrust(&self, directory: &Metadata) -> Option<String> {
        const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
        let me = rustix::process::geteuid().as_raw();
        let (owner, mode) = (directory.uid(), directory.mode() & 0o7777);
        if !directory.is_dir() {
            Some("it is not a directory".to_owned())
        } else if owner != me && !(self.is_configured && owner == 0) {
            Some(format!("the directory belongs to user {owner}, and the host is run by user {me}"))
        } else if mode & GROUP_OR_OTHERS_WRITE != 0 {
            Some(format!("the directory may be written by others (mode {mode:04o})"))
        } else {
            None
        }
    }
}

const ANOTHER_PATH: &str =
    "name another path for it: `socket = \"…\"` in [control] of exphost.toml";

/// The directories where sockets usually are: of the session, of the system, of the user.
fn directories(process: &Process<'_>) -> [Option<PathBuf>; 3] {
    let variable = |name: &str| process.env.get_non_empty(name).map(PathBuf::from);
    let session = variable("XDG_RUNTIME_DIR").filter(|it| it.is_absolute());
    let temporary = variable("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    let user = rustix::process::geteuid().as_raw();
    [
        session.map(|it| it.join("exphost")),
        Some(PathBuf::from(SYSTEM)),
        Some(temporary.join(format!("exphost-{user}"))),
    ]
}

/// The socket of a project in one of the usual directories. No name of a project or a variant has a
/// plus sign.
fn file(directory: &Path, project: &str) -> PathBuf {
    directory.join(format!("{}.sock", project.replace('/', "+")))
}

/// The project whose socket has this name in one of the usual directories.
#[must_use]
pub fn project_of(socket: &Path) -> Option<String> {
    let is_socket = socket.extension().is_some_and(|extension| extension == "sock");
    let name = socket.file_stem().filter(|_| is_socket)?.to_str()?;
    Some(name.replace('+', "/"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn with<R>(mode: Mode, variables: &[(&str, &str)], f: impl FnOnce(&Process<'_>) -> R) -> R {
        let env: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        f(&Process { env: &env, mode, executable: PathBuf::new() })
    }

    fn sockets(places: &[Place]) -> Vec<String> {
        places.iter().map(|place| place.socket().display().to_string()).collect()
    }

    #[test]
    fn the_surroundings_decide_where_the_socket_is() {
        let me = rustix::process::geteuid().as_raw();
        let (session, system) = ("/run/user/7/exphost/p+quiet.sock", "/run/exphost/p+quiet.sock");
        let temporary = format!("/var/tmp/exphost-{me}/p+quiet.sock");
        let of_host = |process: &Process<'_>| Place::of_host("p/quiet", None, process).socket;
        let all = |process: &Process<'_>| sockets(&Place::all("p/quiet", None, process));
        let (xdg, tmp) = (("XDG_RUNTIME_DIR", "/run/user/7"), ("TMPDIR", "/var/tmp"));
        for mode in [Mode::Production, Mode::Development] {
            assert_eq!(with(mode, &[xdg, tmp], of_host), Path::new(session));
            assert_eq!(with(mode, &[xdg, tmp], all), [session, system]);
        }
        assert_eq!(with(Mode::Production, &[tmp], of_host), Path::new(system));
        assert_eq!(with(Mode::Production, &[tmp], all), [system, &temporary]);
        let relative = [("XDG_RUNTIME_DIR", "run"), tmp];
        assert_eq!(with(Mode::Development, &relative, of_host), Path::new(&temporary));
        assert_eq!(with(Mode::Development, &relative, all), [&temporary, system]);
        let unset = with(Mode::Development, &[], of_host);
        assert_eq!(unset, PathBuf::from(format!("/tmp/exphost-{me}/p+quiet.sock")));
    }

    #[test]
    fn a_configured_place_is_the_only_one() {
        let configured = Some(Path::new("/srv/exphost/control.a"));
        let places = with(Mode::Production, &[("XDG_RUNTIME_DIR", "/run/user/7")], |process| {
            Place::all("p", configured, process)
        });
        assert_eq!(sockets(&places), ["/srv/exphost/control.a"]);
        assert_eq!(places.first().map(Place::lock), Some("/srv/exphost/control.a.lock".into()));
    }

    #[test]
    fn a_file_tells_its_project() {
        assert_eq!(project_of(Path::new("/x/p+quiet.sock")).as_deref(), Some("p/quiet"));
        assert_eq!(project_of(Path::new("/x/p.lock")), None);
    }

    fn usual(directory: &Path) -> Place {
        Place { project: "p".to_owned(), socket: directory.join("p.sock"), is_configured: false }
    }

    fn refusal(place: &Place) -> String {
        place.prepare().expect_err("refused").to_string()
    }

    #[test]
    fn the_directory_is_made_for_its_owner_alone() {
        let base = tempfile::tempdir().expect("a directory");
        let place = usual(&base.path().join("exphost"));
        assert_eq!(place.prepare(), Ok(()));
        assert_eq!(place.prepare(), Ok(()), "a second time");
        let mode = fs::metadata(place.directory()).expect("made").mode();
        assert_eq!(mode & 0o7777, 0o700);
        let nowhere = usual(&base.path().join("a/b"));
        assert!(refusal(&nowhere).contains("cannot make the directory"));
    }

    #[test]
    fn a_directory_that_others_could_write_to_is_refused() {
        let base = tempfile::tempdir().expect("a directory");
        let place = usual(&base.path().join("exphost"));
        place.prepare().expect("made");
        for mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(place.directory(), Permissions::from_mode(mode)).expect("set");
            let refusal = refusal(&place);
            assert!(refusal.contains(&format!("mode {mode:04o}")), "{refusal}");
            assert!(refusal.contains("hint: "), "{refusal}");
        }
        let link = base.path().join("link");
        fs::create_dir_all(base.path().join("target")).expect("made");
        symlink(base.path().join("target"), &link).expect("linked");
        assert!(refusal(&usual(&link)).contains("not a directory"));
        let configured = Place { is_configured: true, ..usual(&link) };
        assert_eq!(configured.prepare(), Ok(()));
        fs::write(base.path().join("file"), "").expect("written");
        assert!(refusal(&usual(&base.path().join("file"))).contains("not a directory"));
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_told_with_its_length() {
        let base = tempfile::tempdir().expect("a directory");
        let place = usual(&base.path().join("x".repeat(100)));
        let refusal = refusal(&place);
        assert!(refusal.contains("too long") && refusal.contains("107"), "{refusal}");
        assert!(!place.directory().exists());
    }
}
