//! What runs where, as Clouddriver caches it: the only witness of what an execution really did.
//!
//! Clouddriver's view lags by its caching interval, so one look proves nothing against an
//! execution that has just ended.

use std::collections::BTreeSet;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::wire::or_default;
use super::{Gate, GateError};

/// A server group: VMs behind a load balancer, or a Kubernetes workload (a `ReplicaSet`, a
/// `StatefulSet`, a `DaemonSet`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerGroup {
    /// Its name; of a Kubernetes workload kind and name, such as `replicaSet checkout-7d9f`.
    pub name: String,
    /// Clouddriver's account.
    pub account: String,
    /// Region; of a Kubernetes workload the namespace.
    pub region: String,
    /// The cluster it belongs to.
    pub cluster: String,
    /// Takes no traffic.
    pub disabled: bool,
    /// Every name of what it runs: image names and ids, and `package-version` of a baked image.
    pub images: BTreeSet<String>,
    /// Of a `ReplicaSet` the revision of its Deployment.
    pub revision: Option<u32>,
    /// Names of the Deployments that manage it.
    pub managers: BTreeSet<String>,
    /// Instances that are up, of how many; None where the provider does not count.
    pub up: Option<(u32, u32)>,
}

impl ServerGroup {
    /// Whether it runs an image of exactly this name.
    pub fn runs(&self, image: &str) -> bool {
        self.images.contains(image)
    }

    /// Whether it is the Kubernetes manifest `kind name`, or, of a Deployment, one of its
    /// `ReplicaSet`s.
    pub fn is_of_manifest(&self, manifest_name: &str) -> bool {
        let Some((kind, name)) = manifest_name.split_once(' ') else {
            return false;
        };
        if kind.eq_ignore_ascii_case("deployment") {
            return self.managers.contains(name);
        }
        let own = self.name.split_once(' ');
        own.is_some_and(|(own_kind, own_name)| {
            own_kind.eq_ignore_ascii_case(kind) && own_name == name
        })
    }
}

impl Gate {
    /// Lists the server groups of an application, of one provider, with what they run.
    ///
    /// `expand=true` costs Clouddriver more, but only so images and managers are told
    /// (`ServerGroupController` of Clouddriver).
    pub async fn server_groups(
        &self,
        application: &str,
        cloud_provider: &str,
    ) -> Result<Vec<ServerGroup>, GateError> {
        let mut url = self.url(&["applications", application, "serverGroups"])?;
        url.query_pairs_mut()
            .append_pair("expand", "true")
            .append_pair("cloudProvider", cloud_provider);
        let answer = self.call(Method::GET, url).await?;
        let bodies: Vec<GroupBody> = answer.json()?;
        Ok(bodies.into_iter().map(Into::into).collect())
    }
}

/// One server group as Clouddriver writes it. Kubernetes and the VM providers differ in what they
/// fill in; absent reads as empty.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupBody {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    account: String,
    #[serde(default, deserialize_with = "or_default")]
    account_name: String,
    #[serde(default, deserialize_with = "or_default")]
    region: String,
    #[serde(default, deserialize_with = "or_default")]
    namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    cluster: String,
    #[serde(default, alias = "isDisabled", deserialize_with = "or_default")]
    disabled: bool,
    #[serde(default, deserialize_with = "or_default")]
    build_info: Value,
    #[serde(default, deserialize_with = "or_default")]
    image: Value,
    #[serde(default, deserialize_with = "or_default")]
    launch_config: Value,
    #[serde(default, deserialize_with = "or_default")]
    moniker: Value,
    #[serde(default, deserialize_with = "or_default")]
    server_group_managers: Vec<ManagerBody>,
    instance_counts: Option<CountsBody>,
}

#[derive(Deserialize)]
struct ManagerBody {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CountsBody {
    total: u32,
    up: u32,
}

impl From<GroupBody> for ServerGroup {
    fn from(body: GroupBody) -> Self {
        let revision = body.moniker.get("sequence").and_then(Value::as_u64);
        let images = images(&body);
        let first = |one: String, other: String| if one.is_empty() { other } else { one };
        Self {
            name: body.name,
            account: first(body.account, body.account_name),
            region: first(body.region, body.namespace),
            cluster: body.cluster,
            disabled: body.disabled,
            images,
            revision: revision.and_then(|revision| u32::try_from(revision).ok()),
            managers: body
                .server_group_managers
                .into_iter()
                .map(|manager| manager.name)
                .collect(),
            up: body.instance_counts.map(|counts| (counts.up, counts.total)),
        }
    }
}

fn images(body: &GroupBody) -> BTreeSet<String> {
    let places = [
        (&body.image, "/name"),
        (&body.image, "/imageId"),
        (&body.launch_config, "/imageId"),
    ];
    let named = places
        .iter()
        .filter_map(|(value, path)| value.pointer(path)?.as_str());
    let listed = body.build_info.get("images").and_then(Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    let part = |name: &str| body.build_info.get(name)?.as_str();
    let baked = part("package_name").zip(part("version"));
    let baked = baked.map(|(package, version)| format!("{package}-{version}"));
    named
        .chain(listed)
        .map(str::to_owned)
        .chain(baked)
        .collect()
}
