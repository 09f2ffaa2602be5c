//! A folder that is watched, and which of its files count.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::WatchPlan;
use super::stamp::Stamp;
use crate::plugin::scan::is_plugin_file_name;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plugin,
    Config,
}

impl Kind {
    /// What a file of this name is for; `None` when it is for nothing here. Editors and copying
    /// programs keep their unfinished files under hidden or longer names.
    pub(super) fn of_name(file: &Path) -> Option<Self> {
        let is_visible =
            file.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
        if is_plugin_file_name(file) {
            Some(Self::Plugin)
        } else if is_visible && file.extension().is_some_and(|extension| extension == "toml") {
            Some(Self::Config)
        } else {
            None
        }
    }
}

/// A folder of the plan.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The same as the system's events have it.
    absolute: PathBuf,
    kinds: Vec<Kind>,
}

impl Folder {
    /// The folders of a plan, each once.
    ///
    /// # Errors
    /// When a path is empty, or when there is no working directory that it could be relative to.
    pub(super) fn of_plan(plan: &WatchPlan) -> io::Result<Vec<Self>> {
        let plugins = plan.plugins.iter().map(|path| (path, Kind::Plugin));
        let config = plan.config.iter().map(|path| (path, Kind::Config));
        let mut folders: Vec<Self> = Vec::new();
        for (path, kind) in plugins.chain(config) {
            let absolute = std::path::absolute(path)?;
            match folders.iter_mut().find(|folder| folder.absolute == absolute) {
                Some(folder) if folder.kinds.contains(&kind) => {}
                Some(folder) => folder.kinds.push(kind),
                None => folders.push(Self { path: path.clone(), absolute, kinds: vec![kind] }),
            }
        }
        Ok(folders)
    }

    /// The folder as the plan has it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder whatever the working directory is.
    pub(super) fn absolute(&self) -> &Path {
        &self.absolute
    }

    /// The file of this folder that an event's path is, if it is one that counts here.
    pub(super) fn file_of_event(&self, path: &Path) -> Option<PathBuf> {
        let name = path.file_name()?;
        let is_ours = path.parent() == Some(&self.absolute) && self.wants(path);
        is_ours.then(|| self.path.join(name))
    }

    /// The directory that it is now, by device and inode; `None` when there is none.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        let metadata = fs::metadata(&self.absolute).ok().filter(fs::Metadata::is_dir)?;
        Some((metadata.dev(), metadata.ino()))
    }

    /// The files that count, as they look now; none in a folder that is not there.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub(super) fn scan(&self) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        let entries = match fs::read_dir(&self.absolute) {
            Ok(entries) => entries,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    return Ok(BTreeMap::new());
                }
                _ => return Err(error),
            },
        };
        let mut found = BTreeMap::new();
        for entry in entries {
            let entry = entry?;
            let file = self.path.join(entry.file_name());
            if self.wants(&file)
                && let Some(stamp) = Stamp::of(&file)
            {
                found.insert(file, stamp);
            }
        }
        Ok(found)
    }

    fn wants(&self, file: &Path) -> bool {
        Kind::of_name(file).is_some_and(|kind| self.kinds.contains(&kind))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn folders(plugins: &str, config: &[&str]) -> Vec<Folder> {
        let plan = WatchPlan {
            plugins: Some(plugins.into()),
            config: config.iter().map(PathBuf::from).collect(),
            settle: Duration::ZERO,
            rescan: Duration::ZERO,
        };
        Folder::of_plan(&plan).expect("a working directory")
    }

    #[test]
    fn the_name_decides_whether_a_file_counts() {
        let kinds = ["a.so", "core.toml"].map(|name| Kind::of_name(Path::new(name)));
        assert_eq!(kinds, [Some(Kind::Plugin), Some(Kind::Config)]);
        for name in [
            ".a.so",
            ".a.so.x7Q2",
            "a.so.1",
            "a.so~",
            "so",
            "a.d",
            ".#core.toml",
            "#core.toml#",
            "core.toml~",
            ".core.toml.swp",
            "toml",
            "",
        ] {
            assert_eq!(Kind::of_name(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn files_are_named_as_the_plan_names_their_folder() {
        let here = std::env::current_dir().expect("a working directory");
        let [plugins, config] = &folders("./plugins/", &["p/v", "p/v/."])[..] else {
            panic!("one folder is named twice")
        };
        let event = here.join("plugins/a.so");
        assert_eq!(plugins.file_of_event(&event), Some("./plugins/a.so".into()));
        assert_eq!(config.file_of_event(&event), None);
        assert_eq!(plugins.file_of_event(&here.join("plugins/core.toml")), None);
        assert_eq!(plugins.file_of_event(&here.join("plugins/sub/a.so")), None);
        assert_eq!(config.file_of_event(&here.join("p/v/core.toml")), Some("p/v/core.toml".into()));
    }

    #[test]
    fn a_folder_may_hold_both() {
        let [both] = &folders("/all", &["/all"])[..] else { panic!("one folder") };
        for name in ["/all/a.so", "/all/core.toml"] {
            assert_eq!(both.file_of_event(Path::new(name)).as_deref(), Some(Path::new(name)));
        }
    }
}
