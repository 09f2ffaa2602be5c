//! Says that it is alive, and answers commands: the service to copy.

use plugin_api::prelude::*;

config! {
    /// Configuration of the heartbeat.
    pub struct Config {
        /// Name that the messages carry.
        pub service_name: String = "heartbeat".to_owned(),
        /// Seconds from one heartbeat to the next.
        #[schemars(range(min = 0.01, max = 86_400.0))]
        pub work_interval: f64 = 1.0,
        /// Where to publish and what to listen to.
        pub zmq: PubSubConfig = PubSubConfig {
            publisher: Some(PublisherConfig::default()),
            subscriber: Some(SubscriberConfig {
                port: plugin_api::constants::DEFAULT_PORTS.agent,
                topics: vec!["heartbeat".to_owned(), "commands".to_owned()],
                ..SubscriberConfig::default()
            }),
        },
    }
}

saved_state! {
    /// What goes on when a new build takes over.
    struct Memory {
        /// Number of the latest heartbeat.
        sequence: u64,
        /// Commands so far.
        received: u64,
    }
}

/// The version of [`Memory`]'s form: another one when a field comes to mean something else.
const MEMORY_VERSION: u32 = 1;

struct Heartbeat {
    config: Config,
    zmq: PubSub,
    memory: Memory,
}

#[derive(Deserialize)]
#[serde(crate = "plugin_api::serde")]
struct Command {
    command: String,
    #[serde(default)]
    id: Value,
}

impl Service for Heartbeat {
    type Config = Config;

    async fn new(config: Config, _: &Context) -> Result<Self> {
        Ok(Self { config, zmq: PubSub::default(), memory: Memory::default() })
    }

    async fn restore_state(&mut self, _: &Context, state: SavedState) -> Result<()> {
        self.memory = state.read(MEMORY_VERSION)?;
        Ok(())
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        self.zmq = ctx.pub_sub(&self.config.zmq)?;
        ctx.tick_every(Duration::from_secs_f64(self.config.work_interval));
        Ok(())
    }

    async fn save_state(&mut self, _: &Context) -> Result<Option<SavedState>> {
        SavedState::of(MEMORY_VERSION, &self.memory)
    }

    async fn on_config(&mut self, ctx: &Context, config: Config) -> Result<ConfigChange> {
        if config.zmq != self.config.zmq {
            // Sockets are opened in `start`.
            return Ok(ConfigChange::Restart);
        }
        ctx.tick_every(Duration::from_secs_f64(config.work_interval));
        self.config = config;
        Ok(ConfigChange::Applied)
    }

    async fn on_tick(&mut self, ctx: &Context) -> Result<()> {
        self.memory.sequence += 1;
        let heartbeat = json!({
            "type": "heartbeat",
            "service": self.config.service_name,
            "sequence": self.memory.sequence,
            "uptime": ctx.uptime().as_secs_f64(),
            "version": env!("CARGO_PKG_VERSION"),
            "state": ctx.state(),
        });
        self.zmq.publish("heartbeat", &heartbeat)
    }

    async fn on_message(&mut self, ctx: &Context, message: Message) -> Result<()> {
        match message.topic() {
            "heartbeat" => Ok(()),
            "commands" => self.on_command(ctx, &message),
            _ => Err(Error::unhandled()),
        }
    }
}

impl Heartbeat {
    fn on_command(&mut self, ctx: &Context, message: &Message) -> Result<()> {
        self.memory.received += 1;
        let Command { command, id } = message.json()?;
        match command.as_str() {
            "ping" => {
                let status = json!({
                    "type": "status",
                    "service": self.config.service_name,
                    "reply_to": id,
                    "received": self.memory.received,
                    "state": ctx.state(),
                });
                self.zmq.publish("status", &status)
            }
            "fail" => Err(Error::new("asked to fail")),
            "fatal" => Err(Error::fatal("asked to fail fatally")),
            "stop" => {
                ctx.request_stop();
                Ok(())
            }
            other => Err(Error::invalid(format!("unknown command `{other}`"))),
        }
    }
}

export_service!(Heartbeat);
