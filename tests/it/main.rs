//! One test binary; a module per room or behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod acceptance;
mod channels;
mod cli;
mod docs;
mod evidence;
mod gate_contract;
mod gate_quirks;
mod gate_stages;
mod lane_model;
mod licences;
mod real_mail;
mod real_tools;
mod shipped_pipelines;
mod simulated_fleet;
mod web;
