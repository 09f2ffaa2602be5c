//! What the host hears of the author's functions, apart from the handlers of messages.

use super::sockets::{deliver, lived};
use super::*;
use crate::abi::NO_HANDLER;

thread_local! {
    static BEATS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

pub(super) extern "C" fn beat(_: *const (), place: RStr<'_>) {
    BEATS.with_borrow_mut(|beats| beats.push(place.as_str().to_owned()));
}

#[test]
fn the_host_is_told_what_begins_and_that_it_is_over() {
    let (outcome, _) = life_of::<Ticking>(Config::default(), Duration::from_secs(1), |_| {});
    assert_eq!(outcome, RunOutcome::Stopped);
    let mut beats = BEATS.take();
    // Those of the timer come when they come, and say the same.
    beats.dedup();
    let begun = beats.iter().position(|place| !place.is_empty()).expect("something began");
    assert_eq!(beats[begun..], ["on_tick", "", "save_state", ""]);
}

#[test]
fn a_function_that_panics_is_over_as_well() {
    let config = Config { tick: Act::Panic, ..Config::default() };
    let (outcome, _) = life_of::<Ticking>(config, Duration::from_secs(1), |_| {});
    assert_eq!(outcome, RunOutcome::Panicked);
    let beats = BEATS.take();
    assert!(beats.contains(&"on_tick".to_owned()), "{beats:?}");
    assert_eq!(beats.last().map(String::as_str), Some(""), "{beats:?}");
}

/// Handles messages of which each rouses a task; that notes what the host was told last.
struct Rousing(std::rc::Rc<tokio::sync::Notify>);

impl Service for Rousing {
    type Config = Config;

    async fn new(_: Config, _: &Context) -> Result<Self> {
        Ok(Self(std::rc::Rc::default()))
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        let subscriber = Some(SubscriberConfig::default());
        ctx.pub_sub(&PubSubConfig { subscriber, ..PubSubConfig::default() })?;
        let (roused, ctx) = (std::rc::Rc::clone(&self.0), ctx.clone());
        ctx.clone().add_task("roused", async move {
            roused.notified().await;
            note(format!("task after {:?}", BEATS.with_borrow(|beats| beats.last().cloned())));
            ctx.request_stop();
            Ok(())
        });
        Ok(())
    }

    async fn on_message(&mut self, _: &Context, message: Message) -> Result<()> {
        note(message.topic());
        self.0.notify_one();
        Ok(())
    }
}

#[test]
fn a_task_that_has_its_turn_after_a_burst_is_not_taken_for_the_last_handler() {
    let (outcome, notes) = lived::<Rousing>(|| {
        (0..100).for_each(|n| deliver(EnvelopeKind::Message, 0, &n.to_string(), "{}"));
    });
    BEATS.take();
    assert_eq!(outcome, RunOutcome::Stopped, "{notes:?}");
    let (task, handled) = notes.split_last().expect("the task was roused");
    assert_eq!(*task, format!("task after {:?}", Some(NO_HANDLER)));
    assert!((1..100).contains(&handled.len()), "more were waiting: {handled:?}");
}
