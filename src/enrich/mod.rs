//! From an alert to release, batch and hosts; and the evidence for it.
