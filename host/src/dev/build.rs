//! One build of one plugin: a child process, what it says, and what comes of it.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cargo_metadata::diagnostic::{Diagnostic, DiagnosticLevel};
use cargo_metadata::{Artifact, CrateType, Message};
use rustix::process::{Pid, Signal, kill_process_group};

use super::workspace::PluginPackage;

/// Where a build runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the terminal's foreground, before there is a host: cargo shows its progress, and Ctrl-C
    /// ends it together with this process. It cannot be stopped from here.
    Foreground,
    /// In a process group of its own beside the host, which alone hears Ctrl-C. Stopping it takes
    /// the compiler down too, which a signal to cargo alone would leave behind, writing.
    Background,
}

/// What is heard of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for another cargo.
    Waits(String),
    /// It is over; the last thing that is heard.
    Over(Outcome),
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a library.
    Built(Built),
    /// There is none, and this is what the compiler or cargo has to say.
    Failed(Vec<String>, Duration),
    /// It was stopped.
    Stopped,
}

/// A library that was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// The library, in cargo's target directory.
    pub library: PathBuf,
    /// Whether there was nothing to do.
    pub is_fresh: bool,
    /// What the compiler warned about.
    pub warnings: Vec<String>,
    /// All files that it was built from.
    pub inputs: BTreeSet<PathBuf>,
    /// How long it took.
    pub took: Duration,
}

/// Whoever hears of a build, on a thread of the build's.
pub type Hear = Arc<dyn Fn(Progress) + Send + Sync>;

/// A build that runs.
#[derive(Debug)]
pub struct Job {
    /// The process group, for as long as nobody else can have its number.
    group: Arc<Mutex<Option<Pid>>>,
}

