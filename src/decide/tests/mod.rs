//! Whole decisions, from a world in which everything speaks for a rollback and one thing changes.

mod consent;
mod guards;
mod laws;
mod necessary;
mod rules;
mod scopes;
mod table;
mod targets;
mod ways;
mod world;
