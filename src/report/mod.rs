//! Writes an incident down: what happened, why it was decided, what became of it.
//!
//! [`record()`] turns facts into the [`Record`], purely; [`html()`] and [`markdown()`] are renderings of
//! it; [`keep`] puts all three into the store. Gathering the facts in time is the app's: what is
//! late comes as a [`Section::Partial`] and holds nothing up.
//!
//! Invariant: text from outside enters a record as [`Text`], without secrets, and every rendering
//! escapes it; what is not known is said to be unknown, with the reason.

mod build;
mod html;
mod input;
pub mod keep;
mod markdown;
mod parts;
mod record;
mod redact;
mod text;
mod words;

#[cfg(test)]
mod tests;

pub use build::record;
pub use html::html;
pub use input::Input;
pub use markdown::markdown;
pub use parts::{
    Commit, ExecutionLog, HostLine, HostState, JudgedLine, Judging, MessageLine, MetricSnapshot,
    Png, Role, Section, Series, Side, StageLine, Threshold,
};
pub use record::{
    AlertRow, Answer, Asked, Change, Clock, Clocks, EvidenceRow, FORMAT, FollowUp, Gap, GuardRow,
    Header, Impact, Judgement, Lap, Laps, NamedLink, Record, ReleaseFacts, Row, RuleRow, Standing,
};
pub use text::{Number, Sample, Text};
