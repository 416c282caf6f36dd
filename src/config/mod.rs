//! The configuration: files and secrets in, one validated value out.
//!
//! `raw` mirrors the YAML, `validate` turns it into [`Config`] and reports every problem with its
//! place, `load` reads files and resolves secrets. Nothing here reaches the network.

pub mod agent;
mod by_agents;
pub mod canary;
pub mod channel;
mod channels;
mod freeze;
mod github;
mod known;
pub mod load;
pub mod matcher;
pub mod place;
pub mod policy;
pub mod problem;
pub mod raw;
pub mod rollback;
pub mod route;
pub mod services;
pub mod template;
pub mod templates;
pub mod tls;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::domain::deployment::Strategy;
use crate::domain::id::{ChannelName, Env, Host, Service};
use crate::domain::policy::{Mode, Policy};
use crate::domain::secret::Secret;
use crate::http::Tls;
pub use crate::store::StoreSettings;
pub use by_agents::{ByAgents, RawArtifacts, RawByAgents};
pub use canary::{Canary, ServiceCanary};
pub use github::Github;
pub use rollback::{Rollback, RollbackPipeline, ServerGroupRollback, UndoRollout, Way};
pub use route::Route;
pub use template::Template;

/// Everything the gateway and its companions are told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The gateway's own face.
    pub web: Web,
    /// Who may do what. None: loopback only, ingest and read only.
    pub auth: Option<Auth>,
    /// Where documents are.
    pub store: StoreSettings,
    /// Where agents fetch releases from. None: only from addresses that need no login.
    pub artifacts: Option<Box<StoreSettings>>,
    /// How many replicas share the vendors' limits.
    pub replicas: u32,
    /// The metrics store. None: no evidence, so no automatic action, and no charts.
    pub metrics: Option<Metrics>,
    /// The vmalerts whose rule lists are trusted.
    pub vmalert: Vec<Vmalert>,
    /// How canary rules are made.
    pub canary: Canary,
    /// The self-test. None: none is sent, and none is missed.
    pub self_test: Option<SelfTest>,
    /// Spinnaker's Gate. None: nothing can be taken back.
    pub spinnaker: Option<Spinnaker>,
    /// GitHub. None: tags, authors and commits are not known.
    pub github: Option<Github>,
    /// What each source of alerts may cause.
    pub sources: Sources,
    /// Modes above the policies': the strictest of all that apply wins.
    pub mode: Option<Mode>,
    /// A file of switches, read when a decision needs it.
    pub mode_file: Option<PathBuf>,
    /// Who is told what no rule matches.
    pub default_channels: Vec<ChannelName>,
    /// Who is told where no rule names channels.
    pub routes: Vec<Route>,
    /// How many automatic rollbacks there may be.
    pub budget: Budget,
    /// The services we know.
    pub services: BTreeMap<Service, ServiceConfig>,
    /// `rules/policy/*.yaml`.
    pub policies: Vec<Policy>,
    /// `channels/*.yaml`, by name.
    pub channels: BTreeMap<ChannelName, Channel>,
    /// Font of charts. None: a known package's, else the bundled Latin one.
    pub chart_font: Option<PathBuf>,
    /// Times that tests and unusual sites change.
    pub timing: Timing,
    /// SHA-256 of all files it was read from.
    pub digest: String,
    /// The folder the main file is in; other paths are relative to it.
    pub root: PathBuf,
}

/// The gateway's own face.
#[derive(Debug, Clone)]
pub struct Web {
    /// How people and chat clients reach us: links and charts. None: neither.
    pub external_url: Option<Url>,
    /// Host names answered to, beside loopback and the external one.
    pub allowed_hosts: Vec<String>,
    /// Largest body, bytes.
    pub body_limit: usize,
}

/// Tokens and the key that signs links.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Signs chart and approval links; the same on every replica.
    pub signing_key: Option<Secret>,
    /// Bearer tokens.
    pub tokens: Vec<Token>,
}

/// One bearer token. `token` may hold several secrets while one is rotated.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its name in records.
    pub name: String,
    /// The secrets accepted.
    pub secrets: Vec<Secret>,
    /// What it may do.
    pub scopes: Vec<AccessScope>,
    /// The host whose agent has it: nothing of another host is open to it.
    pub host: Option<Host>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccessScope {
    /// Send alerts.
    Ingest,
    /// Read everything but secrets.
    Read,
    /// Announce batches and ask for admission.
    Deploy,
    /// Ask for a host's desired release, and record what became of it.
    Agent,
    /// Trigger rollbacks.
    Rollback,
    /// Reload, modes.
    Admin,
}

