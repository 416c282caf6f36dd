//! Wires the rooms together; the only place that does.
