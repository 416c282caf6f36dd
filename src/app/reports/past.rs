//! What was said to people and decided beside the lane, as it was written down.

use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use crate::app::core::Core;
use crate::app::holds::HoldLink;
use crate::app::setup::Setup;
use crate::domain::clock;
use crate::domain::decision::Decision;
use crate::domain::lane::Incident;
use crate::report::{JudgedLine, Judging, MessageLine, Section};
use crate::store::{StoreError, keys};

/// Decisions this long before the incident opened belong to it: a hold waits for hours.
const BEFORE: Duration = Duration::from_hours(6);
/// Decisions of all services that are looked through, the newest ones.
const LOOKED_THROUGH: usize = 1_000;
/// Documents read at once.
const READ_AHEAD: usize = 16;
/// Rows about decisions.
const ROWS: usize = 100;

impl Core {
    /// What was said in the incident's thread, as the ledger stands.
    pub(super) async fn messages(
        &self,
        setup: &Setup,
        incident: &Incident,
    ) -> Section<Vec<MessageLine>> {
        let opened = &incident.opened;
        let channels = setup.config.audience(&opened.channels);
        let told = channels.iter().map(|channel| {
            setup
                .notify
                .history(channel, &opened.thread, incident.opened_at)
        });
        let told = join_all(told).await.into_iter().flatten();
        let mut lines: Vec<MessageLine> = told
            .map(|told| MessageLine {
                channel: told.channel,
                at: told.at,
                status: told.outcome.into(),
                kind: told.kind,
            })
            .collect();
        lines.sort_by_key(|line| line.at);
        Section::Whole(lines)
    }

    /// Every decision about the accused deployment, and what became of its holds.
    pub(super) async fn judged(
        &self,
        incident: &Incident,
        now: Timestamp,
    ) -> Section<Vec<JudgedLine>> {
        let (decided, held) = tokio::join!(self.decided(incident, now), self.hold_events(incident));
        let (decided, cut) = match decided {
            Ok(found) => found,
            Err(error) => return Section::missing(error.to_string()),
        };
        let mut lines = decided;
        let held = match held {
            Ok(held) => held,
            Err(error) => return Section::partial(error.to_string(), lines),
        };
        lines.extend(held);
        lines.sort_by_key(|line| line.at);
        let more = lines.len().saturating_sub(ROWS);
        lines.drain(..more);
        if cut || more > 0 {
            Section::partial("only the newest decisions are shown", lines)
        } else {
            Section::Whole(lines)
        }
    }

    /// Decisions about the deployment, and whether some were not looked at.
    async fn decided(
        &self,
        incident: &Incident,
        now: Timestamp,
    ) -> Result<(Vec<JudgedLine>, bool), StoreError> {
        let store = &self.ground.store;
        let from = clock::before(incident.opened_at, BEFORE);
        let mut names = Vec::new();
        let mut days = vec![
            keys::day(from),
            keys::day(incident.opened_at),
            keys::day(now),
        ];
        days.dedup();
        let offset = keys::decision(from, "");
        for day in days {
            let folder = format!("decisions/{day}");
            names.extend(store.list_after(&folder, Some(&offset)).await?);
        }
        let cut = names.len().saturating_sub(LOOKED_THROUGH);
        let mut read = stream::iter(names.into_iter().skip(cut))
            .map(async |name| store.get::<Decision>(&name).await)
            .buffered(READ_AHEAD);
        let mut lines = Vec::new();
        while let Some(decision) = read.next().await {
            let decision = match decision {
                Ok(Some(decision)) => decision,
                // One that is damaged takes no report with it.
                Ok(None) | Err(StoreError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let about = decision.deployment.as_ref() == Some(&incident.opened.deployment);
            // The lane tells of the decision that opened it.
            if about && decision.at != incident.opened.decision.at {
                lines.push(JudgedLine {
                    at: decision.at,
                    what: Judging::Decided {
                        verdict: decision.verdict.as_str().to_owned(),
                        shadow: decision.shadow,
                    },
                    why: decision.why().into(),
                });
            }
        }
        Ok((lines, cut > 0))
    }

    /// Pages and ends of the deployment's holds; why they waited is in the decisions.
    async fn hold_events(&self, incident: &Incident) -> Result<Vec<JudgedLine>, StoreError> {
        let store = &self.ground.store;
        let folder = keys::holds(&incident.lane, &incident.opened.deployment);
        let mut lines = Vec::new();
        for name in store.list(&folder).await? {
            match store.get::<HoldLink>(&name).await {
                Ok(Some(HoldLink::Paged { at })) => lines.push(JudgedLine {
                    at,
                    what: Judging::Paged,
                    why: "it has been waiting for long".into(),
                }),
                Ok(Some(HoldLink::Ended { at, why, .. })) => lines.push(JudgedLine {
                    at,
                    what: Judging::HoldEnded,
                    why: why.into(),
                }),
                Ok(_) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(lines)
    }
}
