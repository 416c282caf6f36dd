//! Which targets their vendors have told to wait, so that every replica knows, and a new one too.
//!
//! One small document per parking, `parked/<target>/<until, ms>-<random>.json`; the name says it
//! all, so a listing is enough to know.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::id::ReplicaId;
use crate::store::{Store, StoreError, keys};

/// For whoever reads the store.
#[derive(Debug, Serialize, Deserialize)]
struct Parked {
    by: ReplicaId,
    until: Timestamp,
    code: String,
}

/// The parkings in the store.
#[derive(Debug, Clone)]
pub(super) struct Parking {
    store: Store,
    me: ReplicaId,
}

impl Parking {
    pub(super) fn new(store: Store, me: ReplicaId) -> Self {
        Self { store, me }
    }

    /// Tells the other replicas.
    ///
    /// # Errors
    /// When the store can't be written; they will be told by the vendor.
    pub(super) async fn write(
        &self,
        target: &str,
        until: Timestamp,
        code: &str,
    ) -> Result<(), StoreError> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let parked = Parked {
            by: self.me.clone(),
            until,
            code: code.to_owned(),
        };
        let key = keys::parked(target, until, &unique);
        self.store.create(&key, &parked).await.map(drop)
    }

    /// Every target that was parked, and until when; those that are over too.
    ///
    /// # Errors
    /// When the store can't be read.
    pub(super) async fn all(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let names = self.store.list("parked").await?;
        Ok(names.iter().filter_map(|name| read(name)).collect())
    }

    /// Removes what is over.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub(super) async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        for name in self.store.list("parked").await? {
            if read(&name).is_some_and(|(_, until)| until < now) {
                self.store.delete(&name).await?;
            }
        }
        Ok(())
    }
}

fn read(name: &str) -> Option<(String, Timestamp)> {
    let (target, file) = name.strip_prefix("parked/")?.split_once('/')?;
    let (until, _) = file.split_once('-')?;
    let until = Timestamp::from_millisecond(until.parse().ok()?).ok()?;
    Some((target.to_owned(), until))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::clock;

    #[tokio::test]
    async fn a_parking_is_known_to_all_until_it_is_over() {
        let store = Store::in_memory();
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let until = clock::after(now, Duration::from_mins(10));
        let one = Parking::new(store.clone(), ReplicaId::random());
        one.write("bot", until, "130101").await.unwrap();
        let two = Parking::new(store, ReplicaId::random());
        assert_eq!(two.all().await.unwrap(), [("bot".to_owned(), until)]);
        two.expire(now).await.unwrap();
        assert_eq!(two.all().await.unwrap().len(), 1);
        two.expire(clock::after(until, Duration::from_secs(1)))
            .await
            .unwrap();
        assert_eq!(two.all().await.unwrap(), []);
    }
}
