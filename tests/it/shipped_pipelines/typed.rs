//! Pipelines as Gate takes them, field by field: Spinnaker publishes no schema, ignores what it does
//! not know, and so runs a pipeline with a misspelt field as if it were not there. Fields are those
//! of Orca's stage contexts (`WebhookStage.StageData`, `DeployManifestContext`,
//! `DeleteManifestContext`, `WaitStage`), of Front50's pipeline and of Kubernetes' `apps/v1`; only
//! those that we ship.

#![expect(dead_code, reason = "a field is there to be read, or to be refused")]

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Pipeline {
    pub schema: String,
    pub application: String,
    pub name: String,
    pub description: String,
    pub limit_concurrent: bool,
    pub keep_waiting_pipelines: bool,
    pub triggers: [(); 0],
    pub parameter_config: Vec<Parameter>,
    pub stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameter {
    pub name: String,
    pub label: String,
    pub required: bool,
    pub description: String,
    #[serde(default)]
    pub default: Option<String>,
}

/// A stage of a type we ship.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(super) enum Stage {
    Webhook(Webhook),
    DeployHosts(DeployHosts),
    DeployManifest(DeployManifest),
    DeleteManifest(DeleteManifest),
    Wait(Wait),
}

impl Stage {
    /// `refId`, `name` and `requisiteStageRefIds`.
    pub(super) fn place(&self) -> (&str, &str, &[String]) {
        macro_rules! place {
            ($($kind:ident),+) => {
                match self {
                    $(Self::$kind(one) => (&one.ref_id, &one.name, &one.requisite_stage_ref_ids),)+
                }
            };
        }
        place!(Webhook, DeployHosts, DeployManifest, DeleteManifest, Wait)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Webhook {
    pub ref_id: String,
    pub requisite_stage_ref_ids: Vec<String>,
    pub name: String,
    pub url: String,
    pub method: String,
    pub custom_headers: BTreeMap<String, String>,
    pub payload: Payload,
    pub wait_for_completion: bool,
    pub status_url_resolution: Option<String>,
    pub status_json_path: Option<String>,
    pub progress_json_path: Option<String>,
    pub success_statuses: Option<String>,
    pub terminal_statuses: Option<String>,
    pub canceled_statuses: Option<String>,
    #[serde(default)]
    pub retry_status_codes: Vec<u16>,
    pub cancel_endpoint: Option<String>,
    pub stage_timeout_ms: Option<u64>,
}

/// What Backstop is told; one of both.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Payload {
    Announce(Announce),
    Admit(Admit),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Announce {
    pub release_id: String,
    pub service: String,
    pub env: String,
    pub strategy: String,
    pub of: u32,
    #[serde(default)]
    pub hosts: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admit {
    pub execution: String,
}

/// A stage of the operator's own.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeployHosts {
    pub ref_id: String,
    pub requisite_stage_ref_ids: Vec<String>,
    pub name: String,
    #[serde(default)]
    pub batch: Option<String>,
    pub release: String,
    pub hosts: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wait {
    pub ref_id: String,
    pub requisite_stage_ref_ids: Vec<String>,
    pub name: String,
    #[serde(rename = "waitTime")]
    pub seconds: String,
}

/// `batch` and `hosts` are ours: `sync` reads them from the execution.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeployManifest {
    pub ref_id: String,
    pub requisite_stage_ref_ids: Vec<String>,
    pub name: String,
    #[serde(default)]
    pub batch: Option<String>,
    #[serde(default)]
    pub hosts: Option<String>,
    pub account: String,
    pub cloud_provider: String,
    pub moniker: Moniker,
    pub source: String,
    pub manifests: Vec<Manifest>,
    pub skip_expression_evaluation: bool,
    #[serde(default)]
    pub traffic_management: Option<TrafficManagement>,
    #[serde(default)]
    pub stage_enabled: Option<StageEnabled>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeleteManifest {
    pub ref_id: String,
    pub requisite_stage_ref_ids: Vec<String>,
    pub name: String,
    pub account: String,
    pub app: String,
    pub cloud_provider: String,
    pub location: String,
    pub manifest_name: String,
    pub mode: String,
    pub options: DeleteOptions,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeleteOptions {
    pub cascading: bool,
    pub grace_period_seconds: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moniker {
    pub app: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrafficManagement {
    pub enabled: bool,
    pub options: TrafficOptions,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TrafficOptions {
    pub enable_traffic: bool,
    pub services: Vec<String>,
    pub strategy: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageEnabled {
    #[serde(rename = "type")]
    pub kind: String,
    pub expression: String,
}

/// A workload of `apps/v1`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    pub api_version: String,
    pub kind: Kind,
    pub metadata: Metadata,
    pub spec: WorkloadSpec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WorkloadSpec {
    #[serde(default)]
    pub replicas: Option<u32>,
    #[serde(default)]
    pub revision_history_limit: Option<u32>,
    #[serde(default)]
    pub service_name: Option<String>,
    #[serde(default)]
    pub pod_management_policy: Option<String>,
    #[serde(default)]
    pub update_strategy: Option<UpdateStrategy>,
    pub selector: Selector,
    pub template: PodTemplate,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateStrategy {
    #[serde(rename = "type")]
    pub kind: String,
    pub rolling_update: RollingUpdate,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RollingUpdate {
    #[serde(default)]
    pub partition: Option<u32>,
    #[serde(default)]
    pub max_unavailable: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selector {
    pub match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PodTemplate {
    pub metadata: Metadata,
    pub spec: PodSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PodSpec {
    pub containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Container {
    pub name: String,
    pub image: String,
    pub ports: Vec<Port>,
    pub readiness_probe: Probe,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Port {
    pub name: String,
    pub container_port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Probe {
    pub http_get: HttpGet,
    pub period_seconds: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpGet {
    pub path: String,
    pub port: String,
}
