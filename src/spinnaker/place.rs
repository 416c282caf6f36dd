//! Where a stage works: the places in the cloud that its context names.
//!
//! Every kind of stage names them in its own way (see Orca's `CloudProviderAware` and the stages of
//! `orca-clouddriver`). A field that is absent, or an expression that is not evaluated yet, is not
//! known, and what is not known may be anywhere.

use std::fmt;

use serde_json::Value;

use super::Stage;

/// Kinds of stages that change nothing that runs.
/// A `pipeline` stage starts another one, which is listed itself.
const HARMLESS: [&str; 17] = [
    "bake",
    "bakeManifest",
    "checkPreconditions",
    "createApplication",
    "deletePipeline",
    "evaluateVariables",
    "findArtifactFromExecution",
    "findArtifactsFromResource",
    "findImage",
    "findImageFromTags",
    "kayentaCanary",
    "manualJudgment",
    "pipeline",
    "reorderPipelines",
    "savePipeline",
    "updateApplication",
    "wait",
];

/// A cluster, server group or manifest, as far as it is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Clouddriver's account.
    pub account: Option<String>,
    /// Region; of Kubernetes the namespace.
    pub location: Option<String>,
    /// The cluster; of Kubernetes the manifest's name without its kind.
    pub name: Option<String>,
}

impl Place {
    /// A place that is named in full. The name may be that of a cluster, of one of its server
    /// groups, or of a manifest with its kind.
    pub fn new(account: &str, location: &str, name: &str) -> Self {
        Self {
            account: Some(account.to_owned()),
            location: Some(location.to_owned()),
            name: Some(cluster_of(name)),
        }
    }

    /// Whether it says anything at all.
    pub fn is_told(&self) -> bool {
        self.account.is_some() || self.location.is_some() || self.name.is_some()
    }

    /// Whether both may be one place. They differ for sure where account, location or name are
    /// known of both and differ; a name that goes on with `-` (`checkout`, `checkout-canary`) does
    /// not differ: it is another part of the same service.
    pub fn may_be(&self, other: &Self) -> bool {
        let same = |one: &Option<String>, two: &Option<String>| match (one, two) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        let names = match (&self.name, &other.name) {
            (Some(one), Some(two)) => goes_on(one, two) || goes_on(two, one),
            _ => true,
        };
        names && same(&self.account, &other.account) && same(&self.location, &other.location)
    }
}

fn goes_on(short: &str, long: &str) -> bool {
    let rest = long.strip_prefix(short);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "?".to_owned());
        let (account, location) = (part(&self.account), part(&self.location));
        write!(f, "`{}` in {account}/{location}", part(&self.name))
    }
}

impl Stage {
    /// The places it works at; empty where it changes nothing that runs. What it does not tell is
    /// one place of which nothing is known.
    pub fn places(&self) -> Vec<Place> {
        if HARMLESS.contains(&self.kind.as_str()) {
            return Vec::new();
        }
        let context = &self.context;
        let clusters = list(context, "clusters").iter().map(deployed);
        let account = account(context);
        let manifests = list(context, "manifests").iter().map(|manifest| Place {
            account: account.clone(),
            location: text(context, "/namespaceOverride")
                .or_else(|| text(manifest, "/metadata/namespace")),
            name: text(manifest, "/metadata/name"),
        });
        let named: Vec<Place> = clusters.chain(manifests).collect();
        if !named.is_empty() {
            return named;
        }
        let name = NAMES.iter().find_map(|path| text(context, path));
        let place = |location| Place {
            account: account.clone(),
            location,
            name: name.as_deref().map(cluster_of),
        };
        let regions = list(context, "regions").iter();
        let regions: Vec<Place> = regions.map(|region| place(known(region))).collect();
        if !regions.is_empty() {
            return regions;
        }
        vec![place(LOCATIONS.iter().find_map(|path| text(context, path)))]
    }
}

/// Where a name is looked for, the narrowest first.
const NAMES: [&str; 7] = [
    "/rollbackContext/rollbackServerGroupName",
    "/serverGroupName",
    "/asgName",
    "/manifestName",
    "/cluster",
    "/moniker/cluster",
    "/source/serverGroupName",
];
/// Where a location is looked for.
const LOCATIONS: [&str; 5] = [
    "/region",
    "/location",
    "/namespaceOverride",
    "/namespace",
    "/source/region",
];

/// One entry of a `deploy` stage: its cluster is put together as Frigga does.
fn deployed(cluster: &Value) -> Place {
    let detail = || text(cluster, "/detail");
    let parts = [
        text(cluster, "/application"),
        text(cluster, "/stack"),
        text(cluster, "/freeFormDetails").or_else(detail),
    ];
    let told: Vec<String> = parts.into_iter().flatten().collect();
    Place {
        account: account(cluster),
        location: text(cluster, "/region"),
        name: (!told.is_empty()).then(|| told.join("-")),
    }
}

/// In Orca's order of preference.
fn account(context: &Value) -> Option<String> {
    let paths = [
        "/account.name",
        "/account",
        "/credentials",
        "/source/account",
    ];
    paths.iter().find_map(|path| text(context, path))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value.get(key).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn text(value: &Value, path: &str) -> Option<String> {
    known(value.pointer(path)?)
}

/// A text that is there and evaluated.
fn known(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    (!text.is_empty() && !text.contains("${")).then(|| text.to_owned())
}

/// The cluster of a server group (`checkout-prod-v042`), and the name of a manifest without its
/// kind (`deployment checkout`).
fn cluster_of(name: &str) -> String {
    let name = name.rsplit(' ').next().unwrap_or(name);
    let cut = name.rsplit_once("-v");
    let numbered = |digits: &str| {
        (3..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    match cut {
        Some((cluster, digits)) if numbered(digits) => cluster.to_owned(),
        _ => name.to_owned(),
    }
}
