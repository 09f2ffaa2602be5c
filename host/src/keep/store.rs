//! The directory of a project's kept files.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use plugin_api::SavedState;

use super::envelope::Broken;
use super::{Memory, Orders};
use crate::problem::Problem;

/// What files have in their names while they are being written. Those of a host that was killed are
/// removed.
const UNFINISHED: &str = ".unfinished-";

/// How many files that were set aside are kept of each; the next takes the place of the last.
const MOST_SET_ASIDE: usize = 9;

/// A little for what stands before the bytes of a state.
const MOST_BYTES: u64 = SavedState::MAX_BYTES as u64 + 4096;

/// The directory. One host at a time uses it: the lock of the control socket sees to that.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Makes the directory if it is missing.
    ///
    /// # Errors
    /// When it cannot be made or written to.
    pub fn open(directory: PathBuf) -> Result<Self, Box<Problem>> {
        let refuse = |error: std::io::Error| {
            let problem = Problem::error(format!(
                "cannot be used to keep states and orders: {error}; nothing will outlive the host"
            ));
            let hint = "make it writable for the host's user, or name another place with --state";
            Box::new(problem.in_file(&directory).hint(hint))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(refuse)?;
        for entry in fs::read_dir(&directory).map_err(refuse)?.filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                // What cannot be removed is only in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
        // That it can be written is known before the first state is lost.
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&directory).map_err(refuse)?;
        Ok(Self { directory })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The operator's stops. A file that is of no use is set aside, and told.
    #[must_use]
    pub fn orders(&self) -> (Orders, Option<Problem>) {
        let file = self.orders_file();
        let read = read(&file)
            .and_then(|bytes| bytes.map_or(Ok(None), |it| Orders::of_bytes(&it).map(Some)));
        match read {
            Ok(orders) => (orders.unwrap_or_default(), None),
            Err(broken) => {
                let lost =
                    "the operator's stops before this start are not known; all services start";
                (Orders::default(), Some(self.put_away(&file, &broken, lost)))
            }
        }
    }

    /// The last state of a service. A file that is of no use is set aside, and told.
    #[must_use]
    pub fn memory(&self, service: &str, plugin: &str) -> (Option<Memory>, Option<Problem>) {
        let file = self.state_file(service);
        let read = read(&file).and_then(|bytes| {
            bytes.map_or(Ok(None), |it| Memory::of_bytes(service, plugin, &it).map(Some))
        });
        match read {
            Ok(memory) => (memory, None),
            Err(broken) => {
                let lost = format!("`{service}` starts fresh");
                (None, Some(self.put_away(&file, &broken, &lost)))
            }
        }
    }

    /// Writes the operator's stops, so that they are there after a loss of power too.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn write_orders(&self, orders: &Orders) -> std::io::Result<()> {
        self.write(&self.orders_file(), &orders.to_bytes())?;
        File::open(&self.directory)?.sync_all()
    }

    /// Writes a state in the place of the one before.
    ///
    /// # Errors
    /// When the system does not let it; the one before is still there.
    pub fn write_memory(&self, memory: &Memory) -> std::io::Result<()> {
        self.write(&self.state_file(&memory.service), &memory.to_bytes())
    }

    /// Removes the state of a service, if there is one.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn forget(&self, service: &str) -> std::io::Result<()> {
        match fs::remove_file(self.state_file(service)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the state of a service out of the way, and says where it is now; `None` when there was
    /// none.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn set_aside(&self, service: &str) -> std::io::Result<Option<PathBuf>> {
        match move_aside(&self.state_file(service)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            moved => moved.map(Some),
        }
    }

    fn orders_file(&self) -> PathBuf {
        self.directory.join("orders")
    }

    /// Names of services are those of files.
    fn state_file(&self, service: &str) -> PathBuf {
        self.directory.join(format!("{service}.state"))
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut unfinished =
            tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.directory)?;
        unfinished.write_all(bytes)?;
        // Before it is moved: else a loss of power could leave an empty file in its place.
        unfinished.as_file().sync_data()?;
        unfinished.persist(file)?;
        Ok(())
    }

    fn put_away(&self, file: &Path, broken: &Broken, lost: &str) -> Problem {
        let moved = match move_aside(file) {
            Ok(aside) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it could not be set aside: {error}"),
        };
        Problem::warning(format!("{broken}; {lost}")).in_file(file).hint(moved)
    }
}

