use plugin_api::prelude::*;

config! {
    /// Configuration.
    pub struct Config {}
}

struct Lamp;

impl Service for Lamp {
    type Config = Config;

    async fn new(_: Config, _: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn on_message(&mut self, _: Message) -> Result<()> {
        Ok(())
    }
}

export_service!(Lamp);

fn main() {}
