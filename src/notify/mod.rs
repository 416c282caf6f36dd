//! Messages to people: nothing lost, nobody flooded.

pub mod channel;
