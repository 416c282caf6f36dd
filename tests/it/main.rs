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
mod agents;
mod backtest;
mod canary;
mod channels;
mod chaos;
mod cli;
mod deploying;
mod docs;
mod evidence;
mod gate_contract;
mod gate_quirks;
mod gate_stages;
mod gate_tasks;
mod gate_tls;
mod lane_model;
mod licences;
mod lying_s3;
mod notify;
mod own_rules;
mod racing;
mod real_mail;
mod real_tools;
mod release_scripts;
mod rule_tests;
mod self_test;
mod shipped_pipelines;
mod simulated_fleet;
mod sync_github;
mod sync_year;
mod web;
