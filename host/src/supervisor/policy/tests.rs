//! Restarts decided in made-up time.

use proptest::prelude::*;

use super::*;
use crate::keep::Orders;

const SECOND: Duration = Duration::from_secs(1);

fn terms() -> Supervision {
    Supervision {
        delay: SECOND,
        delay_max: 5 * SECOND,
        healthy_after: 100 * SECOND,
        limit: 6,
        window: 1_000 * SECOND,
        ..Supervision::default()
    }
}

/// Fails at once, as often as asked; the pauses in seconds, `None` for the end.
fn pauses(terms: &Supervision, times: usize, jitter: f64) -> Vec<Option<f64>> {
    let (mut record, mut now) = (Record::default(), Instant::now());
    let failure = |_| match record.ended(terms, End::Failed, now, jitter) {
        Decision::Again(pause) => {
            now += pause;
            Some(pause.as_secs_f64())
        }
        Decision::Over => None,
    };
    (0..times).map(failure).collect()
}

#[test]
fn the_first_restart_is_at_once_and_each_further_one_waits_twice_as_long() {
    let expected = [Some(0.0), Some(1.0), Some(2.0), Some(4.0), Some(5.0), Some(5.0), None, None];
    assert_eq!(pauses(&terms(), 8, 0.0), expected);
}

#[test]
fn chance_shortens_a_pause_by_a_quarter_at_most() {
    let expected = [Some(0.0), Some(0.75), Some(1.5), Some(3.0), Some(3.75)];
    assert_eq!(pauses(&terms(), 5, 1.0), expected);
    assert_eq!(pauses(&terms(), 5, 7.0), expected, "whatever chance says");
}

#[test]
fn past_the_limit_it_is_tried_slowly_for_ever_if_so_configured() {
    let terms = Supervision { limit: 2, retry_every: Some(60 * SECOND), ..terms() };
    let slow = Some(60.0);
    assert_eq!(pauses(&terms, 6, 0.0), [Some(0.0), Some(1.0), slow, slow, slow, slow]);
}

#[test]
fn restarts_that_lie_behind_the_window_do_not_count() {
    let terms =
        Supervision { limit: 2, window: 10 * SECOND, healthy_after: 99 * SECOND, ..terms() };
    let (mut record, start) = (Record::default(), Instant::now());
    for second in [0_u32, 6, 12, 18, 24] {
        let decision = record.ended(&terms, End::Failed, start + second * SECOND, 0.0);
        assert!(matches!(decision, Decision::Again(_)), "after {second} s");
    }
    let decision = record.ended(&terms, End::Failed, start + 25 * SECOND, 0.0);
    assert_eq!((decision, record.gave_up()), (Decision::Over, true));
}

#[test]
fn a_healthy_time_forgets_what_was_before() {
    let terms = Supervision { limit: 3, retry_every: Some(60 * SECOND), ..terms() };
    let (mut record, start) = (Record::default(), Instant::now());
    assert_eq!(record.well_at(&terms), None, "there is nothing to forget");
    for _ in 0..4 {
        record.ended(&terms, End::Failed, start, 0.0);
    }
    assert!(record.gave_up());
    record.runs(start + 10 * SECOND);
    assert_eq!(record.well_at(&terms), Some(start + 110 * SECOND));
    let mut early = record.clone();
    assert_eq!(
        early.ended(&terms, End::Failed, start + 109 * SECOND, 0.0),
        Decision::Again(60 * SECOND)
    );
    let decision = record.ended(&terms, End::Failed, start + 110 * SECOND, 0.0);
    assert_eq!((decision, record.gave_up()), (Decision::Again(Duration::ZERO), false));
}

#[test]
fn how_it_ended_decides_with_the_policy() {
    let decide = |restart, end| {
        let terms = Supervision { restart, ..terms() };
        Record::default().ended(&terms, end, Instant::now(), 0.0) != Decision::Over
    };
    let hung = End::Hung { left_behind: 1 };
    for (restart, by_itself, failed) in [
        (Restart::Never, false, false),
        (Restart::OnFailure, false, true),
        (Restart::Always, true, true),
    ] {
        assert_eq!(decide(restart, End::ByItself), by_itself, "{restart:?}");
        assert_eq!(decide(restart, End::Failed), failed, "{restart:?}");
        assert_eq!(decide(restart, hung), failed, "{restart:?}");
    }
    assert!(!decide(Restart::Always, End::Hung { left_behind: MOST_LEFT_BEHIND }));
}

