//! Telling people and writing reports: never in the way of the incident for long.

use std::time::Duration;

use super::STORE_AGAIN;
use crate::act::engine::Inner;
use crate::act::seams::Followup;
use crate::act::step::Local;
use crate::domain::lane::{Incident, LaneEvent};
use crate::store::StoreError;

/// One revision, or one message into the outbox, takes at most this long.
const LONGEST: Duration = Duration::from_secs(5);
/// After this many tries this replica goes on without.
const TRIES: u32 = 10;

impl Inner {
    pub(super) async fn tell(&self, incident: &Incident, local: &mut Local, followup: &Followup) {
        let name = followup.name();
        let told = tokio::time::timeout(LONGEST, self.followups.tell(incident, followup)).await;
        let why = match told {
            Ok(Ok(())) => {
                local.told.insert(name);
                return;
            }
            Ok(Err(why)) => why,
            Err(_) => "it took too long".to_owned(),
        };
        if local.fails(&name) >= TRIES {
            tracing::error!(incident.id = %incident.id, "gave up telling `{name}` of incident {}: {why}", incident.id);
            local.told.insert(name);
        }
        Self::pause(local, STORE_AGAIN);
    }

    pub(super) async fn report(
        &self,
        incident: &Incident,
        local: &mut Local,
        revision: u32,
    ) -> Result<(), StoreError> {
        let write = self.reporter.write(incident, revision);
        let why = match tokio::time::timeout(LONGEST, write).await {
            Ok(Ok(())) => {
                let event = LaneEvent::Reported {
                    incident: incident.id.clone(),
                    revision,
                };
                self.lanes
                    .append_with(&incident.lane, |_| Some(event.clone()))
                    .await?;
                local.reported = revision;
                return Ok(());
            }
            Ok(Err(why)) => why,
            Err(_) => "it took too long".to_owned(),
        };
        if local.fails(&format!("report-{revision}")) >= TRIES {
            tracing::error!(incident.id = %incident.id, "gave up writing revision {revision} of the report of incident {}: {why}", incident.id);
            local.reported = revision;
        }
        Self::pause(local, STORE_AGAIN);
        Ok(())
    }
}
