//! Making a service ready once more while the host runs: for a new build, for a changed
//! configuration, for a start by order. The running service is not touched by anything in here.
//!
//! The order is that of the first start: identify, stage, probe, configuration, load. The
//! configuration is checked by the candidate's own type in a child process, before the candidate is
//! opened in this one: what is refused leaves no trace in the host.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use plugin_api::manifest::Manifest;
use semver::{Version, VersionReq};
use serde_json::Value;

use super::plugins::{load_problem, probe_with};
use super::{Prepared, ReadyService};
use crate::config::schema_changes::schema_changes;
use crate::config::{self, Directives, Override, Resolved, ServiceFile};
use crate::environment::Process;
use crate::logging::LogHandle;
use crate::plugin::error::LoadError;
use crate::plugin::identify::Identity;
use crate::plugin::library::Library;
use crate::plugin::permissions;
use crate::plugin::scan::{self, Candidate};
use crate::plugin::stage::{Staged, Staging};
use crate::problem::Problem;
use crate::project::settings::ServiceDefaults;
use crate::project::{HostSettings, Places, Project, ProjectName};

/// Makes services ready; cheap to clone. Every method blocks: it reads files and waits for child
/// processes, so it is called on a thread for the purpose.
#[derive(Clone)]
pub struct Workshop(Arc<Tools>);

struct Tools {
    places: Places,
    name: ProjectName,
    plugins_dir: PathBuf,
    settings: HostSettings,
    overrides: Vec<Override>,
    process: Process<'static>,
    staging: Staging,
    staged: AtomicU64,
    log: LogHandle,
}

/// A service to look at.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its name.
    pub service: String,
    /// What it runs now, or ran last.
    pub present: Present,
    /// What is wanted of it.
    pub how: How,
}

/// What a service runs.
#[derive(Clone, Debug)]
pub struct Present {
    /// The library, whose functions may be called.
    pub library: Arc<Library>,
    /// What the plugin says of itself.
    pub manifest: Arc<Manifest>,
    /// The configuration, as JSON.
    pub config: Arc<[u8]>,
    /// What the host is told about the service.
    pub terms: Terms,
}

impl Present {
    /// Whether its plugin-api has the words of 1.1: hand a state over, take a configuration.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        let api = &self.library.identity().api_version;
        (api.major, api.minor) >= (1, 1)
    }
}

/// What is wanted of a service that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// A load of whatever is there, also when it is what runs already.
    Anew {
        /// Whether a lower version may take the place of a higher one.
        force: bool,
    },
    /// A change, if there is one. The content hash is of a build that was refused already and is
    /// not tried again.
    IfChanged {
        /// The refused build.
        refused: Option<String>,
    },
}

/// What the host is told about a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The services that must run before it.
    pub depends_on: Vec<String>,
    /// How long it may take from its start to RUNNING.
    pub start_timeout: Duration,
    /// How long it may take to stop.
    pub stop_timeout: Duration,
    /// Whether old generations of its plugin are unloaded.
    pub unload: config::Unload,
}

impl Terms {
    pub(super) fn of(directives: &Directives, defaults: &ServiceDefaults) -> Self {
        Self {
            depends_on: directives.depends_on.clone(),
            start_timeout: directives.start_timeout.unwrap_or(defaults.start_timeout),
            stop_timeout: directives.stop_timeout.unwrap_or(defaults.stop_timeout),
            unload: directives.unload,
        }
    }
}

/// What is told while a service is looked at.
#[derive(Debug)]
pub enum News {
    /// A step has ended.
    Step {
        /// The service.
        service: String,
        /// The step.
        step: &'static str,
        /// Whether it succeeded.
        ok: bool,
        /// How long it took.
        took: Duration,
        /// What there is to say of it.
        detail: Option<String>,
    },
    /// The look at a service is over.
    Done {
        /// The service.
        service: String,
        /// What came of it.
        outcome: Outcome,
    },
}

/// What comes of a look at a service.
#[derive(Debug)]
pub enum Outcome {
    /// It runs what is there.
    Unchanged,
    /// Its plugin file is gone.
    Missing,
    /// Something else may run in its place.
    Ready(Box<Fresh>),
    /// What is there cannot run.
    Refused(Refusal),
}

/// What may run in the place of what does.
#[derive(Debug)]
pub struct Fresh {
    /// Library, manifest, configuration, terms.
    pub present: Present,
    /// Whether the library is another than the one that runs.
    pub is_new_build: bool,
    /// What is new about it, in words.
    pub changes: Vec<String>,
}

