//! What of `exphost.toml` is not as it was when the host began.

use super::HostSettings;

impl HostSettings {
    /// The tables and keys that differ. Nothing of them can be applied while the host runs, save
    /// `[defaults]`, which each service takes up when it is started the next time.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        // Destructured, so that a new table cannot be forgotten here.
        let Self { plugins_dir, log, bus, reload, control, stats, health, defaults: _ } = self;
        let mut differing = Vec::new();
        let mut note = |name: &str, differs: bool| {
            if differs {
                differing.push(name.to_owned());
            }
        };
        note("plugins_dir", *plugins_dir != other.plugins_dir);
        note("log.level", log.level != other.log.level);
        note("log.libraries", log.libraries != other.log.libraries);
        note("log.format", log.format != other.log.format);
        note("log.directory", log.directory != other.log.directory);
        note("log.console", log.console != other.log.console);
        note("bus.transport", bus.transport != other.bus.transport);
        note(
            "bus.zeromq_beyond_loopback",
            bus.zeromq_beyond_loopback != other.bus.zeromq_beyond_loopback,
        );
        note("bus.io_threads", bus.io_threads != other.bus.io_threads);
        note("bus.max_message_size", bus.max_message_size != other.bus.max_message_size);
        note("bus.high_water_mark", bus.high_water_mark != other.bus.high_water_mark);
        note("bus.linger", bus.linger != other.bus.linger);
        note("bus.mailbox_messages", bus.mailbox_messages != other.bus.mailbox_messages);
        note("bus.mailbox_bytes", bus.mailbox_bytes != other.bus.mailbox_bytes);
        note("bus.outbox_messages", bus.outbox_messages != other.bus.outbox_messages);
        note("bus.outbox_bytes", bus.outbox_bytes != other.bus.outbox_bytes);
        note("reload", *reload != other.reload);
        note("health.directory", health.directory != other.health.directory);
        note("stats", *stats != other.stats);
        note("control.socket", control.socket != other.control.socket);
        differing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_by_its_key() {
        let old = HostSettings::default();
        let mut new = HostSettings::default();
        assert!(old.differences(&new).is_empty());
        new.bus.high_water_mark = Some(7);
        new.log.console = Some(true);
        assert_eq!(old.differences(&new), ["log.console", "bus.high_water_mark"]);
    }
}
