//! How many automatic rollbacks there may be: a chain of grants.
//!
//! The append is the grant. It carries the incident, so that asking twice grants once, and it is
//! ignored once that incident closed and surely nothing of it ran.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lane::LaneStore;
use crate::config::{Budget, Rate};
use crate::domain::clock::{before, since};
use crate::domain::id::{IncidentId, Service};
use crate::domain::lane::{Incident, Origin};
use crate::store::{Created, StoreError, chain, keys};

/// One link of the budget's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// To whom.
    pub incident: IncidentId,
    /// Of which service.
    pub service: Service,
    /// An escalation: outside the service's budget.
    pub escalation: bool,
    /// When, by the writer's clock.
    pub at: Timestamp,
}

/// The grants that count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BudgetView {
    /// Oldest first.
    pub grants: Vec<Grant>,
}

impl BudgetView {
    /// Whether one more automatic rollback of `service` fits. An escalation uses only the
    /// overall budget.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn check(
        &self,
        budget: &Budget,
        service: &Service,
        escalation: bool,
        now: Timestamp,
    ) -> Result<(), String> {
        let used = |rate: Rate, of: Option<&Service>| {
            let counts = |grant: &&Grant| {
                since(now, grant.at) < rate.per
                    && of.is_none_or(|of| grant.service == *of && !grant.escalation)
            };
            let used = self.grants.iter().filter(counts).count();
            u32::try_from(used).unwrap_or(u32::MAX)
        };
        let over = |what: &str, rate: Rate, used: u32| {
            let per = humantime::format_duration(rate.per);
            Err(format!(
                "{used} automatic rollbacks of {what} within {per}, the budget is {}",
                rate.count
            ))
        };
        let all = used(budget.overall, None);
        if all >= budget.overall.count {
            return over("all services", budget.overall, all);
        }
        let of_service = used(budget.per_service, Some(service));
        if !escalation && of_service >= budget.per_service.count {
            return over(service.as_str(), budget.per_service, of_service);
        }
        Ok(())
    }
}

/// The answer to an incident that asks for its grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// It has one now, or had one.
    Yes,
    /// There is no room; the words say why.
    No(String),
}

/// A replica's view of the chain of grants.
#[derive(Debug)]
pub struct Budgets {
    lanes: LaneStore,
    read: tokio::sync::Mutex<BTreeMap<u64, Grant>>,
}

impl Budgets {
    /// Nothing read yet.
    pub fn new(lanes: LaneStore) -> Self {
        Self {
            lanes,
            read: tokio::sync::Mutex::default(),
        }
    }

    /// The grants of the longest window that still count.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn view(&self, budget: &Budget, now: Timestamp) -> Result<BudgetView, StoreError> {
        let mut read = self.read.lock().await;
        self.read_new(&mut read).await?;
        let all: Vec<Grant> = read.values().cloned().collect();
        drop(read);
        self.counting(all, budget, now).await
    }

    /// Asks for the grant of an incident. A manual one needs none.
    ///
    /// # Errors
    /// When the store can't be reached or the outcome is unknown: nothing may be sent then.
    pub async fn grant(
        &self,
        incident: &Incident,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        if incident.opened.origin != Origin::Automatic {
            return Ok(Granted::Yes);
        }
        let mine = Grant {
            incident: incident.id.clone(),
            service: incident.opened.service.clone(),
            escalation: incident.opened.supersedes.is_some(),
            at: now,
        };
        let mut read = self.read.lock().await;
        loop {
            self.read_new(&mut read).await?;
            if read.values().any(|grant| grant.incident == mine.incident) {
                return Ok(Granted::Yes);
            }
            let all: Vec<Grant> = read.values().cloned().collect();
            let view = self.counting(all, budget, now).await?;
            if let Err(why) = view.check(budget, &mine.service, mine.escalation, now) {
                return Ok(Granted::No(why));
            }
            let seq = read.last_key_value().map_or(1, |(seq, _)| seq + 1);
            let outcome = chain::append(self.lanes.store(), &keys::budget(), seq, &mine).await?;
            if outcome == Created::Mine {
                read.insert(seq, mine);
                return Ok(Granted::Yes);
            }
        }
    }

    async fn read_new(&self, read: &mut BTreeMap<u64, Grant>) -> Result<(), StoreError> {
        let next = read.last_key_value().map_or(1, |(seq, _)| seq + 1);
        let links = chain::read_from(self.lanes.store(), &keys::budget(), next).await?;
        read.extend(links);
        Ok(())
    }

    async fn counting(
        &self,
        grants: Vec<Grant>,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<BudgetView, StoreError> {
        let window = budget.overall.per.max(budget.per_service.per);
        let oldest = before(now, window);
        let mut view = BudgetView::default();
        for grant in grants.into_iter().filter(|grant| grant.at > oldest) {
            if self.counts(&grant.incident).await? {
                view.grants.push(grant);
            }
        }
        Ok(view)
    }

    async fn counts(&self, id: &IncidentId) -> Result<bool, StoreError> {
        let Some((lane, _)) = id.parts() else {
            return Ok(true);
        };
        let lane = self.lanes.refresh(&lane).await?;
        Ok(lane
            .incident(id)
            .is_none_or(|incident| !incident.is_closed() || incident.may_have_taken_effect()))
    }
}

#[cfg(test)]
mod tests;