/// Why what is there cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The step that refused it.
    pub step: &'static str,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The version, when the file says one.
    pub version: Option<Version>,
    /// The content hash, when there is a file.
    pub sha256: Option<String>,
}

impl Refusal {
    fn new(step: &'static str, reason: impl Into<String>) -> Self {
        Self { step, reason: reason.into(), hint: None, version: None, sha256: None }
    }

    fn of(step: &'static str, error: &LoadError) -> Self {
        if let Some(detail) = error.detail() {
            tracing::debug!(file = %error.file().display(), "{detail}");
        }
        Self { hint: error.hint(), ..Self::new(step, error.to_string()) }
    }

    fn of_problem(step: &'static str, problem: &Problem) -> Self {
        let hint = problem.hint.clone();
        Self { hint, ..Self::new(step, Problem { hint: None, ..problem.clone() }.one_line()) }
    }

    fn about(self, identity: &Identity) -> Self {
        let (version, sha256) = (identity.version.clone(), identity.sha256.clone());
        Self { version: Some(version), sha256: Some(sha256), ..self }
    }
}

impl Workshop {
    /// A workshop for a project that is about to run; `None` when its name or the private place for
    /// plugin files is missing, with which it could not run either.
    #[must_use]
    pub fn new(
        prepared: &mut Prepared,
        process: &Process<'static>,
        log: LogHandle,
    ) -> Option<Self> {
        let staging = prepared.staging.take()?;
        Some(Self(Arc::new(Tools {
            places: prepared.places.clone(),
            name: prepared.name.clone()?,
            plugins_dir: prepared.plugins_dir.clone(),
            settings: prepared.settings.clone(),
            overrides: prepared.overrides.clone(),
            process: process.clone(),
            // Those before were numbered by the services.
            staged: AtomicU64::new(prepared.services.len() as u64 + 1),
            staging,
            log,
        })))
    }

    /// The files of the project, to be watched.
    #[must_use]
    pub fn config_folders(&self) -> Vec<PathBuf> {
        self.0.places.folders(&self.0.name)
    }

    /// The plugin directory.
    #[must_use]
    pub fn plugins_dir(&self) -> &std::path::Path {
        &self.0.plugins_dir
    }

    /// Opens what was made ready before the host began.
    ///
    /// # Errors
    /// When the library cannot be opened.
    pub fn open(&self, service: ReadyService) -> Result<Present, LoadError> {
        self.0.log.add_own_target(&service.manifest.crate_name);
        Ok(Present {
            library: Arc::new(Library::open(service.staged)?),
            manifest: Arc::new(service.manifest),
            config: service.config.to_string().into_bytes().into(),
            terms: service.terms,
        })
    }

    /// Keys of `exphost.toml` that are not as they were when the host began, and problems of the
    /// file: only a restart of the host applies them.
    #[must_use]
    pub fn host_changes(&self) -> (Vec<String>, Vec<Problem>) {
        let (settings, problems) = HostSettings::read(&self.config_folders());
        if !problems.is_empty() {
            return (Vec::new(), problems);
        }
        (self.0.settings.differences(&settings), problems)
    }

    /// Looks at services. The project and the plugin directory are read once for all of them.
    pub fn look(&self, asked: Vec<Asked>, tell: &dyn Fn(News)) {
        let began = Instant::now();
        let project = Project::read(&self.0.places, &self.0.name, self.0.process.env);
        let candidates = scan::scan(&self.0.plugins_dir);
        let read = began.elapsed();
        for one in asked {
            let service = one.service.clone();
            let mut course = Course { service: &service, tell, held: Some(Vec::new()) };
            if matches!(one.how, How::Anew { .. }) {
                course.release();
            }
            let outcome = match &candidates {
                Ok(candidates) => {
                    let bench = Bench { tools: &self.0, project: &project, candidates, read };
                    bench.look_at(one, &mut course).unwrap_or_else(Outcome::Refused)
                }
                Err(error) => Outcome::Refused(Refusal::of("identify", error)),
            };
            course.release();
            tell(News::Done { service, outcome });
        }
    }
}

/// The steps of one look, told as they end; held back while it may turn out that nothing changed.
struct Course<'a> {
    service: &'a str,
    tell: &'a dyn Fn(News),
    held: Option<Vec<News>>,
}

