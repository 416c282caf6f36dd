//! Instant and range queries against a Prometheus-compatible metrics store.
