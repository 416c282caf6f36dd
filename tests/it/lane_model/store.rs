//! A store that lies the way real ones were seen to: replies lost after the write, a 409 with no
//! object, answers that come late, errors; and writes that land long after their sender gave up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use super::replica::Life;
use super::world::{Flaw, World};

/// The longest a write is on its way.
const LATEST_WRITE_MS: u64 = 20_000;

#[derive(Debug)]
pub(super) struct Lying {
    pub(super) world: Arc<World>,
    pub(super) memory: Arc<InMemory>,
    pub(super) life: Arc<Life>,
}

impl fmt::Display for Lying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that lies")
    }
}

fn broken() -> Error {
    Error::Generic {
        store: "model",
        source: "no answer".into(),
    }
}

impl Lying {
    async fn arrive(&self) -> Result<()> {
        self.life.pass().await;
        let slow = if self.world.fault(3) { 1500 } else { 20 };
        self.world.wait_up_to(slow).await;
        if self.world.store_is_down() || self.world.fault(3) {
            return Err(broken());
        }
        Ok(())
    }

    /// The same request arrives when nobody listens for its answer any more.
    fn later(&self, location: &Path, payload: PutPayload, opts: PutOptions) {
        let (memory, world) = (Arc::clone(&self.memory), Arc::clone(&self.world));
        let location = location.clone();
        tokio::spawn(async move {
            world.wait_up_to(LATEST_WRITE_MS).await;
            drop(memory.put_opts(&location, payload, opts).await);
        });
    }

    /// As some S3 look-alikes do.
    async fn check_then_act(&self, location: &Path, payload: PutPayload) -> Result<PutResult> {
        if self.memory.head(location).await.is_ok() {
            return Err(Error::AlreadyExists {
                path: location.to_string(),
                source: "it is there".into(),
            });
        }
        self.world.wait_up_to(50).await;
        self.memory.put(location, payload).await
    }
}

#[async_trait]
impl ObjectStore for Lying {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.arrive().await?;
        if self.world.flaw == Flaw::CheckThenAct {
            return self.check_then_act(location, payload).await;
        }
        if self.world.fault(3) {
            // The loser of a race that nobody won.
            self.world.count("store: conflicts over nothing");
            return Err(Error::AlreadyExists {
                path: location.to_string(),
                source: "conflict".into(),
            });
        }
        if self.world.fault(3) {
            self.world.count("store: late writes");
            self.later(location, payload, opts);
            tokio::time::sleep(Duration::from_mins(1)).await;
            return Err(broken());
        }
        if self.world.fault(3) {
            self.world.count("store: doubled writes");
            self.later(location, payload.clone(), opts.clone());
        }
        let result = self.memory.put_opts(location, payload, opts).await;
        if self.world.fault(5) {
            self.world.count("store: lost answers");
            return Err(broken());
        }
        self.life.pass().await;
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.arrive().await?;
        let result = self.memory.get_opts(location, options).await;
        self.life.pass().await;
        result
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if self.world.store_is_down() || self.world.fault(5) {
            return stream::once(async { Err(broken()) }).boxed();
        }
        self.memory.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.world.store_is_down() || self.world.fault(3) {
            return stream::once(async { Err(broken()) }).boxed();
        }
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.arrive().await?;
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}
