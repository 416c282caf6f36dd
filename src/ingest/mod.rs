//! From bytes to alerts, and from alerts to episodes.
//!
//! Two doors ([`alertmanager`], [`vmalert`]) turn foreign bodies into
//! [`AlertGroup`]s: lenient on what is missing, strict on what is
//! wrong, and one bad alert does not reject its neighbours. [`episode`] says which of them is new,
//! [`book`] keeps that over replicas. Answering the sender is `web`'s, judging is `decide`'s.

pub mod alertmanager;
pub mod book;
pub mod episode;
pub mod history;
mod life;
pub mod vmalert;
mod wire;

use std::fmt;

use jiff::Timestamp;

use crate::domain::alert::{AlertGroup, Source};

/// Alerts of one body that are kept; the rest is counted.
pub const MAX_ALERTS: usize = 1_000;
/// Bytes kept of one label's value.
pub const MAX_LABEL: usize = 4 * 1024;
/// Bytes kept of one annotation's value; a long message is split later, not dropped here.
pub const MAX_ANNOTATION: usize = 64 * 1024;
/// Bad alerts of one body that are named; the rest is counted.
pub const MAX_NAMED: usize = 20;

/// A body that can never be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pointer}`: {reason}")]
pub struct Rejection {
    /// For programs: `malformed`, `wrong_type`, `unsupported_version`.
    pub code: &'static str,
    /// Where, as a JSON pointer; empty for the body as a whole.
    pub pointer: String,
    /// Why.
    pub reason: String,
}

/// One alert that was left out because something in it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// Its `alertname`, when it could be told.
    pub name: Option<String>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("unnamed");
        write!(f, "{} ({name}): {}", self.pointer, self.reason)
    }
}

/// What one body held.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delivery {
    /// The groups: one of an Alertmanager, one per (alertgroup, alertname) of a direct post.
    pub groups: Vec<AlertGroup>,
    /// The first [`MAX_NAMED`] alerts that were left out.
    pub ignored: Vec<Ignored>,
    /// How many were left out.
    pub ignored_count: u64,
}

/// Reads a body as the door `source` is spoken to.
///
/// # Errors
/// When nothing of it can be accepted.
pub fn read(source: Source, body: &[u8], now: Timestamp) -> Result<Delivery, Rejection> {
    match source {
        Source::Alertmanager => alertmanager::read(body, now),
        Source::Vmalert => vmalert::read(body, now),
    }
}
