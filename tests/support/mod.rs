//! The world around the gateway, for the tests and the demo.
//!
//! Real programs where they can run (`tools` finds them, `process` runs them) and simulated
//! services. Everything listens on loopback, on ports the system chose.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the tests and the demo each use their part"
)]

pub mod chat;
pub mod dingtalk;
pub mod slack;
pub mod slack_blocks;
pub mod wecom;
