//! The memory of an installation: counts what is said, by topic, and logs a summary now and then.
//!
//! What it keeps is bounded: topics beyond `max_topics` are counted together as `other`.

use std::collections::BTreeMap;

use plugin_api::prelude::*;

config! {
    /// Configuration of the chronicle.
    pub struct Config {
        /// Seconds between two summaries.
        #[schemars(range(min = 0.1))]
        pub summary_interval: f64 = 60.0,
        /// How many topics are told apart.
        #[schemars(range(min = 1))]
        pub max_topics: usize = 256,
        /// Where events are heard.
        pub events: PubSubConfig = PubSubConfig::default(),
        /// Where updates are heard.
        pub updates: PubSubConfig = PubSubConfig::default(),
    }
}

saved_state! {
    /// What was said under one topic.
    #[derive(Copy, PartialEq, Eq)]
    struct Count {
        messages: u64,
        bytes: u64,
    }
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

saved_state! {
    /// The bounded record, which goes on when a new build takes over.
    struct Record {
        topics: BTreeMap<String, Count>,
        other: Count,
    }
}

/// The version of [`Record`]'s form.
const RECORD_VERSION: u32 = 1;

impl Record {
    fn note(&mut self, topic: &str, bytes: usize, max_topics: usize) {
        if let Some(count) = self.topics.get_mut(topic) {
            count.add(bytes);
        } else if self.topics.len() < max_topics {
            self.topics.entry(topic.to_owned()).or_default().add(bytes);
        } else {
            self.other.add(bytes);
        }
    }
}

struct Chronicle {
    config: Config,
    record: Record,
}

impl Service for Chronicle {
    type Config = Config;

    async fn new(config: Config, _ctx: &Context) -> Result<Self> {
        Ok(Self { config, record: Record::default() })
    }

    async fn restore_state(&mut self, _ctx: &Context, state: SavedState) -> Result<()> {
        self.record = state.read(RECORD_VERSION)?;
        Ok(())
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        // Only listens, so the handles, which are for publishing, are not kept.
        ctx.pub_sub(&self.config.events)?;
        ctx.pub_sub(&self.config.updates)?;
        ctx.tick_every(Duration::from_secs_f64(self.config.summary_interval));
        Ok(())
    }

    async fn on_message(&mut self, _ctx: &Context, message: Message) -> Result<()> {
        let bytes = message.payload().len();
        self.record.note(message.topic(), bytes, self.config.max_topics);
        Ok(())
    }

    async fn on_tick(&mut self, _ctx: &Context) -> Result<()> {
        self.summarize();
        Ok(())
    }

    async fn save_state(&mut self, _ctx: &Context) -> Result<Option<SavedState>> {
        SavedState::of(RECORD_VERSION, &self.record)
    }

    async fn stop(&mut self, _ctx: &Context) -> Result<()> {
        self.summarize();
        Ok(())
    }
}

impl Chronicle {
    fn summarize(&self) {
        let other = [("(other)", &self.record.other)];
        let topics = self.record.topics.iter().map(|(topic, count)| (topic.as_str(), count));
        for (topic, count) in topics.chain(other).filter(|(_, count)| count.messages > 0) {
            tracing::info!(topic, messages = count.messages, bytes = count.bytes, "heard so far");
        }
    }
}

export_service!(Chronicle);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_beyond_the_bound_are_counted_together() {
        let mut record = Record::default();
        for topic in ["a", "b", "c", "a", "d"] {
            record.note(topic, 10, 2);
        }
        assert_eq!(record.topics.len(), 2);
        assert_eq!(record.topics["a"], Count { messages: 2, bytes: 20 });
        assert_eq!(record.other, Count { messages: 2, bytes: 20 });
    }

    #[test]
    fn what_was_counted_is_counted_on_by_the_next_build() {
        let mut record = Record::default();
        ["a", "b"].iter().for_each(|topic| record.note(topic, 10, 1));
        let state = SavedState::of(RECORD_VERSION, &record).unwrap().unwrap();
        let mut record: Record = state.read(RECORD_VERSION).unwrap();
        ["a", "b"].iter().for_each(|topic| record.note(topic, 10, 1));
        assert_eq!(record.topics["a"], Count { messages: 2, bytes: 20 });
        assert_eq!(record.other, Count { messages: 2, bytes: 20 });
    }
}
