//! `github:`, where `sync` reads tags, releases and commits.

use std::time::Duration;

use url::Url;

use super::raw::RawGithub;
use super::validate::Checker;
use crate::domain::secret::Secret;

const PUBLIC: &str = "https://api.github.com";

/// GitHub, public or Enterprise.
#[derive(Debug, Clone)]
pub struct Github {
    /// Prefix before `/repos/…`.
    pub api_url: Url,
    /// A token that may read the repositories.
    pub token: Option<Secret>,
    /// Longest wait for one call.
    pub timeout: Duration,
    /// How often it is asked for what is new.
    pub interval: Duration,
}

pub(super) fn read(checker: &mut Checker<'_>, raw: Option<&RawGithub>) -> Option<Github> {
    let raw = raw?;
    let api_url = match &raw.api_url {
        Some(at) => checker.url(at),
        None => PUBLIC.parse().ok(),
    };
    let interval = checker.duration_or(raw.interval.as_ref(), Duration::from_mins(1));
    if let Some(at) = raw.interval.as_ref().filter(|_| interval.is_zero()) {
        checker.problem(at, "GitHub needs some time between two questions");
    }
    Some(Github {
        api_url: api_url?,
        token: raw.token.as_ref().and_then(|at| checker.secret(at)),
        timeout: checker.duration_or(raw.timeout.as_ref(), Duration::from_secs(10)),
        interval,
    })
}
