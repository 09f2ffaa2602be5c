//! What the host hears of the author's functions, apart from the handlers of messages.

use super::*;

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