impl Job {
    /// Starts a build; `hear` is told when it is over, however it ends.
    #[must_use]
    pub fn start(mut command: Command, package: &PluginPackage, place: Place, hear: Hear) -> Self {
        let began = Instant::now();
        let shows_progress = place == Place::Foreground && io::stderr().is_terminal();
        command.stdout(Stdio::piped());
        command.stderr(if shows_progress { Stdio::inherit() } else { Stdio::piped() });
        if place == Place::Background {
            command.process_group(0);
        }
        let group = Arc::new(Mutex::new(None));
        let job = Self { group: Arc::clone(&group) };
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let program = command.get_program().display();
                let said = vec![format!("error: cannot start `{program}`: {error}")];
                hear(Progress::Over(Outcome::Failed(said, began.elapsed())));
                return job;
            }
        };
        if place == Place::Background {
            *group.lock().unwrap_or_else(PoisonError::into_inner) = Some(Pid::from_child(&child));
        }
        let (root, package) = (command.get_current_dir().map(Path::to_owned), package.clone());
        thread::spawn(move || {
            let outcome = follow(child, &package, &root.unwrap_or_default(), &group, &hear, began);
            hear(Progress::Over(outcome));
        });
        job
    }

    /// Stops it, if it runs in the background and is not over.
    pub fn stop(&self) {
        if let Some(group) = *self.group.lock().unwrap_or_else(PoisonError::into_inner) {
            // A group that has ended meanwhile is as good as stopped.
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

/// Reads what the child says until it ends.
fn follow(
    mut child: Child,
    package: &PluginPackage,
    root: &Path,
    group: &Mutex<Option<Pid>>,
    hear: &Hear,
    began: Instant,
) -> Outcome {
    let stderr = child.stderr.take().map(|stderr| {
        let hear = Arc::clone(hear);
        thread::spawn(move || read_words_of_cargo(stderr, &hear))
    });
    let heard = child.stdout.take().map(|stdout| Heard::read(stdout, package)).unwrap_or_default();
    let words = stderr.map(JoinHandle::join).and_then(Result::ok).unwrap_or_default();
    // From here on its number may become somebody else's.
    *group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let status = match child.wait() {
        Ok(status) => status,
        Err(error) => {
            return Outcome::Failed(
                vec![format!("error: cargo is lost: {error}")],
                began.elapsed(),
            );
        }
    };
    match (heard.artifact, status.signal()) {
        (Some((library, is_fresh)), _) if status.success() => Outcome::Built(Built {
            inputs: inputs(&library, root),
            library,
            is_fresh,
            warnings: heard.warnings,
            took: began.elapsed(),
        }),
        (_, Some(signal)) if signal == Signal::TERM.as_raw() || signal == Signal::INT.as_raw() => {
            Outcome::Stopped
        }
        _ if heard.errors.is_empty() => Outcome::Failed(words_of_failure(&words), began.elapsed()),
        _ => Outcome::Failed(heard.errors, began.elapsed()),
    }
}

/// Standard error of cargo: what it does, and what is wrong that is no error of the compiler.
fn read_words_of_cargo(stderr: impl Read, hear: &Hear) -> Vec<String> {
    const WAITS: &str = "Blocking ";
    let lines = BufReader::new(stderr).split(b'\n').map_while(Result::ok);
    let lines = lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned());
    let words = lines.inspect(|line| {
        if let Some(what) = line.trim_start().strip_prefix(WAITS) {
            hear(Progress::Waits(what.to_owned()));
        }
    });
    words.collect()
}

/// The words from the first error on; all of them when there is no word of an error.
fn words_of_failure(words: &[String]) -> Vec<String> {
    let first = words.iter().position(|line| line.starts_with("error")).unwrap_or(0);
    let words = words.get(first..).unwrap_or_default().join("\n");
    let nothing = || "error: cargo failed and did not say why".to_owned();
    vec![if words.trim().is_empty() { nothing() } else { words }]
}

/// What the compiler has said.
#[derive(Debug, Default)]
struct Heard {
    errors: Vec<String>,
    warnings: Vec<String>,
    /// The library, and whether there was nothing to do.
    artifact: Option<(PathBuf, bool)>,
}

impl Heard {
    fn read(stdout: impl Read, package: &PluginPackage) -> Self {
        let mut heard = Self::default();
        for message in Message::parse_stream(BufReader::new(stdout)).map_while(Result::ok) {
            match message {
                Message::CompilerMessage(message) => heard.add(&message.message),
                Message::CompilerArtifact(artifact) => heard.take(&artifact, package),
                _ => {}
            }
        }
        heard
    }

    fn add(&mut self, diagnostic: &Diagnostic) {
        // "aborting due to 2 previous errors", "3 warnings emitted": they point nowhere, and who
        // sees the errors can count them.
        let sums_up = diagnostic.spans.is_empty()
            && (diagnostic.message.starts_with("aborting due to")
                || diagnostic.message.ends_with(" emitted"));
        if sums_up {
            return;
        }
        let text = diagnostic.rendered.as_ref().unwrap_or(&diagnostic.message);
        let text = text.trim_end().to_owned();
        match diagnostic.level {
            DiagnosticLevel::Error | DiagnosticLevel::Ice | DiagnosticLevel::FailureNote => {
                self.errors.push(text);
            }
            _ => self.warnings.push(text),
        }
    }

    fn take(&mut self, artifact: &Artifact, package: &PluginPackage) {
        let file =
            artifact.filenames.iter().find(|file| file.file_name() == Some(&package.library));
        if artifact.target.crate_types.contains(&CrateType::CDyLib)
            && let Some(file) = file
        {
            self.artifact = Some((file.clone().into(), artifact.fresh));
        }
    }
}

/// What a library was built from: cargo leaves a list beside it, in the form of a makefile.
fn inputs(library: &Path, root: &Path) -> BTreeSet<PathBuf> {
    // Without the list new files are still noticed where sources usually are.
    let list = std::fs::read_to_string(library.with_extension("d")).unwrap_or_default();
    let files = list.lines().filter_map(|line| line.split_once(": ")).flat_map(|(_, it)| names(it));
    files.map(|name| root.join(name)).collect()
}

/// The names of a list, in which a space that belongs to a name is written `\ `.
fn names(list: &str) -> Vec<String> {
    // No name has this character, for it ends names wherever the system is given one.
    const SPACE: char = '\0';
    let list = list.replace("\\ ", "\0");
    list.split(' ').filter(|it| !it.is_empty()).map(|it| it.replace(SPACE, " ")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn package() -> PluginPackage {
        PluginPackage {
            name: "lights".to_owned(),
            library: "liblights.so".to_owned(),
            sources: Vec::new(),
        }
    }

    /// A child that behaves as `script` says in the place of cargo.
    fn start(script: &str, place: Place) -> (Job, Receiver<Progress>) {
        let (sender, progress) = channel();
        let sender = Mutex::new(sender);
        let hear = move |heard| drop(sender.lock().expect("not poisoned").send(heard));
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        (Job::start(command, &package(), place, Arc::new(hear)), progress)
    }

    fn outcome(progress: &Receiver<Progress>) -> Outcome {
        loop {
            if let Progress::Over(outcome) = progress.recv_timeout(DEADLINE).expect("it ends") {
                return outcome;
            }
        }
    }

    fn diagnostic(level: &str, message: &str) -> String {
        let target = r#"{"kind":["cdylib"],"crate_types":["cdylib"],"name":"lights","src_path":"/w/lib.rs"}"#;
        format!(
            r#"{{"reason":"compiler-message","package_id":"p","target":{target},"message":{{"message":"{message}","code":null,"level":"{level}","spans":[],"children":[],"rendered":"{level}: {message}\n"}}}}"#
        )
    }

    fn artifact(library: &Path) -> String {
        let target = r#"{"kind":["cdylib"],"crate_types":["cdylib"],"name":"lights","src_path":"/w/lib.rs"}"#;
        let profile = r#"{"opt_level":"0","debuginfo":0,"debug_assertions":true,"overflow_checks":true,"test":false}"#;
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"p","target":{target},"profile":{profile},"features":[],"filenames":["{}"],"executable":null,"fresh":false}}"#,
            library.display()
        )
    }

    #[test]
    fn a_library_comes_with_its_warnings_and_what_it_was_built_from() {
        let directory = tempfile::tempdir().expect("a directory");
        let library = directory.path().join("liblights.so");
        let list = format!("{}: /w/src/lib.rs /w/two\\ words.txt\n", library.display());
        std::fs::write(directory.path().join("liblights.d"), list).expect("written");
        let said = [
            diagnostic("warning", "unused"),
            diagnostic("warning", "1 warning emitted"),
            artifact(&directory.path().join("libother.so")),
            artifact(&library),
        ];
        let (_job, progress) =
            start(&format!("cat <<'END'\n{}\nEND", said.join("\n")), Place::Background);
        let Outcome::Built(built) = outcome(&progress) else { panic!("a library") };
        assert_eq!(built.library, library);
        assert!(!built.is_fresh);
        assert_eq!(built.warnings, ["warning: unused"]);
        let inputs: BTreeSet<PathBuf> =
            ["/w/src/lib.rs", "/w/two words.txt"].iter().map(PathBuf::from).collect();
        assert_eq!(built.inputs, inputs);
    }

    #[test]
    fn errors_of_the_compiler_go_before_the_words_of_cargo() {
        let said =
            [diagnostic("error", "no such field"), diagnostic("error", "aborting due to it")];
        let script =
            format!("cat <<'END'\n{}\nEND\necho error: it failed >&2\nexit 101", said.join("\n"));
        let (_job, progress) = start(&script, Place::Background);
        let Outcome::Failed(said, _) = outcome(&progress) else { panic!("no library") };
        assert_eq!(said, ["error: no such field"]);
    }

    #[test]
    fn without_any_the_words_of_cargo_are_the_reason() {
        let script = "printf '   Compiling x\\nerror: no linker\\n\\nCaused by:\\n  it is gone\\n' >&2; exit 101";
        let (_job, progress) = start(script, Place::Foreground);
        let Outcome::Failed(said, _) = outcome(&progress) else { panic!("no library") };
        assert_eq!(said, ["error: no linker\n\nCaused by:\n  it is gone"]);
        let (_job, progress) = start("exit 101", Place::Foreground);
        let Outcome::Failed(said, _) = outcome(&progress) else { panic!("no library") };
        assert_eq!(said, ["error: cargo failed and did not say why"]);
    }

    #[test]
    fn another_cargo_that_holds_the_lock_is_told_of_at_once() {
        let script = "echo '    Blocking waiting for file lock on build directory' >&2; cat";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped());
        let (sender, progress) = channel();
        let sender = Mutex::new(sender);
        let hear = move |heard| drop(sender.lock().expect("not poisoned").send(heard));
        let job = Job::start(command, &package(), Place::Background, Arc::new(hear));
        let heard = progress.recv_timeout(DEADLINE).expect("it is told");
        assert_eq!(heard, Progress::Waits("waiting for file lock on build directory".to_owned()));
        job.stop();
        assert_eq!(outcome(&progress), Outcome::Stopped);
    }

    #[test]
    fn stopping_takes_down_what_the_child_has_started() {
        // The pipes stay open for as long as the grandchild lives, so the end of it is seen here.
        let script = "(echo 'Blocking nobody' >&2; sleep 600) & wait";
        let (job, progress) = start(script, Place::Background);
        let heard = progress.recv_timeout(DEADLINE).expect("the grandchild speaks");
        assert_eq!(heard, Progress::Waits("nobody".to_owned()));
        job.stop();
        assert_eq!(outcome(&progress), Outcome::Stopped);
        job.stop();
    }

    #[test]
    fn a_program_that_is_not_there_is_a_failed_build() {
        let (sender, progress) = channel();
        let sender = Mutex::new(sender);
        let hear = move |heard| drop(sender.lock().expect("not poisoned").send(heard));
        let command = Command::new("/nonexistent/cargo");
        let _job = Job::start(command, &package(), Place::Background, Arc::new(hear));
        let Outcome::Failed(said, _) = outcome(&progress) else { panic!("no library") };
        assert!(said[0].contains("/nonexistent/cargo"), "{said:?}");
    }
}
