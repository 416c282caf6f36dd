//! `services.NAME.deploy[].agents`: hosts that `backstop agent` deploys on; and where they fetch
//! releases from.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::StoreSettings;
use super::place::At;
use super::validate::Checker;

/// When a batch that agents deploy has passed, and when it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByAgents {
    /// Percent of a batch's hosts that must be healthy, 1 to 100.
    pub min_healthy: u8,
    /// For how long they must have been before the batch passes.
    pub healthy_for: Duration,
    /// A batch that has not passed so long after its start has failed.
    pub within: Duration,
    /// How far apart an agent's polls are; one that misses three is lost.
    pub poll: Duration,
}

impl ByAgents {
    /// A host that has been silent for longer is lost: three polls at their longest.
    pub fn lost_after(&self) -> Duration {
        self.poll.saturating_mul(18) / 5
    }
}

/// `agents:` of a deploy pipeline; `{}` takes the defaults.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawByAgents {
    /// Share of a batch's hosts that must be healthy, such as `95%`. Default 100%.
    pub min_healthy: Option<At<String>>,
    /// For how long, before the batch passes. Default 0s.
    pub healthy_for: Option<At<String>>,
    /// A batch that has not passed by then has failed. Default 30m.
    pub within: Option<At<String>>,
    /// How far apart an agent's polls are. Default 10s.
    pub poll: Option<At<String>>,
}

/// `artifacts:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawArtifacts {
    /// `s3://bucket/prefix` or `file:/srv/artifacts`, as `release publish --upload` was told.
    pub url: Option<At<String>>,
}

pub(super) fn read(checker: &mut Checker<'_>, raw: &RawByAgents) -> ByAgents {
    let min_healthy = raw.min_healthy.as_ref().and_then(|at| {
        checker.with(at, |text| {
            let number = text.strip_suffix('%').map(str::trim);
            let percent = number.and_then(|number| number.parse::<u8>().ok());
            percent
                .filter(|percent| (1..=100).contains(percent))
                .ok_or_else(|| format!("`{text}` is not a share from 1% to 100%"))
        })
    });
    let poll = checker.duration_or(raw.poll.as_ref(), Duration::from_secs(10));
    if let Some(at) = raw
        .poll
        .as_ref()
        .filter(|_| poll < Duration::from_millis(100))
    {
        checker.problem(at, "agents ask at most ten times a second");
    }
    ByAgents {
        min_healthy: min_healthy.unwrap_or(100),
        healthy_for: checker.duration_or(raw.healthy_for.as_ref(), Duration::ZERO),
        within: checker.duration_or(raw.within.as_ref(), Duration::from_mins(30)),
        poll,
    }
}

/// Where artifacts are, with the endpoint and keys of the store.
pub(super) fn artifacts(
    checker: &mut Checker<'_>,
    raw: &RawArtifacts,
    store: &StoreSettings,
) -> Option<Box<StoreSettings>> {
    let url = checker.with(raw.url.as_ref()?, |text| {
        if text.starts_with("s3://") || text.starts_with("file:") {
            Ok(text.trim_end_matches('/').to_owned())
        } else {
            Err(format!(
                "`{text}` is no place for artifacts: s3://… or file:/…"
            ))
        }
    })?;
    Some(Box::new(StoreSettings {
        url,
        ..store.clone()
    }))
}
