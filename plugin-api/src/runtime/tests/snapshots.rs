//! Snapshots: what a service says of itself while it goes on, and that it is ready.

use super::*;

const SNAPSHOT: u8 = EnvelopeKind::Snapshot.code();

/// A service that is asked for a snapshot in each of two ticks, and stops in the third.
struct Asked {
    config: Config,
    memory: Memory,
}

impl Service for Asked {
    type Config = Config;

    async fn new(config: Config, _: &Context) -> Result<Self> {
        Ok(Self { config, memory: Memory::default() })
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        ctx.tick_every(Duration::from_millis(1));
        Ok(())
    }

    async fn on_tick(&mut self, ctx: &Context) -> Result<()> {
        if self.memory.ticks == 2 {
            ctx.request_stop();
            return Ok(());
        }
        say(&self.config.said);
        heard().await;
        self.memory.ticks += 1;
        note(format!("tick {}", self.memory.ticks));
        Ok(())
    }

    async fn save_state(&mut self, ctx: &Context) -> Result<Option<SavedState>> {
        note(format!("save_state {}", ctx.state()));
        self.config.save.out().await?;
        SavedState::of(1, &self.memory)
    }
}

fn asked(said: Vec<u8>, save: Act) -> (RunOutcome, Vec<String>) {
    let config = Config { said, save, ..Config::default() };
    life_of::<Asked>(config, Duration::from_secs(1), |_| {})
}

#[test]
fn a_snapshot_is_taken_between_two_handlers_and_the_service_goes_on() {
    let (outcome, notes) = asked(vec![SNAPSHOT], Act::Well);
    assert_eq!(outcome, RunOutcome::Stopped);
    let first = ["tick 1", "save_state RUNNING", r#"kept 1 {"ticks":1}"#];
    let second = ["tick 2", "save_state RUNNING", r#"kept 1 {"ticks":2}"#];
    assert_eq!(notes, [first, second].concat());
}

#[test]
fn a_snapshot_that_fails_is_recorded_and_the_service_goes_on() {
    let (outcome, notes) = asked(vec![SNAPSHOT], Act::Error);
    assert_eq!(outcome, RunOutcome::Stopped);
    let said = "Error in save_state: an error";
    let (first, second) =
        (["tick 1", "save_state RUNNING", said], ["tick 2", "save_state RUNNING", said]);
    assert_eq!(notes, [first, second].concat());
}

#[test]
fn a_panic_over_a_snapshot_ends_the_service_like_any_other() {
    let (outcome, notes) = asked(vec![SNAPSHOT], Act::Panic);
    assert_eq!(outcome, RunOutcome::Panicked);
    assert_eq!(notes, ["tick 1", "save_state RUNNING", "Panic in save_state: panicked: a panic"]);
}

#[test]
fn a_handover_asked_for_with_a_snapshot_saves_once_and_for_the_successor() {
    let (outcome, notes) = asked(vec![SNAPSHOT, HANDOVER], Act::Well);
    assert_eq!(outcome, RunOutcome::Stopped);
    assert_eq!(notes, ["tick 1", "save_state STOPPING", r#"kept 1 {"ticks":1}"#]);
}
