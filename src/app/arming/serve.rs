//! What is armed, for vmalert and for readers.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::core::Core;
use super::unwatched;
use crate::canary::armed::Listing;
use crate::canary::{Armed, group, lint};
use crate::domain::id::DeploymentId;
use crate::web::api::{Refusal, RulesState, RulesStatus};

/// The rules of one deployment, by batch.
type BatchRules = BTreeMap<u32, RulesState>;

impl Core {
    /// The rule file for the canary vmalerts: what is armed now, and always the heartbeat.
    ///
    /// # Errors
    /// When the store can't be listed: no rules are better asked for again than believed gone.
    pub(in crate::app) async fn canary_rules(&self) -> Result<String, Refusal> {
        let now = self.ground.clock.now();
        let listing = self.armed.all().await?;
        for why in &listing.damaged {
            self.numbers.error("canary", "damaged");
            tracing::error!("rules that are armed can't be served: {why}");
        }
        let live = listing.all.into_iter().filter(|armed| armed.is_live(now));
        let mut groups = Vec::new();
        for armed in live {
            let faults = lint::group(&armed.group);
            if faults.is_empty() {
                groups.push(armed.group);
            } else {
                self.numbers.error("canary", "unsound");
                let name = &armed.group.name;
                tracing::error!(
                    "the armed group `{name}` is not served: {}",
                    faults.join("; ")
                );
            }
        }
        let interval = self.setup().config.canary.interval;
        group::file(&groups, interval).map_err(|error| Refusal::Failed(error.into()))
    }

    /// The rules of every deployment's batches, those that are gone included; none while the store
    /// is away.
    pub(in crate::app) async fn rules_by_deployment(&self) -> BTreeMap<DeploymentId, BatchRules> {
        let all = self.armed.all().await.unwrap_or_else(|error| {
            tracing::warn!("armed rules can't be listed: {error}");
            Listing::default()
        });
        let now = self.ground.clock.now();
        let mut found: BTreeMap<DeploymentId, BatchRules> = BTreeMap::new();
        for armed in all.all {
            let batches = found.entry(armed.place.deployment.clone()).or_default();
            let lapse = self.watch.lapse(&armed);
            batches.insert(armed.place.batch, rules_state(armed, lapse, now));
        }
        found
    }
}

fn rules_state(armed: Armed, lapse: Option<(Timestamp, String)>, now: Timestamp) -> RulesState {
    let status = match (armed.is_live(now), armed.proven_at) {
        (false, _) => RulesStatus::Disarmed,
        (true, Some(_)) if lapse.is_none() => RulesStatus::Armed,
        (true, _) => RulesStatus::Arming,
    };
    let lapse = lapse.map(|(since, why)| unwatched(since, &why));
    RulesState {
        status,
        since: armed.since,
        proven_at: armed.proven_at,
        disarmed_at: armed.ended_at(now),
        why: armed.disarmed.map(|(_, why)| why).or(lapse),
        group: armed.group.name,
    }
}