impl Course<'_> {
    fn step<T>(
        &mut self,
        step: &'static str,
        work: impl FnOnce() -> Result<(T, Option<String>), Refusal>,
    ) -> Result<T, Refusal> {
        let began = Instant::now();
        let result = work();
        self.ended(step, began.elapsed(), result)
    }

    fn ended<T>(
        &mut self,
        step: &'static str,
        took: Duration,
        result: Result<(T, Option<String>), Refusal>,
    ) -> Result<T, Refusal> {
        let (ok, detail) = match &result {
            Ok((_, detail)) => (true, detail.clone()),
            Err(refusal) => (false, Some(refusal.reason.clone())),
        };
        let news = News::Step { service: self.service.to_owned(), step, ok, took, detail };
        match &mut self.held {
            Some(held) => held.push(news),
            None => (self.tell)(news),
        }
        result.map(|(value, _)| value)
    }

    fn release(&mut self) {
        self.held.take().into_iter().flatten().for_each(self.tell);
    }
}

/// What a look has at hand.
struct Bench<'a> {
    tools: &'a Tools,
    project: &'a Project,
    candidates: &'a [Candidate],
    /// How long project and plugin directory took to read.
    read: Duration,
}

impl Bench<'_> {
    fn look_at(&self, asked: Asked, course: &mut Course<'_>) -> Result<Outcome, Refusal> {
        let Asked { service, present, how } = asked;
        let file = self.file_of(&service, course)?;
        let began = Instant::now();
        let chosen = self.choose(&file, &present, &how);
        let took = self.read + began.elapsed();
        let Some(identity) = chosen.as_ref().ok().copied().flatten() else {
            return match chosen {
                Ok(_) => Ok(Outcome::Missing),
                Err(refusal) => course.ended("identify", took, Err(refusal)),
            };
        };
        let said = format!("{} {}, {}", identity.name, identity.version, short(&identity.sha256));
        course.ended("identify", took, Ok(((), Some(said))))?;
        let runs = present.library.identity();
        if identity.sha256 == runs.sha256 && matches!(how, How::IfChanged { .. }) {
            return self.reconfigure(&file, present, course);
        }
        if matches!(&how, How::IfChanged { refused: Some(refused) } if *refused == identity.sha256)
        {
            course.held = None;
            return Ok(Outcome::Unchanged);
        }
        course.release();
        self.build(&file, &present, identity, course)
            .map(|fresh| Outcome::Ready(Box::new(fresh)))
            .map_err(|refusal| refusal.about(identity))
    }

    fn file_of(&self, service: &str, course: &mut Course<'_>) -> Result<ServiceFile, Refusal> {
        let known = self.project.services.iter().find(|file| file.name == service);
        if let Some(file) = known {
            return Ok(file.clone());
        }
        // Named on the command line or in SERVICES, and its file is gone: its defaults would be
        // something else than what runs, so that is for a person to say.
        let (file, _) = self.tools.places.service_file(&self.tools.name, service);
        let reason = format!("{}: the configuration file is gone", file.display());
        let refusal = Refusal {
            hint: Some("put it back; what runs keeps the configuration it has".to_owned()),
            ..Refusal::new("config", reason)
        };
        course.ended("config", self.read, Err(refusal))
    }

    /// The file that the service should run; `None` when it is gone and nobody insists.
    fn choose(
        &self,
        file: &ServiceFile,
        present: &Present,
        how: &How,
    ) -> Result<Option<&Identity>, Refusal> {
        let version = Some(&file.directives.version).filter(|it| **it != VersionReq::STAR);
        let chosen = scan::choose(self.candidates, file.plugin(), version);
        let identity = match chosen {
            Ok(identity) => identity,
            Err(scan::ChooseError::NotFound { bad, .. })
                if bad.is_empty() && matches!(how, How::IfChanged { .. }) =>
            {
                return Ok(None);
            }
            Err(error) => {
                let hint = Some(error.hint());
                return Err(Refusal { hint, ..Refusal::new("identify", error.to_string()) });
            }
        };
        let runs = present.library.identity();
        let forced = matches!(how, How::Anew { force: true });
        if scan::same_name(&identity.name, &runs.name)
            && identity.version.cmp_precedence(&runs.version).is_lt()
            && !forced
        {
            let reason = format!("{} is lower than {}", identity.version, runs.version);
            let refusal = Refusal {
                hint: Some(format!("`exphost reload {} --force` goes back to it", file.name)),
                ..Refusal::new("identify", reason)
            };
            return Err(refusal.about(identity));
        }
        Ok(Some(identity))
    }

    /// The same library, with what the file says now.
    fn reconfigure(
        &self,
        file: &ServiceFile,
        present: Present,
        course: &mut Course<'_>,
    ) -> Result<Outcome, Refusal> {
        let terms = Terms::of(&file.directives, &self.project.settings.defaults);
        let config = course.step("config", || {
            let resolved = self.resolve(file, &present.manifest);
            let bytes = resolved.value.to_string().into_bytes();
            // It runs in this process already, so nothing new is risked by asking it.
            let found = present.library.check_config(&bytes);
            refuse_problems(file, resolved, &found)?;
            Ok((bytes, None))
        });
        let config: Arc<[u8]> = config.map_err(|it| it.about(present.library.identity()))?.into();
        if config == present.config && terms == present.terms {
            course.held = None;
            return Ok(Outcome::Unchanged);
        }
        let changes = value_changes(&present.config, &config);
        course.release();
        let present = Present { config, terms, ..present };
        Ok(Outcome::Ready(Box::new(Fresh { present, is_new_build: false, changes })))
    }

    /// Another library.
    fn build(
        &self,
        file: &ServiceFile,
        present: &Present,
        identity: &Identity,
        course: &mut Course<'_>,
    ) -> Result<Fresh, Refusal> {
        let process = &self.tools.process;
        let staged = course.step("stage", || {
            permissions::check(&identity.file, process.mode)
                .map_err(|error| Refusal::of("stage", &error))?;
            let number = self.tools.staged.fetch_add(1, Ordering::Relaxed);
            let staged = self.tools.staging.stage(identity, number);
            staged.map(|staged| (staged, None)).map_err(|error| Refusal::of("stage", &error))
        })?;
        let manifest = course.step("probe", || {
            let probed = probe_with(&staged, None, process);
            let (manifest, _) = probed.map_err(|error| Refusal::of("probe", &error))?;
            Ok((manifest, None))
        })?;
        let changes = schema_changes(&present.manifest.config_schema, &manifest.config_schema);
        let config = course.step("config", || {
            let config = self.config(file, &manifest, &staged)?;
            Ok((config, Some(changes.join("; ")).filter(|text| !text.is_empty())))
        })?;
        let library = course.step("load", || {
            self.tools.log.add_own_target(&manifest.crate_name);
            let library = Library::open(staged).map_err(|error| Refusal::of("load", &error))?;
            Ok((library, None))
        })?;
        let present = Present {
            library: Arc::new(library),
            manifest: Arc::new(manifest),
            config: config.into(),
            terms: Terms::of(&file.directives, &self.project.settings.defaults),
        };
        Ok(Fresh { present, is_new_build: true, changes })
    }

    /// The effective configuration, which the candidate's own type has read in a child process.
    fn config(
        &self,
        file: &ServiceFile,
        manifest: &Manifest,
        staged: &Staged,
    ) -> Result<Vec<u8>, Refusal> {
        let resolved = self.resolve(file, manifest);
        let value = resolved.value.clone();
        let (_, found) = probe_with(staged, Some(&value), &self.tools.process)
            .map_err(|error| Refusal::of_problem("config", &load_problem(&error)))?;
        refuse_problems(file, resolved, &found)?;
        Ok(value.to_string().into_bytes())
    }

    fn resolve(&self, file: &ServiceFile, manifest: &Manifest) -> Resolved {
        let own = self.tools.overrides.iter().filter(|it| it.service == file.name);
        let own: Vec<_> = own.cloned().collect();
        config::resolve(file, manifest, self.tools.process.env, &own)
    }
}

/// All mistakes in one refusal, the first of them with its hint.
fn refuse_problems(
    file: &ServiceFile,
    resolved: Resolved,
    found: &[plugin_api::manifest::ConfigProblem],
) -> Result<(), Refusal> {
    let mut problems = resolved.problems;
    let more = config::problems_from_plugin(found, &resolved.origins, &problems);
    problems.extend(more.into_iter().filter(|problem| !file.is_noise(problem)));
    let errors: Vec<_> = problems.iter().filter(|problem| problem.is_error()).collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let mut refusal = Refusal::of_problem("config", first);
    for other in errors.iter().skip(1) {
        refusal.reason.push_str("; ");
        refusal.reason.push_str(&other.one_line());
    }
    Err(refusal)
}

/// The top-level keys whose values differ.
fn value_changes(old: &[u8], new: &[u8]) -> Vec<String> {
    let read = |bytes| serde_json::from_slice::<serde_json::Map<String, Value>>(bytes);
    let (old, new) = (read(old).unwrap_or_default(), read(new).unwrap_or_default());
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let changed = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    changed.map(|key| format!("`{key}` changed")).collect()
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
