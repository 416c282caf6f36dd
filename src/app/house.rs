//! What expires: days of decisions, episodes and signs of life, the ledger's days, old charts.
//!
//! Lanes, marks, budget and holds never do: what was done once must stay known.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use crate::domain::clock;
use crate::store::{StoreError, keys};

/// How often is looked.
const EVERY: Duration = Duration::from_hours(1);
/// How long it can be told which alerts came, and whether anybody was there to take them.
pub(super) const EPISODES: Duration = Duration::from_hours(7 * 24);
/// Folders by day, and how long a day is kept.
const DAYS: [(&str, Duration); 4] = [
    ("decisions", Duration::from_hours(90 * 24)),
    ("episodes", EPISODES),
    ("presence", EPISODES),
    ("self-test", EPISODES),
];
/// Canary rules are kept so long after they ended.
const ARMED: Duration = Duration::from_hours(7 * 24);
/// Charts are kept as long as their signed addresses work.
const CHARTS: Duration = super::picture::LINK_LIFETIME;

impl Core {
    /// Removes what has expired, every hour, until `stop`.
    pub(super) async fn keep_house(&self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.clear_away().await {
                tracing::warn!("what has expired was not all removed: {error}");
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(EVERY))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    pub(super) async fn clear_away(&self) -> Result<(), StoreError> {
        let now = self.ground.clock.now();
        let store = &self.ground.store;
        for (folder, keep) in DAYS {
            let oldest = keys::day(clock::before(now, keep));
            for day in store
                .folders(folder)
                .await?
                .into_iter()
                .filter(|day| *day < oldest)
            {
                for name in store.list(&format!("{folder}/{day}")).await? {
                    store.delete(&name).await?;
                }
            }
        }
        for name in store.list("charts").await? {
            if drawn_at(&name).is_some_and(|at| clock::since(now, at) > CHARTS) {
                store.delete(&name).await?;
            }
        }
        self.armed
            .clear_away(now, clock::before(now, ARMED))
            .await?;
        let notify = self.setup().notify.clone();
        notify.expire().await
    }
}

/// When a chart was drawn: its id, a `UUIDv7`, tells.
fn drawn_at(name: &str) -> Option<Timestamp> {
    let id = name.strip_prefix("charts/")?.strip_suffix(".png")?;
    let (seconds, _) = uuid::Uuid::try_parse(id).ok()?.get_timestamp()?.to_unix();
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charts_id_tells_when_it_was_drawn() {
        let name = keys::chart("01a205b879ce774c922522e7c03c09ca");
        assert_eq!(drawn_at(&name).unwrap().as_second() / 1_000_000, 1_795);
        assert_eq!(drawn_at("charts/other.png"), None);
    }
}
