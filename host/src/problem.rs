//! A mistake in what people gave the host, with all they need to mend it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Whether a problem keeps the host from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the host starts.
    Warning,
    /// The host refuses to start.
    Error,
}

/// One mistake. Absent parts are null in JSON, as `check --json` promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How grave it is.
    pub severity: Severity,
    /// The file it is in, or was expected at.
    pub file: Option<PathBuf>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// The key, with its service when it is not in a file: `zmq.publisher.port`.
    pub key: Option<String>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether its line has something in it that nobody is to be shown.
    #[serde(skip)]
    pub is_secret: bool,
}

impl Problem {
    /// An error that names nothing yet.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: None,
            line: None,
            column: None,
            key: None,
            message: message.into(),
            hint: None,
            is_secret: false,
        }
    }

    /// A warning that names nothing yet.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Names the file.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Names the place in the file, both from 1.
    #[must_use]
    pub fn at(mut self, line: usize, column: usize) -> Self {
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    /// Names the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it keeps the host from starting.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Problem {
    /// All of it in one line, for a log that has its own column for gravity.
    #[must_use]
    pub fn one_line(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!(" (hint: {hint})"));
        self.location() + &self.statement() + &hint.unwrap_or_default()
    }

    /// `file:line:column: `, as far as it is known.
    fn location(&self) -> String {
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => {
                format!("{}:{line}:{column}: ", file.display())
            }
            (Some(file), ..) => format!("{}: ", file.display()),
            (None, ..) => String::new(),
        }
    }

    /// `key: message`.
    fn statement(&self) -> String {
        match &self.key {
            Some(key) => format!("{key}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl Problem {
    /// As it is displayed, with the line that it is about. `source` is the text of its file.
    #[must_use]
    pub fn with_line(&self, source: &str) -> String {
        let Some(excerpt) = self.excerpt(source) else { return self.to_string() };
        format!("{}\n{excerpt}{}", self.headline(), self.hint_below())
    }

    /// The line, and a mark below the place.
    fn excerpt(&self, source: &str) -> Option<String> {
        // What is longer is no line that a person wrote.
        const LONGEST: usize = 160;
        let (line, column) = (self.line?, self.column?);
        let text = source.lines().nth(line.checked_sub(1)?)?.trim_end();
        let fits = !self.is_secret && text.chars().count() <= LONGEST && !text.trim().is_empty();
        if !fits {
            return None;
        }
        // Tabs stay tabs, so that the mark is below its place whatever their width.
        let plain = |c: char| if c == '\t' { '\t' } else { ' ' };
        let before = text.chars().chain(std::iter::repeat(' ')).take(column.saturating_sub(1));
        let before: String = before.map(plain).collect();
        let shown: String = text
            .chars()
            .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
            .collect();
        let (number, gutter) = (line.to_string(), " ".repeat(line.to_string().len()));
        Some(format!("  {number} | {shown}\n  {gutter} | {before}^"))
    }

    fn headline(&self) -> String {
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        format!("{}{word}: {}", self.location(), self.statement())
    }

    fn hint_below(&self) -> String {
        self.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default()
    }
}

/// `file:line:column: error: key: message`, as compilers write it, and the hint on a line below.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.headline(), self.hint_below())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_with_a_mark_below_its_place() {
        let problem = Problem::error("must be more").in_file("a.toml").at(2, 6).key("ü").hint("x");
        let shown = "a.toml:2:6: error: ü: must be more\n  2 | ü =\t 0\n    |    \t ^\n  hint: x";
        assert_eq!(problem.with_line("a = 1\nü =\t 0\n"), shown);
        let without = "a.toml:2:6: error: ü: must be more\n  hint: x";
        assert_eq!(problem.with_line("only one line"), without);
        let secret = Problem { is_secret: true, ..problem };
        assert_eq!(secret.with_line("a = 1\nü =\t 0\n"), without);
    }
}
