//! Which commits lie between two releases, asked once for each two that a report may compare.

use std::collections::{BTreeMap, BTreeSet};

use super::tags::failed;
use super::{About, GitHubSync, Memory};
use crate::domain::id::{ReleaseId, Service};
use crate::domain::release::Release;
use crate::domain::source::{ChangeSet, is_commit};
use crate::github::GitHubError;
use crate::store::keys;
use crate::sync::{Finding, Problem, Summary, SyncError};

/// Which release a lane went to from which: what a rollback would go back over.
pub(in crate::sync) type Steps = BTreeMap<Service, BTreeSet<(ReleaseId, ReleaseId)>>;

impl GitHubSync {
    /// Reads the ranges that are not there yet: from each published release to the one published
    /// next, and each step of a lane.
    pub(super) async fn read_ranges(
        &self,
        about: &About<'_>,
        memory: &mut Memory,
        summary: &mut Summary,
    ) -> Result<(), SyncError> {
        let service = about.service;
        let mut wanted = wanted(about, memory, summary);
        wanted.retain(|(base, head)| {
            let key = keys::change(service, base, head);
            !memory.ranges.contains(&key) && !memory.untold.contains(&key)
        });
        about.progress.found(wanted.len());
        for (base, head) in wanted {
            let key = keys::change(service, &base, &head);
            let told = match self.client.compare(&about.repository, &base, &head).await {
                Ok(told) => told,
                Err(GitHubError::Missing) => {
                    summary.problems.push(Problem {
                        service: service.clone(),
                        of: format!("range `{base}...{head}`"),
                        finding: Finding::NoSuchRange,
                    });
                    memory.untold.insert(key);
                    about.progress.read(1);
                    continue;
                }
                Err(error) => return Err(failed(&about.repository, error)),
            };
            let change = ChangeSet {
                base,
                head,
                relation: told.relation,
                total: told.total,
                behind: told.behind,
                commits: told.commits,
            };
            // Whoever wrote it, it says the same.
            self.store.create(&key, &change).await?;
            summary.written.push(key.clone());
            memory.ranges.insert(key);
            about.progress.read(1);
        }
        Ok(())
    }
}

/// Pairs of commits, oldest first.
fn wanted(about: &About<'_>, memory: &Memory, summary: &mut Summary) -> Vec<(String, String)> {
    let tags: BTreeMap<&ReleaseId, &String> = memory
        .tags
        .says()
        .filter_map(|tag| Some((&tag.release_id, tag.commit.as_ref()?)))
        .collect();
    let mut releases: Vec<&Release> = memory.releases.values().map(AsRef::as_ref).collect();
    releases.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let mut commits: BTreeMap<&ReleaseId, &str> = BTreeMap::new();
    let mut in_order: Vec<&str> = Vec::new();
    for release in releases {
        let told = release.commit.as_deref();
        let Some(commit) = told.or_else(|| tags.get(&release.id).map(|commit| commit.as_str()))
        else {
            continue;
        };
        if !is_commit(commit) {
            summary.problems.push(Problem {
                service: about.service.clone(),
                of: format!("release `{}`", release.id),
                finding: Finding::NoCommit(commit.chars().take(80).collect()),
            });
            continue;
        }
        commits.insert(&release.id, commit);
        in_order.push(commit);
    }
    let published = in_order.iter().zip(in_order.iter().skip(1));
    let published = published.map(|(base, head)| (*base, *head));
    let steps = about.steps.into_iter().flatten();
    let steps = steps.filter_map(|(base, head)| Some((*commits.get(base)?, *commits.get(head)?)));
    let mut seen = BTreeSet::new();
    published
        .chain(steps)
        .filter(|(base, head)| base != head && seen.insert((*base, *head)))
        .map(|(base, head)| (base.to_owned(), head.to_owned()))
        .collect()
}
