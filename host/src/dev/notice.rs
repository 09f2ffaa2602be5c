//! What people read of a development run: one line for each thing that happened, led by the name it
//! concerns, all names in one column.

use std::path::Path;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::problem::Problem;
use crate::supervisor::orders::{Decision, Step, Verdict};
use crate::supervisor::status::{ServiceStatus, Status};

/// Takes finished text, which may hold colours, to where people read it.
pub type Say = Box<dyn FnMut(&str) + Send>;

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// For whoever looks on.
    Quiet,
    /// It went well.
    Good,
    /// It did not, and what ran runs on.
    Bad,
}

impl Tone {
    const fn style(self) -> Style {
        match self {
            Self::Quiet => Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// Writes the lines.
pub(super) struct Notices {
    say: Say,
    width: usize,
}

impl Notices {
    pub(super) fn new(say: Say) -> Self {
        Self { say, width: 0 }
    }

    /// Makes the column wide enough for these names.
    pub(super) fn fit<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        let widest = names.into_iter().map(|name| name.chars().count()).max().unwrap_or(0);
        self.width = self.width.max(widest);
    }

    pub(super) fn tell(&mut self, tone: Tone, name: &str, text: &str) {
        let (bold, style) = (Style::new().bold(), tone.style());
        // Of the colon after the name.
        let width = self.width + 1;
        let name = format!("{name}:");
        (self.say)(&format!("{bold}{name:<width$}{bold:#} {style}{text}{style:#}"));
    }

    /// A further line of what was told last.
    pub(super) fn add(&mut self, text: &str) {
        let width = self.width + 1;
        (self.say)(&format!("{:<width$} {text}", ""));
    }

    /// What the compiler says, as it says it.
    pub(super) fn quote(&mut self, texts: &[String]) {
        for text in texts {
            (self.say)(&format!("{text}\n"));
        }
    }

    pub(super) fn problem(&mut self, problem: &Problem) {
        (self.say)(&problem.to_string());
    }
}

/// `1.84 s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// A file of the workspace as people name it.
pub(super) fn file(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}

/// `identify 3 ms, stage 9 ms`.
pub(super) fn steps(steps: &[Step]) -> String {
    let steps = steps.iter().map(|step| {
        let failed = if step.ok { "" } else { " (failed)" };
        format!("{} {:.0} ms{failed}", step.step, step.ms)
    });
    steps.collect::<Vec<_>>().join(", ")
}

/// `0.1.0 (generation 3) runs on`; for several services each with its name. `None` when the host
/// does not know them.
pub(super) fn what_runs(status: &Status, services: &[String]) -> Option<String> {
    let known = status.services.iter().filter(|service| services.contains(&service.name));
    let known: Vec<&ServiceStatus> = known.collect();
    let build = |service: &ServiceStatus| {
        format!("{} (generation {})", service.version, service.generation)
    };
    match known[..] {
        [] => None,
        [one] if one.state == "running" => Some(format!("{} runs on", build(one))),
        [one] => Some(format!("{} is {}", build(one), one.state)),
        _ => {
            let each = known.iter().map(|it| format!("{} {} is {}", it.name, build(it), it.state));
            Some(each.collect::<Vec<_>>().join(", "))
        }
    }
}

/// How a build that does not run was turned away, and in which step.
pub(super) fn turned_away(verdict: &Verdict, steps: &[Step]) -> String {
    let how = match verdict.verdict {
        Decision::RolledBack => "rolled back",
        Decision::Refused | Decision::Reloaded => "refused",
    };
    let failed = steps.iter().find(|step| !step.ok);
    let at = failed.map(|step| format!(" at {}", step.step)).unwrap_or_default();
    let reason = verdict.reason.as_deref().unwrap_or("no reason was given");
    format!("{how}{at}: {reason}")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn names_stand_in_one_column() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&said);
        let say = move |text: &str| {
            let plain = anstream::adapter::strip_str(text).to_string();
            sink.lock().expect("not poisoned").push(plain);
        };
        let mut notices = Notices::new(Box::new(say));
        notices.fit(["core", "heartbeat"]);
        notices.tell(Tone::Good, "core", "built");
        notices.tell(Tone::Bad, "heartbeat", "failed");
        notices.add("hint: mend it");
        let said = said.lock().expect("not poisoned");
        assert_eq!(said[..], ["core:      built", "heartbeat: failed", "           hint: mend it"]);
    }

    #[test]
    fn files_of_the_workspace_are_named_from_its_root() {
        assert_eq!(file(Path::new("/w"), Path::new("/w/api/src/lib.rs")), "api/src/lib.rs");
        assert_eq!(file(Path::new("/w"), Path::new("/art/words.txt")), "/art/words.txt");
    }
}
