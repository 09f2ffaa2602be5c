//! Orders of somebody who looks into the running host: how much is logged and where, what passes the
//! bus, and what happens when a certain message does.

use plugin_api::abi::{EnvelopeKind, SendOutcome};
use plugin_api::zmq::SocketRole;

use super::Supervisor;
use super::orders::{LevelChange, LogFile, Publication, Published, Refused};
use super::supervised::{Life, Supervised};
use crate::bus::tap::Listening;
use crate::bus::{SocketStats, frame};
use crate::logging::{self, Levels};
use crate::message::SocketId;
use crate::plugin::host_side::ServiceHost;

impl Supervisor {
    /// Changes a level, if that is wanted, and tells all.
    pub(super) fn log_level(
        &self,
        service: Option<&str>,
        change: Option<LevelChange>,
    ) -> Result<Levels, Refused> {
        let meant = service.map(|service| self.known(service)).transpose()?;
        let log = &self.around.log;
        let Some(change) = change else { return Ok(log.levels()) };
        let level = match change {
            LevelChange::To(level) => Some(level),
            LevelChange::Default => None,
        };
        match meant {
            Some(service) => log.set_service_level(&service.name, level),
            None => log.set_level(level),
        }
        let concerned = self.services.iter().filter(|it| meant.is_none_or(|me| me.name == it.name));
        // An instance that hangs hears of it when it goes on, and the next one asks by itself.
        for service in concerned.filter(|it| it.has_thread()) {
            service.hosted.mailbox().push_control(EnvelopeKind::LogLevel);
        }
        let level = <&str>::from(change);
        tracing::info!(service, level, "level of the log changed, by order");
        Ok(log.levels())
    }

    /// Where the log files are, the host's own first.
    pub(super) fn log_files(&self, service: Option<&str>) -> Result<Vec<LogFile>, Refused> {
        let meant = service.map(|service| self.known(service)).transpose()?;
        let directory = self.around.log.directory().ok_or_else(|| Refused {
            error: "the host writes no log files: their directory cannot be written".to_owned(),
            hint: Some("it logs to its standard error; under systemd: `journalctl -u`".to_owned()),
        })?;
        // A client stands in a directory of its own.
        let directory = std::path::absolute(directory).map_err(|error| Refused {
            error: format!("{}: {error}", directory.display()),
            hint: None,
        })?;
        let of_service = |it: &Supervised| LogFile {
            service: Some(it.name.clone()),
            file: directory.join(logging::file_name(&it.name, ".log")),
        };
        if let Some(service) = meant {
            return Ok(vec![of_service(service)]);
        }
        let own = LogFile { service: None, file: directory.join(logging::HOST_FILE) };
        Ok([own].into_iter().chain(self.services.iter().map(of_service)).collect())
    }

    /// Listens to the bus.
    pub(super) fn listen(&self, topic: String) -> Result<Listening, Refused> {
        self.around.bus.listen(topic).map_err(|error| Refused {
            error: error.to_string(),
            hint: Some("end one of the other `exphost tap`".to_owned()),
        })
    }

    /// Publishes a message in a service's name, as if it had done so itself.
    pub(super) fn publish(&self, publication: &Publication) -> Result<Published, Refused> {
        let Publication { service, topic, payload } = publication;
        frame::check_topic(topic).map_err(|error| Refused { error, hint: None })?;
        let (service, socket) = self.publisher(service.as_deref())?;
        let outcome = service.hosted.send(SocketId(socket.id), topic, payload);
        let trouble = match outcome {
            SendOutcome::Queued => None,
            SendOutcome::Full => Some("too many of its messages wait to be sent"),
            SendOutcome::TooLarge => Some("the message is too large"),
            SendOutcome::NoSocket | SendOutcome::Closed => Some("its publisher is just closing"),
        };
        if let Some(trouble) = trouble {
            let error = format!("`{}` cannot publish it: {trouble}", service.name);
            return Err(Refused { error, hint: None });
        }
        tracing::info!(service = service.name, topic, "message published, by order");
        Ok(Published {
            service: service.name.clone(),
            key: socket.key,
            endpoint: socket.endpoint,
            topic: topic.clone(),
            size: payload.len(),
            connections: socket.connections,
            joined: socket.joined,
        })
    }

    /// The publisher that is meant: of a service, or the only one.
    fn publisher(&self, service: Option<&str>) -> Result<(&Supervised, SocketStats), Refused> {
        if let Some(service) = service {
            let service = self.known(service)?;
            if !matches!(service.life, Life::Running(_)) {
                let error = format!("`{}` does not run", service.name);
                let hint = format!("`exphost status {}` tells how it is", service.name);
                return Err(Refused { error, hint: Some(hint) });
            }
        }
        let all = self.publishers();
        let names = || {
            let names: Vec<_> = all.iter().map(|(it, _)| format!("`--as {}`", it.name)).collect();
            Some(names.join(", ")).filter(|names| !names.is_empty())
        };
        if let Some(service) = service {
            return all.iter().find(|(it, _)| it.name == service).cloned().ok_or_else(|| Refused {
                error: format!("`{service}` has no publisher"),
                hint: names().map(|names| format!("these have one: {names}")),
            });
        }
        match all.as_slice() {
            [] => Err(Refused {
                error: "no running service has a publisher".to_owned(),
                hint: Some("`exphost stats` lists the sockets of each".to_owned()),
            }),
            [one] => Ok(one.clone()),
            _ => Err(Refused {
                error: format!("{} services have a publisher", all.len()),
                hint: names().map(|names| format!("say by which one: {names}")),
            }),
        }
    }

    /// The publisher of each running service that has one.
    fn publishers(&self) -> Vec<(&Supervised, SocketStats)> {
        let running = self.services.iter().filter(|it| matches!(it.life, Life::Running(_)));
        let with_publisher = running.filter_map(|it| {
            let (sockets, _) = self.around.bus.stats_of(&it.name);
            let own = sockets.into_iter().find(|socket| socket.role == SocketRole::Publisher);
            own.map(|socket| (it, socket))
        });
        with_publisher.collect()
    }
}
