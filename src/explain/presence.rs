//! Time that somebody vouches for, and time that nobody does.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::clock;

/// A shorter pause between two signs of life is no gap: a replica that is exchanged takes so long.
const TOLERATED: Duration = Duration::from_secs(2);

/// A stretch of time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Span {
    /// From here …
    #[schemars(with = "String")]
    pub from: Timestamp,
    /// … to here.
    #[schemars(with = "String")]
    pub to: Timestamp,
}

impl Span {
    /// Whether a moment lies in it.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at <= self.to
    }

    /// Whether the two have time in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// The gaps that meet `window`, whole: from the last sign before to the first one after, as far as
/// `spans` tell.
pub fn gaps(window: Span, mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut found = Vec::new();
    let mut until = None::<Timestamp>;
    for span in spans {
        let begin = until.unwrap_or(window.from.min(span.from));
        if clock::since(span.from, begin) > TOLERATED {
            found.push(Span {
                from: begin,
                to: span.from,
            });
        }
        until = Some(until.map_or(span.to, |until| until.max(span.to)));
    }
    let begin = until.unwrap_or(window.from);
    if clock::since(window.to, begin) > TOLERATED {
        found.push(Span {
            from: begin,
            to: window.to,
        });
    }
    found.retain(|gap| gap.meets(&window));
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(from: i64, to: i64) -> Span {
        let at = |second| Timestamp::from_second(1_795_000_000 + second).unwrap();
        Span {
            from: at(from),
            to: at(to),
        }
    }

    #[test]
    fn a_gap_is_told_from_the_last_sign_to_the_next() {
        let window = span(100, 200);
        let signs =
            |spans: &[(i64, i64)]| gaps(window, spans.iter().map(|(a, b)| span(*a, *b)).collect());
        assert_eq!(signs(&[(0, 300)]), []);
        assert_eq!(signs(&[(0, 90), (150, 300)]), [span(90, 150)]);
        assert_eq!(signs(&[(0, 120), (60, 180), (181, 300)]), []);
        assert_eq!(signs(&[(0, 50), (250, 300)]), [span(50, 250)]);
        assert_eq!(signs(&[(150, 160)]), [span(100, 150), span(160, 200)]);
        assert_eq!(signs(&[]), [window]);
        // Gaps beside the window are nobody's question.
        assert_eq!(signs(&[(0, 10), (50, 300), (400, 500)]), []);
    }

    proptest! {
        #[test]
        fn no_gap_holds_a_moment_that_a_sign_covers(
            signs in proptest::collection::vec((0_i64..400, 1_i64..80), 0..12),
        ) {
            let spans: Vec<Span> = signs.iter().map(|(from, len)| span(*from, from + len)).collect();
            let window = span(100, 200);
            let gaps = gaps(window, spans.clone());
            for second in 100..=200 {
                let at = span(second, second).from;
                let inside = spans.iter().any(|one| one.from < at && at < one.to);
                prop_assert!(!(inside && gaps.iter().any(|gap| gap.from < at && at < gap.to)));
                let near = spans.iter().any(|one| {
                    clock::before(one.from, TOLERATED) <= at && at <= clock::after(one.to, TOLERATED)
                });
                prop_assert!(near || gaps.iter().any(|gap| gap.holds(at)));
            }
        }
    }
}
