//! What judging asks of the world.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::act::budget::BudgetView as Granted;
use crate::decide::{ActiveExecution, Switches};
use crate::domain::context::Context;
use crate::domain::deployment::Deployment;
use crate::domain::evidence::Evidence;
use crate::domain::id::{Env, LaneName, Service};
use crate::domain::lane::LaneState;
use crate::enrich::catalog::View;
use crate::enrich::evidence;

/// The world as a [`super::Judge`] asks it. What can't be told is an `Err` in words, and holds;
/// no answer here is a guess.
#[async_trait]
pub(crate) trait Sources: Send + Sync {
    /// The moment that is judged.
    fn now(&self) -> Timestamp;

    /// A lane with its incidents.
    async fn lane(&self, lane: &LaneName) -> Result<Arc<LaneState>, String>;

    /// Modes set above the policy's; what can't be read is said inside.
    async fn switches(&self, service: Option<&Service>, env: Option<&Env>) -> Switches;

    /// The automatic rollbacks that count against the budget.
    async fn granted(&self) -> Result<Granted, String>;

    /// Executions on the accused service and env that are not terminal.
    async fn active(&self, context: &Context) -> Result<Vec<ActiveExecution>, String>;

    /// The accused deployment as Spinnaker shows it now.
    async fn deployment(&self, context: &Context) -> Result<Deployment, String>;

    /// What the metrics store says for and against the accusation.
    async fn evidence(&self, accusation: &evidence::Accusation<'_>, view: &View) -> Evidence;
}
