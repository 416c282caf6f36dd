//! Chains: what is decided in order.
//!
//! A chain is `<prefix>/<seq>.json`, the number alone in the key. To append is to win that
//! number; whoever loses reads again and asks again whether the event is still legal.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Created, Store, StoreError, keys};

/// How many links are read at once when a chain is read whole.
const READ_AHEAD: usize = 16;

/// The key of link `seq` of the chain at `prefix`. Numbers start at 1.
pub fn key(prefix: &str, seq: u64) -> String {
    format!("{prefix}/{}.json", keys::number(seq))
}

/// Reads the links from number `from` on, in order.
///
/// # Errors
/// When the store can't be reached or a link is damaged.
pub async fn read_from<T: DeserializeOwned + Send>(
    store: &Store,
    prefix: &str,
    from: u64,
) -> Result<Vec<(u64, T)>, StoreError> {
    // Usually nothing is new, or one link is: a miss on the next number is the cheap answer.
    let Some(next) = store.get::<T>(&key(prefix, from)).await? else {
        return Ok(Vec::new());
    };
    let before_rest = key(prefix, from);
    let names = store.list_after(prefix, Some(&before_rest)).await?;
    let rest = stream::iter(
        names
            .into_iter()
            .filter_map(|name| Some((seq_of(prefix, &name)?, name))),
    )
    .map(async |(seq, name)| {
        let link = store.get::<T>(&name).await?;
        let link = link.ok_or_else(|| StoreError::Damaged {
            key: name,
            reason: "listed, yet not there".into(),
        })?;
        Ok::<_, StoreError>((seq, link))
    })
    .buffered(READ_AHEAD)
    .try_collect::<Vec<_>>()
    .await?;
    let mut links = vec![(from, next)];
    for (seq, link) in rest {
        // A gap would mean that somebody removed a link: nothing behind it may be believed.
        if links.last().is_some_and(|(last, _)| seq != last + 1) {
            return Err(StoreError::Damaged {
                key: key(prefix, seq),
                reason: "a link before it is missing".into(),
            });
        }
        links.push((seq, link));
    }
    Ok(links)
}

/// Tries to win number `seq` of the chain at `prefix`.
///
/// # Errors
/// [`StoreError::Unknown`] when nobody can tell who won.
pub async fn append<T: Serialize>(
    store: &Store,
    prefix: &str,
    seq: u64,
    link: &T,
) -> Result<Created, StoreError> {
    store.create(&key(prefix, seq), link).await
}

fn seq_of(prefix: &str, name: &str) -> Option<u64> {
    let seq = name
        .strip_prefix(prefix)?
        .strip_prefix('/')?
        .strip_suffix(".json")?;
    // Claims and receipts lie in folders below a link.
    seq.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_chain_is_read_in_order_from_any_number() {
        let store = Store::in_memory();
        for seq in 1..=12_u64 {
            assert_eq!(
                append(&store, "lanes/x", seq, &seq).await.unwrap(),
                Created::Mine
            );
        }
        let all = read_from::<u64>(&store, "lanes/x", 1).await.unwrap();
        assert_eq!(
            all.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
            (1..=12).collect::<Vec<_>>()
        );
        assert_eq!(
            read_from::<u64>(&store, "lanes/x", 12).await.unwrap(),
            [(12, 12)]
        );
        assert!(
            read_from::<u64>(&store, "lanes/x", 13)
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn nothing_behind_a_gap_is_believed() {
        let store = Store::in_memory();
        append(&store, "c", 1, &1).await.unwrap();
        append(&store, "c", 3, &3).await.unwrap();
        assert!(read_from::<u64>(&store, "c", 1).await.is_err());
    }
}
