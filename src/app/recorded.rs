//! Decisions as they are kept for people who ask why, and read again.
//!
//! A decision is written when it is news: another verdict, another reason, or an alert that was
//! not part of it before. What a replica wrote before it was restarted it writes once more.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::core::Core;
use super::judge::Judgement;
use crate::domain::alert::Fingerprint;
use crate::domain::clock;
use crate::domain::decision::Decision;
use crate::domain::record::{Cause, DecisionRecord, MAX_NAMED};
use crate::store::{Store, StoreError, keys};
use crate::web::api::{Filter, Page, Refusal};

/// Accusations whose last decision is remembered.
const REMEMBERED: usize = 10_000;
/// Documents read at once.
const READ_AHEAD: usize = 16;
/// Documents looked at for one page; the page then ends, and its cursor goes on.
const MAX_READ: usize = 5_000;

/// The last decision of each accusation, as written by this replica.
#[derive(Debug, Default)]
pub(super) struct LastDecisions(Mutex<HashMap<String, (String, BTreeSet<Fingerprint>)>>);

impl LastDecisions {
    /// Whether a decision says anything new of its accusation; remembered as said.
    fn is_news(&self, decision: &Decision) -> bool {
        // Without a deployment nothing but its alerts tells accusations apart.
        let alone = decision
            .alerts
            .first()
            .filter(|_| decision.deployment.is_none());
        let accusation = format!("{:?}/{:?}/{alone:?}", decision.deployment, decision.rule);
        let gist = decision.gist();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last
            .get(&accusation)
            .is_some_and(|(said, alerts)| *said == gist && decision.alerts.is_subset(alerts));
        if !known {
            if last.len() >= REMEMBERED {
                last.clear();
            }
            last.insert(accusation, (gist, decision.alerts.clone()));
        }
        !known
    }
}

impl Core {
    /// Keeps a decision for people who ask why, when it is news.
    /// `since` is when the delivery, or the look at a hold, began.
    pub(super) async fn write_down(&self, judgement: &Judgement, cause: Cause, since: Timestamp) {
        let decision = &judgement.decision;
        let took = clock::since(self.ground.clock.now(), since);
        self.numbers
            .decision(decision.verdict.as_str(), decision.mode.as_str(), took);
        for verdict in &decision.guards {
            self.numbers.guard(
                verdict.guard.as_str(),
                verdict.outcome.as_str(),
                verdict.code.as_str(),
            );
        }
        if !self.last_decisions.is_news(decision) {
            return;
        }
        tracing::info!(
            verdict = decision.verdict.as_str(),
            shadow = decision.shadow,
            service = decision.service.as_ref().map(AsRef::<str>::as_ref),
            release.id = decision.release_id.as_ref().map(AsRef::<str>::as_ref),
            "decided {}: {}",
            decision.verdict.as_str(),
            decision.why()
        );
        let named = judgement.alerts.iter().take(MAX_NAMED);
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let record = DecisionRecord {
            id: keys::stamped(decision.at, &unique),
            decision: decision.clone(),
            by: Some(self.ground.me.clone()),
            cause: Some(cause),
            accused: judgement.resolution.words(),
            named: named.map(|open| (&*open.alert).into()).collect(),
        };
        let key = keys::decision(decision.at, &unique);
        if let Err(error) = self.ground.store.create(&key, &record).await {
            // Lanes and holds carry the decisions that lead to something; this is for reading.
            tracing::warn!("a decision could not be kept for `explain`: {error}");
        }
    }

    /// Decisions that fit, newest first, over all days that are kept.
    pub(super) async fn list_decisions(
        &self,
        filter: &Filter,
    ) -> Result<Page<DecisionRecord>, Refusal> {
        let found = find(&self.ground.store, filter).await?;
        let mut page = self.page(&self.catalog.view(), filter, found.items);
        page.more = found.next.is_some();
        page.next = found.next;
        Ok(page)
    }
}

/// Decisions that were found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Newest first.
    pub(super) items: Vec<DecisionRecord>,
    /// Where to go on; None: nothing older is kept, or wanted.
    pub(super) next: Option<String>,
}

/// Reads decisions that fit, newest first, at most `filter.limit` of them.
///
/// # Errors
/// When the store can't be read, or holds a damaged decision.
pub(super) async fn find(store: &Store, filter: &Filter) -> Result<Found, StoreError> {
    search(store, filter, |decision| fits(filter, decision)).await
}

/// The same with a choice of the caller's; of `filter` only time, cursor and limit count.
///
/// # Errors
/// When the store can't be read.
pub(super) async fn search(
    store: &Store,
    filter: &Filter,
    wanted: impl Fn(&Decision) -> bool,
) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let mut read = 0;
    let mut days = store.folders("decisions").await?;
    days.reverse();
    for day in days {
        let names = store.list(&format!("decisions/{day}")).await?;
        let in_range = names
            .into_iter()
            .rev()
            .filter(|name| keys::stamp(name).is_some_and(|(id, at)| in_time(filter, id, at)));
        let mut documents = stream::iter(in_range)
            .map(async |name| (store.get::<DecisionRecord>(&name).await, name))
            .buffered(READ_AHEAD);
        while let Some((document, name)) = documents.next().await {
            let id = keys::stamp(&name).map_or_else(String::new, |(id, _)| id.to_owned());
            read += 1;
            match document {
                Ok(Some(record)) if wanted(&record.decision) => {
                    if found.items.len() == filter.limit {
                        found.next = found.items.last().map(|record| record.id.clone());
                        return Ok(found);
                    }
                    found.items.push(DecisionRecord {
                        id: id.clone(),
                        ..record
                    });
                }
                Ok(_) => {}
                Err(error @ StoreError::Damaged { .. }) => {
                    tracing::warn!(%error, "a decision is left out");
                }
                Err(error) => return Err(error),
            }
            if read == MAX_READ {
                found.next = Some(id);
                return Ok(found);
            }
        }
        if filter.from.is_some_and(|from| day <= keys::day(from)) {
            break;
        }
    }
    Ok(found)
}

