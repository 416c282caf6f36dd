//! Wires the rooms together; the only place that does.
//!
//! A delivery of alerts goes through [`intake`]: observed as episodes, resolved, judged
//! ([`judge`]), held ([`holds`]) or opened as an incident, told ([`compose`], [`picture`]). The
//! engine of `act` comes back through [`seams`]. What a reload may change is one value,
//! [`setup::Setup`], swapped whole.

mod active;
mod agents;
mod arming;
mod audience;
pub mod backtest;
mod compose;
mod consent;
pub(crate) mod core;
mod dry;
mod escalate;
mod explain;
mod gateway;
mod hearing;
mod holds;
mod house;
mod info;
mod instances;
pub(crate) mod intake;
pub(crate) mod judge;
mod live;
mod look;
mod manual;
pub(crate) mod modes;
mod picture;
mod presence;
pub(crate) mod preview;
mod read;
mod reappear;
mod recorded;
mod reports;
mod run;
mod seams;
mod self_test;
mod setup;
mod spent;
mod tell;

pub use core::Core;
pub use explain::{from_store, incident_from_store};
pub use run::{App, Options, Running, StartError};
pub(crate) use setup::gate_settings;
