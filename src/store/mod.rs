//! Typed documents over an object store; creating a key that must not exist yet is the only lock.
//!
//! Every document travels in an envelope with its writer's nonce. After any answer but "created"
//! the key is read back and the nonces compared, because `AlreadyExists` is no proof: a retried
//! request can meet its own first try, and a 409 can come without an object. What can't be read
//! back is [`StoreError::Unknown`]: neither ours nor free.

mod artifacts;
pub mod chain;
pub mod keys;
#[cfg(test)]
pub(crate) mod liar;
mod open;
pub mod probe;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::clock;

pub use artifacts::{ArtifactPlace, Pieces};
pub use open::{OpenError, StoreSettings, open, open_objects};

/// One create with its read-back takes at most this long.
pub const CREATE_DEADLINE: Duration = Duration::from_secs(2);
/// One try of it; what answers later is found by reading back.
const PUT_DEADLINE: Duration = Duration::from_millis(900);
/// One read takes at most this long.
const READ_DEADLINE: Duration = Duration::from_secs(2);
/// One listing takes at most this long.
const LIST_DEADLINE: Duration = Duration::from_secs(20);
/// Pause before a create is tried again under the same nonce.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store can't be reached, or refuses us. Nothing was written.
    #[error("the store can't be reached for `{key}`: {reason}")]
    Unavailable {
        /// What was asked for.
        key: String,
        /// Why, without credentials.
        reason: String,
    },
    /// A write whose outcome nobody can tell now: neither ours nor free.
    #[error("nobody can tell whether `{key}` was written: {reason}")]
    Unknown {
        /// What was written.
        key: String,
        /// Why, without credentials.
        reason: String,
    },
    /// The object is there and is not what it should be.
    #[error("the document `{key}` can't be read: {reason}")]
    Damaged {
        /// Which.
        key: String,
        /// Why.
        reason: String,
    },
}

/// The outcome of a create that could be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object at the key is the one of this write.
    Mine,
    /// Another write has the key.
    Taken,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    nonce: String,
    body: T,
}

/// One logical write: its bytes and nonce, the same over all its retries.
#[derive(Debug, Clone)]
pub struct Write {
    nonce: String,
    bytes: Bytes,
}

impl Write {
    /// Prepares a document for writing.
    ///
    /// # Errors
    /// When the value is not representable as JSON.
    pub fn new<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let bytes = serde_json::to_vec(&Envelope {
            nonce: nonce.clone(),
            body: value,
        })?;
        Ok(Self {
            nonce,
            bytes: bytes.into(),
        })
    }
}

/// The object store, seen as typed documents.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    description: Arc<str>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.description).finish()
    }
}

impl Store {
    /// Takes an object store, already rooted at our prefix.
    pub fn new(inner: Arc<dyn ObjectStore>, description: impl Into<Arc<str>>) -> Self {
        Self {
            inner,
            description: description.into(),
        }
    }

    /// A store in memory, for tests and `memory:`.
    pub fn in_memory() -> Self {
        Self::new(Arc::new(object_store::memory::InMemory::new()), "memory:")
    }

    /// Where it is, without credentials.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Creates `key` with `value`, once.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when the outcome can't be told within [`CREATE_DEADLINE`].
    pub async fn create<T: Serialize>(&self, key: &str, value: &T) -> Result<Created, StoreError> {
        let write = Write::new(value).map_err(|error| StoreError::Damaged {
            key: key.to_owned(),
            reason: error.to_string(),
        })?;
        self.create_write(key, &write).await
    }

