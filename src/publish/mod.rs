//! Writes down a release: what was built, from what, by whom. Once.
//!
//! The document is created if absent; the same content again is fine, anything else under that
//! version is a conflict that names both. Marks are a chain beside it, the newest counts. Beside
//! that: its files are put where hosts fetch them from, and a pipeline is started with it, once.

mod checksum;
mod start;
mod upload;

use std::path::PathBuf;

use crate::domain::clock::Clock;
use crate::domain::id::{InvalidId, ReleaseId, Service};
use crate::domain::release::{Artifact, Mark, Release};
use crate::store::{Created, Store, StoreError, chain, keys};

pub use checksum::sha256_of;
pub use start::{Order, StartError, Started, start};
pub use upload::{Artifacts, UploadError};

/// How often an append that lost its number is tried again.
const TRIES: u32 = 5;

/// A file that goes with a release.
#[derive(Debug, Clone)]
pub struct File {
    /// Where hosts fetch it from.
    pub url: String,
    /// What it is.
    pub content: Content,
}

/// How a file's checksum is known.
#[derive(Debug, Clone)]
pub enum Content {
    /// Read and hashed here.
    Local(PathBuf),
    /// Told by whoever built it: lower- or upper-case hex SHA-256.
    Checksum(String),
}

/// What is to be published.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// Whose.
    pub service: Service,
    /// The git tag.
    pub tag: String,
    /// The part of the tag that is not the version.
    pub tag_prefix: String,
    /// The binary.
    pub artifact: File,
    /// The configuration that goes with it.
    pub config: Option<File>,
    /// The commit the tag points at.
    pub commit: Option<String>,
    /// Who or what publishes it.
    pub by: String,
    /// False when going back over it would break data.
    pub reversible: bool,
}

/// How publishing went.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The release is new.
    Created(Release),
    /// It was published before, with the same content.
    AlreadySame(Release),
}

/// A release that was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The tag gives no version that can be part of an id.
    #[error("tag `{tag}` gives no usable version: {source}")]
    Tag {
        /// The tag.
        tag: String,
        /// Why.
        #[source]
        source: InvalidId,
    },
    /// A file that can't be read.
    #[error("`{path}` can't be read: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Text that is no SHA-256.
    #[error("`{0}` is not a SHA-256 of 64 hex digits")]
    Checksum(String),
    /// The version was published before, and differently. A tag that moved is an incident, never
    /// an update.
    #[error("`{id}` was published before with another {what}: `{published}`, now `{offered}`")]
    Conflict {
        /// The release.
        id: ReleaseId,
        /// What differs.
        what: &'static str,
        /// What stands in the store.
        published: String,
        /// What was offered now.
        offered: String,
    },
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Publishes a release.
///
/// # Errors
/// See [`PublishError`]; on [`PublishError::Store`] publishing again is safe.
pub async fn publish(
    request: &PublishRequest,
    store: &Store,
    clock: &dyn Clock,
) -> Result<Outcome, PublishError> {
    let release = describe(request, clock).await?;
    let key = keys::release(&release.service, &release.id);
    if store.create(&key, &release).await? == Created::Mine {
        return Ok(Outcome::Created(release));
    }
    let published = same(&release, store).await?;
    let published = published.ok_or_else(|| StoreError::Unknown {
        key,
        reason: "there one moment, gone the next".into(),
    })?;
    Ok(Outcome::AlreadySame(published))
}

/// The release as it was published before, if it was, and with the same content.
///
/// # Errors
/// See [`PublishError`].
pub async fn published(
    request: &PublishRequest,
    store: &Store,
    clock: &dyn Clock,
) -> Result<Option<Release>, PublishError> {
    same(&describe(request, clock).await?, store).await
}

async fn same(release: &Release, store: &Store) -> Result<Option<Release>, PublishError> {
    let key = keys::release(&release.service, &release.id);
    let Some(published) = store.get::<Release>(&key).await? else {
        return Ok(None);
    };
    match difference(&published, release) {
        None => Ok(Some(published)),
        Some((what, published, offered)) => Err(PublishError::Conflict {
            id: release.id.clone(),
            what,
            published,
            offered,
        }),
    }
}

