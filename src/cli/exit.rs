//! How a verb ends: one code for programs, one sentence for people, and what to do next.

use std::fmt;
use std::process::ExitCode;

/// The exit codes, the same for every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, or already done before.
    Ok = 0,
    /// Something was found, or failed.
    Findings = 1,
    /// The command line or its input can't be used.
    Usage = 2,
    /// A gateway, a store or a vendor can't be reached.
    Unreachable = 3,
    /// Refused: by policy, by a guard, or for want of a scope.
    Refused = 4,
    /// The world is not as the caller thinks.
    Conflict = 5,
}

impl Exit {
    /// Each with its meaning, for `--help` and the reference.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Ok, "done, or already done before"),
        (Self::Findings, "findings, or something failed"),
        (Self::Usage, "the command line or its input can't be used"),
        (
            Self::Unreachable,
            "a gateway, store or vendor can't be reached",
        ),
        (
            Self::Refused,
            "refused by policy, a guard, or for want of a scope",
        ),
        (
            Self::Conflict,
            "conflict: the world is not as the caller thinks",
        ),
    ];

    /// The number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// An error that knows its exit code and what to do next.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What happened: lower-case, no full stop, no secret.
    pub message: String,
    /// What to do next.
    pub next: Option<String>,
}

impl Failure {
    /// One without advice.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            next: None,
        }
    }

    /// Bad input.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same with advice.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