    /// Creates `key` with a prepared write; may be called again with the same one.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when the outcome can't be told within [`CREATE_DEADLINE`].
    pub async fn create_write(&self, key: &str, write: &Write) -> Result<Created, StoreError> {
        let mut reason = "no answer in time".to_owned();
        let tries = async {
            loop {
                match self.try_create(key, write).await {
                    Ok(created) => return created,
                    Err(why) => reason = why,
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        let outcome = tokio::time::timeout(CREATE_DEADLINE, tries).await;
        outcome.map_err(|_| StoreError::Unknown {
            key: key.to_owned(),
            reason,
        })
    }

    async fn try_create(&self, key: &str, write: &Write) -> Result<Created, String> {
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let path = Path::from(key);
        let put = self
            .inner
            .put_opts(&path, write.bytes.clone().into(), options);
        let put = match tokio::time::timeout(PUT_DEADLINE, put).await {
            Ok(Ok(_)) => return Ok(Created::Mine),
            Ok(Err(error)) => describe(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        match self.read(&path).await {
            Ok(Some(bytes)) => {
                match serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(&bytes) {
                    Ok(found) if found.nonce == write.nonce => Ok(Created::Mine),
                    // A foreign or damaged object has the key all the same.
                    Ok(_) | Err(_) => Ok(Created::Taken),
                }
            }
            Ok(None) => Err(put),
            Err(get) => Err(format!("{put}; and reading back: {}", describe(&get))),
        }
    }

    /// Reads a document; None when there is none.
    ///
    /// # Errors
    /// When the store can't be reached or the document is damaged.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.get_bytes(key).await? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Envelope<T>>(&bytes) {
            Ok(envelope) => Ok(Some(envelope.body)),
            Err(error) => Err(StoreError::Damaged {
                key: key.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// Reads an object's bytes; None when there is none.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn get_bytes(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let path = Path::from(key);
        in_time(key, READ_DEADLINE, self.read(&path)).await
    }

    /// Puts bytes that are named by their content or number (charts, report pages); writing the
    /// same key again changes nothing that matters.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn put_bytes(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let path = Path::from(key);
        in_time(key, CREATE_DEADLINE, self.inner.put(&path, bytes.into()))
            .await
            .map(drop)
    }

    /// Every key under `prefix` (a folder), sorted.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.list_after(prefix, None).await
    }

    /// Every key under `prefix` that sorts after `offset`, sorted.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn list_after(
        &self,
        prefix: &str,
        offset: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        let folder = Path::from(prefix);
        let objects = match offset {
            None => self.inner.list(Some(&folder)),
            Some(offset) => self
                .inner
                .list_with_offset(Some(&folder), &Path::from(offset)),
        };
        let keys = objects
            .map_ok(|object| String::from(object.location))
            .try_collect::<Vec<_>>();
        let mut keys = in_time(prefix, LIST_DEADLINE, keys).await?;
        keys.sort_unstable();
        Ok(keys)
    }

    /// Keys of `folder`, which is kept by day, that are named by a time from `from` to `to`; sorted.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn list_days(
        &self,
        folder: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let (first, last) = (keys::day(from), keys::day(to));
        let offset = format!("{folder}/{first}/{}", keys::stamped(from, ""));
        let end = format!("{folder}/{last}/{}", keys::stamped(to, "~"));
        let mut found = Vec::new();
        let mut day = from;
        loop {
            let name = format!("{folder}/{}", keys::day(day));
            found.extend(self.list_after(&name, Some(&offset)).await?);
            if keys::day(day) >= last {
                break;
            }
            day = clock::after(day, Duration::from_hours(24)).min(to);
        }
        found.retain(|key| *key <= end);
        Ok(found)
    }

    /// The names of the folders directly under `prefix`, sorted.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let folder = Path::from(prefix);
        let listing = self.inner.list_with_delimiter(Some(&folder));
        let listing = in_time(prefix, LIST_DEADLINE, listing).await?;
        let last = |path: &Path| path.filename().map(str::to_owned);
        let mut names: Vec<String> = listing.common_prefixes.iter().filter_map(last).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a key that carries no claim (leftovers, expired days).
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.inner.delete(&Path::from(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(unavailable(key, &error)),
        }
    }

    async fn read(&self, path: &Path) -> object_store::Result<Option<Bytes>> {
        match self.inner.get(path).await {
            Ok(object) => object.bytes().await.map(Some),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

async fn in_time<T>(
    key: &str,
    deadline: Duration,
    answer: impl Future<Output = object_store::Result<T>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(answer) => answer.map_err(|error| unavailable(key, &error)),
        Err(_) => Err(StoreError::Unavailable {
            key: key.to_owned(),
            reason: "no answer in time".to_owned(),
        }),
    }
}

fn unavailable(key: &str, error: &object_store::Error) -> StoreError {
    StoreError::Unavailable {
        key: key.to_owned(),
        reason: describe(error),
    }
}

/// The kind of failure in words; the crate's own text can hold whole request URLs.
fn describe(error: &object_store::Error) -> String {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => "not found",
        Error::AlreadyExists { .. } => "answered that it exists, yet it does not",
        Error::PermissionDenied { .. } => "permission denied",
        Error::Unauthenticated { .. } => "the credentials were refused",
        Error::NotImplemented { .. } | Error::NotSupported { .. } => "not supported by this store",
        _ => "no usable answer",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_created_once_and_read_as_written() {
        let store = Store::in_memory();
        assert_eq!(store.create("a/1.json", &"x").await.unwrap(), Created::Mine);
        assert_eq!(
            store.create("a/1.json", &"y").await.unwrap(),
            Created::Taken
        );
        assert_eq!(
            store.get::<String>("a/1.json").await.unwrap().as_deref(),
            Some("x")
        );
        assert_eq!(store.get::<String>("a/2.json").await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_same_write_again_is_still_mine() {
        let store = Store::in_memory();
        let write = Write::new(&1).unwrap();
        assert_eq!(
            store.create_write("k.json", &write).await.unwrap(),
            Created::Mine
        );
        assert_eq!(
            store.create_write("k.json", &write).await.unwrap(),
            Created::Mine
        );
    }

    #[tokio::test]
    async fn listings_are_sorted_and_folders_named() {
        let store = Store::in_memory();
        for key in ["x/b/2.json", "x/a/1.json", "x/b/1.json", "xx/1.json"] {
            store.create(key, &0).await.unwrap();
        }
        assert_eq!(
            store.list("x").await.unwrap(),
            ["x/a/1.json", "x/b/1.json", "x/b/2.json"]
        );
        assert_eq!(
            store.list_after("x", Some("x/b/1.json")).await.unwrap(),
            ["x/b/2.json"]
        );
        assert_eq!(store.folders("x").await.unwrap(), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_damaged_document_is_named() {
        let store = Store::in_memory();
        store
            .put_bytes("d.json", Bytes::from_static(b"{\"nonce\""))
            .await
            .unwrap();
        let error = store.get::<String>("d.json").await.unwrap_err();
        assert!(error.to_string().contains("`d.json`"), "{error}");
    }
}