#[test]
fn a_pause_never_overflows() {
    let terms = Supervision { limit: 1_000, delay_max: 30 * SECOND, ..terms() };
    let all = pauses(&Supervision { window: 86_400 * SECOND, ..terms }, 1_000, 0.0);
    assert_eq!(all.last(), Some(&Some(30.0)));
}

/// What may happen to a service.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Fails,
    EndsByItself,
    Hangs,
    IsLate,
    Runs,
    TimePasses(u16),
    NewBuild,
    HostRestarts,
    OperatorStops,
    OperatorStarts,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        Just(Fails),
        Just(EndsByItself),
        Just(Hangs),
        Just(IsLate),
        Just(Runs),
        (0_u16..2_000).prop_map(TimePasses),
        Just(NewBuild),
        Just(HostRestarts),
        Just(OperatorStops),
        Just(OperatorStarts),
    ]
}

/// A service as the supervisor treats it: one that is down is started when its pause is over, when a
/// new build is tried, when the host begins, and when the operator says so. Each start asks the
/// record, as `Supervisor::start` does.
struct Modelled {
    record: Record,
    terms: Supervision,
    kept: Vec<u8>,
    now: Instant,
    is_up: bool,
    due: Option<Instant>,
    left_behind: usize,
}

impl Modelled {
    fn start(&mut self) {
        if self.record.permits_start() {
            self.is_up = true;
            self.due = None;
        }
    }

    fn ends(&mut self, end: End) {
        if !std::mem::take(&mut self.is_up) {
            return;
        }
        match self.record.ended(&self.terms, end, self.now, 0.5) {
            Decision::Again(pause) => self.due = Some(self.now + pause),
            Decision::Over => self.due = None,
        }
    }

    fn order(&mut self, rests: bool) {
        let mut orders = Orders::default();
        if rests {
            self.record.stop_ordered();
            orders.stop("it", jiff::Timestamp::UNIX_EPOCH);
            (self.is_up, self.due) = (false, None);
        } else {
            self.record.start_ordered();
        }
        self.kept = orders.to_bytes();
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Fails | Happening::IsLate => self.ends(End::Failed),
            Happening::EndsByItself => self.ends(End::ByItself),
            Happening::Hangs => {
                self.left_behind += usize::from(self.is_up);
                self.ends(End::Hung { left_behind: self.left_behind });
            }
            Happening::Runs if self.is_up => self.record.runs(self.now),
            Happening::Runs => {}
            Happening::TimePasses(seconds) => {
                self.now += u32::from(seconds) * SECOND;
                if self.due.is_some_and(|due| due <= self.now) {
                    self.start();
                }
            }
            Happening::NewBuild => {
                self.record.forget();
                self.start();
            }
            Happening::HostRestarts => {
                let orders = Orders::of_bytes(&self.kept).expect("what was written can be read");
                self.record = Record::new(orders.stopped().contains_key("it"));
                (self.is_up, self.due, self.left_behind) = (false, None, 0);
                self.start();
            }
            Happening::OperatorStops => self.order(true),
            Happening::OperatorStarts => {
                self.order(false);
                self.start();
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_but_the_operator_starts_a_service_that_the_operator_stopped(
        happenings in proptest::collection::vec(happening(), 0..60),
        restart in prop_oneof![Just(Restart::Never), Just(Restart::OnFailure), Just(Restart::Always)],
        retries: bool,
    ) {
        let retry_every = retries.then_some(60 * SECOND);
        let mut it = Modelled {
            record: Record::default(),
            terms: Supervision { restart, retry_every, ..terms() },
            kept: Orders::default().to_bytes(),
            now: Instant::now(),
            is_up: true,
            due: None,
            left_behind: 0,
        };
        let mut stopped = false;
        for one in happenings {
            it.happens(one);
            match one {
                Happening::OperatorStops => stopped = true,
                Happening::OperatorStarts => stopped = false,
                _ => {}
            }
            prop_assert!(!(stopped && (it.is_up || it.due.is_some())), "after {one:?}");
            prop_assert!(it.record.recent.len() <= it.terms.limit as usize);
        }
    }
}
