//! A vendor's limit, kept before it is hit.
//!
//! A token bucket lets at most `burst + rate × window` through in any window. Half of a replica's
//! share is burst, half is rate, so no minute ever holds more than the share.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::MonotonicClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The minute of one channel.
#[derive(Debug)]
pub(super) struct Limit {
    bucket: RateLimiter<NotKeyed, InMemoryState, MonotonicClock>,
    burst: NonZeroU32,
    parked_until: Mutex<Option<Instant>>,
}

impl Limit {
    /// A share of `per_minute` calls for one of `replicas`; at least two a minute.
    pub(super) fn new(per_minute: u32, replicas: u32) -> Self {
        let share = (per_minute / replicas.max(1)).max(2);
        let burst = NonZeroU32::new(share / 2).unwrap_or(NonZeroU32::MIN);
        let rate = NonZeroU32::new(share - burst.get()).unwrap_or(NonZeroU32::MIN);
        let bucket = RateLimiter::direct_with_clock(
            Quota::per_minute(rate).allow_burst(burst),
            MonotonicClock,
        );
        Self {
            bucket,
            burst,
            parked_until: Mutex::new(None),
        }
    }

    /// Waits until `calls` may be made, and counts them all before the first.
    pub(super) async fn permit(&self, calls: u32) {
        loop {
            let until = *self.parked_until.lock().await;
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => break,
            }
        }
        let mut left = calls.max(1);
        while let Some(some) = NonZeroU32::new(left.min(self.burst.get())) {
            // More than a burst can't be had at once; a message of many parts takes several.
            if self.bucket.until_n_ready(some).await.is_err() {
                return;
            }
            left -= some.get();
        }
    }

    /// The vendor said wait: nothing goes there for `by`.
    pub(super) async fn park(&self, by: Duration) {
        let until = Instant::now() + by;
        let mut parked = self.parked_until.lock().await;
        if parked.is_none_or(|old| old < until) {
            *parked = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_share_is_never_exceeded_within_its_minute() {
        let limit = Limit::new(20, 2);
        let mut let_through = 0;
        while limit.permit(1).now_or_never().is_some() {
            let_through += 1;
        }
        // The other half of the share of ten comes spread over the minute.
        assert_eq!(let_through, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_parked_channel_waits_it_out() {
        let limit = Limit::new(600, 1);
        limit.park(Duration::from_mins(10)).await;
        let began = Instant::now();
        limit.permit(1).await;
        assert!(began.elapsed() >= Duration::from_mins(10));
    }
}