/// The metrics store.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Prefix before `/api/v1/…`.
    pub url: Url,
    /// Basic login.
    pub basic: Option<Basic>,
    /// Bearer token.
    pub bearer: Option<Secret>,
    /// Longest wait for one query.
    pub timeout: Duration,
    /// Send `latency_offset=1ms` (VictoriaMetrics ≥ 1.85.2).
    pub latency_offset: bool,
}

/// A user name and a password.
#[derive(Debug, Clone)]
pub struct Basic {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// One vmalert whose rule list is trusted.
#[derive(Debug, Clone)]
pub struct Vmalert {
    /// Its address.
    pub url: Url,
    /// Basic login.
    pub basic: Option<Basic>,
    /// Whether it evaluates armed canary rules.
    pub canary: bool,
}

/// Spinnaker's Gate.
#[derive(Debug, Clone)]
pub struct Spinnaker {
    /// Gate's address.
    pub gate: Url,
    /// Basic login.
    pub basic: Option<Basic>,
    /// Bearer token.
    pub bearer: Option<Secret>,
    /// Whom we trust there, and the certificate we show.
    pub tls: Tls,
    /// Longest wait for one call.
    pub timeout: Duration,
    /// Spinnaker's web pages (Deck), for links.
    pub deck: Option<Url>,
}

/// The service that only the self-test has.
pub const SELF_TEST_SERVICE: &str = "backstop-self-test";

/// An Alertmanager that is given alerts.
#[derive(Debug, Clone)]
pub struct Alertmanager {
    /// Prefix before `/api/v2/…`.
    pub url: Url,
    /// Basic login.
    pub basic: Option<Basic>,
    /// Bearer token.
    pub bearer: Option<Secret>,
}

/// A synthetic alert that must come back.
#[derive(Debug, Clone)]
pub struct SelfTest {
    /// Where it is sent to.
    pub alertmanager: Alertmanager,
    /// How often.
    pub every: Duration,
    /// People are paged when none has come through for so long.
    pub missing_after: Duration,
    /// Whether vmalert's own is expected as well.
    pub vmalert: bool,
    /// Who is paged; empty: `default_channels`.
    pub channels: Vec<ChannelName>,
}

/// What each source of alerts may cause.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Whether a vmalert's direct post tells people too; without it, it only decides faster.
    pub vmalert_notify: bool,
}

/// `N per DURATION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// How many automatic rollbacks there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Of one service. Default 1 per 30 min.
    pub per_service: Rate,
    /// Over all. Default 3 per 10 min.
    pub overall: Rate,
}

/// One service.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Spinnaker's application.
    pub application: String,
    /// Its deploy pipelines.
    pub deploy: Vec<DeployPipeline>,
    /// Its ways back.
    pub rollback: Rollback,
    /// Other pipelines of the application that touch nothing of it: their executions hold nothing.
    pub harmless_pipelines: Vec<String>,
    /// The recovery question. None: a rollback ends `unverified`.
    pub recovery: Option<Recovery>,
    /// What it says about its canary rules.
    pub canary: ServiceCanary,
    /// A mode above the policy's.
    pub mode: Option<Mode>,
    /// Prefix of git tags that is not part of the version, such as `v`.
    pub tag_prefix: String,
    /// Its repository's web page: what `sync` reads from GitHub, and links that compare releases.
    pub repository: Option<Url>,
    /// The team it belongs to, for routes and mentions.
    pub owner: Option<String>,
}

/// One deploy pipeline and where its facts are read from.
#[derive(Debug, Clone)]
pub struct DeployPipeline {
    /// Its name in Spinnaker.
    pub pipeline: String,
    /// Where it deploys to.
    pub env: Env,
    /// How it spreads.
    pub strategy: Strategy,
    /// How long it must run at 100 % before it counts as full.
    pub soak: Duration,
    /// The release id or version: a [`Template`] over `parameters` of the execution.
    pub release: Template,
    /// The batch ordinal of a stage: a template over `stage.context`; an empty result: no batch.
    pub batch: Option<Template>,
    /// The hosts of a stage: a template over `stage.context`, a list or comma-joined.
    pub hosts: Option<Template>,
    /// Its hosts run `backstop agent`. None: somebody else deploys.
    pub agents: Option<ByAgents>,
}

