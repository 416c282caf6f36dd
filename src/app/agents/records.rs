//! What agents tell: one chain a host and deployment, appended once however often it is sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Mutex;

use super::super::core::Core;
use super::order::lane_of;
use crate::domain::agent::{Desired, InstanceRecord, Record};
use crate::domain::id::{DeploymentId, Env, Host, Service};
use crate::store::{Created, Store, StoreError, chain, keys};
use crate::web::api::{AgentAsk, Recorded, Refusal};

/// Chains remembered.
const REMEMBERED: u64 = 50_000;
/// A chain nobody asked for is forgotten.
const IDLE: Duration = Duration::from_hours(1);
/// Most records of one post.
const MOST: usize = 100;
/// Longest error of a record; what is longer is cut.
const LONGEST_ERROR: usize = 2_000;

/// One host's records of one deployment.
#[derive(Debug)]
pub(super) struct HostChain {
    next: u64,
    ids: HashSet<String>,
    pub(super) newest: Option<Arc<InstanceRecord>>,
}

/// The chains, as they were read last.
#[derive(Debug)]
pub(super) struct Chains {
    store: Store,
    known: Cache<String, Arc<Mutex<HostChain>>>,
}

impl Chains {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            known: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_idle(IDLE)
                .build(),
        }
    }

    async fn chain(&self, prefix: &str) -> Arc<Mutex<HostChain>> {
        let fresh = async {
            Arc::new(Mutex::new(HostChain {
                next: 1,
                ids: HashSet::new(),
                newest: None,
            }))
        };
        self.known.get_with(prefix.to_owned(), fresh).await
    }

    async fn read_new(&self, prefix: &str, chain: &mut HostChain) -> Result<(), StoreError> {
        let links = chain::read_from::<InstanceRecord>(&self.store, prefix, chain.next).await?;
        for (seq, record) in links {
            chain.next = seq + 1;
            chain.ids.insert(record.id.clone());
            chain.newest = Some(Arc::new(record));
        }
        Ok(())
    }

    /// The newest record of a host in a deployment.
    pub(super) async fn newest(
        &self,
        service: &Service,
        env: &Env,
        deployment: &DeploymentId,
        host: &Host,
    ) -> Result<Option<Arc<InstanceRecord>>, StoreError> {
        let prefix = keys::instance(service, env, deployment, host);
        let chain = self.chain(&prefix).await;
        let mut chain = chain.lock().await;
        self.read_new(&prefix, &mut chain).await?;
        Ok(chain.newest.clone())
    }

    /// Appends a record unless it is there.
    async fn append(&self, desired: &Desired, record: InstanceRecord) -> Result<(), StoreError> {
        let Desired {
            service,
            env,
            deployment_id,
            host,
            ..
        } = desired;
        let prefix = keys::instance(service, env, deployment_id, host);
        let chain = self.chain(&prefix).await;
        let mut chain = chain.lock().await;
        loop {
            if chain.ids.contains(&record.id) {
                return Ok(());
            }
            let created = chain::append(&self.store, &prefix, chain.next, &record).await?;
            if created == Created::Mine {
                chain.next += 1;
                chain.ids.insert(record.id.clone());
                chain.newest = Some(Arc::new(record));
                return Ok(());
            }
            self.read_new(&prefix, &mut chain).await?;
        }
    }
}

impl Core {
    /// Takes an agent's records in, in order. One about an order that its host never had is
    /// refused, and with it what follows.
    pub(in crate::app) async fn recorded(
        &self,
        ask: &AgentAsk,
        records: Vec<Record>,
    ) -> Result<Recorded, Refusal> {
        let invalid = |reason: String| Refusal::Invalid {
            code: "invalid_records",
            pointer: "/records".to_owned(),
            reason,
        };
        if records.len() > MOST {
            return Err(invalid(format!("at most {MOST} records at once")));
        }
        let lane = lane_of(ask)?;
        let now = self.ground.clock.now();
        self.agents.seen.note(&lane, &ask.host, now);
        let mut accepted = 0;
        for mut record in records {
            if record.id.is_empty() || record.id.len() > 64 {
                return Err(invalid("a record's id has 1 to 64 bytes".to_owned()));
            }
            record.error = record
                .error
                .map(|error| error.chars().take(LONGEST_ERROR).collect());
            let key = keys::desired(&ask.env, &ask.service, &ask.host, record.epoch);
            let desired = self.agents.orders.get(&key).await?;
            let desired = desired.ok_or_else(|| Refusal::Conflict {
                code: "no_such_order",
                reason: format!("host `{}` never had an order {}", ask.host, record.epoch),
            })?;
            let step = record.step;
            if let Some(error) = &record.error {
                tracing::warn!(
                    deployment.id = %desired.deployment_id,
                    "host `{}` {} `{}`: {error}", ask.host, step.as_str(), desired.release_id
                );
            }
            let record = InstanceRecord::of(&desired, record, now);
            self.agents.chains.append(&desired, record).await?;
            self.numbers.agent_record(step.as_str());
            accepted += 1;
        }
        Ok(Recorded { accepted })
    }
}
