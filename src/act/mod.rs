//! Takes a release back through Spinnaker: at most once, to the end.
//!
//! [`lane`] keeps the chains and their folded states, [`engine`] moves open incidents on, any of
//! them on any replica. What happens next follows from the chain alone ([`step`]); what a replica
//! remembers besides only spares it work. The guarantee is made by admission: a lane append that
//! at most one execution of an incident can win, whoever sent what and when.
//!
//! Guards, plans, recovery, reports and messages belong to other rooms and come in as the traits
//! of [`seams`].

pub mod approvals;
pub mod budget;
pub mod claim;
pub mod engine;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod gate;
pub mod lane;
#[cfg(test)]
mod lies;
pub mod marks;
pub mod orders;
pub mod seams;
pub mod step;
mod steps;
