//! Takes a release back through Spinnaker: at most once, to the end.

pub mod spinnaker;
