//! Telling people: never in the way of the incident for long.

use std::time::Duration;

use super::STORE_AGAIN;
use crate::act::engine::Inner;
use crate::act::seams::Followup;
use crate::act::step::Local;
use crate::domain::lane::Incident;

/// One message into the outbox takes at most this long.
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
}
