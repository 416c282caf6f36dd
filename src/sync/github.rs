//! Releases, tags and the commits between two releases, as GitHub shows them.
//!
//! Lists are read page by page; what a page says is written before its `ETag` is, so a reader that
//! dies in between reads the page once more and writes the same. Commits between two commits never
//! change: they are asked for once.

mod pages;
mod ranges;
mod tags;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use tokio::sync::Mutex;

use super::chains::Chains;
use super::{Finding, Problem, Progress, Summary, SyncError};
use crate::config::ServiceConfig;
use crate::domain::id::{ReleaseId, Service};
use crate::domain::release::Release;
use crate::domain::source::{TagRecord, same_commit};
use crate::github::{GitHub, Repository};
use crate::store::{Store, StoreError, keys};

pub(super) use ranges::Steps;

/// Release documents read at once.
const READ_AHEAD: usize = 32;

/// Reads one GitHub, writes the store.
#[derive(Debug)]
pub(super) struct GitHubSync {
    client: GitHub,
    store: Store,
    memory: Mutex<HashMap<Service, Memory>>,
}

/// What this process knows of one service.
#[derive(Debug)]
struct Memory {
    tags: Chains<TagRecord>,
    /// Published releases; documents are immutable, so one that was read is known.
    releases: BTreeMap<String, Arc<Release>>,
    /// Keys of the ranges that are there.
    ranges: BTreeSet<String>,
    /// Ranges that GitHub could not tell; asked again by the next process.
    untold: HashSet<String>,
}

/// What one service's reading goes by.
struct About<'a> {
    service: &'a Service,
    config: &'a ServiceConfig,
    repository: Repository,
    /// Which release its lanes went to from which.
    steps: Option<&'a BTreeSet<(ReleaseId, ReleaseId)>>,
    progress: &'a dyn Progress,
}

impl GitHubSync {
    pub(super) fn new(client: GitHub, store: Store) -> Self {
        Self {
            client,
            store,
            memory: Mutex::new(HashMap::new()),
        }
    }

    /// One round over the services whose repository is on this GitHub.
    pub(super) async fn round(
        &self,
        services: &BTreeMap<Service, ServiceConfig>,
        steps: &Steps,
        progress: &dyn Progress,
        summary: &mut Summary,
    ) {
        let mut memory = self.memory.lock().await;
        for (service, config) in services {
            let page = config.repository.as_ref();
            let repository = page.and_then(|page| Repository::of(page, self.client.api_url()));
            let Some(repository) = repository else {
                continue;
            };
            let about = About {
                service,
                config,
                repository,
                steps: steps.get(service),
                progress,
            };
            if let Err(error) = self.read(&about, &mut memory, summary).await {
                summary.failures.push(error);
            }
        }
    }

    async fn read(
        &self,
        about: &About<'_>,
        memory: &mut HashMap<Service, Memory>,
        summary: &mut Summary,
    ) -> Result<(), SyncError> {
        let service = about.service;
        let memory = match memory.entry(service.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.recall(service).await?),
        };
        self.read_releases(service, memory).await?;
        let lists = self.read_tags(about, memory, summary).await;
        moved(service, memory, summary);
        replaced(service, memory, summary);
        // The lists may be out of bounds for now; ranges of releases that are known are not.
        let ranges = self.read_ranges(about, memory, summary).await;
        lists.and(ranges)
    }

    async fn recall(&self, service: &Service) -> Result<Memory, StoreError> {
        let mut tags = Chains::new(self.store.clone());
        tags.load(&format!("tags/{service}")).await?;
        let ranges = self.store.list(&format!("changes/{service}")).await?;
        Ok(Memory {
            tags,
            releases: BTreeMap::new(),
            ranges: ranges.into_iter().collect(),
            untold: HashSet::new(),
        })
    }

    /// Reads the release documents that are new.
    async fn read_releases(
        &self,
        service: &Service,
        memory: &mut Memory,
    ) -> Result<(), StoreError> {
        let names = self.store.list(&format!("releases/{service}")).await?;
        let new = names.into_iter();
        let new = new.filter(|name| !memory.releases.contains_key(name));
        let mut reads = stream::iter(new.collect::<Vec<_>>())
            .map(async |name| (self.store.get::<Release>(&name).await, name))
            .buffered(READ_AHEAD);
        while let Some((read, name)) = reads.next().await {
            match read {
                Ok(Some(release)) if keys::release(&release.service, &release.id) == name => {
                    memory.releases.insert(name, Arc::new(release));
                }
                // The catalog reports what is damaged; here it only has no range.
                Ok(_) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Memory {
    /// The commit a release says that it was built from.
    fn built_from(&self, id: &ReleaseId) -> Option<&String> {
        let release = self.releases.get(&keys::release(&id.service()?, id))?;
        release.commit.as_ref()
    }
}

/// Tags that no longer point at what was published.
fn moved(service: &Service, memory: &Memory, summary: &mut Summary) {
    let tags: HashMap<&ReleaseId, &TagRecord> = memory
        .tags
        .says()
        .map(|tag| (&tag.release_id, tag))
        .collect();
    for release in memory.releases.values() {
        let (Some(built), Some(tag)) = (&release.commit, tags.get(&release.id)) else {
            continue;
        };
        let Some(points_at) = tag.commit.as_ref().filter(|now| !same_commit(built, now)) else {
            continue;
        };
        summary.problems.push(Problem {
            service: service.clone(),
            of: format!("tag `{}`", tag.tag),
            finding: Finding::TagMoved {
                published: built.clone(),
                now: points_at.clone(),
            },
        });
    }
}

/// Files of GitHub's releases that are not what was published under their name.
fn replaced(service: &Service, memory: &Memory, summary: &mut Summary) {
    for tag in memory.tags.says() {
        let Some(told) = tag.release.as_ref().filter(|told| !told.digests.is_empty()) else {
            continue;
        };
        let Some(release) = memory
            .releases
            .get(&keys::release(service, &tag.release_id))
        else {
            continue;
        };
        let artifact = (&release.artifact_url, &release.checksum);
        let config = release.config.as_ref().map(|one| (&one.url, &one.checksum));
        for (url, published) in [Some(artifact), config].into_iter().flatten() {
            let name = url.rsplit('/').next().unwrap_or_default();
            let now = told.digests.get(name).filter(|now| *now != published);
            summary.problems.extend(now.map(|now| Problem {
                service: service.clone(),
                of: format!("file `{name}` of `{}`", tag.tag),
                finding: Finding::AssetDiffers {
                    published: published.clone(),
                    now: now.clone(),
                },
            }));
        }
    }
}
