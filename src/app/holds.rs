//! Holds: decisions that wait. A document each, re-decided by every replica's sweep.
//!
//! A hold is a chain at `holds/<lane>/<deployment>/<rule>`. It ends with its episode, with an
//! action, with a clear no, or after hours; opening an incident is exclusive by itself, so two
//! replicas that re-decide the same hold do no harm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::judge::{Gather, Judgement, Occasion};
use super::setup::Setup;
use crate::domain::clock;
use crate::domain::decision::{Decision, Verdict};
use crate::domain::id::{ChannelName, DeploymentId, LaneName};
use crate::store::{Created, Store, StoreError, chain, keys};

/// Documents of holds kept in memory; they never change.
const CACHED: u64 = 10_000;

/// One link of a hold's chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HoldLink {
    /// It waits, or waits for another reason now.
    Held(Box<Held>),
    /// People were paged.
    Paged {
        /// When.
        at: Timestamp,
    },
    /// It is over.
    Ended {
        /// When.
        at: Timestamp,
        /// Why.
        why: String,
        /// The episodes it was decided for: they open no hold again.
        episodes: BTreeSet<String>,
    },
}

/// What waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    /// Since when it stands.
    pub(super) since: Timestamp,
    /// The decision to wait, with its reason and recheck.
    pub(super) decision: Decision,
    /// The thread people were told in.
    pub(super) thread: String,
    /// Who was told.
    pub(super) channels: Vec<ChannelName>,
    /// The episodes behind it.
    pub(super) episodes: BTreeSet<String>,
    /// Whether the sources have not been asked yet.
    pub(super) pending: bool,
}

impl Held {
    /// The same hold with a newer decision.
    fn with(&self, decision: &Decision, more: &BTreeSet<String>) -> Self {
        Self {
            decision: decision.clone(),
            episodes: self.episodes.union(more).cloned().collect(),
            pending: false,
            ..self.clone()
        }
    }
}

/// An open hold, as its chain stands.
#[derive(Debug, Clone)]
pub(super) struct OpenHold {
    pub(super) prefix: String,
    pub(super) next_seq: u64,
    pub(super) held: Held,
    pub(super) paged: bool,
}

/// All holds, as this replica knows them.
#[derive(Debug)]
pub(super) struct Holds {
    store: Store,
    links: Cache<String, Arc<HoldLink>>,
    /// When this replica asks each open hold again.
    recheck: std::sync::Mutex<HashMap<String, Timestamp>>,
}

impl Holds {
    pub(super) fn new(store: Store) -> Self {
        let links = Cache::builder().max_capacity(CACHED).build();
        Self {
            store,
            links,
            recheck: std::sync::Mutex::default(),
        }
    }

    /// Writes a hold down: a new one, or another reason of one that stands. Episodes that were
    /// decided already open none again, and one that stands is not put back to "pending".
    ///
    /// # Errors
    /// When the store can't be written: the sender must send again.
    pub(super) async fn put(
        &self,
        lane: &LaneName,
        deployment: &DeploymentId,
        rule: &str,
        held: Held,
    ) -> Result<(), StoreError> {
        let prefix = keys::hold(lane, deployment, rule);
        loop {
            let links = chain::read_from::<HoldLink>(&self.store, &prefix, 1).await?;
            if let Some((_, HoldLink::Ended { episodes, .. })) = links.last()
                && held.episodes.is_subset(episodes)
            {
                return Ok(());
            }
            let (next, open) = fold(
                &prefix,
                links.into_iter().map(|(seq, link)| (seq, Arc::new(link))),
            );
            let held = match &open {
                Some(open) if held.pending || open.held.decision.why() == held.decision.why() => {
                    return Ok(());
                }
                Some(open) => open.held.with(&held.decision, &held.episodes),
                None => held.clone(),
            };
            if chain::append(&self.store, &prefix, next, &HoldLink::Held(Box::new(held))).await?
                == Created::Mine
            {
                return Ok(());
            }
        }
    }

    /// Appends to a hold as it was read; a lost number means that another replica was quicker.
    async fn append(&self, hold: &OpenHold, link: HoldLink) -> Result<bool, StoreError> {
        Ok(chain::append(&self.store, &hold.prefix, hold.next_seq, &link).await? == Created::Mine)
    }

