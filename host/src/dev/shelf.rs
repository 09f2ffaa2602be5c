//! The plugin directory of a development run: its own, so that what cargo links, removes and puts
//! back in its target directory is never what the host looks at.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::plugin::scan::is_plugin_file_name;
use crate::project::ProjectName;

/// How much of two files is compared at a time.
const CHUNK: usize = 256 * 1024;

/// The directory, with one library for each plugin.
#[derive(Clone, Debug)]
pub struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    /// The directory for a project, made if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(target: &Path, project: &ProjectName) -> io::Result<Self> {
        // No name has an `@`, so a variant does not meet another project's folder.
        let name = project.to_string().replace('/', "@");
        let directory = target.join("exphost-dev").join(name);
        fs::create_dir_all(&directory)?;
        // Whatever the umask: a directory that others may write to would be warned about.
        fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
        Ok(Self { directory })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Whether there is a library of this file name, of whatever age.
    #[must_use]
    pub fn has(&self, library: &str) -> bool {
        self.directory.join(library).is_file()
    }

    /// Removes what is left of earlier runs and is not wanted now.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file not be removed.
    pub fn keep_only(&self, wanted: &BTreeSet<String>) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_plugin_file_name(&path) && !wanted.contains(&name) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Puts a library there in one go, under its own file name. Says whether it differs from what
    /// was there.
    ///
    /// # Errors
    /// When the library cannot be read or the copy not be written.
    pub fn put(&self, library: &Path) -> io::Result<bool> {
        let name = library.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let place = self.directory.join(name);
        if same_content(library, &place)? {
            return Ok(false);
        }
        let copy =
            tempfile::Builder::new().prefix(".").suffix(".part").tempfile_in(&self.directory)?;
        fs::copy(library, copy.path())?;
        fs::set_permissions(copy.path(), Permissions::from_mode(0o644))?;
        copy.persist(&place).map_err(|error| error.error)?;
        Ok(true)
    }
}

fn same_content(library: &Path, place: &Path) -> io::Result<bool> {
    let mut here = match fs::File::open(place) {
        Ok(here) => here,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut there = fs::File::open(library)?;
    if here.metadata()?.len() != there.metadata()?.len() {
        return Ok(false);
    }
    // Two links differ within the first page, where their build ids are.
    let (mut mine, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let read = here.read(&mut mine)?;
        let (mine, theirs) = (&mine[..read], &mut theirs[..read]);
        there.read_exact(theirs)?;
        if read == 0 || mine != theirs {
            return Ok(read == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_put_there_once_and_replaced_when_it_differs() {
        let target = tempfile::tempdir().expect("a directory");
        let name = ProjectName::parse("show/quiet").expect("a name");
        let shelf = Shelf::open(target.path(), &name).expect("made");
        assert!(shelf.path().ends_with("exphost-dev/show@quiet"));
        let library = target.path().join("liblights.so");
        fs::write(&library, "one").expect("written");
        assert!(!shelf.has("liblights.so"));
        assert!(shelf.put(&library).expect("put"));
        assert!(shelf.has("liblights.so"));
        assert!(!shelf.put(&library).expect("compared"), "it is the same");
        fs::write(&library, "two").expect("written");
        assert!(shelf.put(&library).expect("put"), "it differs in content alone");
        assert_eq!(fs::read(shelf.path().join("liblights.so")).expect("read"), b"two");
        let files = fs::read_dir(shelf.path()).expect("read").count();
        assert_eq!(files, 1, "nothing is left of the copying");
    }

    #[test]
    fn only_what_is_wanted_stays() {
        let target = tempfile::tempdir().expect("a directory");
        let shelf = Shelf::open(target.path(), &ProjectName::parse("show").expect("a name"));
        let shelf = shelf.expect("made");
        for name in ["libold.so", "libnew.so", "notes.txt"] {
            fs::write(shelf.path().join(name), "x").expect("written");
        }
        shelf.keep_only(&BTreeSet::from(["libnew.so".to_owned()])).expect("removed");
        assert!(!shelf.has("libold.so"));
        assert!(shelf.has("libnew.so") && shelf.has("notes.txt"));
    }
}
