//! Which plugins a directory holds, and which of them a service means.

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{Fault, LoadError};
use super::identify::{Identity, identify};

/// A `.so` file of the plugin directory.
#[derive(Debug)]
pub struct Candidate {
    /// The file.
    pub file: PathBuf,
    /// Who it is, or why it is nobody.
    pub identity: Result<Identity, LoadError>,
}

/// Whether the name is that of a plugin file: `*.so` exactly, not hidden, not `*.so.1`.
#[must_use]
pub fn is_plugin_file_name(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "so")
}

/// Identifies every plugin file of a directory, sorted by name.
///
/// # Errors
/// When the directory cannot be read. A bad file is no error of the directory.
pub fn scan(directory: &Path) -> Result<Vec<Candidate>, LoadError> {
    let unreadable = |error| LoadError::new(directory, Fault::Unreadable(error));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_plugin_file_name(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files.into_iter().map(|file| Candidate { identity: identify(&file), file }).collect())
}

/// No file of the directory is the plugin that a service means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChooseError {
    /// No good file has the name, or none of a version that is wanted.
    NotFound {
        /// The plugin's name.
        name: String,
        /// The versions that would do.
        requirement: Option<semver::VersionReq>,
        /// The good files' names and versions: those of that name, or all when there is none.
        available: Vec<String>,
        /// Bad files that may be meant, each with its reason.
        bad: Vec<String>,
    },
    /// Two files are the highest version.
    Ambiguous {
        /// The plugin's name.
        name: String,
        /// The version.
        version: semver::Version,
        /// The files.
        files: [PathBuf; 2],
    },
}

impl fmt::Display for ChooseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name, requirement, available, bad } => {
                write!(f, "no plugin `{name}`")?;
                if let Some(requirement) = requirement {
                    write!(f, " of a version {requirement}")?;
                }
                if bad.is_empty() && available.is_empty() {
                    write!(f, "; there is no plugin in the directory")?;
                } else if bad.is_empty() {
                    write!(f, "; there is {}", available.join(", "))?;
                } else {
                    write!(f, "; refused: {}", bad.join("; "))?;
                }
                Ok(())
            }
            Self::Ambiguous { name, version, files: [first, second] } => write!(
                f,
                "two files are plugin `{name}` {version}: {} and {}",
                first.display(),
                second.display()
            ),
        }
    }
}

impl std::error::Error for ChooseError {}

impl ChooseError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Ambiguous { .. } => {
                "remove one of them, or raise the version of the newer one".to_owned()
            }
            Self::NotFound { bad, .. } if !bad.is_empty() => {
                "build that plugin anew, and replace the refused file".to_owned()
            }
            Self::NotFound { name, available, .. } => {
                let names = available.iter().filter_map(|text| text.split(' ').next());
                let like = names.map(|other| (strsim::jaro_winkler(name, other), other));
                let nearest = like.max_by(|a, b| a.0.total_cmp(&b.0));
                match nearest {
                    Some((likeness, other)) if likeness > 0.8 && !same_name(name, other) => {
                        format!("did you mean plugin = \"{other}\"?")
                    }
                    _ => "build it, and copy its .so file into the plugin directory".to_owned(),
                }
            }
        }
    }
}

/// Plugin names are equal whether written with `-` or `_`, as cargo has it.
#[must_use]
pub fn same_name(one: &str, other: &str) -> bool {
    one.replace('_', "-") == other.replace('_', "-")
}

/// Whether a file may be plugin `name` by its own name: what it says inside is another matter.
#[must_use]
pub fn is_named(file: &Path, name: &str) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    same_name(&stem, name) || stem.strip_prefix("lib").is_some_and(|stem| same_name(stem, name))
}

/// The file of plugin `name` with the highest version that `requirement` allows.
///
/// # Errors
/// When there is none, or when two files claim that version.
pub fn choose<'a>(
    candidates: &'a [Candidate],
    name: &str,
    requirement: Option<&semver::VersionReq>,
) -> Result<&'a Identity, ChooseError> {
    let good = || candidates.iter().filter_map(|candidate| candidate.identity.as_ref().ok());
    let mut fitting: Vec<&Identity> = good()
        .filter(|identity| same_name(&identity.name, name))
        .filter(|identity| requirement.is_none_or(|wanted| wanted.matches(&identity.version)))
        .collect();
    // Stable, so that of two equal versions the first file by name stays first.
    fitting.sort_by(|a, b| b.version.cmp_precedence(&a.version));
    match fitting[..] {
        [first, second, ..] if first.version.cmp_precedence(&second.version) == Ordering::Equal => {
            Err(ChooseError::Ambiguous {
                name: first.name.clone(),
                version: first.version.clone(),
                files: [first.file.clone(), second.file.clone()],
            })
        }
        [first, ..] => Ok(first),
        [] => Err(not_found(candidates, name, requirement)),
    }
}

