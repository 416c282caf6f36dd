//! Canary rules: alert rules made for one batch of one release, and the proof that they are loaded.
//!
//! [`mod@render`] fills a service's templates for a batch, [`lint`] refuses what was measured to be
//! wrong, [`armed`] keeps what is to be evaluated as chains in the store, and [`proof`] compares
//! that with what a vmalert says it evaluates. When a batch is armed and disarmed is for `app` to
//! say. The set of rules that is served is never empty: vmalert takes an empty one without a word
//! and watches nothing.

pub mod armed;
pub mod group;
pub mod lint;
pub mod proof;
pub mod render;

pub use armed::{ArmEvent, Armed, ArmedStore, Place};
pub use group::{Group, Rule};
pub use proof::{Sight, Turn, Watch};
pub use render::{Subject, render};
