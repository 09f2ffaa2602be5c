//! The health files as they are at one moment. Everything that touches the disk is here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use plugin_api::prelude::*;

/// Files beyond so many are not looked at.
const MOST_FILES: usize = 1_000;

/// No health file is longer.
const LONGEST_FILE: u64 = 4 * 1024 * 1024;

/// The host marks a service that stopped as it should with this check.
const STAGE_CHECK: &str = "lifecycle";
const STOPPED: &str = "stopped";

/// A health file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// How long ago it was written.
    pub(crate) age: Duration,
    pub(crate) content: Content,
}

/// What is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A service's own words.
    Report(Report),
    /// It cannot be read, and why.
    Broken(String),
}

/// What a service says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) status: HealthStatus,
    /// Whether it stopped as it should, so that nothing more is to be heard.
    pub(crate) stopped: bool,
    /// What is the matter, in its words.
    pub(crate) message: String,
}

#[derive(Deserialize)]
#[serde(crate = "plugin_api::serde")]
struct Document {
    overall_status: HealthStatus,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(crate = "plugin_api::serde")]
struct Check {
    name: String,
    status: HealthStatus,
    #[serde(default)]
    message: Option<String>,
}

/// Where the files are when the configuration does not say: the host's own rule. `variable` is the value
/// of a variable of the environment.
pub(crate) fn usual_directory(
    variable: impl Fn(&str) -> Option<String>,
    is_root: bool,
    etc: &Path,
) -> PathBuf {
    let non_empty = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let environment = ["EXPERIMANCE_ENV", "EXPERIMANCE_ENVIRONMENT"].iter().find_map(non_empty);
    let is_production = match environment.map(|value| value.to_ascii_lowercase()).as_deref() {
        Some("development") => false,
        Some("production") => true,
        _ => is_root || etc.exists(),
    };
    PathBuf::from(if is_production { "/var/cache/experimance/health" } else { "logs/health" })
}

/// All files of a folder, by their names without ending. A folder that is not there is empty: the
/// first service makes it.
pub(crate) fn look(directory: &Path, now: SystemTime) -> io::Result<BTreeMap<String, Sight>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let files = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_stem()?.to_str()?.to_owned();
        (path.extension()? == "json").then_some((name, path))
    });
    let sights = files.take(MOST_FILES).filter_map(|(name, path)| Some((name, see(&path, now)?)));
    Ok(sights.collect())
}

/// One file; `None` when it is gone.
fn see(path: &Path, now: SystemTime) -> Option<Sight> {
    let read = fs::File::open(path).and_then(|file| {
        let written = file.metadata()?.modified()?;
        let mut text = Vec::new();
        file.take(LONGEST_FILE + 1).read_to_end(&mut text)?;
        Ok((written, text))
    });
    match read {
        Ok((written, text)) => {
            // A time in the future is a clock that was set back.
            let age = now.duration_since(written).unwrap_or_default();
            Some(Sight { age, content: content(&text) })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            Some(Sight { age: Duration::ZERO, content: Content::Broken(error.to_string()) })
        }
    }
}

fn content(text: &[u8]) -> Content {
    if text.len() as u64 > LONGEST_FILE {
        return Content::Broken("is longer than any health file".to_owned());
    }
    match plugin_api::serde_json::from_slice::<Document>(text) {
        Ok(document) => Content::Report(document.into()),
        Err(error) => Content::Broken(error.to_string()),
    }
}

impl From<Document> for Report {
    fn from(document: Document) -> Self {
        let is_mark =
            |check: &Check| check.name == STAGE_CHECK && check.message.as_deref() == Some(STOPPED);
        let worst = document.checks.iter().rfind(|check| check.status == document.overall_status);
        let message = worst.and_then(|check| {
            let message = check.message.as_deref().filter(|message| !message.is_empty())?;
            Some(format!("{}: {message}", check.name))
        });
        Self {
            status: document.overall_status,
            stopped: document.checks.iter().any(is_mark),
            message: message.unwrap_or_default(),
        }
    }
}

/// Deletes the file of a service that is not written any more.
pub(crate) fn delete(directory: &Path, service: &str) -> io::Result<()> {
    fs::remove_file(directory.join(format!("{service}.json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_folder_is_seen_whatever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "core.json",
            r#"{"overall_status": "error", "uptime": 3, "checks": [
                {"name": "disk", "status": "error", "message": "full", "metadata": {}},
                {"name": "camera", "status": "healthy", "message": "sees"}]}"#,
        );
        write("python.json", r#"{"overall_status": "healthy"}"#);
        write(
            "resting.json",
            r#"{"overall_status": "unknown", "checks": [
                {"name": "lifecycle", "status": "unknown", "message": "stopped"}]}"#,
        );
        write("half.json", r#"{"overall_status": "hea"#);
        write("odd.json", r#"{"overall_status": "splendid"}"#);
        write("core.json.new", "half written");
        write("notes.txt", "not ours");
        fs::create_dir(folder.path().join("folder.json")).unwrap();

        let now = SystemTime::now() + Duration::from_secs(30);
        let seen = look(folder.path(), now).unwrap();
        let report = |status, stopped, message: &str| {
            Content::Report(Report { status, stopped, message: message.to_owned() })
        };
        assert_eq!(seen["core"].content, report(HealthStatus::Error, false, "disk: full"));
        assert_eq!(seen["python"].content, report(HealthStatus::Healthy, false, ""));
        let stopped = report(HealthStatus::Unknown, true, "lifecycle: stopped");
        assert_eq!(seen["resting"].content, stopped);
        for name in ["half", "odd", "folder"] {
            assert!(matches!(seen[name].content, Content::Broken(_)), "{name}: {:?}", seen[name]);
        }
        assert_eq!(seen.len(), 6, "{seen:#?}");
        let age = seen["core"].age;
        assert!(age >= Duration::from_secs(25) && age <= Duration::from_secs(31), "{age:?}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_empty_and_one_that_is_none_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        assert!(look(&folder.path().join("none"), now).unwrap().is_empty());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(look(&file, now).unwrap_err().kind(), ErrorKind::NotADirectory);
    }

    #[test]
    fn the_usual_folder_is_the_hosts() {
        let (here, nowhere) = (Path::new("/"), Path::new("/nonexistent"));
        let production = PathBuf::from("/var/cache/experimance/health");
        let none = |_: &str| None;
        assert_eq!(usual_directory(none, false, nowhere), PathBuf::from("logs/health"));
        assert_eq!(usual_directory(none, true, nowhere), production);
        assert_eq!(usual_directory(none, false, here), production);
        let set = |value: &'static str| {
            move |name: &str| (name == "EXPERIMANCE_ENV").then(|| value.to_owned())
        };
        assert_eq!(usual_directory(set("Production"), false, nowhere), production);
        assert_eq!(usual_directory(set("development"), true, here), PathBuf::from("logs/health"));
        // An empty variable is none, so the other one counts.
        let second = |name: &str| match name {
            "EXPERIMANCE_ENV" => Some(String::new()),
            _ => Some("production".to_owned()),
        };
        assert_eq!(usual_directory(second, false, nowhere), production);
    }
}
