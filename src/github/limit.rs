//! GitHub's limits, as its headers tell them.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::domain::clock;

/// How long a limit lasts whose answer names no end (GitHub: "at least one minute").
const UNTOLD: Duration = Duration::from_mins(1);

/// Until when nothing more may be asked, if an answer says so. A used-up hour says it before the
/// first refusal; a refusal without a header that names a limit is one of rights, not of numbers.
pub(super) fn quiet_until(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Option<Timestamp> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    if let Some(seconds) = number(RETRY_AFTER.as_str()).and_then(|wait| u64::try_from(wait).ok())
        && matches!(status.as_u16(), 403 | 429 | 503)
    {
        return Some(clock::after(now, Duration::from_secs(seconds)));
    }
    let is_used_up = number("x-ratelimit-remaining") == Some(0);
    let reset = number("x-ratelimit-reset").and_then(|at| Timestamp::from_second(at).ok());
    if is_used_up {
        // A clock that runs ahead of GitHub's must not make the wait vanish.
        return Some(
            reset
                .unwrap_or(now)
                .max(clock::after(now, Duration::from_secs(1))),
        );
    }
    let says_limit = String::from_utf8_lossy(body).contains("rate limit");
    let is_refusal = matches!(status.as_u16(), 403 | 429);
    (status.as_u16() == 429 || is_refusal && says_limit).then(|| clock::after(now, UNTOLD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn until(status: u16, headers: &[(&'static str, &str)], body: &str) -> Option<i64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let until = quiet_until(status, &map, body.as_bytes(), at(1_000))?;
        Some(until.as_second())
    }

    #[test]
    fn limits_are_told_by_headers_and_rights_are_no_limit() {
        assert_eq!(until(200, &[("x-ratelimit-remaining", "12")], ""), None);
        let used_up = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1600"),
        ];
        assert_eq!(until(200, &used_up, ""), Some(1_600));
        assert_eq!(until(403, &used_up, ""), Some(1_600));
        assert_eq!(until(403, &[("retry-after", "30")], ""), Some(1_030));
        assert_eq!(until(429, &[], ""), Some(1_060));
        let body = "You have exceeded a secondary rate limit";
        assert_eq!(until(403, &[], body), Some(1_060));
        assert_eq!(until(403, &[], "Resource not accessible"), None);
        // GitHub's clock is behind ours.
        let past = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "10")];
        assert_eq!(until(200, &past, ""), Some(1_001));
    }
}
