//! An incident's report, written beside everything else that is done in it: a slow source delays
//! neither following the execution nor asking whether it helped.
//!
//! A revision is written, then told, then noted in the lane. Each may be done again after a crash,
//! by any replica: the record is created once, and the message is known by its name. An incident
//! that is over stays announced until its last revision is noted.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::STORE_AGAIN;
use crate::act::engine::Inner;
use crate::act::seams::Followup;
use crate::domain::id::IncidentId;
use crate::domain::lane::{Incident, LaneEvent};
use crate::store::StoreError;

/// Writing one revision, or putting its message into the outbox, takes at most this long.
const LONGEST: Duration = Duration::from_secs(5);
/// After this many tries this replica goes on without.
const TRIES: u32 = 10;
/// The longest pause between two of them; the first is a second.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Why a revision is not noted in the lane.
enum NotNoted {
    /// It could not be written or told.
    Failed(String),
    /// It was, and the lane could not be reached.
    Store(StoreError),
}

/// What one driver knows of its incident's report. All of it may be lost.
#[derive(Default)]
pub(in crate::act) struct Reports {
    /// The revision that is being written, if one is.
    writing: JoinSet<(u32, Result<(), NotNoted>)>,
    /// The newest one that was noted, or given up.
    done: u32,
    /// How often the next one failed.
    failures: u32,
    not_before: Option<Instant>,
}

impl Reports {
    /// Whether a revision is still to be written, as far as this replica goes.
    pub(in crate::act) fn are_owed(&self, incident: &Incident) -> bool {
        incident.revision.max(self.done) < incident.due_revision()
    }

    /// Begins with the next revision, if one is due and none is being written.
    pub(in crate::act) fn go_on(&mut self, inner: &Arc<Inner>, incident: &Incident) {
        let paused = self.not_before.is_some_and(|then| Instant::now() < then);
        if paused || !self.writing.is_empty() || !self.are_owed(incident) {
            return;
        }
        let revision = incident.revision.max(self.done) + 1;
        let (inner, incident) = (Arc::clone(inner), incident.clone());
        self.writing
            .spawn(async move { (revision, inner.report(&incident, revision).await) });
    }

    /// Waits until what is being written has ended, for ever when nothing is.
    pub(in crate::act) async fn ended(&mut self, incident: &IncidentId) {
        match self.writing.join_next().await {
            Some(ended) => self.hear(incident, ended),
            None => std::future::pending().await,
        }
    }

    /// Lets what is being written come to its end.
    pub(in crate::act) async fn finish(mut self) {
        while self.writing.join_next().await.is_some() {}
    }

    fn hear(
        &mut self,
        incident: &IncidentId,
        ended: Result<(u32, Result<(), NotNoted>), JoinError>,
    ) {
        let (revision, why) = match ended {
            Ok((revision, Ok(()))) => {
                (self.done, self.failures, self.not_before) = (revision, 0, None);
                return;
            }
            Ok((_, Err(NotNoted::Store(error)))) => {
                tracing::warn!(incident.id = %incident, "a report of incident {incident} was not recorded: {error}");
                self.not_before = Some(Instant::now() + STORE_AGAIN);
                return;
            }
            Ok((revision, Err(NotNoted::Failed(why)))) => (revision, why),
            Err(error) => (self.done + 1, error.to_string()),
        };
        self.failures += 1;
        let pause = STORE_AGAIN * 2_u32.pow(self.failures.min(6) - 1);
        self.not_before = Some(Instant::now() + pause.min(LONGEST_PAUSE));
        if self.failures >= TRIES {
            tracing::error!(incident.id = %incident, "gave up writing revision {revision} of the report of incident {incident}: {why}");
            (self.done, self.failures) = (revision, 0);
        }
    }
}

impl Inner {
    async fn report(&self, incident: &Incident, revision: u32) -> Result<(), NotNoted> {
        in_time(self.reporter.write(incident, revision)).await?;
        let followup = Followup::Report { revision };
        in_time(self.followups.tell(incident, &followup)).await?;
        let event = LaneEvent::Reported {
            incident: incident.id.clone(),
            revision,
        };
        // Another replica may have noted it.
        let noted = self
            .lanes
            .append_with(&incident.lane, |_| Some(event.clone()));
        noted.await.map(drop).map_err(NotNoted::Store)
    }
}

async fn in_time(done: impl Future<Output = Result<(), String>>) -> Result<(), NotNoted> {
    tokio::time::timeout(LONGEST, done)
        .await
        .unwrap_or_else(|_| Err("it took too long".to_owned()))
        .map_err(NotNoted::Failed)
}
