//! A vendor's limit, kept before it is hit.
//!
//! A sliding window: a slot is taken before a call and stays taken for one window after its
//! answer. Whenever the vendor counted the call, it was between the two, so no window of the
//! vendor's, fixed or sliding, ever holds more calls than the share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Added to every window: clocks that run a little apart.
const MARGIN: Duration = Duration::from_millis(500);

/// The windows of all targets. Outlives a reload, and is shared by channels that lead to one
/// target: the vendor counts the same bot.
#[derive(Debug, Default)]
pub struct Limits(Mutex<HashMap<String, Arc<Limit>>>);

impl Limits {
    /// The window of a target, from now on with this share.
    pub(super) fn of(&self, target: &str, share: u32, window: Duration) -> Arc<Limit> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = all.entry(target.to_owned()).or_default();
        limit.set(share, window);
        Arc::clone(limit)
    }

    /// Nothing goes to a target until then; a target nobody uses is ignored.
    pub(super) fn park(&self, target: &str, until: Instant) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = all.get(target) {
            limit.park(until);
        }
    }
}

/// One target's window.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    share: u32,
    length: Duration,
    in_flight: u32,
    /// When calls were answered, oldest first.
    answered: VecDeque<Instant>,
    taken_at: Option<Instant>,
    parked_until: Option<Instant>,
}

impl Window {
    fn forget(&mut self, now: Instant) {
        let over = |at: &Instant| *at + self.length + MARGIN <= now;
        while self.answered.front().is_some_and(over) {
            self.answered.pop_front();
        }
    }

    fn free(&self) -> u32 {
        let answered = u32::try_from(self.answered.len()).unwrap_or(u32::MAX);
        self.share
            .saturating_sub(self.in_flight)
            .saturating_sub(answered)
    }
}

/// How full a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Calls that may be made now.
    pub(super) free: u32,
    /// Calls of a whole window.
    pub(super) share: u32,
    /// How long a window is.
    pub(super) length: Duration,
    /// When slots were last taken.
    pub(super) taken_at: Option<Instant>,
}

impl Limit {
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, share: u32, length: Duration) {
        let mut window = self.lock();
        window.share = share.max(1);
        window.length = length;
    }

    /// How full it is now.
    pub(super) fn room(&self) -> Room {
        let mut window = self.lock();
        window.forget(Instant::now());
        Room {
            free: window.free(),
            share: window.share,
            length: window.length,
            taken_at: window.taken_at,
        }
    }

    /// When `calls` slots may be free: earlier than that, none is worth asking for. While calls are
    /// in flight nobody knows; then it is when the next may be.
    pub(super) fn free_at(&self, calls: u32) -> Instant {
        let now = Instant::now();
        let mut window = self.lock();
        window.forget(now);
        let missing = calls.min(window.share).saturating_sub(window.free());
        let index = usize::try_from(missing.saturating_sub(1)).unwrap_or(usize::MAX);
        match (missing, window.answered.get(index)) {
            (0, _) => now,
            (_, Some(at)) => *at + window.length + MARGIN,
            (_, None) => now + MARGIN,
        }
    }

    /// Takes `calls` slots, all or none.
    pub(super) fn take(self: &Arc<Self>, calls: u32) -> Option<Slots> {
        let now = Instant::now();
        let mut window = self.lock();
        window.forget(now);
        if window.free() < calls {
            return None;
        }
        window.in_flight += calls;
        window.taken_at = Some(now);
        Some(Slots {
            limit: Arc::clone(self),
            calls,
        })
    }

    /// The vendor said wait: nothing goes there until then.
    pub(super) fn park(&self, until: Instant) {
        let mut window = self.lock();
        if window.parked_until.is_none_or(|old| old < until) {
            window.parked_until = Some(until);
        }
    }

    /// Until when nothing may go there.
    pub(super) fn parked_until(&self) -> Option<Instant> {
        let until = self.lock().parked_until;
        until.filter(|until| *until > Instant::now())
    }
}

/// Slots of a window; from their drop on they are taken for one window more.
#[derive(Debug)]
pub(super) struct Slots {
    limit: Arc<Limit>,
    calls: u32,
}

impl Slots {
    /// How many calls they are good for.
    pub(super) fn calls(&self) -> u32 {
        self.calls
    }

    /// No call was made.
    pub(super) fn give_back(mut self) {
        self.limit.lock().in_flight -= self.calls;
        self.calls = 0;
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut window = self.limit.lock();
        window.in_flight = window.in_flight.saturating_sub(self.calls);
        for _ in 0..self.calls {
            window.answered.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn limit(share: u32) -> Arc<Limit> {
        Limits::default().of("bot", share, MINUTE)
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_ever_holds_more_than_the_share() {
        let limit = limit(20);
        let mut calls: Vec<(Instant, Instant)> = Vec::new();
        let began = Instant::now();
        while began.elapsed() < MINUTE * 7 {
            if let Some(slots) = limit.take(3) {
                let from = Instant::now();
                // The vendor may count a call at any time until its answer.
                tokio::time::sleep(Duration::from_secs(7)).await;
                drop(slots);
                calls.extend([(from, Instant::now()); 3]);
            } else {
                tokio::time::sleep(Duration::from_millis(333)).await;
            }
        }
        for (_, end) in &calls {
            let window = |(from, _): &&(Instant, Instant)| {
                from >= end && from.saturating_duration_since(*end) < MINUTE
            };
            // Even if this call was counted at its end and all later ones at their beginning.
            assert!(calls.iter().filter(window).count() <= 20);
        }
        assert!(calls.len() > 60, "and the share is used: {}", calls.len());
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_had_all_or_none_and_come_back_when_said() {
        let limit = limit(5);
        let four = limit.take(4).unwrap();
        assert!(limit.take(2).is_none());
        assert_eq!(limit.room().free, 1, "none was taken by the refusal");
        four.give_back();
        assert_eq!(limit.room().free, 5);
        drop(limit.take(5));
        assert_eq!(limit.room().free, 0);
        tokio::time::sleep_until(limit.free_at(5)).await;
        assert_eq!(limit.room().free, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_parked_target_is_parked_for_all_its_channels_until_the_last_word() {
        let limits = Limits::default();
        let one = limits.of("bot", 20, MINUTE);
        let until = Instant::now() + MINUTE * 10;
        limits.park("bot", until);
        limits.park("bot", until - MINUTE);
        assert_eq!(limits.of("bot", 10, MINUTE).parked_until(), Some(until));
        tokio::time::sleep_until(until).await;
        assert_eq!(one.parked_until(), None);
    }
}
