//! One thing `check` found, for a terminal, an editor, a program or a pull request.

use std::fmt;

use serde::Serialize;

use crate::config::problem::Problem;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// The configuration can't be used.
    Error,
    /// It can, and something will not work as one may think.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    file: String,
    /// From 1; left out when the file as a whole is meant.
    #[serde(skip_serializing_if = "is_zero")]
    line: u64,
    #[serde(skip_serializing_if = "is_zero")]
    column: u64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Finding {
    pub(super) fn error(problem: Problem) -> Self {
        Self {
            severity: Severity::Error,
            file: tidy(&problem.file),
            line: problem.line,
            column: problem.column,
            message: problem.message,
            hint: problem.hint,
        }
    }

    pub(super) fn of(severity: Severity, file: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: tidy(file),
            line: 0,
            column: 0,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A workflow command of GitHub Actions.
    pub(super) fn annotation(&self) -> String {
        let command = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let mut place = format!("file={}", property(&self.file));
        if self.line > 0 {
            place = format!("{place},line={},col={}", self.line, self.column);
        }
        let text = match &self.hint {
            Some(hint) => format!("{}\nhint: {hint}", self.message),
            None => self.message.clone(),
        };
        format!("::{command} {place}::{}", data(&text))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}: {}", self.severity.as_str(), self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// `./rules/…` as editors and pull requests name it.
fn tidy(file: &str) -> String {
    file.strip_prefix("./").unwrap_or(file).to_owned()
}

/// Text of a workflow command, which ends at the line's end.
pub(in crate::cli) fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_stays_one_command() {
        let finding = Finding::of(Severity::Warning, "a,b:c.yaml", "50 % is\nmuch").hint("less");
        assert_eq!(
            finding.annotation(),
            "::warning file=a%2Cb%3Ac.yaml::50 %25 is%0Amuch%0Ahint: less"
        );
    }
}
