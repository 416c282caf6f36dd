//! Wires the rooms together; the only place that does.
//!
//! A delivery of alerts goes through [`intake`]: observed as episodes, resolved, judged
//! ([`judge`]), held ([`holds`]) or opened as an incident, told ([`compose`], [`picture`]). The
//! engine of `act` comes back through [`seams`]. What a reload may change is one value,
//! [`setup::Setup`], swapped whole.

mod compose;
mod core;
mod gateway;
mod holds;
mod house;
mod intake;
mod judge;
mod live;
mod manual;
mod modes;
mod picture;
mod read;
mod reports;
mod run;
mod seams;
mod setup;
mod tell;

pub use core::Core;
pub use run::{App, Options, Running, StartError};
