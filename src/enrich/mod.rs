//! From an alert to release, batch and hosts, and what speaks for and against the accusation.
//!
//! [`catalog`] keeps what the store knows of releases and deployments, [`ladder`] finds the one an
//! alert accuses, [`evidence`] asks the metrics store whether the accusation holds, [`chart`] what
//! to draw. Nothing is decided here, and nothing an alert says about itself is taken for evidence.

pub mod catalog;
pub mod chart;
pub mod evidence;
mod host;
pub mod ladder;
#[cfg(test)]
mod samples;
