//! The overall budget, counted before a rollback is opened.
//!
//! The chain of grants decides at the last moment. When many services fail at once that is late:
//! their deployments would be stopped, and people paged, for nothing. So an incident that is open
//! and has no grant yet counts as one, and one replica opens one after the other. What finds no
//! room waits for a person, who is paged once for all of it.

use super::core::Core;
use super::setup::Setup;
use crate::act::budget::{BudgetView, Grant};
use crate::act::lane::LaneStore;
use crate::domain::clock;
use crate::domain::decision::{Code, Decision, Guard, Outcome};
use crate::domain::id::Service;
use crate::domain::lane::Origin;
use crate::domain::notice::{Notice, NoticeKind};

/// `granted`, and the open incidents that will want a grant.
///
/// # Errors
/// Why it can't be told, in words.
pub(super) async fn with_wanted(
    lanes: &LaneStore,
    mut granted: BudgetView,
) -> Result<BudgetView, String> {
    let told = |error: crate::store::StoreError| error.to_string();
    let unfinished = lanes.unfinished().await.map_err(told)?;
    if let Some((lane, why)) = unfinished.unreadable.first() {
        return Err(format!("lane `{lane}` can't be read: {why}"));
    }
    for id in unfinished.open {
        let Some((lane, _)) = id.parts() else {
            continue;
        };
        let state = lanes.as_read(&lane).await;
        let Some(incident) = state.incident(&id) else {
            continue;
        };
        let automatic = matches!(incident.opened.origin, Origin::Automatic);
        if automatic && !granted.grants.iter().any(|grant| grant.incident == id) {
            granted.grants.push(Grant {
                incident: id,
                service: incident.opened.service.clone(),
                escalation: false,
                at: incident.opened_at,
            });
        }
    }
    Ok(granted)
}

impl Core {
    /// The grants that count, and the open incidents that will want one.
    ///
    /// # Errors
    /// Why it can't be told, in words.
    pub(super) async fn granted(&self) -> Result<BudgetView, String> {
        let engine = self.engine().ok_or("still starting")?;
        let told = |error: crate::store::StoreError| error.to_string();
        let granted = engine.budget().await.map_err(told)?;
        with_wanted(&self.lanes, granted).await
    }

    /// Why one more rollback does not fit into the budget of all services; None: it does.
    ///
    /// # Errors
    /// When that can't be told.
    pub(super) async fn no_room(
        &self,
        setup: &Setup,
        service: &Service,
    ) -> Result<Option<String>, String> {
        let granted = self.granted().await?;
        let now = self.ground.clock.now();
        // Its own share was judged; in the one of all services a storm may have been quicker.
        let only_overall = true;
        let fits = granted.check(&setup.config.budget, service, only_overall, now);
        Ok(fits.err())
    }

    /// Pages once for everything that waits because the overall budget is spent.
    pub(super) async fn page_spent(&self, setup: &Setup) {
        let Ok(granted) = self.granted().await else {
            return;
        };
        let now = self.ground.clock.now();
        let overall = setup.config.budget.overall;
        let recent = granted
            .grants
            .iter()
            .filter(|grant| clock::since(now, grant.at) < overall.per);
        let mut incidents: Vec<&str> = recent.map(|grant| grant.incident.as_str()).collect();
        if incidents.len() < overall.count as usize {
            return;
        }
        incidents.sort_unstable();
        let mut notice = Notice::blank(
            NoticeKind::HoldPage,
            "budget",
            "more services want a rollback than the budget allows",
            now,
        );
        "critical".clone_into(&mut notice.severity);
        notice.context_missing = Some(format!(
            "{} automatic rollbacks in {} are used up ({}); every further one waits for a person",
            overall.count,
            humantime::format_duration(overall.per),
            incidents.join(", ")
        ));
        notice.links = Self::links(setup, None, None);
        let fact = format!("budget/spent/{}", incidents.join("+"));
        let channels = setup.config.default_channels.clone();
        self.tell_all(setup, &channels, notice, &fact).await;
    }
}

/// Whether a decision waits because the overall budget is spent.
pub(super) fn is_spent(decision: &Decision) -> bool {
    let spent = |code| code == Code::OverallSpent;
    let mut verdicts = decision.guards.iter();
    verdicts.any(|verdict| verdict.guard == Guard::Budget && spent(verdict.code))
}

/// Whether a decision waits for a person because a budget is spent.
pub(super) fn waits_for_budget(decision: &Decision) -> bool {
    let guard = decision.deciding_guard().map(|verdict| verdict.guard);
    guard == Some(Guard::Budget) && decision.recheck_at.is_none()
}

/// Makes a hold for a person of a decision that found no room any more.
pub(super) fn without_room(decision: &mut Decision, why: &str) {
    for verdict in &mut decision.guards {
        if verdict.guard == Guard::Budget {
            verdict.outcome = Outcome::Hold(format!("{why}: only a person may go on"));
            verdict.code = Code::OverallSpent;
        }
    }
}
