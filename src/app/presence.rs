//! Signs of life: when a replica was up, and what came to its door meanwhile.
//!
//! "Nothing happened" has two reasons that look alike from outside: no alert came, or nobody was
//! there. So each replica writes a small document at its start, every minute, and at its end. It
//! covers the time since the one before, an outage of the store included; what is covered by no
//! document is time in which no replica gave a sign of life. A document counts what was answered
//! at the alerts' doors and names a few alerts that led to nothing: bad ones, and late copies.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::core::Core;
use crate::domain::alert::{Alert, AlertGroup};
use crate::domain::clock;
use crate::domain::id::ReplicaId;
use crate::ingest::book::Observation;
use crate::ingest::episode::Class;
use crate::store::{Store, StoreError, keys};

/// How often a sign of life is written.
pub(super) const EVERY: Duration = Duration::from_mins(1);
/// A replica that did not come to its minute for this long was stopped (SIGSTOP, a frozen machine).
const STOPPED: Duration = Duration::from_mins(2);
/// Alerts named in one document; the rest is counted.
const MAX_NAMED: usize = 20;
/// An outage of the store that is looked behind.
const LONG_OUTAGE: Duration = Duration::from_hours(24);
/// Signs that are read behind the time that is asked about.
const NEXT: usize = 8;
/// Documents read at once.
const READ_AHEAD: usize = 16;
/// Characters of one name; it comes from outside.
const MAX_NAME: usize = 200;

/// What the replica was doing when it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Doing {
    /// It begins to take alerts in.
    Starting,
    /// It takes alerts in.
    Serving,
    /// It takes no more alerts in.
    Stopping,
}

/// One sign of life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sign {
    /// Whose.
    pub(super) by: ReplicaId,
    /// What it was doing at `to`.
    pub(super) doing: Doing,
    /// It was up from here …
    pub(super) from: Timestamp,
    /// … to here, when it wrote this.
    pub(super) to: Timestamp,
    /// Answers at the alerts' doors in that time: `webhook 200`, `alerts 401`.
    #[serde(default)]
    pub(super) answers: BTreeMap<String, u64>,
    /// Alerts that led to nothing because of what they were.
    #[serde(default)]
    pub(super) dropped: Vec<Dropped>,
    /// How many more of them there were.
    #[serde(default)]
    pub(super) more_dropped: u64,
}

/// An alert that came and led to nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Dropped {
    /// When.
    pub(super) at: Timestamp,
    /// Label `service`, when it could be told.
    #[serde(default)]
    pub(super) service: Option<String>,
    /// What, and why.
    pub(super) what: String,
}

/// What happened since the last sign of life, in memory.
#[derive(Debug)]
pub(super) struct Diary(Mutex<Page>);

#[derive(Debug)]
struct Page {
    from: Timestamp,
    last_look: Timestamp,
    answers: BTreeMap<String, u64>,
    dropped: Vec<Dropped>,
    more_dropped: u64,
}

impl Diary {
    /// An empty one that begins at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Page {
            from: now,
            last_look: now,
            answers: BTreeMap::new(),
            dropped: Vec::new(),
            more_dropped: 0,
        }))
    }

    fn page(&self) -> std::sync::MutexGuard<'_, Page> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an alert that led to nothing.
    pub(super) fn drop_alert(&self, at: Timestamp, service: Option<&str>, what: &str) {
        let mut page = self.page();
        if page.dropped.len() >= MAX_NAMED {
            page.more_dropped += 1;
            return;
        }
        let short = |text: &str| text.chars().take(MAX_NAME).collect::<String>();
        page.dropped.push(Dropped {
            at,
            service: service.map(short),
            what: short(what),
        });
    }

    /// Notes the late copies of a delivery: their episode was over already.
    pub(super) fn late_copies(&self, group: &AlertGroup, observation: &Observation, at: Timestamp) {
        let firing = |index: usize| group.alerts.get(index).filter(|alert| alert.is_firing());
        for alert in observation.of(Class::Stale).filter_map(firing) {
            let what = format!(
                "{} fired from {} on: a late copy, a sender had ended it already",
                alert.name(),
                alert.starts_at
            );
            self.drop_alert(at, Alert::label(alert, "service"), &what);
        }
    }

    /// What stands in it, as a sign of life; it stays. Answers are counted since the last
    /// [`Self::turn`].
    pub(super) fn sign(
        &self,
        by: ReplicaId,
        doing: Doing,
        answers: &BTreeMap<String, u64>,
        now: Timestamp,
    ) -> Sign {
        let mut page = self.page();
        if clock::since(now, page.last_look) > STOPPED {
            page.from = now;
        }
        page.last_look = now;
        let more = answers.iter().filter_map(|(answer, count)| {
            let before = page.answers.get(answer).copied().unwrap_or_default();
            let count = count.saturating_sub(before);
            (count > 0).then(|| (answer.clone(), count))
        });
        Sign {
            by,
            doing,
            from: page.from,
            to: now,
            answers: more.collect(),
            dropped: page.dropped.clone(),
            more_dropped: page.more_dropped,
        }
    }

    /// Begins a new page: `sign`, made from `answers`, is written.
    fn turn(&self, sign: &Sign, answers: BTreeMap<String, u64>) {
        let mut page = self.page();
        page.from = sign.to;
        page.answers = answers;
        page.dropped.drain(..sign.dropped.len());
        page.more_dropped = page.more_dropped.saturating_sub(sign.more_dropped);
    }
}

