//! The world around the gateway, for the tests and the demo.
//!
//! Real programs where they can run (`tools` finds them, `process` runs them) and simulated
//! services. Everything listens on loopback, on ports the system chose.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the tests and the demo each use their part"
)]

pub mod alertmanager;
pub mod eventually;
pub mod feed;
pub mod fleet;
pub mod metrics_source;
pub mod process;
pub mod smtp;
pub mod tools;
pub mod versitygw;
pub mod vmalert;
