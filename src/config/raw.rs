//! The shape of `backstop.yaml`, `channels/*.yaml` and the web configuration, as written.
//!
//! Unknown keys are errors. What a value means is checked in `validate`.

mod channels;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::by_agents::{RawArtifacts, RawByAgents};
use super::place::At;
use super::rollback::RawRollback;
use super::tls::RawTlsConfig;
use crate::domain::policy::Mode;

pub use channels::{RawChannel, RawDingtalk, RawEmail, RawSlack, RawWebhook, RawWecom};

/// `backstop.yaml`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// The gateway's own face.
    pub web: RawWeb,
    /// Who may do what. Left out: loopback only, ingest and read only.
    pub auth: Option<RawAuth>,
    /// Where documents are. Default `file:./data`.
    pub store: RawStore,
    /// Where agents fetch releases from.
    pub artifacts: RawArtifacts,
    /// How many replicas share the vendors' limits. Default 1.
    pub replicas: Option<At<u32>>,
    /// The metrics store.
    pub metrics: Option<RawMetrics>,
    /// The vmalerts whose rule lists are trusted.
    pub vmalert: Vec<RawVmalert>,
    /// Canary rules.
    pub canary: RawCanary,
    /// The self-test.
    pub self_test: Option<RawSelfTest>,
    /// Spinnaker's Gate.
    pub spinnaker: Option<RawSpinnaker>,
    /// GitHub, public or Enterprise.
    pub github: Option<RawGithub>,
    /// What each source of alerts may cause.
    pub sources: RawSources,
    /// A mode above all policies: the strictest wins.
    pub mode: Option<Mode>,
    /// A file of switches that works without a reload and without the store.
    pub mode_file: Option<PathBuf>,
    /// Who is told what no rule and no route matches.
    pub default_channels: Vec<At<String>>,
    /// Who is told where no rule names channels: those of every route that matches.
    pub routes: Vec<RawRoute>,
    /// How many automatic rollbacks there may be.
    pub budget: RawBudget,
    /// The services we know, by name.
    pub services: BTreeMap<String, RawService>,
    /// Charts.
    pub charts: RawCharts,
    /// Times that unusual sites change.
    pub timing: RawTiming,
}

/// One entry of `routes:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRoute {
    /// Matchers over severity, service, env, owner and `route_<label>`; all must hold.
    pub matchers: Vec<At<String>>,
    /// Who is told then.
    pub channels: Vec<At<String>>,
}

/// A secret's place; secrets never stand in a file of the configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; its last line break is not part of the secret.
    File(PathBuf),
}

/// `web:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawWeb {
    /// How people and chat clients reach us.
    pub external_url: Option<At<String>>,
    /// Host names answered to, beside loopback and the external one.
    pub allowed_hosts: Vec<String>,
    /// Largest body in bytes. Default 16 MiB.
    pub body_limit: Option<usize>,
}

/// `auth:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAuth {
    /// Signs chart and approval links; the same on every replica.
    pub signing_key: Option<At<SecretRef>>,
    /// Bearer tokens.
    pub tokens: Vec<RawToken>,
}

/// One bearer token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawToken {
    /// Its name in records.
    pub name: At<String>,
    /// The secret.
    pub token: At<SecretRef>,
    /// A second one that is accepted too, while it is rotated.
    #[serde(default)]
    pub next_token: Option<At<SecretRef>>,
    /// ingest, read, deploy, agent, rollback, admin.
    pub scopes: Vec<At<RawScope>>,
    /// The host whose agent has it; the scope `agent` needs one.
    #[serde(default)]
    pub host: Option<At<String>>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawScope {
    /// Send alerts.
    Ingest,
    /// Read.
    Read,
    /// Announce batches, ask for admission.
    Deploy,
    /// A host's desired release and its records.
    Agent,
    /// Trigger rollbacks.
    Rollback,
    /// Reload, modes.
    Admin,
}

/// `store:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawStore {
    /// `file:./data`, `memory:` or `s3://bucket/prefix`.
    pub url: Option<At<String>>,
    /// An S3 server that is not AWS.
    pub endpoint: Option<At<String>>,
    /// Its region.
    pub region: Option<String>,
    /// Static key id.
    pub access_key_id: Option<At<SecretRef>>,
    /// Static key.
    pub secret_access_key: Option<At<SecretRef>>,
}

/// A login by name and password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBasic {
    /// The name.
    pub username: String,
    /// The password.
    pub password: At<SecretRef>,
}

