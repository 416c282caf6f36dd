//! What a page's `ETag` was when its content was last written down.

use serde::{Deserialize, Serialize};

use super::GitHubSync;
use crate::domain::id::Service;
use crate::github::Page;
use crate::store::{StoreError, keys};

/// Most pages of one list; a hundred items each.
pub(super) const PAGES: u32 = 1_000;

/// The state of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// GitHub's name for it.
    pub(super) etag: Option<String>,
    /// Whether a page follows; an "unchanged" does not say.
    pub(super) more: bool,
}

impl<T> From<&Page<T>> for Mark {
    fn from(page: &Page<T>) -> Self {
        Self {
            etag: page.etag.clone(),
            more: page.more,
        }
    }
}

impl GitHubSync {
    /// The mark of a page; none where there is none, or none that can be read: it is an aid.
    pub(super) async fn mark(&self, service: &Service, address: &str) -> Result<Mark, StoreError> {
        let bytes = self.store.get_bytes(&keys::page(service, address)).await?;
        let mark = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(mark.unwrap_or_default())
    }

    /// Remembers a page, once what it says is written.
    pub(super) async fn remember(
        &self,
        service: &Service,
        address: &str,
        mark: &Mark,
    ) -> Result<(), StoreError> {
        let key = keys::page(service, address);
        let bytes = serde_json::to_vec(mark).map_err(|error| StoreError::Damaged {
            key: key.clone(),
            reason: error.to_string(),
        })?;
        self.store.put_bytes(&key, bytes.into()).await
    }
}
