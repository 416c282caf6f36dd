//! Numbers and times as a person reads them at night.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;

/// A duration in whole seconds, `1m 30s`.
pub(super) fn span(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

/// How long ago `then` was.
pub(super) fn ago(now: Timestamp, then: Timestamp) -> String {
    span(clock::since(now, then))
}

/// How long it is until `until`, rounded up, so that nothing waits "0s".
pub(super) fn left(now: Timestamp, until: Timestamp) -> String {
    let left = clock::since(until, now);
    span(left + Duration::from_millis(999))
}

/// The first few of a list, and how many more there are.
pub(super) fn list(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = items.iter().take(SHOWN).map(String::as_str).collect();
    let shown = shown.join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `1 host`, `2 hosts`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {many}")
    }
}