impl Core {
    /// Gives signs of life until `stop`, and one more.
    pub(super) async fn keep_presence(&self, stop: CancellationToken) {
        self.give_sign(Doing::Starting).await;
        while stop
            .run_until_cancelled(tokio::time::sleep(EVERY))
            .await
            .is_some()
        {
            self.give_sign(Doing::Serving).await;
        }
        self.give_sign(Doing::Stopping).await;
    }

    async fn give_sign(&self, doing: Doing) {
        let answers = self.numbers.answers_to_senders();
        let now = self.ground.clock.now();
        let sign = self
            .diary
            .sign(self.ground.me.clone(), doing, &answers, now);
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let key = keys::presence(now, &unique);
        match self.ground.store.create(&key, &sign).await {
            Ok(_) => self.diary.turn(&sign, answers),
            // The next one covers this time too.
            Err(error) => tracing::debug!("a sign of life could not be written: {error}"),
        }
    }

    /// What this replica would write now.
    pub(super) fn own_sign(&self) -> Sign {
        let answers = self.numbers.answers_to_senders();
        let now = self.ground.clock.now();
        self.diary
            .sign(self.ground.me.clone(), Doing::Serving, &answers, now)
    }
}

/// Every sign of life that was written from `from` to `to`, oldest first, and the next few: after
/// an outage of the store one covers hours.
///
/// # Errors
/// When the store can't be read.
pub(super) async fn read(
    store: &Store,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Sign>, StoreError> {
    let mut names = store
        .list_days("presence", from, clock::after(to, LONG_OUTAGE))
        .await?;
    let end = keys::presence(to, "~");
    let within = names.iter().take_while(|name| **name <= end).count();
    names.truncate(within + NEXT);
    let mut documents = stream::iter(names)
        .map(async |name| store.get::<Sign>(&name).await)
        .buffered(READ_AHEAD);
    let mut signs = Vec::new();
    while let Some(document) = documents.next().await {
        match document {
            Ok(sign) => signs.extend(sign),
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%error, "a sign of life is left out");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(signs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    fn counted(n: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("webhook 200".to_owned(), n)])
    }

    fn sign(diary: &Diary, answers: u64, at: i64) -> Sign {
        let by = ReplicaId::new("r1").unwrap();
        diary.sign(by, Doing::Serving, &counted(answers), t(at))
    }

    #[test]
    fn an_outage_of_the_store_is_covered_by_the_next_sign() {
        let diary = Diary::new(t(0));
        diary.drop_alert(t(10), Some("checkout"), "bad");
        let lost = sign(&diary, 2, 60);
        let next = sign(&diary, 5, 120);
        assert_eq!((next.from, next.to), (t(0), t(120)));
        assert_eq!(next.answers, counted(5));
        assert_eq!(next.dropped, lost.dropped);
        diary.turn(&next, counted(5));
        let after = sign(&diary, 5, 180);
        assert_eq!((after.from, after.to), (t(120), t(180)));
        assert!(after.answers.is_empty() && after.dropped.is_empty());
    }

    #[test]
    fn a_paused_replica_does_not_claim_to_have_been_up() {
        let diary = Diary::new(t(0));
        let first = sign(&diary, 0, 60);
        diary.turn(&first, counted(0));
        let woken = sign(&diary, 0, 60 + 3_600);
        assert_eq!(woken.from, woken.to);
    }

    #[test]
    fn what_is_named_is_bounded_and_what_came_meanwhile_is_kept() {
        let diary = Diary::new(t(0));
        for _ in 0..25 {
            diary.drop_alert(t(1), None, &"长".repeat(1_000));
        }
        let written = sign(&diary, 0, 60);
        assert_eq!((written.dropped.len(), written.more_dropped), (20, 5));
        assert_eq!(written.dropped[0].what.chars().count(), 200);
        diary.drop_alert(t(61), None, "one more");
        diary.turn(&written, counted(0));
        assert_eq!(sign(&diary, 0, 120).more_dropped, 1);
    }
}
