//! A channel that fails again and again is asked now and then only, by one message at a time.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// The first pause; doubled by every failed probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A channel that has failed for this long is trouble that people hear of.
const TROUBLE: Duration = Duration::from_mins(2);

/// What one channel's calls came to lately.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    since: Option<Instant>,
    reported: bool,
    probe_at: Option<Instant>,
    probing: bool,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// As usual.
    Open,
    /// One only: to see whether it works again.
    Probe,
    /// Not before then.
    Shut(Instant),
    /// A probe is under way.
    Probing,
}

impl Breaker {
    /// Whether a call may be made now.
    pub(super) fn gate(&self) -> Gate {
        match self.probe_at {
            None => Gate::Open,
            Some(_) if self.probing => Gate::Probing,
            Some(at) if at > Instant::now() => Gate::Shut(at),
            Some(_) => Gate::Probe,
        }
    }

    /// A call begins.
    pub(super) fn begin(&mut self) {
        self.probing = self.probe_at.is_some();
    }

    /// A call was answered: whatever it said, somebody is there.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A call was not made after all.
    pub(super) fn unused(&mut self) {
        self.probing = false;
    }

    /// A call failed. True once, when that has gone on for so long that people must hear of it.
    pub(super) fn failed(&mut self) -> bool {
        self.probing = false;
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        if let Some(more) = self.failures.checked_sub(FAILURES) {
            self.probe_at = Some(now + backoff(FIRST_PAUSE, LONGEST_PAUSE, more));
        }
        let trouble = now - since >= TROUBLE && !self.reported;
        self.reported |= trouble;
        trouble
    }
}

/// A pause that doubles with every failure, shortened by up to half at random so that replicas do
/// not come in step.
pub(super) fn backoff(first: Duration, longest: Duration, failures: u32) -> Duration {
    let factor = 2_u32.checked_pow(failures).unwrap_or(u32::MAX);
    let pause = first.saturating_mul(factor).min(longest);
    let random = uuid::Uuid::new_v4().as_u128() & 0xffff;
    let share = u32::try_from(random).unwrap_or(0);
    pause / 2 + pause / 2 * share / 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_lets_one_probe_through_at_a_time() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert!(!breaker.failed());
            assert_eq!(breaker.gate(), Gate::Open);
        }
        breaker.answered();
        for _ in 0..FAILURES {
            assert_eq!(breaker.gate(), Gate::Open);
            assert!(!breaker.failed());
        }
        let Gate::Shut(until) = breaker.gate() else {
            panic!("{breaker:?}")
        };
        tokio::time::sleep_until(until).await;
        assert_eq!(breaker.gate(), Gate::Probe);
        breaker.begin();
        assert_eq!(breaker.gate(), Gate::Probing);
        tokio::time::sleep(TROUBLE).await;
        assert!(breaker.failed(), "people hear of it");
        assert!(matches!(breaker.gate(), Gate::Shut(_)));
        assert!(!breaker.failed(), "once");
        breaker.answered();
        assert_eq!(breaker.gate(), Gate::Open);
    }

    #[test]
    fn pauses_grow_to_their_longest_and_no_further() {
        let pause = |failures| backoff(FIRST_PAUSE, LONGEST_PAUSE, failures);
        for _ in 0..100 {
            assert!((FIRST_PAUSE / 2..=FIRST_PAUSE).contains(&pause(0)));
            assert!((LONGEST_PAUSE / 2..=LONGEST_PAUSE).contains(&pause(40)));
        }
    }
}
