//! Who may start and who may stop, as pure questions about dependencies.

use std::collections::BTreeMap;

/// How far a service is, as far as its neighbours care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has not been started.
    Waiting,
    /// It has been started and has not ended.
    Underway,
    /// It runs.
    Running,
    /// It has ended, was given up, or never started.
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
}

/// What is to be done with a service that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// All it depends on runs.
    Now(&'a str),
    /// The second can never run, so the first, which depends on it, is not started.
    Never(&'a str, &'a str),
}

/// Waiting services that can be decided on now.
#[must_use]
pub fn startable<'a>(nodes: &[Node<'a>]) -> Vec<Start<'a>> {
    let progress: BTreeMap<_, _> = nodes.iter().map(|node| (node.name, node.progress)).collect();
    let decide = |node: &Node<'a>| {
        let needed = |name: &&String| progress.get(name.as_str()).copied();
        if let Some(lost) =
            node.depends_on.iter().find(|name| matches!(needed(name), None | Some(Progress::Over)))
        {
            return Some(Start::Never(node.name, lost));
        }
        let all_run = node.depends_on.iter().all(|name| needed(&name) == Some(Progress::Running));
        all_run.then_some(Start::Now(node.name))
    };
    nodes.iter().filter(|node| node.progress == Progress::Waiting).filter_map(decide).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes<'a>(list: &'a [(&'a str, Vec<String>, Progress)]) -> Vec<Node<'a>> {
        let node = |(name, depends_on, progress): &'a (&'a str, Vec<String>, Progress)| Node {
            name,
            depends_on,
            progress: *progress,
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
        assert_eq!(startable(&nodes(&list)), [Start::Now("b")]);
        list[1].2 = Progress::Underway;
        assert_eq!(startable(&nodes(&list)), []);
        list[1].2 = Progress::Running;
        assert_eq!(startable(&nodes(&list)), [Start::Now("c")]);
    }

    #[test]
    fn what_needs_a_service_that_is_over_never_starts() {
        let list = [("a", on(&[]), Progress::Over), ("b", on(&["a"]), Progress::Waiting)];
        assert_eq!(startable(&nodes(&list)), [Start::Never("b", "a")]);
        let list = [("b", on(&["nobody"]), Progress::Waiting)];
        assert_eq!(startable(&nodes(&list)), [Start::Never("b", "nobody")]);
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
}
