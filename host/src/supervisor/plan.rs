//! Who may start, who may stop and whom a failure concerns, as pure questions about dependencies.

use std::collections::BTreeMap;

use crate::config::supervision::OnDependencyFailure;

/// How far a service is, as far as its neighbours care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has not been started, and is to be.
    Waiting,
    /// It has ended, and is to be started again when its pause is over.
    Pausing,
    /// It has been started and has not ended.
    Underway,
    /// It does what those who depend on it need.
    Running,
    /// It has ended, was given up, or never started: somebody has to start it.
    Over,
}

/// A service and what it depends on.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// Its name.
    pub name: &'a str,
    /// The names of the services that must run before it.
    pub depends_on: &'a [String],
    /// How far it is.
    pub progress: Progress,
    /// What becomes of it when one of those fails.
    pub on_failure: OnDependencyFailure,
}

/// Waiting services all of whose dependencies run.
#[must_use]
pub fn startable<'a>(nodes: &[Node<'a>]) -> Vec<&'a str> {
    let waiting = nodes.iter().filter(|node| node.progress == Progress::Waiting);
    waiting.filter(|node| missing(node, nodes).is_empty()).map(|node| node.name).collect()
}

/// What a service still needs of those that it depends on: the names of the ones that do not run.
#[must_use]
pub fn missing<'a>(node: &Node<'a>, nodes: &[Node<'_>]) -> Vec<&'a str> {
    let runs = |name: &&String| {
        nodes.iter().any(|it| it.name == name.as_str() && it.progress == Progress::Running)
    };
    node.depends_on.iter().filter(|name| !runs(name)).map(String::as_str).collect()
}

/// Waiting services that nothing but an order will ever start: what they depend on, or what that
/// depends on, is over. Each with the one that is.
#[must_use]
pub fn blocked<'a>(nodes: &[Node<'a>]) -> BTreeMap<&'a str, &'a str> {
    let mut blocked = BTreeMap::new();
    loop {
        let before = blocked.len();
        for node in nodes.iter().filter(|node| node.progress == Progress::Waiting) {
            let lost = node.depends_on.iter().find_map(|name| {
                let Some(other) = nodes.iter().find(|it| it.name == name) else {
                    return Some(name.as_str());
                };
                match other.progress {
                    Progress::Over => Some(other.name),
                    _ => blocked.get(other.name).copied(),
                }
            });
            if let Some(lost) = lost {
                blocked.entry(node.name).or_insert(lost);
            }
        }
        if blocked.len() == before {
            return blocked;
        }
    }
}

/// Services that may stop now: nothing that depends on them is still underway.
#[must_use]
pub fn stoppable<'a>(nodes: &[Node<'a>]) -> Vec<&'a str> {
    let alive = |node: &&Node<'_>| matches!(node.progress, Progress::Underway | Progress::Running);
    let needed = |name: &str| {
        nodes.iter().filter(alive).any(|node| node.depends_on.iter().any(|it| it == name))
    };
    nodes.iter().filter(alive).map(|node| node.name).filter(|name| !needed(name)).collect()
}

/// Those who do not run on when `failed` fails, each with what becomes of it. Who depends on one of
/// them loses what it depends on as well.
#[must_use]
pub fn concerned<'a>(nodes: &[Node<'a>], failed: &str) -> Vec<(&'a str, OnDependencyFailure)> {
    let mut lost = vec![failed];
    let mut concerned = Vec::new();
    while let Some(name) = lost.pop() {
        for node in nodes {
            let depends = node.depends_on.iter().any(|it| it == name);
            let is_new = concerned.iter().all(|(it, _)| *it != node.name);
            if depends && is_new && node.on_failure != OnDependencyFailure::Keep {
                concerned.push((node.name, node.on_failure));
                lost.push(node.name);
            }
        }
    }
    concerned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes<'a>(list: &'a [(&'a str, Vec<String>, Progress)]) -> Vec<Node<'a>> {
        let node = |(name, depends_on, progress): &'a (&'a str, Vec<String>, Progress)| Node {
            name,
            depends_on,
            progress: *progress,
            on_failure: OnDependencyFailure::Keep,
        };
        list.iter().map(node).collect()
    }

    fn on(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_service_starts_when_all_it_needs_runs() {
        let mut list = [
            ("a", on(&[]), Progress::Running),
            ("b", on(&["a"]), Progress::Waiting),
            ("c", on(&["a", "b"]), Progress::Waiting),
        ];
        assert_eq!(startable(&nodes(&list)), ["b"]);
        list[1].2 = Progress::Underway;
        assert_eq!(startable(&nodes(&list)), [""; 0]);
        let all = nodes(&list);
        assert_eq!(missing(&all[2], &all), ["b"]);
        list[1].2 = Progress::Running;
        assert_eq!(startable(&nodes(&list)), ["c"]);
    }

    #[test]
    fn a_service_waits_for_one_that_is_to_come_back() {
        for progress in [Progress::Waiting, Progress::Pausing, Progress::Underway] {
            let list = [("a", on(&[]), progress), ("b", on(&["a"]), Progress::Waiting)];
            assert!(!startable(&nodes(&list)).contains(&"b"), "{progress:?}");
            assert!(blocked(&nodes(&list)).is_empty(), "{progress:?}");
        }
    }

    #[test]
    fn what_needs_a_service_that_is_over_is_blocked_and_so_is_what_needs_that() {
        let list = [
            ("c", on(&["b"]), Progress::Waiting),
            ("b", on(&["a"]), Progress::Waiting),
            ("a", on(&[]), Progress::Over),
            ("d", on(&["a"]), Progress::Running),
        ];
        assert_eq!(blocked(&nodes(&list)), BTreeMap::from([("b", "a"), ("c", "a")]));
        let list = [("b", on(&["nobody"]), Progress::Waiting)];
        assert_eq!(blocked(&nodes(&list)), BTreeMap::from([("b", "nobody")]));
    }

    #[test]
    fn dependants_stop_first() {
        let mut list = [
            ("a", on(&[]), Progress::Running),
            ("b", on(&["a"]), Progress::Running),
            ("c", on(&["a"]), Progress::Underway),
        ];
        assert_eq!(stoppable(&nodes(&list)), ["b", "c"]);
        list[1].2 = Progress::Over;
        assert_eq!(stoppable(&nodes(&list)), ["c"]);
        list[2].2 = Progress::Over;
        assert_eq!(stoppable(&nodes(&list)), ["a"]);
    }

    #[test]
    fn a_failure_concerns_those_who_say_so_and_those_who_depend_on_them() {
        let list = [
            ("a", on(&[]), Progress::Running),
            ("b", on(&["a"]), Progress::Running),
            ("c", on(&["b"]), Progress::Running),
            ("d", on(&["a"]), Progress::Running),
            ("e", on(&["d"]), Progress::Running),
        ];
        let mut nodes = nodes(&list);
        assert_eq!(concerned(&nodes, "a"), []);
        nodes[1].on_failure = OnDependencyFailure::Restart;
        nodes[2].on_failure = OnDependencyFailure::Stop;
        nodes[4].on_failure = OnDependencyFailure::Restart;
        let expected = [("b", OnDependencyFailure::Restart), ("c", OnDependencyFailure::Stop)];
        assert_eq!(concerned(&nodes, "a"), expected, "e's own dependency runs on");
    }
}
