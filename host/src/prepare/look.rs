//! A look at one service: what it should run by its files, and everything that can be found wrong
//! with that before the running instance is touched.
//!
//! The order is that of the first start: identify, stage, probe, configuration, load. The
//! configuration is checked by the candidate's own type in a child process, before the candidate is
//! opened in this one: what is refused leaves no trace in the host.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plugin_api::manifest::{ConfigProblem, Manifest};
use semver::VersionReq;
use serde_json::Value;

use super::cannot_report;
use super::outcome::{Asked, Fresh, How, News, Outcome, Present, Refusal, Terms};
use super::plugins::{load_problem, probe_with};
use crate::config::schema_changes::schema_changes;
use crate::config::{self, Override, Resolved, ServiceFile};
use crate::environment::Process;
use crate::logging::LogHandle;
use crate::plugin::code::Code;
use crate::plugin::identify::Identity;
use crate::plugin::permissions;
use crate::plugin::scan::{self, Candidate};
use crate::plugin::stage::{Staged, Staging};
use crate::project::{HostSettings, Places, Project, ProjectName, start_order};

/// What every look needs.
pub(super) struct Tools {
    pub(super) places: Places,
    pub(super) name: ProjectName,
    pub(super) plugins_dir: PathBuf,
    pub(super) settings: HostSettings,
    pub(super) overrides: Vec<Override>,
    pub(super) process: Process<'static>,
    pub(super) staging: Staging,
    /// The number of the next private copy.
    pub(super) staged: AtomicU64,
    pub(super) log: LogHandle,
}

/// The steps of one look, told as they end; held back while it may turn out that nothing changed.
pub(super) struct Course<'a> {
    service: &'a str,
    tell: &'a dyn Fn(News),
    held: Option<Vec<News>>,
}

impl<'a> Course<'a> {
    pub(super) fn new(service: &'a str, tell: &'a dyn Fn(News)) -> Self {
        Self { service, tell, held: Some(Vec::new()) }
    }

    fn step<T>(
        &mut self,
        step: &'static str,
        work: impl FnOnce() -> Result<(T, Option<String>), Refusal>,
    ) -> Result<T, Refusal> {
        let began = Instant::now();
        let result = work();
        self.ended(step, began.elapsed(), result)
    }

    pub(super) fn ended<T>(
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

    pub(super) fn release(&mut self) {
        self.held.take().into_iter().flatten().for_each(self.tell);
    }
}

/// What a look has at hand.
pub(super) struct Bench<'a> {
    pub(super) tools: &'a Tools,
    pub(super) project: &'a Project,
    pub(super) candidates: &'a [Candidate],
    /// How long project and plugin directory took to read.
    pub(super) read: Duration,
}

