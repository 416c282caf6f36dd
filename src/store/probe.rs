//! Whether creating a key really is exclusive here: writers race on fresh keys.
//!
//! Some S3 look-alikes let two writers win; a sequential "create twice" passes on them. The probe
//! is necessary, not sufficient; without it automatic rollback stays off.

use futures::future::join_all;

use super::{Created, Store, StoreError};

/// Writers on each key.
const WRITERS: usize = 16;

/// What a race showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Race {
    /// Each of this many keys had exactly one winner, and a late writer was refused.
    Exclusive {
        /// How many keys.
        keys: usize,
    },
    /// This key had several winners or none.
    Broken {
        /// Winners of the worst key.
        winners: usize,
        /// How many keys of all went wrong.
        bad_keys: usize,
        /// How many were raced.
        keys: usize,
    },
}

/// Races 16 writers on each of `keys` fresh keys and removes them again.
///
/// # Errors
/// When the store can't be reached.
pub async fn race(store: &Store, keys: usize) -> Result<Race, StoreError> {
    let mut bad_keys = 0;
    let mut worst = 1;
    for _ in 0..keys {
        let winners = race_one(store).await?;
        if winners != 1 {
            bad_keys += 1;
            worst = winners;
        }
    }
    if bad_keys == 0 {
        Ok(Race::Exclusive { keys })
    } else {
        Ok(Race::Broken {
            winners: worst,
            bad_keys,
            keys,
        })
    }
}

async fn race_one(store: &Store) -> Result<usize, StoreError> {
    let key = format!("probe/{}.json", uuid::Uuid::new_v4().simple());
    let creates = (0..WRITERS).map(|writer| {
        let (store, key) = (store.clone(), key.clone());
        // Tasks of their own, so that they meet on the wire and not in one poll loop.
        tokio::spawn(async move { store.create(&key, &writer).await })
    });
    let mut winners = 0;
    for outcome in join_all(creates).await {
        match outcome {
            Ok(Ok(Created::Mine)) => winners += 1,
            Ok(Ok(Created::Taken)) => {}
            Ok(Err(error)) => return Err(error),
            Err(panicked) => {
                return Err(StoreError::Unavailable {
                    key,
                    reason: panicked.to_string(),
                });
            }
        }
    }
    if store.create(&key, &"late").await? == Created::Mine {
        winners += 1;
    }
    store.delete(&key).await?;
    Ok(winners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreSettings, open};

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_and_a_directory_are_exclusive() {
        assert_eq!(
            race(&Store::in_memory(), 8).await.unwrap(),
            Race::Exclusive { keys: 8 }
        );
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file:{}", dir.path().display());
        let store = open(&StoreSettings {
            url,
            endpoint: None,
            region: None,
            keys: None,
        })
        .unwrap();
        assert_eq!(race(&store, 8).await.unwrap(), Race::Exclusive { keys: 8 });
    }
}