fn in_time(filter: &Filter, id: &str, at: Timestamp) -> bool {
    // Names have milliseconds, askers may have less.
    let early = filter
        .from
        .is_some_and(|from| at.as_millisecond() < from.as_millisecond());
    let late = filter.to.is_some_and(|to| at > to);
    let seen = filter.cursor.as_deref().is_some_and(|cursor| id >= cursor);
    !(early || late || seen)
}

fn fits(filter: &Filter, decision: &Decision) -> bool {
    fn same<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
        wanted.is_none_or(|wanted| is == Some(wanted))
    }
    same(filter.service.as_ref(), decision.service.as_ref())
        && same(filter.env.as_ref(), decision.env.as_ref())
        && same(filter.release_id.as_ref(), decision.release_id.as_ref())
        && same(filter.deployment_id.as_ref(), decision.deployment.as_ref())
        && same(filter.incident.as_ref(), decision.incident.as_ref())
        && filter.verdict.as_deref().is_none_or(|wanted| {
            let is = decision.verdict.as_str();
            is == wanted || (wanted == "rollback" && is.starts_with("rollback_"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::fixtures;
    use crate::domain::decision::{Code, Guard, GuardVerdict, Outcome, Verdict};
    use crate::store::Created;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn held(service: &str, why: &str, alerts: &[u64]) -> Decision {
        Decision {
            verdict: Verdict::Hold,
            service: Some(service.parse().unwrap()),
            deployment: Some("D1".parse().unwrap()),
            guards: vec![GuardVerdict {
                guard: Guard::Verify,
                outcome: Outcome::Hold(why.to_owned()),
                code: Code::Unstated,
            }],
            alerts: alerts.iter().copied().map(Fingerprint).collect(),
            ..fixtures::decision()
        }
    }

    #[test]
    fn a_decision_is_news_with_another_reason_or_one_more_alert() {
        let last = LastDecisions::default();
        assert!(last.is_news(&held("checkout", "source down", &[1])));
        assert!(!last.is_news(&held("checkout", "source down", &[1])));
        assert!(last.is_news(&held("checkout", "no data", &[1])));
        assert!(last.is_news(&held("checkout", "no data", &[1, 2])));
        assert!(!last.is_news(&held("checkout", "no data", &[2])));
    }

    #[test]
    fn the_same_reason_a_second_later_is_no_news() {
        let last = LastDecisions::default();
        let waits = |left: u64, code: Code| {
            let mut decision = held("checkout", &format!("{left}s more"), &[1]);
            decision.guards[0].code = code;
            decision
        };
        assert!(last.is_news(&waits(5, Code::TooYoung)));
        assert!(!last.is_news(&waits(4, Code::TooYoung)));
        assert!(last.is_news(&waits(4, Code::TooFewHosts)));
    }

    async fn kept(store: &Store, service: &str, time: &str) -> String {
        let decision = Decision {
            at: at(time),
            ..held(service, "source down", &[1])
        };
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let key = keys::decision(decision.at, &unique);
        // As versions before this one wrote them.
        assert_eq!(store.create(&key, &decision).await.unwrap(), Created::Mine);
        keys::stamped(decision.at, &unique)
    }

    #[tokio::test]
    async fn pages_go_back_over_days_without_losing_or_repeating_one() {
        let store = Store::in_memory();
        let mut expected = Vec::new();
        for day in 20..24 {
            for minute in [1, 1, 59] {
                let time = format!("2026-11-{day}T23:{minute:02}:00Z");
                expected.push(kept(&store, "checkout", &time).await);
                kept(&store, "cart", &time).await;
            }
        }
        expected.sort();
        expected.reverse();
        let mut filter = Filter {
            service: Some("checkout".parse().unwrap()),
            limit: 5,
            ..Filter::default()
        };
        let mut seen = Vec::new();
        let mut pages = Vec::new();
        loop {
            let found = find(&store, &filter).await.unwrap();
            pages.push(found.items.len());
            seen.extend(found.items.into_iter().map(|record| record.id));
            filter.cursor = found.next;
            if filter.cursor.is_none() {
                break;
            }
        }
        assert_eq!(pages, [5, 5, 2]);
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_range_and_a_verdict_choose() {
        let store = Store::in_memory();
        for time in [
            "2026-11-20T10:00:00Z",
            "2026-11-21T10:00:00Z",
            "2026-11-22T10:00:00Z",
        ] {
            kept(&store, "checkout", time).await;
        }
        let count = async |filter: Filter| {
            let filter = Filter {
                limit: 10,
                ..filter
            };
            find(&store, &filter).await.unwrap().items.len()
        };
        let from = Some(at("2026-11-21T10:00:00Z"));
        let all = Filter::default;
        assert_eq!(count(Filter { from, ..all() }).await, 2);
        assert_eq!(
            count(Filter {
                from,
                to: from,
                ..all()
            })
            .await,
            1
        );
        let verdict = |word: &str| Some(word.to_owned());
        assert_eq!(
            count(Filter {
                verdict: verdict("hold"),
                ..all()
            })
            .await,
            3
        );
        assert_eq!(
            count(Filter {
                verdict: verdict("rollback"),
                ..all()
            })
            .await,
            0
        );
        let env = Some("stage".parse().unwrap());
        assert_eq!(count(Filter { env, ..all() }).await, 0);
    }
}