    /// Every hold that is not over.
    pub(super) async fn open(&self) -> Result<Vec<OpenHold>, StoreError> {
        let mut chains: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        for name in self.store.list("holds").await? {
            let Some((prefix, file)) = name.rsplit_once('/') else {
                continue;
            };
            let Some(seq) = file.strip_suffix(".json").and_then(|seq| seq.parse().ok()) else {
                continue;
            };
            chains
                .entry(prefix.to_owned())
                .or_default()
                .push((seq, name));
        }
        let mut open = Vec::new();
        for (prefix, names) in chains {
            let mut links = Vec::new();
            for (seq, name) in names {
                let read = async {
                    self.store
                        .get::<HoldLink>(&name)
                        .await?
                        .map(Arc::new)
                        .ok_or_else(|| StoreError::Damaged {
                            key: name.clone(),
                            reason: "listed, yet not there".into(),
                        })
                };
                match self.links.try_get_with(name.clone(), read).await {
                    Ok(link) => links.push((seq, link)),
                    Err(error) => {
                        tracing::error!("a hold can't be read: {error}");
                        break;
                    }
                }
            }
            open.extend(fold(&prefix, links).1);
        }
        Ok(open)
    }

    fn is_due(&self, hold: &OpenHold, now: Timestamp) -> bool {
        let mut recheck = self.recheck.lock().unwrap_or_else(PoisonError::into_inner);
        let due_at = recheck
            .get(&hold.prefix)
            .copied()
            .or(hold.held.decision.recheck_at);
        match due_at {
            Some(at) if at > now => false,
            // Without a time only a person releases it, but its alerts may end.
            _ => {
                recheck.insert(
                    hold.prefix.clone(),
                    clock::after(now, Duration::from_secs(10)),
                );
                true
            }
        }
    }

    fn ask_again_at(&self, prefix: &str, at: Option<Timestamp>) {
        let mut recheck = self.recheck.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = at {
            recheck.insert(prefix.to_owned(), at);
        }
    }

    fn forget(&self, prefix: &str) {
        self.recheck
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(prefix);
    }
}

/// The next number of a chain, and the hold if it is open.
fn fold(
    prefix: &str,
    links: impl IntoIterator<Item = (u64, Arc<HoldLink>)>,
) -> (u64, Option<OpenHold>) {
    let (mut next_seq, mut open) = (1, None::<OpenHold>);
    for (seq, link) in links {
        next_seq = seq + 1;
        match &*link {
            HoldLink::Held(held) => {
                let paged = open.as_ref().is_some_and(|open| open.paged);
                open = Some(OpenHold {
                    prefix: prefix.to_owned(),
                    next_seq,
                    held: Held::clone(held),
                    paged,
                });
            }
            HoldLink::Paged { .. } => {
                if let Some(open) = &mut open {
                    open.paged = true;
                }
            }
            HoldLink::Ended { .. } => open = None,
        }
    }
    if let Some(open) = &mut open {
        open.next_seq = next_seq;
    }
    (next_seq, open)
}

