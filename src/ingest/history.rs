//! The lives of alerts as the store recorded them: what was firing at some moment, days later and
//! on any replica.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::book::Note;
use super::life::{Entry, EpisodeId, Open, Over};
use crate::domain::alert::Alert;
use crate::store::{Store, StoreError};

/// Documents read at once.
const READ_AHEAD: usize = 16;
/// Documents read for one answer, newest ones.
const MAX_READ: usize = 5_000;

/// One life of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// The alert, as last written down.
    pub alert: Alert,
    /// When the first copy of it came.
    pub began: Timestamp,
    /// When it was over, or until when somebody vouched for it.
    pub until: Timestamp,
    /// How it ended.
    pub end: End,
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A sender said so.
    Resolved,
    /// Nobody vouched for it any more.
    Expired,
    /// No end was written down.
    Unseen,
}

impl Life {
    /// Whether some of it lies between `from` and `to`.
    pub fn meets(&self, from: Timestamp, to: Timestamp) -> bool {
        self.began <= to && self.until >= from
    }
}

/// What the store tells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// The lives, earliest first.
    pub lives: Vec<Life>,
    /// Documents that could not be used, or were too many.
    pub left_out: usize,
}

/// Reads the lives that were written down from `from` to `to`. One that began before is told only
/// when something of it was written down since. `gap` is the configured `episode_gap`.
///
/// # Errors
/// When the store can't be read.
pub async fn read(
    store: &Store,
    from: Timestamp,
    to: Timestamp,
    gap: Duration,
) -> Result<History, StoreError> {
    let mut names = store.list_days("episodes", from, to).await?;
    let mut left_out = names.len().saturating_sub(MAX_READ);
    names.drain(..left_out);
    let mut documents = stream::iter(names)
        .map(async |name| store.get::<Note>(&name).await)
        .buffered(READ_AHEAD);
    let mut lives = BTreeMap::new();
    while let Some(document) = documents.next().await {
        match document {
            Ok(Some(note)) => {
                for entry in note.entries {
                    take(&mut lives, entry, gap);
                }
            }
            // It expired between listing and reading.
            Ok(None) => {}
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%error, "an episode document is left out");
                left_out += 1;
            }
            Err(error) => return Err(error),
        }
    }
    let mut lives: Vec<Life> = lives.into_values().collect();
    lives.sort_by_key(|life| (life.began, life.alert.fingerprint));
    Ok(History { lives, left_out })
}

fn take(lives: &mut BTreeMap<EpisodeId, Life>, entry: Entry, gap: Duration) {
    match entry {
        Entry::Open(open) => {
            let until = open.vouched_until(gap);
            match lives.get_mut(&open.id) {
                Some(life) => {
                    life.began = life.began.min(open.began);
                    if life.end == End::Unseen {
                        life.until = life.until.max(until);
                        life.alert = Alert::clone(&open.alert);
                    }
                }
                None => drop(lives.insert(open.id, born(&open, until))),
            }
        }
        // An end alone tells of no alert.
        Entry::Over(over) => {
            if let Some(life) = ended_by(lives, &over)
                && (life.end == End::Unseen || !over.expired)
            {
                life.until = over.at.max(life.began);
                life.end = if over.expired {
                    End::Expired
                } else {
                    End::Resolved
                };
            }
        }
    }
}

/// The life that an end is about: the one of its name, else the newest that it may be about. Two
/// replicas can name one life differently.
fn ended_by<'a>(lives: &'a mut BTreeMap<EpisodeId, Life>, over: &Over) -> Option<&'a mut Life> {
    if lives.contains_key(&over.id) {
        return lives.get_mut(&over.id);
    }
    lives
        .iter_mut()
        .filter(|(id, life)| {
            id.fingerprint == over.id.fingerprint
                && id.start <= over.latest_start
                && life.began <= over.at
                && life.end != End::Resolved
        })
        .max_by_key(|(_, life)| life.began)
        .map(|(_, life)| life)
}

fn born(open: &Open, until: Timestamp) -> Life {
    Life {
        alert: Alert::clone(&open.alert),
        began: open.began,
        until,
        end: End::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::book::EpisodeBook;
    use super::super::episode::EpisodeTiming;
    use super::*;
    use crate::domain::alert::{AlertGroup, AlertStatus, Fingerprint, Labels, Source};
    use crate::domain::id::ReplicaId;

    const GAP: Duration = Duration::from_mins(5);

    fn t(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    fn group(name: &str, firing: bool, starts: i64, ends: Option<i64>, now: i64) -> AlertGroup {
        let labels = Labels::from([("alertname".to_owned(), name.to_owned())]);
        AlertGroup {
            source: Source::Alertmanager,
            key: "g".to_owned(),
            receiver: String::new(),
            group_labels: Labels::new(),
            route_labels: Labels::new(),
            alerts: vec![Alert {
                fingerprint: Fingerprint::of(&labels),
                status: if firing {
                    AlertStatus::Firing
                } else {
                    AlertStatus::Resolved
                },
                labels,
                annotations: Labels::new(),
                starts_at: t(starts),
                ends_at: ends.map(t),
                generator_url: None,
                source: Source::Alertmanager,
            }],
            truncated: 0,
            external_url: None,
            received_at: t(now),
        }
    }

    async fn recorded(deliveries: &[(AlertGroup, i64)]) -> History {
        let store = Store::in_memory();
        let timing = EpisodeTiming {
            gap: GAP,
            remind_after: Duration::from_hours(1),
        };
        let me = ReplicaId::random();
        let book = Arc::new(EpisodeBook::new(store.clone(), me, timing, GAP));
        for (group, now) in deliveries {
            if let Some(note) = book.observe(group, t(*now)).note {
                assert!(book.record(note, t(*now)).await);
            }
        }
        let last = deliveries.last().unwrap().1;
        book.sweep(t(last + 100_000)).await;
        read(&store, t(-1), t(last + 200_000), GAP).await.unwrap()
    }

    #[tokio::test]
    async fn a_life_is_told_from_its_first_copy_to_its_end() {
        let history = recorded(&[
            (group("A", true, 0, None, 10), 10),
            (group("A", true, 0, None, 300), 300),
            (group("A", false, 0, Some(600), 610), 610),
        ])
        .await;
        let [life] = history.lives.as_slice() else {
            panic!("{history:?}");
        };
        assert_eq!(
            (life.began, life.until, life.end),
            (t(10), t(600), End::Resolved)
        );
        assert!(life.meets(t(400), t(500)) && !life.meets(t(601), t(700)));
    }

    #[tokio::test]
    async fn a_silent_senders_alert_expires_and_a_second_life_is_another() {
        let history = recorded(&[
            (group("A", true, 0, Some(100), 10), 10),
            (group("A", true, 900, Some(1_000), 910), 910),
        ])
        .await;
        let ends: Vec<_> = history.lives.iter().map(|life| life.end).collect();
        assert_eq!(ends, [End::Unseen, End::Expired], "{history:?}");
        assert_eq!(history.lives[0].until, t(310));
    }
}