fn not_found(
    candidates: &[Candidate],
    name: &str,
    requirement: Option<&semver::VersionReq>,
) -> ChooseError {
    let mut available: Vec<&Identity> =
        candidates.iter().filter_map(|candidate| candidate.identity.as_ref().ok()).collect();
    if available.iter().any(|identity| same_name(&identity.name, name)) {
        available.retain(|identity| same_name(&identity.name, name));
    }
    let bad = candidates.iter().filter(|candidate| is_named(&candidate.file, name));
    ChooseError::NotFound {
        name: name.to_owned(),
        requirement: requirement.cloned(),
        available: available
            .iter()
            .map(|identity| format!("{} {}", identity.name, identity.version))
            .collect(),
        bad: bad
            .filter_map(|candidate| candidate.identity.as_ref().err())
            .map(LoadError::to_string)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(file: &str, name: &str, version: &str) -> Candidate {
        let identity = Identity {
            file: file.into(),
            name: name.to_owned(),
            version: version.parse().expect("a version"),
            api_version: semver::Version::new(1, 0, 0),
            rustc: String::new(),
            target: String::new(),
            unwind: true,
            description: String::new(),
            authors: Vec::new(),
            crate_name: String::new(),
            sha256: String::new(),
            size: 0,
        };
        Candidate { file: file.into(), identity: Ok(identity) }
    }

    fn wanted(text: &str) -> semver::VersionReq {
        text.parse().expect("a requirement")
    }

    #[test]
    fn the_highest_version_that_fits_wins() {
        let candidates = [
            good("a.so", "led-wall", "1.9.0"),
            good("b.so", "led_wall", "1.10.0"),
            good("c.so", "led_wall", "2.0.0"),
        ];
        assert_eq!(choose(&candidates, "led_wall", None).expect("found").file, Path::new("c.so"));
        let one = wanted("^1");
        assert_eq!(
            choose(&candidates, "led-wall", Some(&one)).expect("found").file,
            Path::new("b.so")
        );
    }

    #[test]
    fn two_files_of_one_version_are_named() {
        let candidates = [
            good("a.so", "core", "1.0.0"),
            good("b.so", "core", "1.0.0"),
            good("c.so", "core", "0.9.0"),
        ];
        let error = choose(&candidates, "core", None).expect_err("ambiguous").to_string();
        assert_eq!(error, "two files are plugin `core` 1.0.0: a.so and b.so");
        let old = wanted("<1");
        assert_eq!(choose(&candidates, "core", Some(&old)).expect("found").file, Path::new("c.so"));
    }

    #[test]
    fn what_is_missing_is_told_with_what_there_is() {
        let mut candidates =
            vec![good("a.so", "heartbeat", "1.0.0"), good("b.so", "core", "2.0.0")];
        let error = choose(&candidates, "hartbeat", None).expect_err("none");
        assert_eq!(error.to_string(), "no plugin `hartbeat`; there is heartbeat 1.0.0, core 2.0.0");
        assert_eq!(error.hint(), "did you mean plugin = \"heartbeat\"?");
        let error = choose(&candidates, "core", Some(&wanted("^3"))).expect_err("none");
        assert_eq!(error.to_string(), "no plugin `core` of a version ^3; there is core 2.0.0");
        let file = PathBuf::from("/p/libled_wall.so");
        let identity = Err(LoadError::new(&file, Fault::NotElf));
        candidates.push(Candidate { file, identity });
        let error = choose(&candidates, "led-wall", None).expect_err("bad");
        let text = "no plugin `led-wall`; refused: /p/libled_wall.so: not a shared library";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn only_exact_names_are_looked_at() {
        for good in ["libx.so", "x.so", "/p/a.b.so"] {
            assert!(is_plugin_file_name(Path::new(good)), "{good}");
        }
        for bad in [".x.so", ".so", "x.so.1", "x.so~", "x.SO", "so", "x.so.tmp"] {
            assert!(!is_plugin_file_name(Path::new(bad)), "{bad}");
        }
    }

    #[test]
    fn a_directory_is_scanned_in_order_and_bad_files_stay_in_the_list() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["b.so", "a.so", ".c.so", "d.txt"] {
            std::fs::write(directory.path().join(name), b"text").expect("written");
        }
        std::fs::create_dir(directory.path().join("e.so")).expect("created");
        let found = scan(directory.path()).expect("read");
        let steps: Vec<_> = found
            .iter()
            .map(|c| c.identity.as_ref().expect_err("bad").to_string())
            .map(|text| text.trim_start_matches(&*directory.path().to_string_lossy()).to_owned())
            .collect();
        assert_eq!(
            steps,
            [
                "/a.so: not a shared library",
                "/b.so: not a shared library",
                "/e.so: not a file but a directory"
            ]
        );
        let error = scan(&directory.path().join("nowhere")).expect_err("no such directory");
        assert!(error.to_string().contains("nowhere: cannot be read: No such file"), "{error}");
    }
}
