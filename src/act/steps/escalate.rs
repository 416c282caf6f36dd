//! A batch was taken back and it is still bad: everything goes back, where the rule says so.

use super::{ASK_AGAIN, in_time};
use crate::act::engine::Inner;
use crate::act::lane::Appended;
use crate::act::seams::{Objection, Page};
use crate::act::step::Local;
use crate::domain::id::IncidentId;
use crate::domain::lane::{Incident, LaneEvent};
use crate::store::StoreError;

impl Inner {
    /// One append opens the wider incident and closes this one.
    pub(super) async fn escalate(
        &self,
        incident: &Incident,
        local: &mut Local,
    ) -> Result<(), StoreError> {
        let opened = match in_time(self.escalator.escalation(incident)).await {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                local.not_escalated = Some("the rule wants no more than this page".to_owned());
                return Ok(());
            }
            Err(Objection::Never(why)) => {
                local.not_escalated = Some(format!("more is not taken back: {why}"));
                return Ok(());
            }
            Err(Objection::NotNow(why)) => {
                let why = format!("still bad; more is not taken back now: {why}");
                self.page(incident, local, Page::NotRecovered(why)).await;
                Self::pause(local, ASK_AGAIN);
                return Ok(());
            }
        };
        let event = LaneEvent::Opened(Box::new(opened));
        let appended = self.append(incident, event).await?;
        let Appended::Won { seq, .. } = appended else {
            // Something happened in it, or the lane does not take the event: asked again.
            Self::pause(local, ASK_AGAIN);
            return Ok(());
        };
        if let Ok(wider) = IncidentId::of(&incident.lane, seq) {
            tracing::info!(incident.id = %wider, "incident {wider} takes over from {}", incident.id);
            self.wake(&wider);
        }
        Ok(())
    }
}
