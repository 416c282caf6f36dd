//! What waited, as the chains of holds tell.

use std::collections::BTreeSet;

use crate::app::holds::HoldLink;
use crate::domain::record::DecisionRecord;
use crate::explain::{HoldLine, Step};
use crate::store::{Store, StoreError, chain, keys};

/// The holds that stand behind decisions, each as its chain tells.
pub(super) async fn holds_of(
    store: &Store,
    decisions: &[DecisionRecord],
) -> Result<Vec<HoldLine>, StoreError> {
    let chains: BTreeSet<_> = decisions
        .iter()
        .filter_map(|DecisionRecord { decision, .. }| {
            Some((
                decision.lane.as_ref()?,
                decision.deployment.as_ref()?,
                decision.rule.as_ref()?,
            ))
        })
        .collect();
    let mut found = Vec::new();
    for (lane, deployment, rule) in chains {
        let prefix = keys::hold(lane, deployment, rule);
        let links = chain::read_from::<HoldLink>(store, &prefix, 1).await?;
        for (_, link) in links {
            match link {
                HoldLink::Held(held) => {
                    let step = Step {
                        at: held.decision.at,
                        what: held.decision.why(),
                    };
                    let open = found.last_mut().filter(|hold: &&mut HoldLine| {
                        hold.ended.is_none() && hold.deployment == *deployment && hold.rule == *rule
                    });
                    match open {
                        Some(hold) => hold.steps.push(step),
                        None => found.push(HoldLine {
                            deployment: deployment.clone(),
                            rule: rule.clone(),
                            since: held.since,
                            steps: vec![step],
                            paged_at: None,
                            ended: None,
                        }),
                    }
                }
                HoldLink::Paged { at } => {
                    if let Some(hold) = found.last_mut() {
                        hold.paged_at = Some(at);
                    }
                }
                HoldLink::Ended { at, why, .. } => {
                    if let Some(hold) = found.last_mut() {
                        hold.ended = Some(Step { at, what: why });
                    }
                }
            }
        }
    }
    found.sort_by_key(|hold| hold.since);
    Ok(found)
}
