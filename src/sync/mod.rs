//! Copies what Spinnaker says about deployments into the store.
//!
//! Each round reads the newest executions of every configured application, turns those of deploy
//! and rollback pipelines into [`Deployment`]s and appends a link to a deployment's chain only when
//! something changed. Nothing is ever rewritten, and nothing is lost when Gate forgets or is down:
//! the next round goes on from what the store holds.

mod read;
mod taken_back;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::ServiceConfig;
use crate::domain::deployment::{Deployment, Status};
use crate::domain::id::Service;
use crate::http::CallErrorKind;
use crate::spinnaker::{Execution, Gate, GateError};
use crate::store::{Created, Store, StoreError, chain, keys};

pub use read::{ReadError, deployment_of, rollback_of};

/// Executions of each pipeline that are looked at; a round comes every few seconds.
const LIMIT: u32 = 25;
/// How often an append that lost its number is tried again.
const TRIES: u32 = 5;

/// What one round did.
#[derive(Debug, Default)]
pub struct Summary {
    /// Executions of configured pipelines that were read.
    pub read: usize,
    /// Deployments that gained a link, by chain.
    pub written: Vec<String>,
    /// Executions that could not be understood.
    pub problems: Vec<Problem>,
    /// What could not be reached; the store keeps what it has.
    pub failures: Vec<SyncError>,
}

impl Summary {
    /// Whether everything could be reached.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }
}

/// An execution that could not be understood.
#[derive(Debug)]
pub struct Problem {
    /// Whose.
    pub service: Service,
    /// Its id.
    pub execution: String,
    /// The pipeline it ran in.
    pub pipeline: String,
    /// Why.
    pub error: ReadError,
}

/// Something that could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Gate did not tell the executions of an application.
    #[error("the executions of `{application}` can't be read: {source}")]
    Gate {
        /// Spinnaker's application.
        application: String,
        /// Why.
        #[source]
        source: GateError,
    },
    /// The store did not take a link.
    #[error("a deployment can't be kept: {0}")]
    Store(#[from] StoreError),
}

/// Reads Gate, writes the store. Keeps what it wrote last, so that a round in which nothing
/// changed asks the store nothing.
#[derive(Debug)]
pub struct Syncer {
    gate: Gate,
    services: BTreeMap<Service, ServiceConfig>,
    store: Store,
    /// The newest link of each chain, as far as this process wrote or read it.
    known: Mutex<HashMap<String, Deployment>>,
}

impl Syncer {
    /// For the configured services.
    pub fn new(gate: Gate, services: BTreeMap<Service, ServiceConfig>, store: Store) -> Self {
        Self {
            gate,
            services,
            store,
            known: Mutex::new(HashMap::new()),
        }
    }

    /// One round.
    pub async fn run_once(&self) -> Summary {
        let mut summary = Summary::default();
        let mut applications: BTreeMap<&str, Vec<(&Service, &ServiceConfig)>> = BTreeMap::new();
        for (service, config) in &self.services {
            let of = applications.entry(config.application.as_str()).or_default();
            of.push((service, config));
        }
        // One application after the other: Orca lists whole executions, which is work for it.
        for (application, services) in applications {
            let executions = match self.executions(application).await {
                Ok(executions) => executions,
                Err(source) => {
                    let application = application.to_owned();
                    summary.failures.push(SyncError::Gate {
                        application,
                        source,
                    });
                    continue;
                }
            };
            for (service, config) in services {
                let deployments = understand(&executions, service, config, &mut summary);
                for deployment in deployments {
                    self.keep(deployment, &mut summary).await;
                }
            }
        }
        summary
    }

