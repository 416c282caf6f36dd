//! Chains whose newest link says how something stands: a link is added when that changes.

use std::collections::HashMap;

use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{Created, Store, StoreError, chain};

/// How often an append that lost its number is tried again.
const TRIES: u32 = 5;
/// Links read at once.
const READ_AHEAD: usize = 32;

/// The newest links, as far as this process has read or written them, so that a round in which
/// nothing changed asks the store nothing.
#[derive(Debug)]
pub(super) struct Chains<T> {
    store: Store,
    known: HashMap<String, Newest<T>>,
}

/// The number of the newest link (0: there is none), and what it says where it can be read.
#[derive(Debug)]
struct Newest<T> {
    seq: u64,
    says: Option<T>,
}

impl<T: PartialEq + Serialize + DeserializeOwned + Send> Chains<T> {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            known: HashMap::new(),
        }
    }

    /// Reads the newest link of every chain under `folder`; a damaged one counts as not said.
    pub(super) async fn load(&mut self, folder: &str) -> Result<(), StoreError> {
        let mut newest: HashMap<String, u64> = HashMap::new();
        for name in self.store.list(folder).await? {
            if let Some((chain, seq)) = link(&name) {
                let known = newest.entry(chain.to_owned()).or_default();
                *known = seq.max(*known);
            }
        }
        let mut reads = stream::iter(newest)
            .map(async |(chain, seq)| {
                let says = read(&self.store, &chain, seq).await;
                (chain, seq, says)
            })
            .buffer_unordered(READ_AHEAD);
        let mut known = HashMap::new();
        while let Some((chain, seq, says)) = reads.next().await {
            known.insert(chain, Newest { seq, says: says? });
        }
        drop(reads);
        self.known.extend(known);
        Ok(())
    }

    /// What the newest links say, where it is known.
    pub(super) fn says(&self) -> impl Iterator<Item = &T> {
        self.known
            .values()
            .filter_map(|newest| newest.says.as_ref())
    }

    /// What the newest link of a chain says, where it is known.
    pub(super) fn said(&self, chain: &str) -> Option<&T> {
        self.known.get(chain)?.says.as_ref()
    }

    /// Appends what `next` makes of the newest link, unless that says the same; true when it was
    /// written. What is known without asking may be behind another process, so it decides only
    /// that nothing changed.
    pub(super) async fn tell(
        &mut self,
        chain: &str,
        next: impl Fn(Option<&T>) -> T,
    ) -> Result<bool, StoreError> {
        if let Some(Newest {
            says: Some(says), ..
        }) = self.known.get(chain)
            && next(Some(says)) == *says
        {
            return Ok(false);
        }
        for _ in 0..TRIES {
            let newest = self.newest(chain).await?;
            let link = next(newest.says.as_ref());
            let is_new = newest.says.as_ref() != Some(&link);
            let seq = newest.seq + u64::from(is_new);
            if is_new && chain::append(&self.store, chain, seq, &link).await? == Created::Taken {
                // Another `sync` was quicker; perhaps it wrote the same.
                continue;
            }
            let says = Some(link);
            self.known.insert(chain.to_owned(), Newest { seq, says });
            return Ok(is_new);
        }
        Err(StoreError::Unknown {
            key: chain.to_owned(),
            reason: "another writer is always quicker".into(),
        })
    }

    async fn newest(&self, chain: &str) -> Result<Newest<T>, StoreError> {
        let names = self.store.list(chain).await?;
        let of_chain = names.iter().filter_map(|name| link(name));
        let numbers = of_chain.filter(|(of, _)| *of == chain).map(|(_, seq)| seq);
        let Some(seq) = numbers.max() else {
            return Ok(Newest { seq: 0, says: None });
        };
        let says = read(&self.store, chain, seq).await?;
        Ok(Newest { seq, says })
    }
}

/// A link that is damaged says nothing: the next one puts it right.
async fn read<T: DeserializeOwned>(
    store: &Store,
    chain: &str,
    seq: u64,
) -> Result<Option<T>, StoreError> {
    match store.get(&chain::key(chain, seq)).await {
        Err(StoreError::Damaged { .. }) => Ok(None),
        read => read,
    }
}

/// Chain and number of a link's key.
fn link(name: &str) -> Option<(&str, u64)> {
    let (chain, file) = name.rsplit_once('/')?;
    Some((chain, file.strip_suffix(".json")?.parse().ok()?))
}
