//! Backstop: the last stop behind a release.
//!
//! Data flows one way: an alert comes in ([`ingest`]), is joined with what is known about the
//! release it accuses ([`enrich`]), a pure function judges it by the team's rules ([`decide`]),
//! people are told ([`notify`]) and, when the rules say so, the release is taken back through
//! Spinnaker ([`act`]); then the incident is written down ([`report`]). Afterwards people can ask why ([`explain`]).
//! On hosts, [`agent`] brings the release in and takes it back.
//!
//! [`domain`] holds the vocabulary and does no I/O. Stages never import each other: they share
//! [`domain`], [`store`], [`http`], [`prometheus`], [`spinnaker`], [`github`], [`chart`], [`telemetry`] and [`config`],
//! and only [`app`] wires them together; [`rehearsal`] plays rule tests through the same judging. A
//! test keeps it so.

pub mod act;
pub mod agent;
pub mod app;
pub mod canary;
pub mod chart;
pub mod cli;
pub mod config;
pub mod decide;
pub mod domain;
pub mod enrich;
pub mod explain;
pub mod github;
pub mod http;
pub mod ingest;
pub mod notify;
pub mod prometheus;
pub mod publish;
pub mod rehearsal;
pub mod report;
pub mod spinnaker;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod web;
