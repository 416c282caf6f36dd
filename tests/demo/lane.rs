//! A service's lane as it stands in the store: what the gateway decided and did, in order.

use anyhow::Context as _;
use backstop::domain::id::{Env, IncidentId, LaneName, Service};
use backstop::domain::lane::{LaneEntry, LaneEvent, Opened};
use backstop::store::{Store, chain, keys};
use jiff::Timestamp;

use crate::ENV;

/// An incident, its events and when they were written.
#[derive(Debug, Clone)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// What opened it.
    pub opened: Opened,
    /// When.
    pub opened_at: Timestamp,
    /// What followed, with its time.
    pub events: Vec<(Timestamp, LaneEvent)>,
}

/// Every entry of the lane of `service`, with its number.
pub async fn entries(store: &Store, service: &str) -> anyhow::Result<Vec<(u64, LaneEntry)>> {
    Ok(chain::read_from(store, &keys::lane(&name(service)?), 1).await?)
}

/// Every incident of the lane of `service`, oldest first.
pub async fn incidents(store: &Store, service: &str) -> anyhow::Result<Vec<Incident>> {
    let lane = name(service)?;
    let mut incidents: Vec<Incident> = Vec::new();
    for (seq, entry) in entries(store, service).await? {
        match entry.event {
            LaneEvent::Opened(opened) => incidents.push(Incident {
                id: IncidentId::of(&lane, seq)?,
                opened: *opened,
                opened_at: entry.at,
                events: Vec::new(),
            }),
            event if event.incident().is_none() => {}
            event => {
                let last = incidents.last_mut().context("an event of no incident")?;
                last.events.push((entry.at, event));
            }
        }
    }
    Ok(incidents)
}

impl Incident {
    /// The first event that `pick` takes, with its time.
    ///
    /// # Errors
    /// When there is none yet; says what was there instead.
    pub fn find<T>(
        &self,
        pick: impl Fn(&LaneEvent) -> Option<T>,
    ) -> anyhow::Result<(Timestamp, T)> {
        let found = self
            .events
            .iter()
            .find_map(|(at, event)| Some((*at, pick(event)?)));
        found.with_context(|| {
            let last = self.events.last().map(|(_, event)| event);
            format!("the newest event of `{}` is {last:?}", self.id)
        })
    }

    /// How many of its events `wanted` takes.
    pub fn count(&self, wanted: impl Fn(&LaneEvent) -> bool) -> usize {
        self.events
            .iter()
            .filter(|(_, event)| wanted(event))
            .count()
    }
}

fn name(service: &str) -> anyhow::Result<LaneName> {
    Ok(LaneName::of(&Service::new(service)?, &Env::new(ENV)?)?)
}
