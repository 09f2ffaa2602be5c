//! The order in which services start: each after those it depends on.

use std::collections::BTreeMap;

use crate::config::ServiceFile;
use crate::config::nearest::known_names;
use crate::config::{KeyPath, Part};
use crate::problem::Problem;

/// The names of the services in the order they start; they stop in the reverse order. Among those
/// that do not depend on each other, the given order stays.
///
/// # Errors
/// A problem for every dependency on a service that is not among them, and for a circle.
pub fn start_order(services: &[&ServiceFile]) -> Result<Vec<String>, Vec<Problem>> {
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let problems: Vec<_> =
        services.iter().flat_map(|service| unknown_dependencies(service, &names)).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut order = Order { services, marks: BTreeMap::new(), started: Vec::new(), problems };
    for service in services {
        order.visit(service, &mut Vec::new());
    }
    if order.problems.is_empty() { Ok(order.started) } else { Err(order.problems) }
}

fn unknown_dependencies(service: &ServiceFile, names: &[&str]) -> Vec<Problem> {
    let depends_on = service.directives.depends_on.iter().enumerate();
    let unknown = depends_on.filter(|(_, name)| !names.contains(&name.as_str()));
    unknown
        .map(|(index, name)| {
            let mut problem = Problem::error(format!(
                "`{}` depends on `{}`, which is no service that this host runs",
                service.name,
                name.escape_debug()
            ));
            problem.hint = known_names(name, names, "services");
            service.origins.place(problem, &place(index), Part::Value)
        })
        .collect()
}

fn place(index: usize) -> KeyPath {
    KeyPath::of_keys(["exphost", "depends_on"]).index(index)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Underway,
    Done,
}

struct Order<'a> {
    services: &'a [&'a ServiceFile],
    marks: BTreeMap<&'a str, Mark>,
    started: Vec<String>,
    problems: Vec<Problem>,
}

impl<'a> Order<'a> {
    fn visit(&mut self, service: &'a ServiceFile, trail: &mut Vec<&'a str>) {
        if self.marks.contains_key(service.name.as_str()) {
            return;
        }
        self.marks.insert(&service.name, Mark::Underway);
        trail.push(&service.name);
        for (index, name) in service.directives.depends_on.iter().enumerate() {
            let services = self.services;
            let Some(other) = services.iter().find(|other| other.name == *name) else { continue };
            if self.marks.get(name.as_str()) == Some(&Mark::Underway) {
                self.problems.push(circle(service, index, trail, name));
            } else {
                self.visit(other, trail);
            }
        }
        trail.pop();
        self.marks.insert(&service.name, Mark::Done);
        self.started.push(service.name.clone());
    }
}

fn circle(service: &ServiceFile, index: usize, trail: &[&str], back_to: &str) -> Problem {
    let around = trail.iter().skip_while(|name| **name != back_to).copied();
    let around: Vec<_> = around.chain([back_to]).map(|name| format!("`{name}`")).collect();
    let message = format!("services depend on each other in a circle: {}", around.join(" → "));
    let problem = Problem::error(message).hint("remove one of these from a `depends_on`");
    service.origins.place(problem, &place(index), Part::Value)
}
