//! The world around the gateway, for the tests and the demo.
//!
//! Real programs where they can run (`tools` finds them, `process` runs them), simulated services,
//! and stand-ins for the systems that cannot run here. Everything listens on loopback, on ports
//! the system chose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "test support, of which the tests and the demo each use their part"
)]

pub mod alertmanager;
pub mod artifact;
pub mod browser;
pub mod chat;
pub mod dingtalk;
pub mod eventually;
pub mod feed;
pub mod fleet;
pub mod front;
pub mod gate;
pub mod gate_history;
pub mod gateway;
pub mod github;
pub mod holding;
pub mod mail_acceptor;
pub mod metrics_source;
pub mod process;
pub mod prometheus;
pub mod slack;
pub mod slack_blocks;
pub mod smtp;
pub mod tools;
pub mod versitygw;
pub mod vmalert;
pub mod webhook;
pub mod wecom;
pub mod year;
