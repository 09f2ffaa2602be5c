use super::*;

const GRACE: u64 = 60;

fn rules() -> Rules {
    Rules {
        expected: BTreeSet::from(["core".to_owned()]),
        ignored: BTreeSet::from(["toy".to_owned()]),
        stale_after: Duration::from_secs(120),
        grace_period: Duration::from_secs(GRACE),
        cooldown: Duration::from_secs(300),
        notify_on: Level::Warning,
        notify_recovery: true,
        delete_after: None,
    }
}

fn says(status: HealthStatus) -> Sight {
    let report = Report { status, stopped: false, message: String::new() };
    Sight { age: Duration::from_secs(1), content: Content::Report(report) }
}

fn aged(seconds: u64) -> Sight {
    Sight { age: Duration::from_secs(seconds), ..says(HealthStatus::Healthy) }
}

fn stopped(seconds: u64) -> Sight {
    let report = Report { status: HealthStatus::Unknown, stopped: true, message: String::new() };
    Sight { age: Duration::from_secs(seconds), content: Content::Report(report) }
}

/// A monitor that has begun at 0, and rules that tests change.
struct Watch {
    monitor: Monitor,
    rules: Rules,
}

impl Watch {
    fn new() -> Self {
        let mut watch = Self { monitor: Monitor::default(), rules: rules() };
        assert!(watch.at(0, &[]).is_empty(), "nothing is told in the grace period");
        watch
    }

    fn findings(&mut self, second: u64, seen: &[(&str, Sight)]) -> Findings {
        let seen = seen.iter().map(|(name, sight)| ((*name).to_owned(), sight.clone())).collect();
        self.monitor.look(&seen, &self.rules, Duration::from_secs(second))
    }

    /// `core error Stale`, each.
    fn at(&mut self, second: u64, seen: &[(&str, Sight)]) -> Vec<String> {
        let events = self.findings(second, seen).events;
        let line = |event: Event| match event.kind {
            Kind::Recovered => format!("{} recovered", event.service),
            Kind::Trouble(trouble, level) => format!("{} {level} {trouble:?}", event.service),
        };
        events.into_iter().map(line).collect()
    }
}

#[test]
fn each_trouble_is_told_once() {
    let broken =
        Sight { age: Duration::ZERO, content: Content::Broken("expected value".to_owned()) };
    for (sight, told) in [
        (None, "core error Missing"),
        (Some(aged(120)), "core error Stale"),
        (Some(broken), "core error Broken"),
        (Some(says(HealthStatus::Warning)), "core warning Reported"),
        (Some(says(HealthStatus::Error)), "core error Reported"),
        (Some(says(HealthStatus::Fatal)), "core fatal Reported"),
    ] {
        let seen: Vec<_> = sight.into_iter().map(|sight| ("core", sight)).collect();
        let mut watch = Watch::new();
        assert_eq!(watch.at(GRACE, &seen), [told]);
        assert!(watch.at(GRACE + 1, &seen).is_empty(), "{told}");
        assert!(watch.at(GRACE + 100_000, &seen).is_empty(), "{told}");
    }
}

#[test]
fn nothing_is_told_of_what_is_well_or_at_rest() {
    for sight in
        [says(HealthStatus::Healthy), says(HealthStatus::Unknown), aged(119), stopped(9_999)]
    {
        let mut watch = Watch::new();
        assert!(watch.at(GRACE, &[("core", sight.clone())]).is_empty(), "{sight:?}");
    }
}

#[test]
fn the_grace_period_ends_with_what_is_still_wrong() {
    let mut watch = Watch::new();
    assert!(watch.at(GRACE - 1, &[("video", says(HealthStatus::Fatal))]).is_empty());
    let told = watch.at(GRACE, &[("video", says(HealthStatus::Fatal))]);
    assert_eq!(told, ["core error Missing", "video fatal Reported"]);
}