/// The recovery question: `expr op value`, true for `for` within `within`.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// Asked of the metrics store.
    pub expr: String,
    /// `<`, `<=`, `>`, `>=`.
    pub op: Comparison,
    /// The line.
    pub value: f64,
    /// How long it must hold.
    pub for_: Duration,
    /// How long it may take.
    pub within: Duration,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether `left op right`; never for a NaN.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// One file of `channels/`.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Name, language and the vendor's side.
    pub settings: channel::Channel,
    /// Whether messages about ended alerts go there.
    pub send_resolved: bool,
    /// The vendor's limit per minute, before it is divided by the replicas. None: the kind's.
    pub rate_per_minute: Option<u32>,
}

impl Channel {
    /// Its name.
    pub fn name(&self) -> &ChannelName {
        &self.settings.name
    }
}

/// Times that tests and unusual sites change. Defaults are the design's.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The longest a webhook waits for its messages (8 s).
    pub webhook_deadline: Duration,
    /// The longest a vmalert post waits (1 s).
    pub vmalert_deadline: Duration,
    /// The longest evidence may take (3 s).
    pub evidence_deadline: Duration,
    /// The longest a message waits for its chart (3 s).
    pub chart_deadline: Duration,
    /// Oldest payload that may act (5 min).
    pub max_payload_age: Duration,
    /// How long after an end a copy counts as the same episode (5 min).
    pub episode_gap: Duration,
    /// When a firing alert is told again (1 h).
    pub remind_after: Duration,
    /// The catalog is read again after (3 s) …
    pub catalog_refresh: Duration,
    /// … and too old to act on after (10 min).
    pub catalog_stale: Duration,
    /// How often open holds and incidents are looked at (2 s).
    pub sweep: Duration,
    /// How often the outbox is looked at for messages that other replicas left (10 s).
    pub outbox: Duration,
    /// A hold is paged at (30 min) …
    pub hold_page: Duration,
    /// … and ends at (6 h).
    pub hold_end: Duration,
    /// A claim on an incident is good for (60 s).
    pub lease: Duration,
    /// Clocks of replicas differ by at most (30 s).
    pub skew: Duration,
    /// "Not found" in Spinnaker counts only this long after the last possible send (120 s).
    pub settle: Duration,
    /// An accused execution is waited for after its cancel (60 s).
    pub stop_deadline: Duration,
    /// An execution is read every (2 s).
    pub follow: Duration,
    /// A send claim is good for (30 s).
    pub send_claim: Duration,
    /// All is finished after SIGTERM within (25 s) …
    pub drain: Duration,
    /// … of which it still accepts for (5 s).
    pub drain_accept: Duration,
    /// Files are looked at for changes every (15 s).
    pub reload_poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            webhook_deadline: s(8),
            vmalert_deadline: s(1),
            evidence_deadline: s(3),
            chart_deadline: s(3),
            max_payload_age: s(5 * 60),
            episode_gap: s(5 * 60),
            remind_after: s(60 * 60),
            catalog_refresh: s(3),
            catalog_stale: s(10 * 60),
            sweep: s(2),
            outbox: s(10),
            hold_page: s(30 * 60),
            hold_end: s(6 * 60 * 60),
            lease: s(60),
            skew: s(30),
            settle: s(120),
            stop_deadline: s(60),
            follow: s(2),
            send_claim: s(30),
            drain: s(25),
            drain_accept: s(5),
            reload_poll: s(15),
        }
    }
}

/// `--web.config.file` in the Prometheus style.
#[derive(Debug, Clone, Default)]
pub struct WebConfig {
    /// Certificate and key.
    pub tls: Option<TlsFiles>,
    /// Users of basic login by name, with bcrypt hashes; they may ingest and read.
    pub basic_auth_users: BTreeMap<String, Secret>,
}

/// Files of a TLS listener; read again for every connection, so that rotation needs no restart.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM certificate chain.
    pub cert_file: PathBuf,
    /// PEM key.
    pub key_file: PathBuf,
    /// PEM of the CAs whose client certificates are accepted; None: no client certificates.
    pub client_ca_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
