//! The story of an installation: eras follow one another while people watch, and begin again when
//! nobody has been there for a while. Every change is published as a `SpaceTimeUpdate`.
//!
//! Listens to `AudiencePresent`, `RequestBiome` and `commands` (`next`, `reset`). A new build goes on
//! with the story where it is, and nobody is told, since nothing has changed.

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

saved_state! {
    /// Where the story is when a new build takes over.
    struct Memory {
        era: String,
        biome: String,
        audience: u32,
        /// Seconds that the era has lasted, and that nobody has been there.
        era_lasts: f64,
        alone: f64,
    }
}

/// The version of [`Memory`]'s form.
const MEMORY_VERSION: u32 = 1;

struct Core {
    config: Config,
    zmq: PubSub,
    story: Story,
    /// Whether the story was told before this instance.
    resumed: bool,
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
        Ok(Self {
            config,
            zmq: PubSub::default(),
            story,
            resumed: false,
            audience: 0,
            era_since: now,
            alone_since: now,
        })
    }

    async fn restore_state(&mut self, _ctx: &Context, state: SavedState) -> Result<()> {
        let memory: Memory = state.read(MEMORY_VERSION)?;
        // A build without that place has nothing to go on with, but a story to tell all the same.
        self.story = Story::resume(&memory.era, &memory.biome)
            .map_err(|error| Error::start_fresh(error.to_string()))?;
        self.resumed = true;
        self.audience = memory.audience;
        self.era_since = seconds_ago(memory.era_lasts);
        self.alone_since = seconds_ago(memory.alone);
        Ok(())
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        self.zmq = ctx.pub_sub(&self.config.zmq)?;
        ctx.tick_every(Duration::from_millis(100));
        Ok(())
    }

    async fn run(&mut self, ctx: &Context) -> Result<()> {
        if !self.resumed {
            self.announce("begin")?;
        }
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

    async fn save_state(&mut self, _ctx: &Context) -> Result<Option<SavedState>> {
        let memory = Memory {
            era: self.story.era().to_owned(),
            biome: self.story.biome().to_owned(),
            audience: self.audience,
            era_lasts: seconds(self.era_since),
            alone: seconds(self.alone_since),
        };
        SavedState::of(MEMORY_VERSION, &memory)
    }

    async fn on_tick(&mut self, _ctx: &Context) -> Result<()> {
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

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// That long ago; now, when it makes no sense.
fn seconds_ago(seconds: f64) -> Instant {
    let now = Instant::now();
    let ago = Duration::try_from_secs_f64(seconds).ok();
    ago.and_then(|ago| now.checked_sub(ago)).unwrap_or(now)
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
