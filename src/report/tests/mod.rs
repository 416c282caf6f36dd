//! A realistic incident, told from its lane.

mod injection;
mod keeping;
mod scene;
mod stories;
