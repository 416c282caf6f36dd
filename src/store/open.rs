//! Opens the store a URL names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::Store;
use crate::domain::secret::Secret;

/// The store's address and how to log in.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `file:./data`, `memory:` or `s3://bucket/prefix`.
    pub url: String,
    /// An S3 server that is not AWS, such as `http://minio:9000`.
    pub endpoint: Option<url::Url>,
    /// The region; `us-east-1` where the server does not care.
    pub region: Option<String>,
    /// Static keys (id, secret). Without them: web identity, container and instance roles, in
    /// that order; there are no profile files.
    pub keys: Option<(String, Secret)>,
}

/// A store that can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address has a scheme we don't know.
    #[error("`{0}` is no store: use file:PATH, memory: or s3://BUCKET/PREFIX")]
    UnknownScheme(String),
    /// The directory can't be made or used.
    #[error("the store directory `{path}` can't be used")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The object store client refused its settings.
    #[error("the store `{url}` can't be opened: {reason}")]
    Client {
        /// Which.
        url: String,
        /// Why.
        reason: String,
    },
}

/// Longest wait for one answer of a store of documents.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the store. Nothing is read or written yet, but a local directory is made.
///
/// # Errors
/// When the address can't be understood or the directory can't be made.
pub fn open(settings: &StoreSettings) -> Result<Store, OpenError> {
    let objects = open_objects(settings, TIMEOUT)?;
    Ok(Store::new(objects, settings.url.as_str()))
}

/// Opens what the store is made of, for files that are no documents; one request takes at most
/// `timeout`.
///
/// # Errors
/// When the address can't be understood or the directory can't be made.
pub fn open_objects(
    settings: &StoreSettings,
    timeout: Duration,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let url = settings.url.as_str();
    if url == "memory:" {
        return Ok(Arc::new(InMemory::new()));
    }
    if let Some(path) = url.strip_prefix("file:") {
        return open_directory(url, path.trim_start_matches("//"));
    }
    if let Some((bucket, prefix)) = bucket_of(url) {
        return open_s3(settings, bucket, prefix, timeout);
    }
    Err(OpenError::UnknownScheme(url.to_owned()))
}

fn open_directory(url: &str, path: &str) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let path = PathBuf::from(path);
    std::fs::create_dir_all(&path).map_err(|source| OpenError::Directory {
        path: path.clone(),
        source,
    })?;
    // A document counts once it is on disk: fsync is off by default.
    let store = LocalFileSystem::new_with_prefix(&path)
        .map_err(|error| OpenError::Client {
            url: url.to_owned(),
            reason: error.to_string(),
        })?
        .with_fsync(true);
    Ok(Arc::new(store))
}

/// The bucket and prefix of an `s3://` address.
pub(super) fn bucket_of(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("s3://")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

fn open_s3(
    settings: &StoreSettings,
    bucket: &str,
    prefix: &str,
    timeout: Duration,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let store = s3(settings, bucket, timeout)?;
    Ok(if prefix.is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, prefix))
    })
}

/// The client of a bucket.
pub(super) fn s3(
    settings: &StoreSettings,
    bucket: &str,
    timeout: Duration,
) -> Result<AmazonS3, OpenError> {
    // The crate's own 10 tries over 3 min are too long for an alert's path; `Store` retries
    // under one nonce.
    let retry = RetryConfig {
        max_retries: 1,
        retry_timeout: Duration::from_secs(1),
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            ..BackoffConfig::default()
        },
    };
    let client = ClientOptions::new()
        .with_timeout(timeout)
        .with_connect_timeout(Duration::from_secs(1))
        .with_allow_http(
            settings
                .endpoint
                .as_ref()
                .is_some_and(|endpoint| endpoint.scheme() == "http"),
        );
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_client_options(client);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some((id, secret)) = &settings.keys {
        builder = builder
            .with_access_key_id(id)
            .with_secret_access_key(secret.expose());
    }
    builder.build().map_err(|error| OpenError::Client {
        url: settings.url.clone(),
        reason: error.to_string(),
    })
}
