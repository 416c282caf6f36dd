//! The shipped pipelines in the stand-in for Gate, and what their stages do to the fleet.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};

use crate::ENV;
use crate::support::fleet::Fleet;
use crate::support::gate::{GateStandIn, StageCall, StageResult};

/// To fetch a release and restart takes a moment.
const RESTART: Duration = Duration::from_secs(1);

/// Hosts that were given a release, and by which execution.
#[derive(Debug, Clone)]
pub struct Change {
    /// The execution.
    pub execution: String,
    /// The release they got.
    pub release: String,
    /// The hosts.
    pub hosts: Vec<String>,
}

/// Every change of the fleet, in order.
pub type Changes = Arc<Mutex<Vec<Change>>>;

/// Saves `deploy/spinnaker/*.json` for each service.
///
/// # Errors
/// A file that can't be read or that no longer has what is to be replaced.
pub fn save_pipelines(
    gate: &GateStandIn,
    services: &[&str],
    gateway: &str,
    token: &str,
) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/spinnaker");
    for name in ["deploy-prod", "rollback-batch", "rollback-full"] {
        let file = folder.join(format!("{name}.json"));
        let mut text = std::fs::read_to_string(&file).context("read a shipped pipeline")?;
        for (shipped, ours) in [
            ("https://backstop.example.com", gateway),
            ("BACKSTOP_DEPLOY_TOKEN", token),
        ] {
            ensure!(text.contains(shipped), "`{name}` lacks `{shipped}`");
            text = text.replace(shipped, ours);
        }
        for service in services {
            let mut pipeline: Value = serde_json::from_str(&text).context("parse a pipeline")?;
            pipeline["application"] = json!(service);
            gate.save(pipeline);
        }
    }
    Ok(())
}

/// Lets stages of type `deployHosts` restart the fleet's processes with another release.
pub fn drive(gate: &GateStandIn, fleet: Fleet) -> Changes {
    let changes = Changes::default();
    let record = Arc::clone(&changes);
    gate.on_stage("deployHosts", move |call| {
        let (fleet, record) = (fleet.clone(), Arc::clone(&record));
        async move {
            tokio::time::sleep(RESTART).await;
            deploy(&fleet, &record, &call)
        }
    });
    changes
}

fn deploy(fleet: &Fleet, changes: &Changes, call: &StageCall) -> StageResult {
    let release = call.text("release").to_owned();
    let hosts = match call.text("hosts") {
        "all" => fleet.hosts(&call.application),
        _ => call.list("hosts"),
    };
    if hosts.is_empty() || !release.starts_with(&format!("{}@", call.application)) {
        return Err(format!("cannot deploy `{release}` to {hosts:?}"));
    }
    let unknown = fleet.set_release(&hosts, &release, call.text("batch").parse().ok());
    if !unknown.is_empty() {
        return Err(format!("unknown hosts: {unknown:?}"));
    }
    let change = Change {
        execution: call.execution_id.clone(),
        release,
        hosts,
    };
    changes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(change);
    Ok(Map::new())
}

/// Parameters of a `deploy-prod` run: cumulative shares of 5, 25 and 100 % of `hosts`.
pub fn deploy_trigger(release: &str, hosts: &[String], soak_seconds: u32) -> Value {
    let share = |percent: usize| (hosts.len() * percent).div_ceil(100);
    let (first, second) = (share(5), share(25));
    let joined = |hosts: Option<&[String]>| hosts.unwrap_or_default().join(",");
    json!({"type": "manual", "parameters": {
        "release_id": release,
        "batch_1": joined(hosts.get(..first)),
        "batch_2": joined(hosts.get(first..second)),
        "batch_3": joined(hosts.get(second..)),
        "soak_seconds": soak_seconds.to_string(),
        "env": ENV,
    }})
}