    /// Rounds until `stop`, `pause` apart.
    pub async fn keep_synced(&self, pause: Duration, stop: CancellationToken) {
        loop {
            let summary = self.run_once().await;
            for failure in &summary.failures {
                tracing::warn!(error = %failure, "sync goes on with what it has");
            }
            for problem in &summary.problems {
                tracing::warn!(
                    service.name = %problem.service,
                    execution.id = problem.execution,
                    pipeline.name = problem.pipeline,
                    error = %problem.error,
                    "an execution could not be understood"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The newest executions; fewer where whole ones would make too long an answer.
    async fn executions(&self, application: &str) -> Result<Vec<Execution>, GateError> {
        let mut limit = LIMIT;
        loop {
            let found = self
                .gate
                .application_executions(application, limit, &[], None)
                .await;
            match found {
                Err(error) if error.kind() == CallErrorKind::Decode && limit > 1 => limit /= 4,
                found => return found,
            }
            limit = limit.max(1);
        }
    }

    async fn keep(&self, deployment: Deployment, summary: &mut Summary) {
        let chain = keys::deployment(&deployment.service, &deployment.env, &deployment.id);
        match self.append(&chain, deployment).await {
            Ok(true) => summary.written.push(chain),
            Ok(false) => {}
            Err(error) => summary.failures.push(error.into()),
        }
    }

    /// Appends `deployment` unless the newest link says the same; true when it was written.
    async fn append(&self, chain: &str, deployment: Deployment) -> Result<bool, StoreError> {
        let mut known = self.known.lock().await;
        if known
            .get(chain)
            .is_some_and(|last| *last == last_said(last, deployment.clone()))
        {
            return Ok(false);
        }
        for _ in 0..TRIES {
            let (seq, last) = newest(&self.store, chain).await?;
            let next = match &last {
                Some(last) => last_said(last, deployment.clone()),
                None => deployment.clone(),
            };
            if last.as_ref() == Some(&next) {
                known.insert(chain.to_owned(), next);
                return Ok(false);
            }
            match chain::append(&self.store, chain, seq + 1, &next).await? {
                Created::Mine => {
                    known.insert(chain.to_owned(), next);
                    return Ok(true);
                }
                // Another `sync` was quicker; perhaps it wrote the same.
                Created::Taken => {}
            }
        }
        Err(StoreError::Unknown {
            key: chain.to_owned(),
            reason: "another writer is always quicker".into(),
        })
    }
}

/// What a link may say after `last`: that a deployment was taken back, and which hosts a rollback
/// reached, stays true when Spinnaker has forgotten the other run it was told by.
fn last_said(last: &Deployment, mut next: Deployment) -> Deployment {
    if last.status == Status::RolledBack && !next.is_active() {
        next.status = Status::RolledBack;
    }
    if next.is_rollback && next.target_hosts.is_empty() {
        next.target_hosts.clone_from(&last.target_hosts);
        for (batch, known) in next.batches.iter_mut().zip(&last.batches) {
            batch.hosts.clone_from(&known.hosts);
        }
    }
    next
}

/// The number of the newest link, and the link where it can be read.
async fn newest(store: &Store, chain: &str) -> Result<(u64, Option<Deployment>), StoreError> {
    let names = store.list(chain).await?;
    let number = |name: &String| {
        let seq = name.rsplit_once('/')?.1.strip_suffix(".json")?;
        seq.parse::<u64>().ok()
    };
    let Some(seq) = names.iter().filter_map(number).max() else {
        return Ok((0, None));
    };
    match store.get(&chain::key(chain, seq)).await {
        Ok(last) => Ok((seq, last)),
        // The next link puts it right.
        Err(StoreError::Damaged { .. }) => Ok((seq, None)),
        Err(error) => Err(error),
    }
}

/// The deployments and rollbacks of a service among an application's executions.
fn understand(
    executions: &[Execution],
    service: &Service,
    config: &ServiceConfig,
    summary: &mut Summary,
) -> Vec<Deployment> {
    let mut found = Vec::new();
    for execution in executions {
        let told = if let Some(pipeline) = read::deploy_pipeline(execution, config) {
            deployment_of(execution, service, config, pipeline)
        } else if read::is_rollback(execution, config) {
            rollback_of(execution, service, config)
        } else {
            continue;
        };
        summary.read += 1;
        match told {
            Ok(deployment) => found.push(deployment),
            Err(error) => summary.problems.push(Problem {
                service: service.clone(),
                execution: execution.id.to_string(),
                pipeline: execution.name.clone(),
                error,
            }),
        }
    }
    taken_back::settle(&mut found, |one| {
        config
            .rollback
            .full
            .as_ref()
            .is_some_and(|full| full.pipeline == one.pipeline)
    });
    found
}

#[cfg(test)]
mod tests;
