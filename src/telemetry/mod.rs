//! Structured logs and the product's own metrics.
//!
//! [`log`] writes lines to stderr without ever waiting for their reader; [`metrics`] holds every
//! number the product shows, and their names. No globals but tracing's own subscriber.

pub mod log;
mod log_format;
pub mod metrics;

pub use metrics::Metrics;
