//! What runs where, for the metrics store: info series to join with, and scrape targets that carry
//! their release and batch.
//!
//! Both say what the catalog and the lanes' announced batches say; label values are ids, so they
//! need no escaping.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::core::Core;
use crate::domain::deployment::Phase;
use crate::domain::id::{Env, LaneName, ReleaseId, Service};
use crate::enrich::catalog::{LaneIndex, Membership, View};
use crate::web::api::TargetGroup;

impl Core {
    /// The info series in Prometheus' text format.
    pub(super) async fn info_series(&self) -> String {
        let (view, now) = (self.whole_view().await, self.ground.clock.now());
        let mut batches = BTreeMap::new();
        let mut instances = Vec::new();
        for ((service, env), lane) in view.lanes(None, None) {
            let stable = view.stable(&service, &env).into_iter();
            let stable: Vec<ReleaseId> = stable.map(|stable| stable.release_id).collect();
            for member in members(&lane, now) {
                let labels = Labels::of(&service, &env, &member, now);
                instances.push(format!("{},host=\"{}\"", labels.0, member.host));
                let other = stable
                    .iter()
                    .find(|id| **id != member.deployment.release_id);
                let other = other.map_or("", |id| id.as_str());
                batches.insert(labels.0, other.to_owned());
            }
        }
        let mut text = String::from(
            "# HELP deploy_batch_info A batch of a deployment that runs on some host.\n\
             # TYPE deploy_batch_info gauge\n",
        );
        for (labels, stable) in batches {
            let series = format!("deploy_batch_info{{{labels},stable_release_id=\"{stable}\"}} 1");
            // Writing to a String can't fail.
            let _infallible = writeln!(text, "{series}");
        }
        text.push_str(
            "# HELP deploy_instance_info A host, and what it runs.\n\
             # TYPE deploy_instance_info gauge\n",
        );
        instances.sort_unstable();
        for labels in instances {
            let _infallible = writeln!(text, "deploy_instance_info{{{labels}}} 1");
        }
        text
    }

    /// The hosts of a service and env at `port`, by what they run.
    pub(super) async fn targets(
        &self,
        service: Option<&Service>,
        env: Option<&Env>,
        port: u16,
    ) -> Vec<TargetGroup> {
        let (view, now) = (self.whole_view().await, self.ground.clock.now());
        let mut groups: BTreeMap<BTreeMap<&str, String>, Vec<String>> = BTreeMap::new();
        for ((service, env), lane) in view.lanes(service, env) {
            for member in members(&lane, now) {
                let labels = BTreeMap::from([
                    ("service", service.to_string()),
                    ("env", env.to_string()),
                    ("release_id", member.deployment.release_id.to_string()),
                    ("batch", member.batch.to_string()),
                ]);
                let target = format!("{}:{port}", member.host);
                groups.entry(labels).or_default().push(target);
            }
        }
        let group = |(labels, mut targets): (BTreeMap<&str, String>, Vec<String>)| {
            targets.sort_unstable();
            let owned = |(name, value): (&str, String)| (name.to_owned(), value);
            TargetGroup {
                targets,
                labels: labels.into_iter().map(owned).collect(),
            }
        };
        groups.into_iter().map(group).collect()
    }

    /// The catalog with every lane's announced batches.
    async fn whole_view(&self) -> View {
        let setup = self.setup().clone();
        let lanes = setup.config.known_lanes();
        let lanes: Vec<LaneName> = lanes
            .filter_map(|(service, env)| LaneName::of(&service, &env).ok())
            .collect();
        self.view_with(&setup, lanes).await
    }
}

/// What each host of a lane runs now.
fn members(lane: &LaneIndex, now: Timestamp) -> impl Iterator<Item = Membership> {
    let hosts = lane.current_hosts(now);
    hosts.filter_map(move |host| lane.membership(host, now))
}

/// Labels that a batch's series share.
struct Labels(String);

impl Labels {
    fn of(service: &Service, env: &Env, member: &Membership, now: Timestamp) -> Self {
        let deployment = &member.deployment;
        let phase = match deployment.phase(now) {
            Phase::Canary => "canary",
            Phase::Between => "between",
            Phase::Full => "full",
        };
        Self(format!(
            "service=\"{service}\",env=\"{env}\",release_id=\"{}\",deployment_id=\"{}\",\
             batch=\"{}\",phase=\"{phase}\"",
            deployment.release_id, deployment.id, member.batch
        ))
    }
}
