//! Waiting for a condition with a deadline, never for a time.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How often a condition is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers `Some`.
///
/// # Errors
/// Names `what` was waited for, when `within` has passed.
pub async fn eventually<T, F, Fut>(within: Duration, what: &str, mut probe: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return Ok(found);
        }
        if started.elapsed() > within {
            bail!("waited {within:?} in vain for {what}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
