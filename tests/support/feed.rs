//! Brings a [`Fleet`]'s metrics into a real store: its past at once, its present second by second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::fleet::Fleet;
use super::metrics_source::Importer;

/// Text kept before it is posted.
const CHUNK_BYTES: usize = 4 << 20;
/// Live samples come this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// Milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the simulated services run in real time"
)]
pub fn unix_ms() -> u64 {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Writes the `span` before now, a sample per `step`, and makes it visible.
pub async fn backfill(
    fleet: &Fleet,
    importer: &Importer,
    span: Duration,
    step: Duration,
) -> anyhow::Result<()> {
    let now = unix_ms();
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let step = milliseconds(step).max(1);
    let mut time = now.saturating_sub(milliseconds(span));
    let mut text = String::new();
    while time <= now {
        text.push_str(&fleet.samples_at(time));
        if text.len() > CHUNK_BYTES {
            importer.push(&text).await?;
            text.clear();
        }
        time += step;
    }
    importer.import(&text).await?;
    fleet.take_new_series();
    Ok(())
}

/// The running feed; it ends when this is dropped.
#[derive(Debug)]
pub struct Feed {
    task: JoinHandle<()>,
    missed: Arc<AtomicU64>,
}

impl Feed {
    /// Pushes every second. A push that fails is lost, as a failed scrape is, and counted.
    ///
    /// Where new series have appeared the store is told to show them: this old release would
    /// take about ten seconds over it.
    pub fn start(fleet: Fleet, importer: Importer) -> Self {
        let missed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&missed);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let text = fleet.samples_at(unix_ms());
                let pushed = if fleet.take_new_series() {
                    importer.import(&text).await
                } else {
                    importer.push(&text).await
                };
                if pushed.is_err() {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { task, missed }
    }

    /// How many pushes have failed.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
