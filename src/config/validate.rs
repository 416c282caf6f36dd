//! From what is written to what is meant; every problem is reported, not the first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::load::Secrets;
use super::place::At;
use super::policy::{load_policy, overlaps};
use super::problem::{Problem, read_yaml};
use super::raw::{
    RawAuth, RawBasic, RawBudget, RawConfig, RawMetrics, RawScope, RawSelfTest, RawSpinnaker,
    RawStore, RawToken, RawVmalert, RawWeb, SecretRef,
};
use super::{
    AccessScope, Alertmanager, Auth, Basic, Budget, Channel, Config, Metrics, Rate, SelfTest,
    Sources, Spinnaker, StoreSettings, Timing, Token, Vmalert, Web, by_agents, canary, channels,
    github, route, services, tls,
};
use crate::domain::id::{ChannelName, Host, Service};
use crate::domain::policy::Policy;
use crate::domain::secret::Secret;

/// Default limit of a body: a real outage's webhook passes axum's 2 MiB.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The text of all files, and where they were.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) root: PathBuf,
    pub(super) main: (String, String),
    pub(super) policies: Vec<(String, String)>,
    pub(super) channels: Vec<(String, String)>,
    pub(super) canary: Vec<CanaryText>,
    pub(super) digest: String,
}

/// A file of templates of canary rules.
#[derive(Debug)]
pub(super) struct CanaryText {
    /// The service whose folder it is in; None: it is for every service.
    pub(super) service: Option<String>,
    pub(super) name: String,
    pub(super) text: String,
}

/// One file under examination, and what was found so far.
pub(super) struct Checker<'a> {
    pub(super) file: &'a str,
    pub(super) root: &'a Path,
    pub(super) secrets: Secrets,
    pub(super) problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Notes a problem at the place of `at`.
    pub(super) fn problem<T>(&mut self, at: &At<T>, message: impl Into<String>) {
        self.problems
            .push(Problem::at(self.file, at.place, message));
    }

    /// Parses text; what is wrong is noted in the type's own words.
    pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        at: &At<String>,
    ) -> Option<T> {
        self.with(at, |text| {
            text.parse::<T>().map_err(|error| error.to_string())
        })
    }

    /// Reads text by a function; what is wrong is noted.
    pub(super) fn with<S, T, E: std::fmt::Display>(
        &mut self,
        at: &At<S>,
        read: impl FnOnce(&S) -> Result<T, E>,
    ) -> Option<T> {
        match read(&at.value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(at, error.to_string());
                None
            }
        }
    }

    /// An http(s) address without credentials in it.
    pub(super) fn url(&mut self, at: &At<String>) -> Option<Url> {
        self.with(at, |text| channels::base_url(text))
    }

    /// A duration such as `15m`.
    pub(super) fn duration(&mut self, at: &At<String>) -> Option<Duration> {
        self.with(at, |text| {
            humantime::parse_duration(text)
                .map_err(|_| format!("`{text}` is not a duration such as 30s or 15m"))
        })
    }

    /// A duration, or the default where none is written.
    pub(super) fn duration_or(&mut self, at: Option<&At<String>>, default: Duration) -> Duration {
        at.and_then(|at| self.duration(at)).unwrap_or(default)
    }

    /// A secret, read from where it is.
    pub(super) fn secret(&mut self, at: &At<SecretRef>) -> Option<Secret> {
        let (secrets, root) = (self.secrets, self.root.to_owned());
        self.with(at, |place| secrets.resolve(place, &root))
    }

    pub(super) fn basic(&mut self, raw: Option<&RawBasic>) -> Option<Basic> {
        let raw = raw?;
        let password = self.secret(&raw.password)?;
        Some(Basic {
            username: raw.username.clone(),
            password,
        })
    }
}

