//! The configuration: files and secrets in, one validated value out.

pub mod matcher;
pub mod policy;
pub mod problem;