impl Core {
    /// Looks at open holds again and again, until `stop`.
    pub(super) async fn keep_holds(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let every = self.setup().config.timing.sweep;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
                () = self.look_at_holds.notified() => {}
            }
            match self.holds.open().await {
                Ok(open) => {
                    self.numbers
                        .holds_open
                        .set(i64::try_from(open.len()).unwrap_or(i64::MAX));
                    for hold in open {
                        self.look_at(hold).await;
                    }
                }
                Err(error) => tracing::warn!("holds can't be listed: {error}"),
            }
        }
    }

    async fn look_at(&self, hold: OpenHold) {
        let now = self.ground.clock.now();
        let setup = self.setup().clone();
        if let Err(error) = self.page_or_end(&setup, &hold, now).await {
            tracing::warn!("hold `{}` was not moved on: {error}", hold.prefix);
        }
        if !self.holds.is_due(&hold, now) {
            return;
        }
        match self.judge_hold(&setup, &hold).await {
            None if self.alerts_are_over(&hold, now) => {
                self.end_hold(&hold, "its alerts are over").await;
            }
            // A replica that just started may not know them yet.
            None => {}
            Some(judgement) => self.act_on_hold(&setup, &hold, judgement).await,
        }
    }

    /// Whether every alert of a hold is known to be over; unknown ones are, once no sender has
    /// named them again for the gap in which it would have.
    fn alerts_are_over(&self, hold: &OpenHold, now: Timestamp) -> bool {
        let gap = self.setup().config.timing.episode_gap;
        let long_silent =
            clock::since(now, hold.held.since) >= gap && clock::since(now, self.started_at) >= gap;
        let decision = &hold.held.decision;
        self.book_is_read()
            && decision
                .alerts
                .iter()
                .all(|alert| self.book.is_over(*alert) || long_silent)
    }

    /// Pages a hold that stands long and ends one that stands too long.
    async fn page_or_end(
        &self,
        setup: &Setup,
        hold: &OpenHold,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let age = clock::since(now, hold.held.since);
        if age >= setup.config.timing.hold_end {
            self.end_hold(hold, "nobody released it in time").await;
        } else if age >= setup.config.timing.hold_page
            && !hold.paged
            && self.holds.append(hold, HoldLink::Paged { at: now }).await?
        {
            let notice =
                self.hold_notice(setup, &hold.held, "a rollback has been waiting for long");
            self.tell_all(
                setup,
                &hold.held.channels,
                notice,
                &format!("{}/page", hold.prefix),
            )
            .await;
        }
        Ok(())
    }

    /// The accusation of a hold, judged with fresh evidence; None when nothing of it is open.
    async fn judge_hold(&self, setup: &Setup, hold: &OpenHold) -> Option<Judgement> {
        let decision = &hold.held.decision;
        let open = self.book.open_alerts();
        let view = self.view_with(setup, decision.lane.clone()).await;
        let resolved = Self::resolve(setup, &view, open);
        let focus: BTreeSet<_> = resolved
            .iter()
            .filter(|one| {
                one.resolution.context().is_some_and(|context| {
                    Some(&context.deployment.id) == decision.deployment.as_ref()
                })
            })
            .map(|one| one.open.alert.fingerprint)
            .collect();
        let occasion = Occasion {
            truncated: 0,
            received_at: decision.at,
            held_since: Some(hold.held.since),
            gather: Gather::Now(setup.config.timing.evidence_deadline),
            again: false,
        };
        let judgements = self.judge(setup, &view, &resolved, &focus, occasion).await;
        let wanting = judgements
            .into_iter()
            .filter(|judgement| judgement.wants_rollback);
        let (same_rule, others): (Vec<_>, Vec<_>) =
            wanting.partition(|judgement| judgement.decision.rule == decision.rule);
        // Another phase brings another rule for the same alerts.
        same_rule.into_iter().chain(others).next()
    }

    async fn act_on_hold(&self, setup: &Setup, hold: &OpenHold, judgement: Judgement) {
        let thread = hold.held.thread.clone();
        self.write_down(&judgement.decision, judgement.decision.at)
            .await;
        match &judgement.decision.verdict {
            Verdict::Hold => {
                self.holds
                    .ask_again_at(&hold.prefix, judgement.decision.recheck_at);
                if judgement.decision.why() != hold.held.decision.why() {
                    let held = hold.held.with(&judgement.decision, &BTreeSet::new());
                    if let Err(error) = self
                        .holds
                        .append(hold, HoldLink::Held(Box::new(held)))
                        .await
                    {
                        tracing::warn!("hold `{}` was not moved on: {error}", hold.prefix);
                    }
                }
            }
            Verdict::Rollback(_) if !judgement.decision.shadow => {
                let channels = &hold.held.channels;
                // Where the lane or the store does not take it now, the next look decides anew.
                if let Ok(Some(id)) = self.open_incident(&judgement, &thread, channels).await {
                    self.end_hold(hold, &format!("incident `{id}` took over"))
                        .await;
                }
            }
            Verdict::Rollback(_) | Verdict::Notify => {
                let why = judgement.decision.why();
                let held = hold.held.with(&judgement.decision, &BTreeSet::new());
                let notice = self.hold_notice(setup, &held, "a waiting rollback was decided");
                self.tell_all(
                    setup,
                    &hold.held.channels,
                    notice,
                    &format!("{}/{}/decided", hold.prefix, hold.next_seq),
                )
                .await;
                self.end_hold(hold, &why).await;
            }
        }
    }

    async fn end_hold(&self, hold: &OpenHold, why: &str) {
        let episodes = hold.held.episodes.clone();
        let link = HoldLink::Ended {
            at: self.ground.clock.now(),
            why: why.to_owned(),
            episodes,
        };
        match self.holds.append(hold, link).await {
            Ok(_) => self.holds.forget(&hold.prefix),
            Err(error) => tracing::warn!("hold `{}` was not ended: {error}", hold.prefix),
        }
    }
}
