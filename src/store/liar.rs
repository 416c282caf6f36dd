//! A store that lies once, for tests: what real ones were seen to do to a create.
//!
//! [`each_lie`] tells every lie at every create of a scenario, one a run.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::Store;

/// Longer than anybody waits for an answer.
const TOO_LATE: Duration = Duration::from_secs(30);
/// A write on its way, and its sender has asked again since.
const ON_ITS_WAY: Duration = Duration::from_millis(2500);

/// What one create is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// 409, and nobody has the key.
    ConflictOverNothing,
    /// Written; the client's own second request met the first one's object.
    ConflictWithItself,
    /// Written; then a 500, or the connection was gone.
    LostAnswer,
    /// Written; the answer comes later than anybody waits.
    LateAnswer,
    /// Not written, no answer; the request arrives after its sender has given up on it.
    LateWrite,
    /// Written, the answer is lost, and the first read-back fails.
    LostAnswerAndReadBack,
    /// 409, nobody has the key, and the first read-back fails.
    ConflictAndReadBack,
    /// Written, the answer is lost, and no read-back ever comes.
    NobodyCanTell,
}

/// Those that a create sees through.
const LIES: [Lie; 7] = [
    Lie::ConflictOverNothing,
    Lie::ConflictWithItself,
    Lie::LostAnswer,
    Lie::LateAnswer,
    Lie::LateWrite,
    Lie::LostAnswerAndReadBack,
    Lie::ConflictAndReadBack,
];

/// Memory behind the lie.
#[derive(Debug)]
pub(crate) struct Liar {
    memory: Arc<InMemory>,
    lie: Lie,
    /// Creates that are still told the truth.
    honest: AtomicUsize,
    lied: AtomicBool,
    /// The key whose next read fails.
    blind: Mutex<Option<Path>>,
}

impl Liar {
    /// Tells `lie` to the create after `honest` others.
    pub(crate) fn new(lie: Lie, honest: usize) -> Arc<Self> {
        Arc::new(Self {
            memory: Arc::default(),
            lie,
            honest: AtomicUsize::new(honest),
            lied: AtomicBool::new(false),
            blind: Mutex::default(),
        })
    }

    /// The store as the liar shows it.
    pub(crate) fn store(self: &Arc<Self>) -> Store {
        Store::new(Arc::<Self>::clone(self), "a liar")
    }

    /// The same documents, told the truth about.
    pub(crate) fn truth(&self) -> Store {
        Store::new(Arc::<InMemory>::clone(&self.memory), "the truth")
    }

    /// Lets everything be read again.
    pub(crate) fn can_tell_again(&self) {
        *self.blind.lock().unwrap() = None;
    }

    /// Whether the lie was told.
    pub(crate) fn has_lied(&self) -> bool {
        self.lied.load(Ordering::SeqCst)
    }

    /// Whether this create is the one.
    fn is_due(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        let told_truth = self
            .honest
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok();
        !told_truth && !self.lied.swap(true, Ordering::SeqCst)
    }
}

/// Runs `scenario` once for every lie and every create it makes. Give it paused time.
pub(crate) async fn each_lie<F, S>(scenario: F)
where
    F: Fn(Arc<Liar>) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    for lie in LIES {
        let mut honest = 0;
        loop {
            let liar = Liar::new(lie, honest);
            if let Err(failed) = tokio::spawn(scenario(Arc::clone(&liar))).await {
                panic!("{lie:?}, told after {honest} creates: {failed}");
            }
            if !liar.has_lied() {
                break;
            }
            honest += 1;
        }
        assert!(honest > 0, "nothing was created");
    }
}

fn broken() -> Error {
    Error::Generic {
        store: "liar",
        source: "no answer".into(),
    }
}

fn conflict(location: &Path) -> Error {
    Error::AlreadyExists {
        path: location.to_string(),
        source: "conflict".into(),
    }
}

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that lies once")
    }
}

#[async_trait]
impl ObjectStore for Liar {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        if opts.mode != PutMode::Create || !self.is_due() {
            return self.memory.put_opts(location, payload, opts).await;
        }
        let lie = self.lie;
        if matches!(
            lie,
            Lie::LostAnswerAndReadBack | Lie::ConflictAndReadBack | Lie::NobodyCanTell
        ) {
            *self.blind.lock().unwrap() = Some(location.clone());
        }
        match lie {
            Lie::ConflictOverNothing | Lie::ConflictAndReadBack => Err(conflict(location)),
            Lie::LateWrite => {
                let (memory, location) = (Arc::clone(&self.memory), location.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(ON_ITS_WAY).await;
                    // Nobody hears whether it found the key free.
                    drop(memory.put_opts(&location, payload, opts).await);
                });
                tokio::time::sleep(TOO_LATE).await;
                Err(broken())
            }
            _ => {
                let written = self.memory.put_opts(location, payload, opts).await?;
                match lie {
                    Lie::ConflictWithItself => Err(conflict(location)),
                    Lie::LateAnswer => {
                        tokio::time::sleep(TOO_LATE).await;
                        Ok(written)
                    }
                    _ => Err(broken()),
                }
            }
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fails = {
            let mut blind = self.blind.lock().unwrap();
            let fails = blind.as_ref() == Some(location);
            if fails && self.lie != Lie::NobodyCanTell {
                *blind = None;
            }
            fails
        };
        if fails {
            return Err(broken());
        }
        self.memory.get_opts(location, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(location, opts).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Created, StoreError};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_create_is_mine_and_stands_once_whatever_it_is_told() {
        each_lie(|liar| async move {
            let store = liar.store();
            assert_eq!(
                store.create("k.json", &"mine").await.unwrap(),
                Created::Mine
            );
            assert_eq!(
                store.create("k.json", &"other").await.unwrap(),
                Created::Taken
            );
            // Longer than a write is on its way.
            tokio::time::sleep(TOO_LATE).await;
            let stands = liar.truth().get::<String>("k.json").await.unwrap();
            assert_eq!(stands.as_deref(), Some("mine"));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_another_won_meanwhile_is_taken_whatever_is_told() {
        each_lie(|liar| async move {
            let (mine, theirs) = (liar.store(), liar.truth());
            let (mine, theirs) = tokio::join!(
                mine.create("k.json", &"mine"),
                theirs.create("k.json", &"theirs")
            );
            let won = [mine.unwrap(), theirs.unwrap()];
            let won = won.iter().filter(|created| **created == Created::Mine);
            assert_eq!(won.count(), 1);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_not_be_read_back_is_neither_ours_nor_free() {
        let liar = Liar::new(Lie::NobodyCanTell, 0);
        let outcome = liar.store().create("k.json", &"mine").await;
        assert!(
            matches!(outcome, Err(StoreError::Unknown { .. })),
            "{outcome:?}"
        );
    }
}