/// `metrics:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMetrics {
    /// Prefix before `/api/v1/…`.
    pub url: At<String>,
    /// Basic login.
    #[serde(default)]
    pub basic: Option<RawBasic>,
    /// Bearer token.
    #[serde(default)]
    pub bearer: Option<At<SecretRef>>,
    /// Longest wait for one query. Default 3s.
    #[serde(default)]
    pub timeout: Option<At<String>>,
    /// Send `latency_offset=1ms` (VictoriaMetrics ≥ 1.85.2). Default false.
    #[serde(default)]
    pub latency_offset: bool,
}

/// One of `vmalert:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawVmalert {
    /// Its address.
    pub url: At<String>,
    /// Basic login.
    #[serde(default)]
    pub basic: Option<RawBasic>,
    /// Whether it evaluates armed canary rules.
    #[serde(default)]
    pub canary: bool,
}

/// `canary:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawCanary {
    /// How often vmalert evaluates an armed group. Default 5s.
    pub interval: Option<At<String>>,
    /// Armed rules are gone after this, whatever happens. Default 24h.
    pub ttl: Option<At<String>>,
    /// vmalert's `eval_delay` of armed groups. Default: not written, since vmalert 1.79 refuses it.
    pub eval_delay: Option<At<String>>,
}

/// `canary:` of a service.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawServiceCanary {
    /// No rules are armed for it. Default false.
    pub off: bool,
    /// What the names in its templates stand for, where it is not what the templates say.
    pub values: BTreeMap<String, At<String>>,
}

/// `self_test:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSelfTest {
    /// The Alertmanager that is given the synthetic alert.
    pub alertmanager: At<String>,
    /// Basic login there.
    #[serde(default)]
    pub basic: Option<RawBasic>,
    /// Bearer token there.
    #[serde(default)]
    pub bearer: Option<At<SecretRef>>,
    /// How often one is sent. Default 5m.
    #[serde(default)]
    pub every: Option<At<String>>,
    /// People are paged when none has come through for so long. Default 15m.
    #[serde(default)]
    pub missing_after: Option<At<String>>,
    /// Whether vmalert's own, by the shipped rule, is expected as well. Default false.
    #[serde(default)]
    pub vmalert: bool,
    /// Who is paged. Default: `default_channels`.
    #[serde(default)]
    pub channels: Vec<At<String>>,
}

/// `spinnaker:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSpinnaker {
    /// Gate's address.
    pub gate: At<String>,
    /// Basic login.
    #[serde(default)]
    pub basic: Option<RawBasic>,
    /// Bearer token.
    #[serde(default)]
    pub bearer: Option<At<SecretRef>>,
    /// Authorities and client certificate.
    #[serde(default)]
    pub tls_config: Option<RawTlsConfig>,
    /// Longest wait for one call. Default 10s.
    #[serde(default)]
    pub timeout: Option<At<String>>,
    /// Spinnaker's web pages, for links.
    #[serde(default)]
    pub deck: Option<At<String>>,
}

/// `github:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawGithub {
    /// Default `https://api.github.com`; an Enterprise server's is `https://HOST/api/v3`.
    pub api_url: Option<At<String>>,
    /// A token that may read the repositories.
    pub token: Option<At<SecretRef>>,
    /// Longest wait for one call. Default 10s.
    pub timeout: Option<At<String>>,
    /// How often it is asked for what is new. Default 1m.
    pub interval: Option<At<String>>,
}

/// `sources:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSources {
    /// A vmalert that posts directly.
    pub vmalert: RawSourceVmalert,
}

/// `sources.vmalert:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSourceVmalert {
    /// Whether its posts tell people too. Default true.
    pub notify: bool,
}

impl Default for RawSourceVmalert {
    fn default() -> Self {
        Self { notify: true }
    }
}

/// `budget:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawBudget {
    /// Default `1 per 30m`.
    pub per_service: Option<At<String>>,
    /// Default `3 per 10m`.
    pub overall: Option<At<String>>,
}

