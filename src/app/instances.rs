//! Records of hosts that somebody deploys on without agents, such as by Ansible.

use super::core::Core;
use super::manual::away;
use crate::domain::deployment::{Health, Instance};
use crate::store::{Created, chain, keys};
use crate::web::api::{HostRecord, InstancesRecorded, RecordInstances, Refusal};

/// Most records of one post.
const MOST: usize = 1_000;
/// Longest error that is kept, in characters.
const LONGEST_ERROR: usize = 2_000;
/// Only one deployer writes about a host in a deployment; more losses than these are somebody else.
const TRIES: usize = 8;

impl Core {
    /// Appends to each host's chain what is news of it.
    pub(super) async fn record_instances(
        &self,
        request: RecordInstances,
    ) -> Result<InstancesRecorded, Refusal> {
        let invalid = |pointer: &str, reason: String| Refusal::Invalid {
            code: "invalid_instances",
            pointer: pointer.to_owned(),
            reason,
        };
        let facts = request.facts;
        let service = facts.service.or_else(|| facts.release_id.service());
        let service = service.ok_or_else(|| {
            let reason = "the release does not tell its service";
            invalid("/service", reason.to_owned())
        })?;
        if !self.setup().config.services.contains_key(&service) {
            let reason = format!("service `{service}` is not configured");
            return Err(invalid("/service", reason));
        }
        if facts.instances.len() > MOST {
            let reason = format!("at most {MOST} hosts in one post");
            return Err(invalid("/instances", reason));
        }
        for (number, record) in facts.instances.iter().enumerate() {
            let wrong = match (record.batch, record.from, record.to) {
                (0, _, _) => Some(("batch", "a batch is a number from 1")),
                (_, None, Some(_)) => Some(("to", "`to` without `from`")),
                (_, Some(from), Some(to)) if to < from => Some(("to", "`to` before `from`")),
                _ => None,
            };
            if let Some((field, reason)) = wrong {
                let pointer = format!("/instances/{number}/{field}");
                return Err(invalid(&pointer, reason.to_owned()));
            }
        }
        let mut recorded = 0;
        for record in facts.instances {
            let instance = Instance {
                ip: record.ip,
                status: record.status,
                deployed_at: record.from,
                health_status: record.health_status.unwrap_or(Health::Unknown),
                error_message: error_of(&record),
                deployment_id: request.deployment.clone(),
                release_id: facts.release_id.clone(),
                service: service.clone(),
                env: facts.env.clone(),
                batch: record.batch,
                from: record.from,
                to: record.to,
                host: record.host,
            };
            if self.record_instance(&instance).await? {
                recorded += 1;
            }
        }
        Ok(InstancesRecorded { recorded })
    }

    /// Whether it was news.
    async fn record_instance(&self, instance: &Instance) -> Result<bool, Refusal> {
        let Instance {
            service,
            env,
            deployment_id,
            host,
            ..
        } = instance;
        let prefix = keys::instance(service, env, deployment_id, host);
        let mut next = 1;
        for _ in 0..TRIES {
            let links = chain::read_from::<Instance>(&self.ground.store, &prefix, next).await?;
            if let Some((seq, newest)) = links.last() {
                if newest == instance {
                    return Ok(false);
                }
                next = seq + 1;
            }
            let created = chain::append(&self.ground.store, &prefix, next, instance).await?;
            if created == Created::Mine {
                return Ok(true);
            }
        }
        Err(away(&format!("others write about host `{host}` at once")))
    }
}

fn error_of(record: &HostRecord) -> Option<String> {
    let error = record.error_message.as_deref()?;
    Some(error.chars().take(LONGEST_ERROR).collect())
}
