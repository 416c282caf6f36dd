//! Stand-ins for the systems that cannot run here, shared by the tests and the demo.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test support"
)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "included by several binaries, none of which uses all of it"
)]

pub mod gate;
