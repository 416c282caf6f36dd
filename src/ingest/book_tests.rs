use std::sync::Arc;

use futures::stream::BoxStream;

use super::*;
use crate::domain::alert::{Alert, AlertStatus, Labels, Source};

const TIMING: EpisodeTiming = EpisodeTiming {
    gap: Duration::from_mins(5),
    remind_after: Duration::from_hours(1),
};
const SKEW: Duration = Duration::from_secs(30);

fn t(seconds: i64) -> Timestamp {
    // Just before midnight, so that days change under way.
    Timestamp::from_second(1_795_391_990 + seconds).unwrap()
}

fn book(store: &Store) -> EpisodeBook {
    EpisodeBook::new(store.clone(), ReplicaId::random(), TIMING, SKEW)
}

fn group(names: &[&str], start: i64, lease: i64, status: AlertStatus) -> AlertGroup {
    let alert = |name: &&str| {
        let labels = Labels::from([("alertname".to_owned(), (*name).to_owned())]);
        Alert {
            fingerprint: Fingerprint::of(&labels),
            status,
            labels,
            annotations: Labels::new(),
            starts_at: t(start),
            ends_at: Some(t(lease)),
            generator_url: None,
            source: Source::Vmalert,
        }
    };
    AlertGroup {
        source: Source::Vmalert,
        key: "vmalert//x".into(),
        receiver: String::new(),
        group_labels: Labels::new(),
        route_labels: Labels::new(),
        alerts: names.iter().map(alert).collect(),
        truncated: 0,
        external_url: None,
        received_at: t(start),
    }
}

fn firing(names: &[&str], start: i64, lease: i64) -> AlertGroup {
    group(names, start, lease, AlertStatus::Firing)
}

#[tokio::test]
async fn a_delivery_is_one_document_and_reaches_the_other_replicas() {
    let store = Store::in_memory();
    let (one, two) = (book(&store), book(&store));
    two.refresh(t(0)).await.unwrap();
    let observation = one.observe(&firing(&["A", "B"], 0, 60), t(1));
    assert_eq!(observation.of(Class::Started).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(observation.covers().len(), 2);
    assert!(one.record(observation.note.unwrap(), t(1)).await);
    assert_eq!(store.list("episodes").await.unwrap().len(), 1);

    // The other one's clock is ahead, and the day has changed.
    assert_eq!(two.refresh(t(25)).await.unwrap(), 1);
    assert_eq!(two.refresh(t(26)).await.unwrap(), 0);
    let again = two.observe(&firing(&["A", "B"], 0, 75), t(26));
    assert_eq!(again.of(Class::Still).count(), 2);
    assert_eq!(again.note, None);
    assert_eq!(two.open_alerts().len(), 2);

    // Both find the same expiry under the same name.
    let (mut ours, theirs) = (one.sweep(t(400)).await, two.sweep(t(400)).await);
    ours.sort_by_key(|expiry| expiry.episode);
    let mut names: Vec<_> = theirs.iter().map(|expiry| expiry.fact.clone()).collect();
    names.sort();
    assert_eq!(
        ours.iter()
            .map(|expiry| expiry.fact.clone())
            .collect::<Vec<_>>(),
        names
    );
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn a_replica_that_starts_reads_what_is_open() {
    let store = Store::in_memory();
    let one = book(&store);
    for (at, name) in [(-7_200, "A"), (-60, "B")] {
        let note = one
            .observe(&firing(&[name], at, at + 9_000), t(at))
            .note
            .unwrap();
        assert!(one.record(note, t(at)).await);
    }
    let two = book(&store);
    assert_eq!(two.refresh(t(20)).await.unwrap(), 2);
    assert_eq!(two.open_alerts(), one.open_alerts());
}

#[tokio::test(start_paused = true)]
async fn with_the_store_down_the_book_goes_on_says_so_and_catches_up() {
    let (store, switch) = breakable();
    let one = book(&store);
    one.refresh(t(0)).await.unwrap();
    assert!(!one.is_alone());
    switch.store(true, Ordering::Relaxed);
    let note = one.observe(&firing(&["A"], 0, 60), t(1)).note.unwrap();
    assert!(!one.record(note, t(1)).await);
    assert!(one.is_alone());
    assert_eq!(
        one.observe(&firing(&["A"], 0, 70), t(2))
            .of(Class::Still)
            .count(),
        1
    );
    // The other replica may hear of it: patience.
    assert!(one.sweep(t(400)).await.is_empty());
    assert!(one.refresh(t(401)).await.is_err());

    switch.store(false, Ordering::Relaxed);
    one.refresh(t(402)).await.unwrap();
    assert!(!one.is_alone());
    let two = book(&store);
    assert_eq!(two.refresh(t(403)).await.unwrap(), 1);
    assert_eq!(two.open_alerts().len(), 1);
}

#[tokio::test]
async fn a_damaged_document_is_left_out() {
    let store = Store::in_memory();
    store
        .put_bytes(
            &keys::episodes(t(0), "x"),
            bytes::Bytes::from_static(b"nonsense"),
        )
        .await
        .unwrap();
    let one = book(&store);
    let note = one.observe(&firing(&["A"], 0, 60), t(1)).note.unwrap();
    one.record(note, t(1)).await;
    let two = book(&store);
    two.refresh(t(2)).await.unwrap();
    assert_eq!(two.open_alerts().len(), 1);
}

/// A store whose every call fails while the switch is on.
fn breakable() -> (Store, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let store = Breakable {
        inner: object_store::memory::InMemory::new(),
        down: Arc::clone(&switch),
    };
    (Store::new(Arc::new(store), "breakable"), switch)
}

#[derive(Debug)]
struct Breakable {
    inner: object_store::memory::InMemory,
    down: Arc<AtomicBool>,
}

impl std::fmt::Display for Breakable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("breakable")
    }
}

impl Breakable {
    fn check(&self) -> object_store::Result<()> {
        if self.down.load(Ordering::Relaxed) {
            return Err(object_store::Error::Generic {
                store: "breakable",
                source: "down".into(),
            });
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl object_store::ObjectStore for Breakable {
    async fn put_opts(
        &self,
        path: &object_store::path::Path,
        payload: object_store::PutPayload,
        options: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        self.check()?;
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &object_store::path::Path,
        options: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.check()?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(
        &self,
        path: &object_store::path::Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.check()?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<object_store::path::Path>>,
    ) -> BoxStream<'static, object_store::Result<object_store::path::Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(
        &self,
        prefix: Option<&object_store::path::Path>,
    ) -> BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        match self.check() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(
        &self,
        prefix: Option<&object_store::path::Path>,
    ) -> object_store::Result<object_store::ListResult> {
        self.check()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &object_store::path::Path,
        to: &object_store::path::Path,
        options: object_store::CopyOptions,
    ) -> object_store::Result<()> {
        self.check()?;
        self.inner.copy_opts(from, to, options).await
    }
}