/// The release that a tag stands for.
///
/// # Errors
/// When the tag gives no version that can be part of an id.
pub fn release_id(service: &Service, tag: &str, prefix: &str) -> Result<ReleaseId, PublishError> {
    let version = tag.strip_prefix(prefix).unwrap_or(tag);
    let id = if version.is_empty() {
        Err(InvalidId(tag.to_owned()))
    } else {
        ReleaseId::of(service, version)
    };
    id.map_err(|source| PublishError::Tag {
        tag: tag.to_owned(),
        source,
    })
}

async fn describe(request: &PublishRequest, clock: &dyn Clock) -> Result<Release, PublishError> {
    let tag = &request.tag;
    let id = release_id(&request.service, tag, &request.tag_prefix)?;
    let version = id.version().to_owned();
    let config = match &request.config {
        Some(file) => Some(Artifact {
            url: file.url.clone(),
            checksum: checksum(&file.content).await?,
        }),
        None => None,
    };
    Ok(Release {
        id,
        service: request.service.clone(),
        tag: tag.clone(),
        version,
        artifact_url: request.artifact.url.clone(),
        checksum: checksum(&request.artifact.content).await?,
        config,
        commit: request.commit.clone(),
        reversible: request.reversible,
        created_at: clock.now(),
        created_by: request.by.clone(),
    })
}

async fn checksum(content: &Content) -> Result<String, PublishError> {
    match content {
        Content::Local(path) => sha256_of(path).await.map_err(|source| PublishError::File {
            path: path.display().to_string(),
            source,
        }),
        Content::Checksum(text) => {
            let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let lower = is_hash.then(|| text.to_ascii_lowercase());
            lower.ok_or_else(|| PublishError::Checksum(text.chars().take(80).collect()))
        }
    }
}

/// The first thing in which two publications differ, with both values. Who published it, and when,
/// does not count.
fn difference(published: &Release, offered: &Release) -> Option<(&'static str, String, String)> {
    let config = |release: &Release, part: fn(&Artifact) -> &String| {
        release
            .config
            .as_ref()
            .map_or_else(|| "none".to_owned(), |config| part(config).clone())
    };
    let commit = |release: &Release| release.commit.clone().unwrap_or_else(|| "none".to_owned());
    let rows = [
        ("tag", published.tag.clone(), offered.tag.clone()),
        ("commit", commit(published), commit(offered)),
        (
            "checksum",
            published.checksum.clone(),
            offered.checksum.clone(),
        ),
        (
            "artifact URL",
            published.artifact_url.clone(),
            offered.artifact_url.clone(),
        ),
        (
            "config checksum",
            config(published, |one| &one.checksum),
            config(offered, |one| &one.checksum),
        ),
        (
            "config URL",
            config(published, |one| &one.url),
            config(offered, |one| &one.url),
        ),
        (
            "reversible flag",
            published.reversible.to_string(),
            offered.reversible.to_string(),
        ),
    ];
    rows.into_iter()
        .find(|(_, published, offered)| published != offered)
}

/// Appends a mark to a release's chain; a person's or an incident's word on it.
///
/// # Errors
/// When the store can't be reached.
pub async fn mark(store: &Store, mark: &Mark) -> Result<(), StoreError> {
    let prefix = keys::marks(&mark.release_id);
    for _ in 0..TRIES {
        let links = chain::read_from::<serde::de::IgnoredAny>(store, &prefix, 1).await?;
        let next = links.last().map_or(1, |(seq, _)| seq + 1);
        if chain::append(store, &prefix, next, mark).await? == Created::Mine {
            return Ok(());
        }
    }
    Err(StoreError::Unknown {
        key: prefix,
        reason: "another writer is always quicker".into(),
    })
}

#[cfg(test)]
mod tests;
