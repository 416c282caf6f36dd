//! A body of alerts, judged as it would be now: nothing is told, nothing written, nothing done.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::core::Core;
use super::explain::alert_of;
use super::intake::related;
use super::judge::{Gather, Judgement, Occasion};
use super::setup::Setup;
use crate::domain::alert::{Alert, AlertGroup, Fingerprint, Source};
use crate::domain::record::{DecisionRecord, MAX_NAMED};
use crate::explain::{self, Asked, Code, Explanation, Reason};
use crate::ingest::episode::{EpisodeId, Open};
use crate::ingest::{self};
use crate::web::api::Refusal;

impl Core {
    /// What a body would come to if it were delivered now.
    pub(super) async fn explain_body(
        &self,
        source: Source,
        body: &[u8],
    ) -> Result<Explanation, Refusal> {
        let now = self.ground.clock.now();
        let read = ingest::read(source, body, now).map_err(|rejection| Refusal::Invalid {
            code: rejection.code,
            pointer: rejection.pointer,
            reason: rejection.reason,
        })?;
        let setup = self.setup().clone();
        let mut because: Vec<Reason> = read
            .ignored
            .iter()
            .map(|ignored| Reason::new(Code::LeftOut, format!("left out: {ignored}")))
            .collect();
        let (mut alerts, mut decisions) = (Vec::new(), Vec::new());
        for group in &read.groups {
            for ended in group.alerts.iter().filter(|alert| !alert.is_firing()) {
                let text = format!("{} is resolved: an end never triggers", ended.name());
                because.push(Reason::new(Code::Resolved, text));
            }
            alerts.extend(group.alerts.iter().map(alert_of));
            decisions.extend(self.would_decide(&setup, group).await);
        }
        because.extend(decisions.iter().map(explain::of_record));
        if because.is_empty() {
            let text = "the body holds no alert".to_owned();
            because.push(Reason::new(Code::NoAlert, text));
        }
        Ok(Explanation {
            alerts,
            decisions,
            ..Explanation::new(Asked::Body { source, at: now }, because)
        })
    }

    async fn would_decide(&self, setup: &Setup, group: &AlertGroup) -> Vec<DecisionRecord> {
        let lanes = setup.config.lanes_named_in(&group.alerts);
        let view = self.view_with(setup, lanes).await;
        let resolved = self.resolve(setup, &view, self.as_if_open(group));
        let firing: BTreeSet<Fingerprint> = group
            .alerts
            .iter()
            .filter(|alert| alert.is_firing())
            .map(|alert| alert.fingerprint)
            .collect();
        let occasion = Occasion {
            truncated: group.truncated,
            received_at: group.received_at,
            held_since: None,
            gather: Gather::Now(setup.config.timing.evidence_deadline),
            again: false,
        };
        let judgements = self.judge(setup, &view, &resolved, &firing, occasion).await;
        judgements.into_iter().map(record).collect()
    }

    /// The open alerts, as they would be after this delivery.
    fn as_if_open(&self, group: &AlertGroup) -> Vec<Open> {
        let mut open = self.book.open_where(related(group));
        for alert in &group.alerts {
            let known = open
                .iter()
                .position(|open| open.alert.fingerprint == alert.fingerprint);
            match (known.and_then(|at| open.get_mut(at)), alert.is_firing()) {
                (Some(known), true) => known.alert = Arc::new(alert.clone()),
                (None, true) => open.push(fresh(alert, group)),
                (Some(_), false) => {
                    open.retain(|open| open.alert.fingerprint != alert.fingerprint);
                }
                (None, false) => {}
            }
        }
        open
    }
}

fn fresh(alert: &Alert, group: &AlertGroup) -> Open {
    Open {
        id: EpisodeId {
            fingerprint: alert.fingerprint,
            start: alert.starts_at,
            life: 0,
        },
        began: group.received_at,
        latest_start: alert.starts_at,
        lease: alert.ends_at,
        open_ended: alert.ends_at.is_none(),
        last_copy: group.received_at,
        thread: group.key.clone(),
        alert: Arc::new(alert.clone()),
    }
}

fn record(judgement: Judgement) -> DecisionRecord {
    let named = judgement.alerts.iter().take(MAX_NAMED);
    DecisionRecord {
        id: String::new(),
        by: None,
        cause: None,
        accused: judgement.resolution.words(),
        named: named.map(|open| (&*open.alert).into()).collect(),
        decision: judgement.decision,
    }
}
