//! What a host reports while it carries out an order, as lines for people.

use anstyle::{AnsiColor, Style};

use crate::logging::escape;
use crate::supervisor::orders::{Decision, Progress, Report, Step, Verdict};

pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const ODD: Style = AnsiColor::Yellow.on_default().bold();

/// One report, on as many lines as it needs.
pub(super) fn lines(report: &Report) -> Vec<String> {
    match report {
        Report::Step(step) => vec![of_step(step)],
        Report::Verdict(verdict) => of_verdict(verdict),
        Report::Progress(progress) => vec![of_progress(progress)],
        Report::Refused(refused) => {
            let error = format!("{BAD}refused:{BAD:#} {}", plain(&refused.error));
            let hint = refused.hint.as_ref().map(|hint| of_hint(hint));
            [error].into_iter().chain(hint).collect()
        }
    }
}

/// The service that a report is about.
pub(super) fn service(report: &Report) -> Option<&str> {
    match report {
        Report::Step(step) => Some(&step.service),
        Report::Verdict(verdict) => Some(&verdict.service),
        Report::Progress(progress) => Some(&progress.service),
        Report::Refused(_) => None,
    }
}

/// `  probe          12.3 ms  what there is to say`, with the mark of a failure.
fn of_step(step: &Step) -> String {
    let (name, time) = (plain(&step.step), milliseconds(step.ms));
    let detail = step.detail.as_ref().map(|detail| format!("  {}", plain(detail)));
    let detail = detail.unwrap_or_default();
    if step.ok {
        format!("  {name:<10} {time:>11}{detail}")
    } else {
        format!("  {BAD}{name:<10}{BAD:#} {time:>11}  {BAD}failed{BAD:#}{detail}")
    }
}

fn of_verdict(verdict: &Verdict) -> Vec<String> {
    let (style, word) = match verdict.verdict {
        Decision::Reloaded => (GOOD, "reloaded"),
        Decision::Refused => (BAD, "refused"),
        Decision::RolledBack => (BAD, "rolled back"),
    };
    let versions = match (&verdict.from, &verdict.to) {
        (Some(from), Some(to)) => format!(" {} -> {}", plain(from), plain(to)),
        (Some(version), None) => format!(" {}", plain(version)),
        (None, Some(version)) => format!(" to {}", plain(version)),
        (None, None) => String::new(),
    };
    let gap = match verdict.gap_ms {
        Some(gap) => format!("gap {}", milliseconds(gap)),
        None => "no gap".to_owned(),
    };
    let (service, total) = (plain(&verdict.service), milliseconds(verdict.ms));
    let mut lines = vec![format!("{service}: {style}{word}{style:#}{versions} in {total} ({gap})")];
    let reason = verdict.reason.as_ref().map(|reason| format!("  reason: {}", plain(reason)));
    lines.extend(reason);
    lines.extend(verdict.hint.as_ref().map(|hint| of_hint(hint)));
    lines
}

fn of_progress(progress: &Progress) -> String {
    let (service, state) = (plain(&progress.service), plain(&progress.state));
    let style = match (progress.done, progress.ok) {
        (_, false) => BAD,
        (true, true) => GOOD,
        (false, true) => Style::new(),
    };
    let detail = progress.detail.as_ref().map(|detail| format!(": {}", plain(detail)));
    format!("{service}: {style}{state}{style:#}{}", detail.unwrap_or_default())
}

fn of_hint(hint: &str) -> String {
    format!("  hint: {}", plain(hint))
}

/// Text from elsewhere, on one line, and unable to steer the terminal.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape(&mut out, text);
    out
}

fn milliseconds(ms: f64) -> String {
    if ms >= 10_000.0 { format!("{:.1} s", ms / 1e3) } else { format!("{ms:.1} ms") }
}

/// `4 s`, `12 min 4 s`, `3 h 12 min`, `5 d 3 h`: two units are enough to go by.
pub(super) fn duration(seconds: f64) -> String {
    // Whoever has been up for longer than 2^63 seconds is content with that.
    #[allow(clippy::cast_possible_truncation, reason = "it saturates")]
    let whole = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3_600, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::orders::Refused;

    fn shown(report: Report) -> String {
        anstream::adapter::strip_str(&lines(&report).join("\n")).to_string()
    }

    fn verdict(verdict: Decision, gap_ms: Option<f64>) -> Verdict {
        let (from, to) = (Some("1.2.0".to_owned()), Some("1.3.0".to_owned()));
        let service = "heartbeat".to_owned();
        Verdict { service, verdict, from, to, ms: 61.25, gap_ms, reason: None, hint: None }
    }

    #[test]
    fn a_reload_is_told_step_by_step() {
        let step = |ok, detail: Option<&str>| {
            let (service, step) = ("heartbeat".to_owned(), "probe".to_owned());
            Report::Step(Step { service, step, ok, ms: 12.34, detail: detail.map(str::to_owned) })
        };
        assert_eq!(shown(step(true, None)), "  probe          12.3 ms");
        let failed = "  probe          12.3 ms  failed  it\\npanicked";
        assert_eq!(shown(step(false, Some("it\npanicked"))), failed);
        let reloaded = Report::Verdict(verdict(Decision::Reloaded, Some(4.0)));
        let expected = "heartbeat: reloaded 1.2.0 -> 1.3.0 in 61.2 ms (gap 4.0 ms)";
        assert_eq!(shown(reloaded), expected);
        let refused = Report::Verdict(Verdict {
            reason: Some("layout differs".to_owned()),
            hint: Some("build it again".to_owned()),
            ..verdict(Decision::Refused, None)
        });
        let expected = "heartbeat: refused 1.2.0 -> 1.3.0 in 61.2 ms (no gap)\n  \
            reason: layout differs\n  hint: build it again";
        assert_eq!(shown(refused), expected);
    }

    #[test]
    fn starts_stops_and_refusals_are_told() {
        let progress = |state: &str, ok, detail: Option<&str>| {
            let (service, state) = ("core".to_owned(), state.to_owned());
            let detail = detail.map(str::to_owned);
            Report::Progress(Progress { service, state, done: true, ok, detail })
        };
        assert_eq!(shown(progress("stopped", true, None)), "core: stopped");
        assert_eq!(shown(progress("failed", false, Some("hangs"))), "core: failed: hangs");
        let (error, hint) = ("it runs already".to_owned(), Some("stop it".to_owned()));
        let refused = Report::Refused(Refused { error, hint });
        assert_eq!(shown(refused), "refused: it runs already\n  hint: stop it");
    }

    #[test]
    fn durations_are_for_people() {
        let cases = [
            (0.9, "0 s"),
            (59.0, "59 s"),
            (61.0, "1 min 1 s"),
            (3_599.0, "59 min 59 s"),
            (7_260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
            (-1.0, "0 s"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }
}
