//! The configuration: files and secrets in, one validated value out.

pub mod channel;