/// One of `services:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawService {
    /// Spinnaker's application.
    pub application: At<String>,
    /// Its deploy pipelines.
    #[serde(default)]
    pub deploy: Vec<RawDeploy>,
    /// Its ways back.
    #[serde(default)]
    pub rollback: RawRollback,
    /// Pipelines of the application that touch nothing of it.
    #[serde(default)]
    pub harmless_pipelines: Vec<At<String>>,
    /// The recovery question.
    #[serde(default)]
    pub recovery: Option<RawRecovery>,
    /// Its canary rules.
    #[serde(default)]
    pub canary: RawServiceCanary,
    /// A mode above the policy's.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Prefix of git tags that is not part of the version.
    #[serde(default)]
    pub tag_prefix: String,
    /// Its repository's web page: what `sync` reads from GitHub, and links that compare releases.
    #[serde(default)]
    pub repository: Option<At<String>>,
    /// The team it belongs to, for `routes` and `mention_when`.
    #[serde(default)]
    pub owner: Option<String>,
}

/// One deploy pipeline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDeploy {
    /// Its name.
    pub pipeline: At<String>,
    /// Where it deploys to.
    pub env: At<String>,
    /// canary, `blue_green` or all.
    pub strategy: crate::domain::deployment::Strategy,
    /// How long it must run at 100 %. Default 15m.
    #[serde(default)]
    pub soak: Option<At<String>>,
    /// The release id or version, such as `{parameters.release_id}`.
    pub release: At<String>,
    /// A stage's batch, such as `{stage.context.batch}`.
    #[serde(default)]
    pub batch: Option<At<String>>,
    /// A stage's hosts, such as `{stage.context.hosts}`.
    #[serde(default)]
    pub hosts: Option<At<String>>,
    /// Its hosts run `backstop agent`; `{}` takes the defaults.
    #[serde(default)]
    pub agents: Option<RawByAgents>,
}

/// The recovery question.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRecovery {
    /// Asked of the metrics store.
    pub expr: At<String>,
    /// `<`, `<=`, `>`, `>=`
    pub op: At<String>,
    /// The line.
    pub value: f64,
    /// How long it must hold.
    #[serde(rename = "for")]
    pub for_: At<String>,
    /// How long it may take.
    pub within: At<String>,
}

/// `charts:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawCharts {
    /// A font file that draws your language.
    pub font: Option<PathBuf>,
}

macro_rules! timing {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// `timing:`
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct RawTiming {
            $($(#[$doc])* pub $name: Option<At<String>>,)+
        }

        impl RawTiming {
            /// Each written time with the place it goes to.
            pub(super) fn apply(self, timing: &mut super::Timing, mut read: impl FnMut(At<String>) -> Option<std::time::Duration>) {
                $(if let Some(value) = self.$name.and_then(&mut read) { timing.$name = value; })+
            }
        }
    };
}

timing! {
    /// The longest a webhook waits for its messages.
    webhook_deadline,
    /// The longest a vmalert post waits.
    vmalert_deadline,
    /// The longest evidence may take.
    evidence_deadline,
    /// The longest a message waits for its chart.
    chart_deadline,
    /// Oldest payload that may act.
    max_payload_age,
    /// How long after an end a copy counts as the same episode.
    episode_gap,
    /// When a firing alert is told again.
    remind_after,
    /// The catalog is read again after.
    catalog_refresh,
    /// The catalog is too old to act on after.
    catalog_stale,
    /// How often open holds and incidents are looked at.
    sweep,
    /// How often the outbox is looked at for messages that other replicas left.
    outbox,
    /// A hold is paged at.
    hold_page,
    /// A hold ends at.
    hold_end,
    /// A claim on an incident is good for.
    lease,
    /// Clocks of replicas differ by at most.
    skew,
    /// "Not found" in Spinnaker counts only this long after the last possible send.
    settle,
    /// An accused execution is waited for after its cancel.
    stop_deadline,
    /// An execution is read every.
    follow,
    /// A send claim is good for.
    send_claim,
    /// All is finished after SIGTERM within.
    drain,
    /// Still accepting after SIGTERM for.
    drain_accept,
    /// Files are looked at for changes every.
    reload_poll,
}

/// `--web.config.file`, in the Prometheus style.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawWebConfig {
    /// TLS of the listener.
    pub tls_server_config: Option<RawTls>,
    /// Users of basic login by name, each with a bcrypt hash; they may ingest and read.
    pub basic_auth_users: BTreeMap<String, String>,
}

/// `tls_server_config:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// PEM certificate chain.
    pub cert_file: PathBuf,
    /// PEM key.
    pub key_file: PathBuf,
    /// PEM of the authorities whose client certificates are accepted.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// `RequireAndVerifyClientCert` (with `client_ca_file`) or `NoClientCert`.
    #[serde(default)]
    pub client_auth_type: Option<At<String>>,
}
