//! Messages to people: nothing lost, nobody flooded.

pub mod channel;
pub mod render;
