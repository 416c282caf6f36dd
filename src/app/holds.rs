//! Holds: decisions that wait. A document each, re-decided by every replica's sweep.
//!
//! A hold is a chain at `holds/<lane>/<deployment>/<rule>`. It ends with its episode, with an
//! action, with a clear no, or after hours; opening an incident is exclusive by itself, so two
//! replicas that re-decide the same hold do no harm.

mod chain;

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub(super) use self::chain::{Held, HoldLink, Holds, OpenHold};
use super::core::Core;
use super::intake::Opening;
use super::judge::{Again, Judgement};
use super::setup::Setup;
use super::spent::{is_spent, waits_for_budget, without_room};
use crate::domain::clock;
use crate::domain::decision::{Decision, Verdict};
use crate::domain::record::Cause;
use crate::store::StoreError;

/// Holds that are looked at at once.
const LOOKS: usize = 8;

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
                    if open.iter().any(|hold| is_spent(&hold.held.decision)) {
                        let setup = self.setup().clone();
                        self.page_spent(&setup).await;
                    }
                    // A source that does not answer costs each look its whole deadline.
                    stream::iter(open)
                        .for_each_concurrent(LOOKS, |hold| Box::pin(self.look_at(hold)))
                        .await;
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
        let moved = self.question_moved(&hold, now).await;
        if !self.holds.is_due(&hold, now) && !moved {
            return;
        }
        match self.judge_hold(&setup, &hold).await {
            None if self.alerts_are_over(&hold, now) => {
                self.end_hold(&hold, "its alerts are over").await;
            }
            // A replica that just started may not know them yet.
            None => {}
            Some(judgement) => Box::pin(self.act_on_hold(&setup, &hold, judgement)).await,
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
            && !is_spent(&hold.held.decision)
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
        let view = self.view_with(setup, decision.lane.clone()).await;
        let asked = Again {
            deployment: decision.deployment.as_ref(),
            decision,
            since: hold.held.since,
            own_incident: false,
        };
        let judgements = self.judge_again(setup, &view, asked).await;
        judgements.into_iter().next()
    }

    async fn act_on_hold(&self, setup: &Setup, hold: &OpenHold, judgement: Judgement) {
        let thread = hold.held.thread.clone();
        self.write_down(&judgement, Cause::Recheck, judgement.decision.at)
            .await;
        let Held {
            thread: told_in,
            channels: told_to,
            ..
        } = &hold.held;
        Box::pin(self.consult(setup, &judgement.decision, told_in, told_to)).await;
        match &judgement.decision.verdict {
            Verdict::Hold => {
                self.holds
                    .ask_again_at(&hold.prefix, judgement.decision.recheck_at);
                if judgement.decision.why() != hold.held.decision.why() {
                    self.move_hold(hold, &judgement.decision).await;
                }
            }
            // Time alone does not release it: it was said that a person would.
            Verdict::Rollback(_) if waits_for_budget(&hold.held.decision) => {}
            Verdict::Rollback(_) if !judgement.decision.shadow => {
                let channels = &hold.held.channels;
                // Where the lane or the store does not take it now, the next look decides anew.
                match self.open_incident(&judgement, &thread, channels).await {
                    Ok(Opening::Opened(id)) => {
                        let why = format!("incident `{id}` took over");
                        self.end_hold(hold, &why).await;
                    }
                    Ok(Opening::NoRoom(why)) => {
                        let mut decision = judgement.decision;
                        decision.verdict = Verdict::Hold;
                        without_room(&mut decision, &why);
                        self.move_hold(hold, &decision).await;
                    }
                    Ok(Opening::NotNow) | Err(_) => {}
                }
            }
            // Said already. No episode is done with: once the no is cleared they count again.
            Verdict::Notify if judgement.decision.is_denied() => {
                let why = judgement.decision.why();
                self.end_hold_without(hold, &why, BTreeSet::new()).await;
            }
            // People hear of it from the incident.
            Verdict::Notify if let Some(id) = &judgement.decision.incident => {
                let why = format!("incident `{id}` took over");
                self.end_hold(hold, &why).await;
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

    /// Another reason of a hold that stands.
    async fn move_hold(&self, hold: &OpenHold, decision: &Decision) {
        let held = hold.held.with(decision, &BTreeSet::new());
        let moved = self
            .holds
            .append(hold, HoldLink::Held(Box::new(held)))
            .await;
        if let Err(error) = moved {
            tracing::warn!("hold `{}` was not moved on: {error}", hold.prefix);
        }
    }

    async fn end_hold(&self, hold: &OpenHold, why: &str) {
        let episodes = hold.held.episodes.clone();
        self.end_hold_without(hold, why, episodes).await;
    }

    /// Ends a hold; those episodes open none again.
    async fn end_hold_without(&self, hold: &OpenHold, why: &str, episodes: BTreeSet<String>) {
        if let Err(error) = self.lapse_question(hold, why).await {
            tracing::warn!(
                "the question of hold `{}` still stands: {error}",
                hold.prefix
            );
            return;
        }
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
