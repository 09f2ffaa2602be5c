//! The story of an installation: eras follow one another while people watch, and begin again when
//! nobody has been there for a while. Every change is published as a `SpaceTimeUpdate`.
//!
//! Listens to `AudiencePresent`, `RequestBiome` and `commands` (`next`, `reset`).

use std::time::Instant;

use plugin_api::prelude::*;
use plugin_api::schemas::{AudiencePresent, Extra, RequestBiome, SpaceTimeUpdate};

mod story;

use story::Story;

config! {
    /// Configuration of the story.
    pub struct Config {
        /// Seconds that an era lasts while somebody watches.
        #[schemars(range(min = 0.1))]
        pub era_duration: f64 = 30.0,
        /// Seconds without an audience after which the story begins again.
        #[schemars(range(min = 0.1))]
        pub idle_timeout: f64 = 120.0,
        /// The biome that the story begins in.
        pub biome: String = "temperate_forest".to_owned(),
        /// Where updates go, and where audience and commands come from.
        pub zmq: PubSubConfig = PubSubConfig::default(),
    }
}

#[derive(Deserialize)]
#[serde(crate = "plugin_api::serde")]
struct Command {
    command: String,
}

struct Core {
    config: Config,
    zmq: PubSub,
    story: Story,
    audience: u32,
    /// Since when the era lasts, and since when nobody is there.
    era_since: Instant,
    alone_since: Instant,
}

impl Service for Core {
    type Config = Config;

    async fn new(config: Config, _ctx: &Context) -> Result<Self> {
        let story = Story::begin(&config.biome)?;
        let now = Instant::now();
        let zmq = PubSub::default();
        Ok(Self { config, zmq, story, audience: 0, era_since: now, alone_since: now })
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        self.zmq = ctx.pub_sub(&self.config.zmq)?;
        ctx.tick_every(Duration::from_millis(100));
        Ok(())
    }

    async fn run(&mut self, ctx: &Context) -> Result<()> {
        self.announce("begin")?;
        ctx.serve(self).await
    }

    async fn on_message(&mut self, _ctx: &Context, message: Message) -> Result<()> {
        match message.topic() {
            "AudiencePresent" => {
                self.audience = message.json::<AudiencePresent>()?.person_count;
                self.alone_since = Instant::now();
                Ok(())
            }
            "RequestBiome" => {
                self.story.move_to(&message.json::<RequestBiome>()?.biome)?;
                self.announce("biome")
            }
            "commands" => match message.json::<Command>()?.command.as_str() {
                "next" => self.advance(),
                "reset" => self.begin_again(),
                // Other services answer other commands on the same port.
                _ => Ok(()),
            },
            _ => Err(Error::unhandled()),
        }
    }

    async fn on_tick(&mut self, _ctx: &Context) -> Result<()> {
        let seconds = |since: Instant| since.elapsed().as_secs_f64();
        if self.audience > 0 && seconds(self.era_since) >= self.config.era_duration {
            return self.advance();
        }
        let alone = self.audience == 0 && seconds(self.alone_since) >= self.config.idle_timeout;
        if alone && !self.story.at_the_beginning() {
            return self.begin_again();
        }
        Ok(())
    }
}

impl Core {
    fn advance(&mut self) -> Result<()> {
        self.story.advance();
        self.announce("era")
    }

    fn begin_again(&mut self) -> Result<()> {
        self.story = Story::begin(&self.config.biome)?;
        self.announce("reset")
    }

    /// Tells everyone where the story is, and starts the clock of its era.
    fn announce(&mut self, reason: &str) -> Result<()> {
        self.era_since = Instant::now();
        let (era, biome) = (self.story.era(), self.story.biome());
        tracing::info!(era, biome, reason, "the story moves on");
        self.zmq.publish_message(&SpaceTimeUpdate {
            tags: Some(vec![reason.to_owned()]),
            timestamp: None,
            extra: Extra::default().with("era", era).with("biome", biome),
        })
    }
}

export_service!(Core);