/// The bytes of a file; `None` when there is none.
fn read(file: &Path) -> Result<Option<Vec<u8>>, Broken> {
    let unreadable = |error: std::io::Error| Broken::Unreadable(error.to_string());
    match fs::symlink_metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
        Ok(metadata) if !metadata.is_file() => return Err(Broken::Foreign),
        Ok(metadata) if metadata.len() > MOST_BYTES => {
            return Err(Broken::TooLarge(metadata.len()));
        }
        Ok(_) => {}
    }
    fs::read(file).map(Some).map_err(unreadable)
}

fn move_aside(file: &Path) -> std::io::Result<PathBuf> {
    let numbered = |number: usize| {
        let mut name = file.file_name().unwrap_or(OsStr::new("state")).to_owned();
        name.push(format!(".aside-{number}"));
        file.with_file_name(name)
    };
    let free = (1..MOST_SET_ASIDE).map(numbered).find(|it| fs::symlink_metadata(it).is_err());
    let aside = free.unwrap_or_else(|| numbered(MOST_SET_ASIDE));
    fs::rename(file, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use tempfile::TempDir;

    use super::*;

    fn store() -> (TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path().join("a/b")).expect("it can be made");
        (directory, store)
    }

    fn memory(service: &str, bytes: &[u8]) -> Memory {
        let state = Arc::new(SavedState { version: 1, bytes: bytes.to_vec() });
        let (service, plugin) = (service.to_owned(), "p".to_owned());
        Memory { service, plugin, at: Timestamp::UNIX_EPOCH, state }
    }

    fn names(store: &Store) -> Vec<String> {
        let entries = fs::read_dir(store.directory()).expect("it is there").filter_map(Result::ok);
        let mut names: Vec<_> =
            entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_last_state_of_each_service_is_there() {
        let (_directory, store) = store();
        assert_eq!(store.memory("door", "p"), (None, None));
        for memory in [memory("door", b"1"), memory("door", b"2"), memory("window", b"3")] {
            store.write_memory(&memory).expect("written");
        }
        assert_eq!(store.memory("door", "p"), (Some(memory("door", b"2")), None));
        store.forget("door").expect("removed");
        store.forget("door").expect("there is nothing to remove");
        assert_eq!(store.memory("door", "p"), (None, None));
        assert_eq!(names(&store), ["window.state"]);
    }

    #[test]
    fn a_broken_file_is_named_and_set_aside_each_time() {
        let (_directory, store) = store();
        let file = store.state_file("door");
        for (number, bytes) in
            [&b"nonsense"[..], &memory("window", b"1").to_bytes()].iter().enumerate()
        {
            fs::write(&file, bytes).expect("written");
            let (memory, problem) = store.memory("door", "p");
            let said = problem.expect("a problem").to_string();
            assert!(memory.is_none() && said.contains("door.state"), "{said}");
            assert!(said.contains("`door` starts fresh"), "{said}");
            let aside = format!("door.state.aside-{}", number + 1);
            assert!(said.contains(&aside), "{said}");
            assert_eq!(fs::read(store.directory().join(aside)).expect("not deleted"), *bytes);
        }
        assert_eq!(store.memory("door", "p"), (None, None));
    }

    #[test]
    fn what_is_set_aside_is_bounded() {
        let (_directory, store) = store();
        for _ in 0..20 {
            store.write_memory(&memory("door", b"1")).expect("written");
            assert!(store.set_aside("door").expect("moved").is_some());
        }
        assert_eq!(store.set_aside("door").expect("there is nothing to move"), None);
        assert_eq!(names(&store).len(), MOST_SET_ASIDE);
    }

    #[test]
    fn orders_are_kept_and_a_broken_file_of_them_stops_nobody() {
        let (_directory, store) = store();
        assert_eq!(store.orders(), (Orders::default(), None));
        let mut orders = Orders::default();
        orders.stop("door", Timestamp::UNIX_EPOCH);
        store.write_orders(&orders).expect("written");
        assert_eq!(store.orders(), (orders, None));
        fs::write(store.orders_file(), b"exphost orders 9 x\n").expect("written");
        let (orders, problem) = store.orders();
        assert_eq!(orders, Orders::default());
        let said = problem.expect("a problem").to_string();
        assert!(said.contains("format 9") && said.contains("orders.aside-1"), "{said}");
    }

    #[test]
    fn what_a_killed_host_had_not_finished_is_removed() {
        let (_directory, store) = store();
        fs::write(store.directory().join(format!("{UNFINISHED}x")), b"half").expect("written");
        let again = Store::open(store.directory().to_owned()).expect("opened");
        assert_eq!(names(&again), Vec::<String>::new());
    }

    #[test]
    fn a_place_that_is_no_directory_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, b"").expect("written");
        let said = Store::open(file.join("below")).expect_err("refused").to_string();
        assert!(said.contains("file/below") && said.contains("--state"), "{said}");
    }
}
