//! Tags and GitHub's releases of them, joined by tag.

use std::collections::BTreeMap;

use super::pages::{Mark, PAGES};
use super::{About, GitHubSync, Memory};
use crate::domain::id::ReleaseId;
use crate::domain::source::{TagRecord, TagRelease, is_commit};
use crate::github::{GitHubError, Listed, Repository};
use crate::store::keys;
use crate::sync::{Finding, Problem, Summary, SyncError};

/// What the pages that changed say of one tag.
#[derive(Debug, Default)]
struct Told {
    commit: Option<String>,
    release: Option<TagRelease>,
}

/// Pages that were read and not written down yet, and what they say.
#[derive(Debug, Default)]
struct Read {
    tags: BTreeMap<String, Told>,
    marks: Vec<(String, Mark)>,
}

#[derive(Debug, Clone, Copy)]
enum List {
    Tags,
    Releases,
}

impl GitHubSync {
    /// Reads what changed in both lists and writes it. What one of them said before the other
    /// failed is written too.
    pub(super) async fn read_tags(
        &self,
        about: &About<'_>,
        memory: &mut Memory,
        summary: &mut Summary,
    ) -> Result<(), SyncError> {
        let mut read = Read::default();
        let mut asked = Ok(());
        for list in [List::Tags, List::Releases] {
            asked = self.pages(list, about, &mut read).await;
            if asked.is_err() {
                break;
            }
        }
        self.write(about, read, memory, summary).await?;
        asked
    }

    async fn pages(&self, list: List, about: &About<'_>, read: &mut Read) -> Result<(), SyncError> {
        let (repository, prefix) = (&about.repository, &about.config.tag_prefix);
        for page in 1..=PAGES {
            // Which tags are this service's depends on the prefix: another one reads all again.
            let address = format!("{repository} {list:?} {page} {prefix}");
            let last = self.mark(about.service, &address).await?;
            let etag = last.etag.as_deref();
            let mark = match list {
                List::Tags => {
                    let told = self.client.tags(repository, page, etag).await;
                    let told = told.map_err(|error| failed(repository, error))?;
                    page_of(told, |tag| {
                        let told = read.tags.entry(tag.name).or_default();
                        told.commit = Some(tag.commit);
                    })
                }
                List::Releases => {
                    let told = self.client.releases(repository, page, etag).await;
                    let told = told.map_err(|error| failed(repository, error))?;
                    page_of(told, |release| {
                        read.tags.entry(release.tag).or_default().release = Some(release.told);
                    })
                }
            };
            let more = match mark {
                None => last.more,
                Some(mark) => {
                    let more = mark.more;
                    read.marks.push((address, mark));
                    more
                }
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        about: &About<'_>,
        read: Read,
        memory: &mut Memory,
        summary: &mut Summary,
    ) -> Result<(), SyncError> {
        let service = about.service;
        for (tag, told) in read.tags {
            // Tags of other services of the same repository, and those that are no releases.
            let version = tag.strip_prefix(&about.config.tag_prefix);
            let Some(id) = version.and_then(|version| ReleaseId::of(service, version).ok()) else {
                continue;
            };
            summary.tags += 1;
            let chain = keys::tag(service, &id);
            let before = memory.tags.said(&chain);
            let before = before.and_then(|before| before.commit.clone());
            let now = told.commit.filter(|commit| is_commit(commit));
            let next = |last: Option<&TagRecord>| TagRecord {
                release_id: id.clone(),
                tag: tag.clone(),
                commit: now.clone().or_else(|| last?.commit.clone()),
                release: told.release.clone().or_else(|| last?.release.clone()),
            };
            if !memory.tags.tell(&chain, next).await? {
                continue;
            }
            summary.written.push(chain);
            // One that was published with its commit is reported every round, not once.
            if let (Some(before), Some(now)) = (before, now)
                && before != now
                && memory.built_from(&id).is_none()
            {
                summary.problems.push(Problem {
                    service: service.clone(),
                    of: format!("tag `{tag}`"),
                    finding: Finding::TagMoved {
                        published: before,
                        now,
                    },
                });
            }
        }
        for (address, mark) in read.marks {
            self.remember(service, &address, &mark).await?;
        }
        Ok(())
    }
}

/// Takes a page's items in; None for a page as it was.
fn page_of<T>(listed: Listed<T>, take: impl FnMut(T)) -> Option<Mark> {
    match listed {
        Listed::Unchanged => None,
        Listed::Page(page) => {
            let mark = Mark::from(&page);
            page.items.into_iter().for_each(take);
            Some(mark)
        }
    }
}

pub(super) fn failed(repository: &Repository, source: GitHubError) -> SyncError {
    SyncError::GitHub {
        repository: repository.to_string(),
        source,
    }
}
