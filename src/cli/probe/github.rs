//! Whether GitHub takes the token, has calls left, and lets the repositories be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;

use super::{Probe, Verdict, call_verdict};
use crate::config::{Config, Github};
use crate::domain::clock::SystemClock;
use crate::github::{GitHub, GitHubError, GitHubSettings, Rate, Repository};

/// A share of the hour's calls below which a word is worth it.
const FEW: u64 = 10;

pub(super) async fn ask(config: &Config, settings: &Github) -> Vec<Probe> {
    let client = GitHub::new(
        GitHubSettings {
            token: settings.token.clone(),
            timeout: settings.timeout,
            ..GitHubSettings::new(settings.api_url.clone())
        },
        Arc::new(SystemClock),
    );
    let client = match client {
        Ok(client) => client,
        Err(error) => return vec![Probe::new("github", Verdict::Fail, error.to_string())],
    };
    let has_token = settings.token.is_some();
    // One after the other: with a bad token the repositories need not be asked.
    let login = match client.rate().await {
        Ok(rate) => allowance(rate, has_token),
        Err(error) => return vec![failed("github".to_owned(), &error, has_token)],
    };
    let repositories: BTreeMap<String, Repository> = config
        .services
        .values()
        .filter_map(|service| Repository::of(service.repository.as_ref()?, &settings.api_url))
        .map(|one| (one.to_string(), one))
        .collect();
    let asked = repositories.iter().map(async |(name, repository)| {
        let probe = format!("repository {name}");
        // The tags are what `sync` begins with, and need the same right.
        match client.tags(repository, 1, None).await {
            Ok(_) => Probe::new(probe, Verdict::Ok, "its tags can be read"),
            Err(error) => failed(probe, &error, has_token),
        }
    });
    let mut probes = vec![login];
    probes.extend(join_all(asked).await);
    probes
}

fn allowance(rate: Option<Rate>, has_token: bool) -> Probe {
    let who = if has_token {
        "the token is accepted"
    } else {
        "answers without a token"
    };
    let Some(Rate {
        limit,
        remaining,
        reset,
    }) = rate
    else {
        return Probe::new("github", Verdict::Ok, format!("{who}; no limit of calls"));
    };
    let text = format!("{who}; {remaining} of {limit} calls are left until {reset:.0}");
    if !has_token {
        return Probe::new("github", Verdict::Warn, text)
            .hint("only public repositories can be read so, and few calls are free: set `github.token`, with `Contents: read`");
    }
    if remaining.saturating_mul(100) < limit.saturating_mul(FEW) {
        return Probe::new("github", Verdict::Warn, text)
            .hint("`sync` waits when they are used up: give it a token of its own, or a longer `github.interval`");
    }
    Probe::new("github", Verdict::Ok, text)
}

fn failed(probe: String, error: &GitHubError, has_token: bool) -> Probe {
    let (verdict, hint) = match error {
        GitHubError::Limited { .. } => (
            Verdict::Warn,
            "`sync` waits so long by itself; if it happens often, give it a token of its own",
        ),
        GitHubError::Missing if has_token => (
            Verdict::Fail,
            "`repository` must be its page, and the token must be let in with `Contents: read`",
        ),
        GitHubError::Missing => (
            Verdict::Fail,
            "`repository` must be its page; a private one needs `github.token`",
        ),
        GitHubError::Moved => (
            Verdict::Fail,
            "GitHub shows the new page when the old one is opened",
        ),
        GitHubError::Call(call) if call.status == Some(401) => (
            Verdict::Fail,
            "the token has run out or was withdrawn: make a new one with `Contents: read` and put it where `github.token` points",
        ),
        GitHubError::Call(call) => (
            call_verdict(call.kind),
            "`github.api_url` is `https://api.github.com`, or `https://HOST/api/v3` for an Enterprise server",
        ),
    };
    Probe::new(probe, verdict, error.to_string()).hint(hint)
}