#[test]
fn a_recovery_is_told_to_those_who_were_told_of_the_trouble() {
    let mut watch = Watch::new();
    assert_eq!(watch.at(100, &[("core", says(HealthStatus::Error))]), ["core error Reported"]);
    assert_eq!(watch.at(110, &[("core", says(HealthStatus::Healthy))]), ["core recovered"]);
    assert!(watch.at(120, &[("core", says(HealthStatus::Healthy))]).is_empty());
    watch.rules.notify_recovery = false;
    assert_eq!(watch.at(500, &[("core", says(HealthStatus::Error))]), ["core error Reported"]);
    assert!(watch.at(510, &[("core", says(HealthStatus::Healthy))]).is_empty());
}

#[test]
fn in_the_cooldown_only_what_is_worse_is_told_and_the_rest_later() {
    let mut watch = Watch::new();
    assert_eq!(watch.at(100, &[("core", says(HealthStatus::Warning))]), ["core warning Reported"]);
    assert_eq!(watch.at(101, &[("core", says(HealthStatus::Error))]), ["core error Reported"]);
    assert!(watch.at(102, &[("core", says(HealthStatus::Warning))]).is_empty(), "better");
    assert!(watch.at(103, &[("core", aged(500))]).is_empty(), "as bad, in another way");
    assert_eq!(watch.at(401, &[("core", aged(800))]), ["core error Stale"], "still so later");
}

#[test]
fn one_that_flaps_is_told_of_once_in_the_cooldown() {
    let mut watch = Watch::new();
    let mut told = Vec::new();
    for second in 100..400 {
        let status = if second % 2 == 0 { HealthStatus::Error } else { HealthStatus::Healthy };
        told.extend(watch.at(second, &[("core", says(status))]));
    }
    assert_eq!(told, ["core error Reported", "core recovered"]);
    assert_eq!(watch.at(402, &[("core", says(HealthStatus::Error))]), ["core error Reported"]);
}

#[test]
fn what_is_below_the_level_is_not_told_and_ends_what_was() {
    let mut watch = Watch::new();
    watch.rules.notify_on = Level::Error;
    assert!(watch.at(100, &[("core", says(HealthStatus::Warning))]).is_empty());
    assert_eq!(watch.at(101, &[("core", says(HealthStatus::Error))]), ["core error Reported"]);
    assert_eq!(watch.at(102, &[("core", says(HealthStatus::Warning))]), ["core recovered"]);
}

#[test]
fn files_nobody_expects_are_watched_unless_they_were_left_by_services_long_gone() {
    let mut watch = Watch::new();
    let core = || ("core", says(HealthStatus::Healthy));
    let seen =
        [core(), ("old", aged(99_999)), ("toy", says(HealthStatus::Fatal)), ("video", aged(1))];
    assert!(watch.at(100, &seen).is_empty());
    assert_eq!(watch.at(110, &[core(), ("old", aged(99_999))]), ["video error Missing"]);
    assert!(watch.at(120, &[core(), ("old", aged(1)), ("video", aged(1))])[0] == "video recovered");
    let told = watch.at(1_000, &[core(), ("old", aged(130)), ("video", aged(1))]);
    assert_eq!(told, ["old error Stale"], "it came back to life, so it is missed");
}

#[test]
fn files_that_have_outlived_their_time_are_named_and_forgotten() {
    let mut watch = Watch::new();
    watch.rules.delete_after = Some(Duration::from_secs(1_000));
    let core = || ("core", says(HealthStatus::Healthy));
    let findings = watch.findings(100, &[core(), ("old", aged(1_000)), ("newer", aged(999))]);
    assert_eq!(findings, Findings { events: Vec::new(), outlived: vec!["old".to_owned()] });
    assert!(watch.at(110, &[core(), ("newer", aged(999))]).is_empty(), "nobody misses it");
}

#[test]
fn what_people_know_outlives_a_new_build() {
    let mut watch = Watch::new();
    assert_eq!(watch.at(100, &[("core", says(HealthStatus::Error))]), ["core error Reported"]);
    let state = SavedState::of(1, &watch.monitor).unwrap().unwrap();
    watch.monitor = state.read(1).unwrap();
    assert!(watch.at(110, &[("core", says(HealthStatus::Error))]).is_empty());
    assert_eq!(watch.at(120, &[("core", says(HealthStatus::Healthy))]), ["core recovered"]);
}
