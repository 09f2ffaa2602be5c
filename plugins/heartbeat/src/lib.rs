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

struct Heartbeat {
    config: Config,
    zmq: PubSub,
    sequence: u64,
    received: u64,
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
        Ok(Self { config, zmq: PubSub::default(), sequence: 0, received: 0 })
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        self.zmq = ctx.pub_sub(&self.config.zmq)?;
        ctx.tick_every(Duration::from_secs_f64(self.config.work_interval));
        Ok(())
    }

    async fn on_tick(&mut self, ctx: &Context) -> Result<()> {
        self.sequence += 1;
        let heartbeat = json!({
            "type": "heartbeat",
            "service": self.config.service_name,
            "sequence": self.sequence,
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
        self.received += 1;
        let Command { command, id } = message.json()?;
        match command.as_str() {
            "ping" => {
                let status = json!({
                    "type": "status",
                    "service": self.config.service_name,
                    "reply_to": id,
                    "received": self.received,
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
