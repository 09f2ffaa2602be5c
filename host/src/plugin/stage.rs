//! The private copy of a plugin file: what is checked, probed and loaded is the same bytes, and
//! nobody else can change them.
//!
//! A loaded library is mapped, not read: overwriting the file in place would change or remove code
//! under a running service, and the dynamic linker takes a known path for a known library. So each
//! load gets a file of its own, under a name that was never used before in this process.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use sha2::{Digest, Sha256};

use super::error::{Fault, LoadError};
use super::identify::{Identity, SIZE_LIMIT, hexadecimal, open};
use crate::environment::Env;

/// A directory of this process alone, removed with its content on drop.
#[derive(Debug)]
pub struct Staging {
    directory: tempfile::TempDir,
}

impl Staging {
    /// Makes the directory below `base`.
    ///
    /// # Errors
    /// When `base` does not exist or is not writable.
    pub fn new(base: &Path) -> io::Result<Self> {
        tempfile::Builder::new()
            .prefix(&format!("exphost-{}-", std::process::id()))
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(base)
            .map(|directory| Self { directory })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Copies the file that was identified, if it still is that file. `generation` is a number
    /// that was not used before for this plugin by this staging directory.
    ///
    /// # Errors
    /// When the file has changed since, or the copy cannot be made.
    pub fn stage(&self, identity: &Identity, generation: u64) -> Result<Staged, LoadError> {
        let hash = identity.sha256.get(..8).unwrap_or(&identity.sha256);
        let name = format!("{}.{generation}.{hash}.so", identity.name);
        let path = self.path().join(name);
        copy(identity, &path)
            .map(|()| Staged { path, identity: identity.clone() })
            .map_err(|fault| LoadError::new(&identity.file, fault))
    }
}

/// Where the private copies go: `$XDG_RUNTIME_DIR` or the temporary directory, whichever first
/// exists and lets code be executed from it.
#[must_use]
pub fn default_base(env: &dyn Env) -> PathBuf {
    let runtime = env.get_non_empty("XDG_RUNTIME_DIR").map(PathBuf::from);
    let temporary =
        env.get_non_empty("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let executable = |path: &PathBuf| {
        rustix::fs::statvfs(path).is_ok_and(|fs| !fs.f_flag.contains(StatVfsMountFlags::NOEXEC))
            && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
    };
    runtime.into_iter().find(executable).unwrap_or(temporary)
}

/// A private copy of a plugin file, deleted on drop: whoever loads it keeps it.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    identity: Identity,
}

impl Staged {
    /// The copy.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who it is; its `file` is the original.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.path) {
            // The whole directory may be gone already, at the host's end.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let file = self.path.display();
                tracing::debug!(%file, %error, "could not delete the private copy of a plugin");
            }
            _ => {}
        }
    }
}

fn copy(identity: &Identity, to: &Path) -> Result<(), Fault> {
    let from = open(&identity.file)?;
    let before = from.metadata().map_err(Fault::Unreadable)?;
    let no_copy = |source| Fault::NoCopy { path: to.to_owned(), source };
    let target =
        File::options().write(true).create_new(true).mode(0o500).open(to).map_err(no_copy)?;
    let finished = copy_hashed(&from, target, to).and_then(|sha256| {
        let after = from.metadata().map_err(Fault::Unreadable)?;
        let named = std::fs::metadata(&identity.file).map_err(Fault::Unreadable)?;
        let same = sha256 == identity.sha256
            && version_of(&before) == version_of(&after)
            && version_of(&before) == version_of(&named);
        if same { Ok(()) } else { Err(Fault::Changed) }
    });
    if finished.is_err() {
        // What is left of it would only be clutter; the directory goes at the end anyway.
        let _ = std::fs::remove_file(to);
    }
    finished
}

fn copy_hashed(mut from: &File, mut target: File, to: &Path) -> Result<String, Fault> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(hexadecimal(&hash.finalize())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Unreadable(error)),
        };
        total += read as u64;
        if total > SIZE_LIMIT {
            return Err(Fault::Changed);
        }
        let part = buffer.get(..read).unwrap_or_default();
        hash.update(part);
        target.write_all(part).map_err(|source| Fault::NoCopy { path: to.to_owned(), source })?;
    }
}

/// What tells one version of a file from another.
fn version_of(file: &Metadata) -> (u64, u64, u64, i64, i64, i64, i64) {
    (
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
    )
}
