//! Making a service ready once more while the host runs: for a new build, for a changed
//! configuration, for a start by order. The running service is not touched by anything in here.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::look::{Bench, Course, Tools};
use super::outcome::{Asked, HostChanges, How, News, Outcome, Present, Refusal};
use super::{Prepared, ReadyService};
use crate::config::ServiceFile;
use crate::environment::Process;
use crate::logging::LogHandle;
use crate::plugin::code::Code;
use crate::plugin::error::LoadError;
use crate::plugin::scan;
use crate::problem::Problem;
use crate::project::Project;

/// Makes services ready; cheap to clone. Every method blocks: it reads files and waits for child
/// processes, so it is called on a thread for the purpose.
#[derive(Clone)]
pub struct Workshop(Arc<Tools>);

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
        self.0.places.folders_to_watch(&self.0.name)
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
            library: Code::of(service.staged, service.terms.isolation.is_process())?,
            manifest: Arc::new(service.manifest),
            config: service.config.to_string().into_bytes().into(),
            terms: Arc::new(service.terms),
        })
    }

    /// What has changed about the project that only a restart of the host applies. `known` are the
    /// services that it has.
    #[must_use]
    pub fn host_changes(&self, known: &[String]) -> HostChanges {
        let project = Project::read(&self.0.places, &self.0.name, self.0.process.env);
        let is_new = |file: &&ServiceFile| {
            file.is_for_host && file.directives.enabled && !known.contains(&file.name)
        };
        let new_services = project.services.iter().filter(is_new).map(|file| file.name.clone());
        let new_services = new_services.collect();
        if project.problems.iter().any(Problem::is_error) {
            return HostChanges { keys: Vec::new(), new_services, problems: project.problems };
        }
        let keys = self.0.settings.differences(&project.settings);
        HostChanges { keys, new_services, problems: Vec::new() }
    }

    /// Looks at services. The project and the plugin directory are read once for all of them.
    pub fn look(&self, asked: Vec<Asked>, tell: &dyn Fn(News)) {
        let began = Instant::now();
        let project = Project::read(&self.0.places, &self.0.name, self.0.process.env);
        let candidates = scan::scan(&self.0.plugins_dir);
        let read = began.elapsed();
        for one in asked {
            let service = one.service.clone();
            let mut course = Course::new(&service, tell);
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
