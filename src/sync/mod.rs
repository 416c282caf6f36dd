//! Copies what Spinnaker says about deployments, and GitHub about releases, into the store.
//!
//! Each round looks for executions of the configured pipelines that are not as the store has them,
//! turns them into [`Deployment`](crate::domain::deployment::Deployment)s and appends a link to a
//! deployment's chain only when something changed. Nothing is ever rewritten, and nothing is lost when a source forgets or is
//! down: the next round goes on from what the store holds, and the other source is read all the same.

mod chains;
mod github;
mod lanes;
mod read;
mod spinnaker;
mod taken_back;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::github::GitHubSync;
use self::lanes::Lanes;
use self::spinnaker::SpinnakerSync;
use crate::config::ServiceConfig;
use crate::domain::id::Service;
use crate::github::{GitHub, GitHubError};
use crate::spinnaker::{Gate, GateError};
use crate::store::{Store, StoreError};

pub use read::{ReadError, deployment_of, rollback_of};
pub use spinnaker::Reach;

/// Who is told how far a round is.
pub trait Progress: fmt::Debug + Send + Sync {
    /// So many executions or ranges more are to be read.
    fn found(&self, more: usize);
    /// So many of them were read.
    fn read(&self, more: usize);
}

/// Nobody.
#[derive(Debug)]
struct Nobody;

impl Progress for Nobody {
    fn found(&self, _more: usize) {}
    fn read(&self, _more: usize) {}
}

/// What one round did.
#[derive(Debug, Default)]
pub struct Summary {
    /// Executions of configured pipelines that were read.
    pub read: usize,
    /// Tags of releases on pages that changed.
    pub tags: usize,
    /// What was written, by key; a chain that gained a link, by its prefix.
    pub written: Vec<String>,
    /// What could not be understood, or is not as it was published.
    pub problems: Vec<Problem>,
    /// What could not be reached; the store keeps what it has.
    pub failures: Vec<SyncError>,
}

impl Summary {
    /// Whether everything could be reached.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    fn log(&self) {
        for failure in &self.failures {
            tracing::warn!(error = %failure, "sync goes on with what it has");
        }
        for problem in &self.problems {
            tracing::warn!(
                service.name = %problem.service,
                of = problem.of,
                error = %problem.finding,
                "sync found something a person should look at"
            );
        }
    }
}

/// Something a person should look at.
#[derive(Debug)]
pub struct Problem {
    /// Whose.
    pub service: Service,
    /// Of what: an execution, a tag, a release.
    pub of: String,
    /// What is the matter.
    pub finding: Finding,
}

/// What is the matter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// An execution can't be understood.
    #[error(transparent)]
    Execution(#[from] ReadError),
    /// A pipeline that the configuration names and Spinnaker does not have: nothing is read of it.
    #[error("Spinnaker has no pipeline of that name in `{0}`")]
    NoPipeline(String),
    /// A tag points elsewhere than it did: somebody moved it.
    #[error("it was moved: published with commit `{published}`, now at `{now}`")]
    TagMoved {
        /// The commit it was published with.
        published: String,
        /// The commit it points at now.
        now: String,
    },
    /// A file of GitHub's release that is not the one that was published: either was replaced.
    #[error("its SHA-256 is `{now}` on GitHub; the release was published with `{published}`")]
    AssetDiffers {
        /// The checksum the release was published with.
        published: String,
        /// GitHub's digest.
        now: String,
    },
    /// A release whose commit is no hash.
    #[error("`{0}` is no commit, so nothing can be compared with it")]
    NoCommit(String),
    /// Two commits that GitHub does not know in this repository.
    #[error("the repository does not have both commits")]
    NoSuchRange,
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
    /// GitHub did not tell.
    #[error("`{repository}` can't be read: {source}")]
    GitHub {
        /// Owner and name.
        repository: String,
        /// Why.
        #[source]
        source: GitHubError,
    },
    /// The store did not take something, or could not be read.
    #[error("what was read can't be kept: {0}")]
    Store(#[from] StoreError),
}

/// Reads Gate and GitHub, writes the store.
#[derive(Debug)]
pub struct Syncer {
    spinnaker: Option<SpinnakerSync>,
    github: Option<(GitHubSync, Duration)>,
    services: BTreeMap<Service, ServiceConfig>,
    lanes: Mutex<Lanes>,
    reach: Reach,
    progress: Arc<dyn Progress>,
    store: Store,
}

impl Syncer {
    /// For the configured services; a source is read once it is added.
    pub fn new(services: BTreeMap<Service, ServiceConfig>, store: Store) -> Self {
        Self {
            spinnaker: None,
            github: None,
            services,
            lanes: Mutex::new(Lanes::new(store.clone())),
            reach: Reach::default(),
            progress: Arc::new(Nobody),
            store,
        }
    }

    /// Reads deployments from this Gate.
    #[must_use]
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.spinnaker = Some(SpinnakerSync::new(gate));
        self
    }

    /// Reads tags, releases and commits from this GitHub, in a loop not oftener than `interval`.
    #[must_use]
    pub fn with_github(mut self, github: GitHub, interval: Duration) -> Self {
        self.github = Some((GitHubSync::new(github, self.store.clone()), interval));
        self
    }

    /// Goes back so far for executions.
    #[must_use]
    pub fn with_reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Tells how far it is.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// One round over everything.
    pub async fn run_once(&self) -> Summary {
        let mut summary = Summary::default();
        self.spinnaker(&mut summary).await;
        self.github(&mut summary).await;
        summary
    }

    /// Rounds until `stop`, `pause` apart.
    pub async fn keep_synced(&self, pause: Duration, stop: CancellationToken) {
        let mut github_asked: Option<Instant> = None;
        loop {
            let mut summary = Summary::default();
            self.spinnaker(&mut summary).await;
            let interval = self.github.as_ref().map(|(_, interval)| *interval);
            let is_due = |interval| github_asked.is_none_or(|last| last.elapsed() >= interval);
            if interval.is_some_and(is_due) {
                github_asked = Some(Instant::now());
                self.github(&mut summary).await;
            }
            summary.log();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn spinnaker(&self, summary: &mut Summary) {
        if let Some(spinnaker) = &self.spinnaker {
            let mut lanes = self.lanes.lock().await;
            let progress = &*self.progress;
            let round = spinnaker.round(&self.services, self.reach, &mut lanes, progress, summary);
            round.await;
        }
    }

    async fn github(&self, summary: &mut Summary) {
        if let Some((github, _)) = &self.github {
            let steps = self.lanes.lock().await.steps();
            let progress = &*self.progress;
            let round = github.round(&self.services, &steps, progress, summary);
            round.await;
        }
    }
}

#[cfg(test)]
mod tests;
