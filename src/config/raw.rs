//! The shape of `backstop.yaml` and `channels/*.yaml`, as written.
//!
//! Unknown keys are errors. What a value means is checked in `validate`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::place::At;
use crate::domain::policy::Mode;

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
    /// How many replicas share the vendors' limits. Default 1.
    pub replicas: Option<At<u32>>,
    /// The metrics store.
    pub metrics: Option<RawMetrics>,
    /// The vmalerts whose rule lists are trusted.
    pub vmalert: Vec<RawVmalert>,
    /// Spinnaker's Gate.
    pub spinnaker: Option<RawSpinnaker>,
    /// What each source of alerts may cause.
    pub sources: RawSources,
    /// A mode above all policies: the strictest wins.
    pub mode: Option<Mode>,
    /// Who is told what no rule matches.
    pub default_channels: Vec<At<String>>,
    /// How many automatic rollbacks there may be.
    pub budget: RawBudget,
    /// The services we know, by name.
    pub services: BTreeMap<String, RawService>,
    /// Charts.
    pub charts: RawCharts,
    /// Times that unusual sites change.
    pub timing: RawTiming,
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
    /// ingest, read, deploy, rollback, admin.
    pub scopes: Vec<At<RawScope>>,
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
    /// Longest wait for one call. Default 10s.
    #[serde(default)]
    pub timeout: Option<At<String>>,
    /// Spinnaker's web pages, for links.
    #[serde(default)]
    pub deck: Option<At<String>>,
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
    /// Its rollback pipelines.
    #[serde(default)]
    pub rollback: RawRollback,
    /// The recovery question.
    #[serde(default)]
    pub recovery: Option<RawRecovery>,
    /// A mode above the policy's.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Prefix of git tags that is not part of the version.
    #[serde(default)]
    pub tag_prefix: String,
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
}

/// A service's rollback pipelines.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRollback {
    /// Takes batches back.
    pub batch: Option<RawRollbackPipeline>,
    /// Takes everything back.
    pub full: Option<RawRollbackPipeline>,
}

/// One rollback pipeline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRollbackPipeline {
    /// Its name.
    pub pipeline: At<String>,
    /// Its parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, At<String>>,
    /// Whether its first stage asks for admission. Default true.
    #[serde(default)]
    pub admission: Option<bool>,
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

/// One file of `channels/`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawChannel {
    /// Its name in rules, metrics and the ledger.
    pub name: At<String>,
    /// Mail over SMTP.
    #[serde(default)]
    pub email: Option<RawEmail>,
    /// A Slack bot.
    #[serde(default)]
    pub slack: Option<RawSlack>,
    /// A WeCom group bot.
    #[serde(default)]
    pub wecom: Option<RawWecom>,
    /// A DingTalk custom robot.
    #[serde(default)]
    pub dingtalk: Option<RawDingtalk>,
    /// en or zh-CN. Default en.
    #[serde(default)]
    pub locale: Option<At<String>>,
    /// IANA name. Default UTC.
    #[serde(default)]
    pub time_zone: Option<At<String>>,
    /// Whether messages about ended alerts go there. Default true.
    #[serde(default)]
    pub send_resolved: Option<bool>,
    /// The vendor's limit per minute, before it is divided by the replicas.
    #[serde(default)]
    pub rate_per_minute: Option<At<u32>>,
}

/// Mail over SMTP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawEmail {
    /// `smtps://host:465`, `smtp+starttls://host:587` or `smtp://host:25`.
    pub smarthost: At<String>,
    /// Login name.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<At<SecretRef>>,
    /// PEM of a private authority.
    #[serde(default)]
    pub ca_file: Option<At<PathBuf>>,
    /// Sender.
    pub from: At<String>,
    /// Recipients.
    pub to: Vec<At<String>>,
    /// Where answers go.
    #[serde(default)]
    pub reply_to: Option<At<String>>,
    /// One SMTP transaction may take this long. Default 20s.
    #[serde(default)]
    pub timeout: Option<At<String>>,
}

/// A Slack bot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSlack {
    /// Bot token.
    pub token: At<SecretRef>,
    /// Channel id.
    pub channel: String,
    /// Default `https://slack.com/api`.
    #[serde(default)]
    pub api_url: Option<At<String>>,
    /// here, channel, U… or S…: called by firing alerts and pages.
    #[serde(default)]
    pub mention: Vec<At<String>>,
    /// How long to wait for an uploaded chart. Default 5s.
    #[serde(default)]
    pub chart_wait: Option<At<String>>,
}

/// A WeCom group bot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWecom {
    /// The `key` of the webhook URL.
    pub key: At<SecretRef>,
    /// Default `https://qyapi.weixin.qq.com`.
    #[serde(default)]
    pub api_url: Option<At<String>>,
    /// User ids called by firing alerts and pages.
    #[serde(default)]
    pub mention: Vec<At<String>>,
}

/// A DingTalk custom robot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDingtalk {
    /// The `access_token` of the webhook URL.
    pub token: At<SecretRef>,
    /// The signing secret.
    #[serde(default)]
    pub secret: Option<At<SecretRef>>,
    /// The word the robot wants in every message.
    #[serde(default)]
    pub keyword: Option<String>,
    /// Default `https://oapi.dingtalk.com`.
    #[serde(default)]
    pub api_url: Option<At<String>>,
    /// Phone numbers called by firing alerts and pages.
    #[serde(default)]
    pub mention_mobiles: Vec<At<String>>,
    /// User ids called by firing alerts and pages.
    #[serde(default)]
    pub mention_users: Vec<At<String>>,
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
