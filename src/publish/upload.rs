//! Puts a file into the artifact store, under a key that names its content; never over another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use sha2::{Digest as _, Sha256};

use super::sha256_of;
use crate::domain::hex;
use crate::domain::id::{ReleaseId, is_id};
use crate::store::{OpenError, StoreSettings, open_objects};

/// Hex digits of a checksum that a key repeats.
const DIGITS: usize = 12;
/// Longest file: what S3 takes in one request.
const LONGEST: u64 = 5 * 1024 * 1024 * 1024;
/// An upload takes at most this long.
const DEADLINE: Duration = Duration::from_mins(30);

/// A file that could not be uploaded.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The artifact store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file can't be read.
    #[error("`{path}` can't be read: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is too long, or its name can't be part of a key.
    #[error("`{path}` can't be uploaded: {why}")]
    Unfit {
        /// Which.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// Something else is there.
    #[error("at `{url}` there is another file: its SHA-256 is `{there}`, not `{ours}`")]
    Conflict {
        /// Where.
        url: String,
        /// What is there.
        there: String,
        /// What was to be put there.
        ours: String,
    },
    /// The store did not take it.
    #[error("`{url}` can't be written: {reason}")]
    Store {
        /// Where.
        url: String,
        /// Why, without credentials.
        reason: String,
    },
}

/// Where artifacts are kept.
#[derive(Debug)]
pub struct Artifacts {
    objects: Arc<dyn ObjectStore>,
    /// `s3://bucket/prefix` or `file:PATH`.
    url: String,
}

impl Artifacts {
    /// Opens the place that `settings` name; nothing is asked yet.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(settings: &StoreSettings) -> Result<Self, OpenError> {
        Ok(Self {
            objects: open_objects(settings, DEADLINE)?,
            url: settings.url.trim_end_matches('/').to_owned(),
        })
    }

    /// Where `file` is or will be: `<service>/<version>/<checksum, shortened>/<name>`.
    ///
    /// # Errors
    /// When it can't be read or has no usable name.
    pub async fn url_of(&self, release: &ReleaseId, file: &Path) -> Result<String, UploadError> {
        let (key, _) = key_of(release, file).await?;
        Ok(format!("{}/{key}", self.url))
    }

    /// Uploads `file`. The same file again is fine: what is there is read and hashed.
    ///
    /// # Errors
    /// See [`UploadError`]; after [`UploadError::Store`] uploading again is safe.
    pub async fn upload(&self, release: &ReleaseId, file: &Path) -> Result<(), UploadError> {
        let (key, ours) = key_of(release, file).await?;
        let url = format!("{}/{key}", self.url);
        let read = tokio::fs::read(file).await;
        let bytes = read.map_err(|source| unread(file, source))?;
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let place = Key::from(key.as_str());
        let put = self.objects.put_opts(&place, bytes.into(), options).await;
        // After any answer but Ok the file itself says how it stands.
        let Err(error) = put else { return Ok(()) };
        match self.checksum_at(&place).await {
            Ok(there) if there == ours => Ok(()),
            Ok(there) => Err(UploadError::Conflict { url, there, ours }),
            Err(_) => Err(UploadError::Store {
                url,
                reason: reason(&error).to_owned(),
            }),
        }
    }

    async fn checksum_at(&self, key: &Key) -> object_store::Result<String> {
        let mut pieces = self.objects.get(key).await?.into_stream();
        let mut digest = Sha256::new();
        while let Some(piece) = pieces.try_next().await? {
            digest.update(&piece);
        }
        Ok(hex(&digest.finalize()))
    }
}

/// The key of a file, and its SHA-256.
async fn key_of(release: &ReleaseId, file: &Path) -> Result<(String, String), UploadError> {
    let unfit = |why| UploadError::Unfit {
        path: file.display().to_string(),
        why,
    };
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| is_id(name));
    let name = name.ok_or_else(|| unfit("its name may hold letters, digits and ._@+- only"))?;
    let service = release.service();
    let service = service.ok_or_else(|| unfit("the release names no service"))?;
    let about = tokio::fs::metadata(file).await;
    if about.map_err(|source| unread(file, source))?.len() > LONGEST {
        return Err(unfit("it is longer than 5 GiB"));
    }
    let read = sha256_of(file).await;
    let checksum = read.map_err(|source| unread(file, source))?;
    let short: String = checksum.chars().take(DIGITS).collect();
    let key = format!("{service}/{}/{short}/{name}", release.version());
    Ok((key, checksum))
}

fn unread(file: &Path, source: std::io::Error) -> UploadError {
    UploadError::File {
        path: file.display().to_string(),
        source,
    }
}

/// The kind of failure; the crate's own text can hold whole request URLs.
fn reason(error: &object_store::Error) -> &'static str {
    match error {
        object_store::Error::PermissionDenied { .. } => "permission denied",
        object_store::Error::Unauthenticated { .. } => "the credentials were refused",
        object_store::Error::NotFound { .. } => "there is no such bucket",
        _ => "no usable answer",
    }
}