impl Bench<'_> {
    pub(super) fn look_at(
        &self,
        asked: Asked,
        course: &mut Course<'_>,
    ) -> Result<Outcome, Refusal> {
        let Asked { service, present, how } = asked;
        let file = self.file_of(&service, course)?;
        let runs = present.library.identity();
        let version = &file.directives.version;
        // `*` matches no pre-release, and yet means any version.
        let wants_what_runs = scan::same_name(file.plugin(), &runs.name)
            && (*version == VersionReq::STAR || version.matches(&runs.version));
        // To run it elsewhere is as good as another build.
        let stays = file.directives.isolation.is_process() == present.library.is_apart();
        if how == How::IfConfigChanged && wants_what_runs && stays {
            return self.reconfigure(&file, present, course);
        }
        if matches!(how, How::IfChanged { at_rest: true, .. }) && self.is_unsettled(file.plugin()) {
            course.held = None;
            return Ok(Outcome::Unsettled);
        }
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
        if identity.sha256 == runs.sha256 && how.if_changed() && stays {
            return self.reconfigure(&file, present, course);
        }
        if matches!(&how, How::IfChanged { refused: Some(refused), .. } if *refused == identity.sha256)
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
        if let Some(file) = known.filter(|file| file.directives.enabled) {
            return Ok(file.clone());
        }
        if let Some(file) = known {
            let reason = format!("{}: `enabled = false`", file.file.display());
            let refusal = Refusal {
                hint: Some(format!(
                    "the next start of the host leaves it out; `exphost stop {service}` stops it now"
                )),
                ..Refusal::new("config", reason)
            };
            return course.ended("config", self.read, Err(refusal));
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

    /// Whether a file that may be this plugin was changed so recently that it may still be written. A
    /// look for one file's sake sees the others of the directory too.
    fn is_unsettled(&self, plugin: &str) -> bool {
        let settle = self.tools.settings.reload.settle;
        let named = self.candidates.iter().filter(|candidate| match &candidate.identity {
            Ok(identity) => scan::same_name(&identity.name, plugin),
            Err(_) => scan::is_named(&candidate.file, plugin),
        });
        // A time of change that lies ahead is a clock that was set, and no reason to wait for it.
        let changed_within = |file: &Path| {
            let changed = std::fs::metadata(file).ok()?;
            let seconds = Duration::from_secs(changed.ctime().try_into().ok()?);
            let at =
                UNIX_EPOCH + seconds + Duration::from_nanos(changed.ctime_nsec().try_into().ok()?);
            Some(SystemTime::now().duration_since(at).ok()? < settle)
        };
        let mut named = named.map(|candidate| changed_within(&candidate.file));
        named.any(|unsettled| unsettled == Some(true))
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
            Err(scan::ChooseError::NotFound { bad, .. }) if bad.is_empty() && how.if_changed() => {
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
        let terms = Terms::of(file, &self.project.settings.defaults);
        let config = course.step("config", || {
            self.refuse_terms(file, &present, &terms, present.library.identity())?;
            let resolved = self.resolve(file, &present.manifest);
            let given = resolved.for_plugin();
            let bytes = given.to_string().into_bytes();
            let found = match &present.library {
                // It runs in this process already, so nothing new is risked by asking it.
                Code::Here(library) => library.check_config(&bytes),
                Code::Apart(staged) => self.objections(staged, &given)?,
            };
            refuse_problems(file, resolved, &found)?;
            Ok((bytes, None))
        });
        let config: Arc<[u8]> = config.map_err(|it| it.about(present.library.identity()))?.into();
        if config == present.config && terms == *present.terms {
            course.held = None;
            return Ok(Outcome::Unchanged);
        }
        let changes = value_changes(&present.config, &config);
        course.release();
        let present = Present { config, terms: Arc::new(terms), ..present };
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
        let terms = Terms::of(file, &self.project.settings.defaults);
        let config = course.step("config", || {
            self.refuse_terms(file, present, &terms, identity)?;
            let config = self.config(file, &manifest, &staged)?;
            Ok((config, Some(changes.join("; ")).filter(|text| !text.is_empty())))
        })?;
        let apart = file.directives.isolation.is_process();
        let library = course.step("load", || {
            self.tools.log.add_own_target(&manifest.crate_name);
            let library = Code::of(staged, apart).map_err(|error| Refusal::of("load", &error))?;
            Ok((library, apart.then(|| "in a process of its own".to_owned())))
        })?;
        let present = Present {
            library,
            manifest: Arc::new(manifest),
            config: config.into(),
            terms: Arc::new(terms),
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
        let value = resolved.for_plugin();
        let found = self.objections(staged, &value)?;
        refuse_problems(file, resolved, &found)?;
        Ok(value.to_string().into_bytes())
    }

    /// What the host cannot do for the service: wait for what it cannot say, or for itself.
    fn refuse_terms(
        &self,
        file: &ServiceFile,
        present: &Present,
        terms: &Terms,
        identity: &Identity,
    ) -> Result<(), Refusal> {
        let mut problem = cannot_report(file, terms, identity);
        if terms.depends_on != present.terms.depends_on {
            let services = self.project.services.iter().filter(|it| it.directives.enabled);
            let order = start_order(&services.collect::<Vec<_>>());
            problem = problem.or_else(|| order.err()?.into_iter().next());
        }
        problem.map_or(Ok(()), |problem| Err(Refusal::of_problem("config", &problem)))
    }

    /// What a build that is not opened here has against a configuration.
    fn objections(&self, staged: &Staged, value: &Value) -> Result<Vec<ConfigProblem>, Refusal> {
        probe_with(staged, Some(value), &self.tools.process)
            .map(|(_, found)| found)
            .map_err(|error| Refusal::of_problem("config", &load_problem(&error)))
    }

    fn resolve(&self, file: &ServiceFile, manifest: &Manifest) -> Resolved {
        let own = self.tools.overrides.iter().filter(|it| it.service == file.name);
        let own: Vec<_> = own.cloned().collect();
        let env = self.project.dotenv.below(self.tools.process.env);
        config::resolve(file, manifest, &env, &own)
    }
}

/// All mistakes in one refusal, the first of them with its hint.
fn refuse_problems(
    file: &ServiceFile,
    mut resolved: Resolved,
    found: &[ConfigProblem],
) -> Result<(), Refusal> {
    resolved.add_objections(file, found);
    let errors: Vec<_> = resolved.problems.iter().filter(|problem| problem.is_error()).collect();
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
