//! What is watched, and who is told.

use plugin_api::prelude::*;

use crate::level::Level;

config! {
    /// Configuration of the health service.
    pub struct Config {
        /// The folder of the health files; empty for the host's usual one: `logs/health` in
        /// development, `/var/cache/experimance/health` in production.
        pub directory: String = String::new(),
        /// The services that must be there, by the names of their files without ending. Others whose
        /// files are found are watched too.
        pub services: Vec<String> = Vec::new(),
        /// Services that are not watched, by the names of their files without ending.
        pub ignore: Vec<String> = Vec::new(),
        /// Seconds between two looks at the files.
        #[schemars(range(min = 0.05, max = 3_600.0))]
        pub check_interval: f64 = 10.0,
        /// Seconds after which a file that was not written again is stale.
        #[schemars(range(min = 1.0, max = 86_400.0))]
        pub stale_after: f64 = 120.0,
        /// Seconds after the start in which nobody is told anything: services are still starting.
        #[schemars(range(min = 0.0, max = 86_400.0))]
        pub grace_period: f64 = 60.0,
        /// Seconds after a notice about a service in which only something worse is told of it.
        #[schemars(range(min = 0.0, max = 604_800.0))]
        pub cooldown: f64 = 300.0,
        /// Seconds for which what happens is collected into one notice.
        #[schemars(range(min = 0.0, max = 3_600.0))]
        pub buffer_time: f64 = 5.0,
        /// The least level that is told.
        pub notify_on: Level = Level::Warning,
        /// Whether people are told when a service that they were told of is well again.
        pub notify_recovery: bool = true,
        /// Whether notices are only logged and not sent. The log has them in any case.
        pub dry_run: bool = true,
        /// Days after which the file of a service that is not written any more is deleted; 0 for never.
        #[schemars(range(min = 0.0, max = 3_650.0))]
        pub delete_after_days: f64 = 0.0,
        /// An address that is given each notice as a JSON object.
        pub webhook: Webhook = Webhook::default(),
        /// A topic of an ntfy server.
        pub ntfy: Ntfy = Ntfy::default(),
        /// How notices are sent.
        pub delivery: Delivery = Delivery::default(),
    }
}

config! {
    /// Where notices are posted to as JSON.
    pub struct Webhook {
        /// `http://…` or `https://…`; empty for none.
        #[schemars(regex(pattern = "^(https?://.+)?$"))]
        pub url: String = String::new(),
        /// Sent as `Authorization: Bearer …`; empty for none.
        pub token: Secret = Secret::default(),
    }
}

config! {
    /// Where notices are pushed to phones.
    pub struct Ntfy {
        /// The server, `https://ntfy.example.org`; empty for none.
        #[schemars(regex(pattern = "^(https?://.+)?$"))]
        pub server: String = String::new(),
        /// The topic.
        #[schemars(regex(pattern = "^[A-Za-z0-9_-]{0,64}$"))]
        pub topic: String = String::new(),
        /// Sent as `Authorization: Bearer …`; empty for none.
        pub token: Secret = Secret::default(),
    }
}

config! {
    /// How notices are sent.
    pub struct Delivery {
        /// Seconds that one attempt may take. Less than the service's `stop_timeout`, which an attempt
        /// that is under way may use up.
        #[schemars(range(min = 0.05, max = 60.0))]
        pub timeout: f64 = 3.0,
        /// How often a notice is tried before it is given up.
        #[schemars(range(min = 1, max = 20))]
        pub attempts: u32 = 3,
        /// Seconds before the second attempt; each further pause is twice as long.
        #[schemars(range(min = 0.01, max = 600.0))]
        pub backoff: f64 = 2.0,
    }
}

impl Config {
    /// What a schema cannot say.
    pub(crate) fn validate(&self, problems: &mut ConfigProblems) {
        if self.ntfy.server.is_empty() != self.ntfy.topic.is_empty() {
            problems.add("ntfy", "server and topic belong together: give both or neither");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_no_debug_output() {
        let config = Config {
            webhook: Webhook { token: "hunter2".into(), ..Webhook::default() },
            ..Config::default()
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("********") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_topic_needs_a_server() {
        let is_good = |config: &Config| {
            let mut problems = ConfigProblems::default();
            config.validate(&mut problems);
            problems.into_vec().is_empty()
        };
        let mut config = Config::default();
        assert!(is_good(&config));
        config.ntfy.topic = "studio".to_owned();
        assert!(!is_good(&config));
        config.ntfy.server = "https://ntfy.example.org".to_owned();
        assert!(is_good(&config));
    }
}
