//! One test binary; a module per room or behaviour.

#[path = "../support/mod.rs"]
mod support;

mod gate_contract;
mod gate_quirks;
mod gate_stages;
mod lane_model;
