//! Whether Spinnaker has an attempt that nobody can tell about.

use super::ASK_AGAIN;
use crate::act::engine::Inner;
use crate::act::orders::{Order, adopt};
use crate::act::seams::Page;
use crate::act::step::Local;
use crate::domain::lane::{Incident, LaneEvent, Stage};
use crate::store::StoreError;

impl Inner {
    /// Adopts the execution that answers the newest order. Without one the attempt is voided, but
    /// only once absence is proof; while Spinnaker can't be asked it stays unknown.
    pub(super) async fn look_up(
        &self,
        incident: &Incident,
        local: &mut Local,
        absence_counts: bool,
    ) -> Result<(), StoreError> {
        let Some(order) = Order::newest(incident) else {
            return Ok(());
        };
        match self.spinnaker.find(&order).await {
            Ok(found) => match adopt(&order, found) {
                Some(seen) => self.name(incident, &seen.id).await,
                // Should the request still arrive, nothing would refuse it: a person decides.
                None if absence_counts && !order.plan.admission => {
                    let why = "spinnaker has no execution of it".to_owned();
                    self.note_unknown(incident, why).await?;
                    let page = Page::NotSent(format!(
                        "spinnaker has no execution of it, and it is not sent again without \
                         admission: roll back by hand, then abandon incident {}",
                        incident.id
                    ));
                    self.page(incident, local, page).await;
                    Self::pause(local, ASK_AGAIN);
                    Ok(())
                }
                None if absence_counts => {
                    let why = "spinnaker has no execution of it".to_owned();
                    self.void(incident, why).await
                }
                None => {
                    Self::pause(local, ASK_AGAIN);
                    Ok(())
                }
            },
            Err(error) => {
                let why = error.to_string();
                self.note_unknown(incident, why.clone()).await?;
                self.page(incident, local, Page::Unknown(why)).await;
                Self::pause(local, ASK_AGAIN);
                Ok(())
            }
        }
    }

    /// The lane says that nobody can tell, unless it does already.
    async fn note_unknown(&self, incident: &Incident, why: String) -> Result<(), StoreError> {
        if incident.stage == Stage::Submitting {
            let event = LaneEvent::Unknown {
                incident: incident.id.clone(),
                attempt: incident.attempt,
                why,
            };
            self.append(incident, event).await?;
        }
        Ok(())
    }
}
