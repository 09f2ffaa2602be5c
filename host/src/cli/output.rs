//! Results on standard output, and what goes wrong before there is a log on standard error.

use std::io::Write;

use serde::Serialize;

use super::Exit;
use crate::problem::Problem;

/// Prints a line of a result. A reader that has gone away is not an error of ours.
pub(super) fn line(text: &str) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Prints a line of a result that has no end of its own: whoever makes it ends when nobody reads it.
pub(super) fn stream(text: &str) -> std::io::Result<()> {
    writeln!(anstream::stdout(), "{text}")
}

/// Prints a line to people, beside the result.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Says on standard error why the command cannot even begin.
pub fn complain(text: &str) {
    note(text);
}

/// Prints one JSON document.
pub(super) fn json(document: &impl Serialize) {
    match serde_json::to_string_pretty(document) {
        Ok(text) => line(&text),
        Err(error) => note(&format!("error: cannot write the result as JSON: {error}")),
    }
}

/// A problem for people: coloured where colour is shown.
pub(super) fn problem(problem: &Problem) -> String {
    let style = if problem.is_error() {
        anstyle::AnsiColor::Red.on_default().bold()
    } else {
        anstyle::AnsiColor::Yellow.on_default().bold()
    };
    let source = problem.file.as_ref().filter(|_| problem.line.is_some());
    // A file that is gone by now has no line to show.
    let source = source.and_then(|file| std::fs::read_to_string(file).ok());
    let text = source.map_or_else(|| problem.to_string(), |source| problem.with_line(&source));
    let word = if problem.is_error() { "error: " } else { "warning: " };
    match text.split_once(word) {
        Some((before, after)) => format!("{before}{style}{word}{style:#}{after}"),
        None => text,
    }
}

/// Problems for people, beside the result.
pub(super) fn all_problems(problems: &[Problem]) {
    for problem in problems {
        note(&self::problem(problem));
    }
}

/// Says why nothing can be done.
pub(super) fn refuse(problems: &[Problem]) -> Exit {
    all_problems(problems);
    Exit::BadConfig
}

/// `1 error`, `2 errors`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
