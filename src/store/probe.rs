//! Whether creating a key really is exclusive here: writers race on fresh keys.
//!
//! Some S3 look-alikes let two writers win; a sequential "create twice" passes on them. The probe
//! is necessary, not sufficient; without it automatic rollback stays off.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::{Created, Store, StoreError};

/// Writers on each key.
pub const WRITERS: usize = 16;

/// What a race showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Race {
    /// How many fresh keys were raced for, one a round.
    pub keys: usize,
    /// How many writers were told that they won, over all keys.
    pub winners: usize,
    /// Keys that had not exactly one winner, or whose winner did not read its own document.
    pub bad_keys: usize,
    /// What each create took with its read-back, sorted.
    took: Vec<Duration>,
}

impl Race {
    /// Whether each key had exactly one winner, and a late writer was refused.
    pub fn is_exclusive(&self) -> bool {
        self.bad_keys == 0 && self.winners == self.keys
    }

    /// Within how long this many of a hundred creates were done and read back.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.took.len().saturating_sub(1);
        let rank = (last * percent).div_ceil(100);
        self.took.get(rank).copied().unwrap_or_default()
    }
}

/// Races [`WRITERS`] on each of `keys` fresh keys and removes them again.
///
/// # Errors
/// When the store can't be reached.
pub async fn race(store: &Store, keys: usize) -> Result<Race, StoreError> {
    let mut race = Race::default();
    for _ in 0..keys {
        let key = format!("probe/{}.json", uuid::Uuid::new_v4().simple());
        let writers = race_for(store, &key).await?;
        let late = store.create(&key, &"late").await? == Created::Mine;
        store.delete(&key).await?;
        let winners = writers.iter().filter(|one| one.won).count() + usize::from(late);
        let deceived = writers.iter().any(|one| one.won != one.reads_itself);
        race.keys += 1;
        race.winners += winners;
        race.bad_keys += usize::from(winners != 1 || deceived);
        race.took.extend(writers.iter().map(|one| one.took));
    }
    race.took.sort_unstable();
    Ok(race)
}

/// What one writer met.
struct Writer {
    won: bool,
    reads_itself: bool,
    took: Duration,
}

async fn race_for(store: &Store, key: &str) -> Result<Vec<Writer>, StoreError> {
    let writers = (0..WRITERS).map(|number| {
        let (store, key) = (store.clone(), key.to_owned());
        // Tasks of their own, so that they meet on the wire and not in one poll loop.
        tokio::spawn(async move {
            let began = Instant::now();
            let created = store.create(&key, &number).await?;
            let stands = store.get::<usize>(&key).await?;
            Ok::<_, StoreError>(Writer {
                won: created == Created::Mine,
                reads_itself: stands == Some(number),
                took: began.elapsed(),
            })
        })
    });
    let panicked = |error: tokio::task::JoinError| StoreError::Unavailable {
        key: key.to_owned(),
        reason: error.to_string(),
    };
    let outcomes = join_all(writers).await.into_iter();
    outcomes
        .map(|outcome| outcome.map_err(panicked).flatten())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreSettings, open};

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_and_a_directory_are_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file:{}", dir.path().display());
        let directory = open(&StoreSettings {
            url,
            endpoint: None,
            region: None,
            keys: None,
        });
        for store in [Store::in_memory(), directory.unwrap()] {
            let race = race(&store, 8).await.unwrap();
            assert!(race.is_exclusive(), "{race:?}");
            assert_eq!((race.keys, race.took.len()), (8, 8 * WRITERS));
            assert!(race.percentile(50) <= race.percentile(99));
            assert_eq!(store.list("probe").await.unwrap(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_percentile_is_one_of_the_values_and_nothing_is_zero() {
        let took = |values: &[u64]| Race {
            took: values.iter().copied().map(Duration::from_millis).collect(),
            ..Race::default()
        };
        assert_eq!(took(&[]).percentile(99), Duration::ZERO);
        assert_eq!(took(&[1, 2, 9]).percentile(50), Duration::from_millis(2));
        assert_eq!(took(&[1, 2, 9]).percentile(99), Duration::from_millis(9));
    }
}
