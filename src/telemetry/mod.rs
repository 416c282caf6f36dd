//! Structured logs and the product's own metrics.