/// Checks everything that was read.
pub(super) fn config(files: &Files, secrets: Secrets) -> Result<Config, Vec<Problem>> {
    let (name, text) = &files.main;
    let raw: RawConfig = read_yaml(name, text)?;
    let mut checker = Checker {
        file: name,
        root: &files.root,
        secrets,
        problems: Vec::new(),
    };
    let default_channels: Vec<(At<String>, ChannelName)> = raw
        .default_channels
        .into_iter()
        .filter_map(|at| checker.parse(&at).map(|name| (at, name)))
        .collect();
    let routes = route::read(&mut checker, &raw.routes);
    let mut timing = Timing::default();
    raw.timing.apply(&mut timing, |at| checker.duration(&at));
    let store = store(&mut checker, &raw.store);
    let mut config = Config {
        artifacts: by_agents::artifacts(&mut checker, &raw.artifacts, &store),
        web: web(&mut checker, &raw.web),
        auth: raw.auth.as_ref().map(|raw| auth(&mut checker, raw)),
        store,
        replicas: replicas(&mut checker, raw.replicas.as_ref()),
        metrics: raw
            .metrics
            .as_ref()
            .and_then(|raw| metrics(&mut checker, raw)),
        vmalert: raw
            .vmalert
            .iter()
            .filter_map(|raw| vmalert(&mut checker, raw))
            .collect(),
        canary: canary::read(&mut checker, &raw.canary, files),
        self_test: self_test(&mut checker, raw.self_test.as_ref()),
        spinnaker: spinnaker(&mut checker, raw.spinnaker.as_ref()),
        github: github::read(&mut checker, raw.github.as_ref()),
        sources: Sources {
            vmalert_notify: raw.sources.vmalert.notify,
        },
        mode: raw.mode,
        mode_file: raw.mode_file.map(|path| files.root.join(path)),
        default_channels: default_channels
            .iter()
            .map(|(_, name)| name.clone())
            .collect(),
        routes: routes.iter().map(|(route, _)| route.clone()).collect(),
        budget: budget(&mut checker, &raw.budget),
        services: services::read(&mut checker, raw.services),
        policies: Vec::new(),
        channels: BTreeMap::new(),
        chart_font: raw.charts.font.map(|path| files.root.join(path)),
        timing,
        digest: files.digest.clone(),
        root: files.root.clone(),
    };
    let mut problems = checker.problems;
    config.channels = read_channels(files, secrets, &mut problems);
    config.policies = read_policies(files, &mut problems);
    // A channel whose own file is wrong is not missing as well.
    let all_channels_read = config.channels.len() == files.channels.len();
    let routed = routes.iter().flat_map(|(_, channels)| channels);
    for (at, channel) in default_channels.iter().chain(routed) {
        if all_channels_read && !config.channels.contains_key(channel) {
            problems.push(Problem::at(
                name,
                at.place,
                format!("there is no channel `{channel}`"),
            ));
        }
    }
    policies_overlap(&config, name, &mut problems);
    if all_channels_read {
        channels_exist(&config, name, &mut problems);
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}

fn replicas(checker: &mut Checker<'_>, raw: Option<&At<u32>>) -> u32 {
    raw.map_or(1, |at| {
        if at.value == 0 {
            checker.problem(at, "there is at least one replica");
        }
        at.value.max(1)
    })
}

fn read_channels(
    files: &Files,
    secrets: Secrets,
    problems: &mut Vec<Problem>,
) -> BTreeMap<ChannelName, Channel> {
    let mut found = BTreeMap::new();
    for (name, text) in &files.channels {
        let mut checker = Checker {
            file: name,
            root: &files.root,
            secrets,
            problems: Vec::new(),
        };
        let channel = channels::read(&mut checker, text);
        problems.append(&mut checker.problems);
        if let Some(channel) = channel
            && let Some(other) = found.insert(channel.name().clone(), channel)
        {
            problems.push(Problem::of_file(
                name,
                format!("a channel `{}` is in another file already", other.name()),
            ));
        }
    }
    found
}

fn read_policies(files: &Files, problems: &mut Vec<Problem>) -> Vec<Policy> {
    let mut found = Vec::new();
    for (name, text) in &files.policies {
        match load_policy(name, text) {
            Ok(mut policy) => {
                // Records and messages name it as a checkout does, wherever it is mounted.
                let inside = Path::new(name).strip_prefix(&files.root);
                policy.file =
                    inside.map_or_else(|_| name.clone(), |path| path.display().to_string());
                found.push(policy);
            }
            Err(mut more) => problems.append(&mut more),
        }
    }
    found
}

/// One service belongs to one policy file.
fn policies_overlap(config: &Config, main: &str, problems: &mut Vec<Problem>) {
    let services: Vec<Service> = config.services.keys().cloned().collect();
    for overlap in overlaps(&config.policies, &services) {
        let message = format!(
            "service `{}` is matched by {}",
            overlap.service,
            overlap.files.join(" and ")
        );
        problems.push(
            Problem::of_file(main, message).hint("name each service in one policy file only"),
        );
    }
}

/// Whoever is told must exist.
fn channels_exist(config: &Config, main: &str, problems: &mut Vec<Problem>) {
    for policy in &config.policies {
        for (rule, channel) in policy
            .rules
            .iter()
            .flat_map(|rule| rule.channels.iter().map(move |c| (rule, c)))
        {
            if !config.channels.contains_key(channel) {
                let message = format!(
                    "rule `{}` tells channel `{channel}`, which no file defines",
                    rule.name
                );
                problems.push(Problem::of_file(&policy.file, message));
            }
        }
    }
    let self_test = config.self_test.iter().flat_map(|test| &test.channels);
    for channel in self_test.filter(|name| !config.channels.contains_key(*name)) {
        let message = format!("`self_test` pages channel `{channel}`, which no file defines");
        problems.push(Problem::of_file(main, message));
    }
    if !config.channels.is_empty() && config.default_channels.is_empty() {
        let message = "`default_channels` is missing: who is told what no rule matches?";
        let names: Vec<&str> = config.channels.keys().map(AsRef::as_ref).collect();
        problems.push(
            Problem::of_file(main, message).hint(format!("one or more of: {}", names.join(", "))),
        );
    }
}

fn web(checker: &mut Checker<'_>, raw: &RawWeb) -> Web {
    Web {
        external_url: raw.external_url.as_ref().and_then(|at| checker.url(at)),
        allowed_hosts: raw.allowed_hosts.clone(),
        body_limit: raw.body_limit.unwrap_or(BODY_LIMIT),
    }
}

fn auth(checker: &mut Checker<'_>, raw: &RawAuth) -> Auth {
    let mut tokens = Vec::new();
    let mut names = BTreeSet::new();
    for token in &raw.tokens {
        if !names.insert(&token.name.value) {
            checker.problem(
                &token.name,
                format!("a token `{}` is above already", token.name.value),
            );
        }
        if token.scopes.is_empty() {
            checker.problem(&token.name, "this token may do nothing: it needs scopes");
        }
        let host = token_host(checker, token);
        let secrets = std::iter::once(&token.token).chain(&token.next_token);
        let secrets = secrets.filter_map(|at| checker.secret(at)).collect();
        let scopes = token.scopes.iter().map(|at| scope(at.value)).collect();
        tokens.push(Token {
            name: token.name.value.clone(),
            secrets,
            scopes,
            host,
        });
    }
    Auth {
        signing_key: raw.signing_key.as_ref().and_then(|at| checker.secret(at)),
        tokens,
    }
}

/// An agent's token is its host's alone, and opens nothing else.
fn token_host(checker: &mut Checker<'_>, token: &RawToken) -> Option<Host> {
    let mut scopes = token.scopes.iter();
    let is_agent = |at: &&At<RawScope>| at.value == RawScope::Agent;
    match (&token.host, scopes.find(is_agent)) {
        (None, Some(at)) => checker.problem(at, "a token with the scope `agent` needs its `host`"),
        (Some(at), None) => checker.problem(at, "a token of a host has the scope `agent`"),
        (Some(at), Some(_)) if token.scopes.len() > 1 => {
            checker.problem(at, "a token of a host has no scope but `agent`");
        }
        _ => {}
    }
    token.host.as_ref().and_then(|at| checker.parse(at))
}

fn scope(raw: RawScope) -> AccessScope {
    match raw {
        RawScope::Ingest => AccessScope::Ingest,
        RawScope::Read => AccessScope::Read,
        RawScope::Deploy => AccessScope::Deploy,
        RawScope::Agent => AccessScope::Agent,
        RawScope::Rollback => AccessScope::Rollback,
        RawScope::Admin => AccessScope::Admin,
    }
}

fn store(checker: &mut Checker<'_>, raw: &RawStore) -> StoreSettings {
    let url = raw.url.as_ref().map_or_else(
        || "file:./data".to_owned(),
        |at| {
            let known = ["file:", "memory:", "s3://"]
                .iter()
                .any(|scheme| at.value.starts_with(scheme));
            if !known {
                checker.problem(
                    at,
                    format!(
                        "`{}` is no store: file:PATH, memory: or s3://BUCKET/PREFIX",
                        at.value
                    ),
                );
            }
            at.value.clone()
        },
    );
    let keys = match (&raw.access_key_id, &raw.secret_access_key) {
        (Some(id), Some(secret)) => checker.secret(id).zip(checker.secret(secret)),
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => {
            checker.problem(
                one,
                "`access_key_id` and `secret_access_key` belong together",
            );
            None
        }
    };
    StoreSettings {
        url,
        endpoint: raw.endpoint.as_ref().and_then(|at| checker.url(at)),
        region: raw.region.clone(),
        keys: keys.map(|(id, secret)| (id.expose().to_owned(), secret)),
    }
}

fn metrics(checker: &mut Checker<'_>, raw: &RawMetrics) -> Option<Metrics> {
    Some(Metrics {
        url: checker.url(&raw.url)?,
        basic: checker.basic(raw.basic.as_ref()),
        bearer: raw.bearer.as_ref().and_then(|at| checker.secret(at)),
        timeout: checker.duration_or(raw.timeout.as_ref(), Duration::from_secs(3)),
        latency_offset: raw.latency_offset,
    })
}

fn vmalert(checker: &mut Checker<'_>, raw: &RawVmalert) -> Option<Vmalert> {
    Some(Vmalert {
        url: checker.url(&raw.url)?,
        basic: checker.basic(raw.basic.as_ref()),
        canary: raw.canary,
    })
}

fn self_test(checker: &mut Checker<'_>, raw: Option<&RawSelfTest>) -> Option<SelfTest> {
    let raw = raw?;
    let every = checker.duration_or(raw.every.as_ref(), Duration::from_mins(5));
    let missing_after = checker.duration_or(raw.missing_after.as_ref(), Duration::from_mins(15));
    if let Some(at) = raw.every.as_ref().filter(|_| every.is_zero()) {
        checker.problem(at, "a self-test needs some time between two");
    }
    // A single late one is no news.
    if let Some(at) = raw.missing_after.as_ref().or(raw.every.as_ref())
        && missing_after < every * 2
    {
        checker.problem(at, "`missing_after` is at least twice `every`");
    }
    Some(SelfTest {
        alertmanager: Alertmanager {
            url: checker.url(&raw.alertmanager)?,
            basic: checker.basic(raw.basic.as_ref()),
            bearer: raw.bearer.as_ref().and_then(|at| checker.secret(at)),
        },
        every,
        missing_after,
        vmalert: raw.vmalert,
        channels: raw
            .channels
            .iter()
            .filter_map(|at| checker.parse(at))
            .collect(),
    })
}

fn spinnaker(checker: &mut Checker<'_>, raw: Option<&RawSpinnaker>) -> Option<Spinnaker> {
    let raw = raw?;
    let gate = checker.url(&raw.gate);
    let tls = raw.tls_config.as_ref();
    let tls = tls.map(|raw| tls::read(checker, raw)).unwrap_or_default();
    let gate = gate?;
    if raw.tls_config.is_some() && gate.scheme() != "https" {
        checker.problem(&raw.gate, "`tls_config` needs an https address");
    }
    Some(Spinnaker {
        gate,
        tls,
        basic: checker.basic(raw.basic.as_ref()),
        bearer: raw.bearer.as_ref().and_then(|at| checker.secret(at)),
        timeout: checker.duration_or(raw.timeout.as_ref(), Duration::from_secs(10)),
        deck: raw.deck.as_ref().and_then(|at| checker.url(at)),
    })
}

fn budget(checker: &mut Checker<'_>, raw: &RawBudget) -> Budget {
    let minutes = Duration::from_mins;
    let mut read = |at: Option<&At<String>>, default| {
        at.and_then(|at| checker.with(at, |text| rate(text)))
            .unwrap_or(default)
    };
    Budget {
        per_service: read(
            raw.per_service.as_ref(),
            Rate {
                count: 1,
                per: minutes(30),
            },
        ),
        overall: read(
            raw.overall.as_ref(),
            Rate {
                count: 3,
                per: minutes(10),
            },
        ),
    }
}

/// `3 per 10m`
fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("`{text}` is not a rate such as `3 per 10m`");
    let (count, per) = text.split_once(" per ").ok_or_else(wrong)?;
    let count = count.trim().parse().map_err(|_| wrong())?;
    let per = humantime::parse_duration(per.trim()).map_err(|_| wrong())?;
    if per.is_zero() {
        Err(wrong())
    } else {
        Ok(Rate { count, per })
    }
}
