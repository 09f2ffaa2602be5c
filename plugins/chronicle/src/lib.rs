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

/// What was said under one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    messages: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

/// The bounded record.
#[derive(Debug, Default)]
struct Record {
    topics: BTreeMap<String, Count>,
    other: Count,
}

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
}
