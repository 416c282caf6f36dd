//! Writes a Release from CI.
