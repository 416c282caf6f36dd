//! Finds and reads the documents that are new since the last look.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use moka::future::Cache;

use crate::domain::deployment::{Deployment, Instance, Instances};
use crate::domain::id::Host;
use crate::domain::release::{Mark, Release};
use crate::domain::source::TagRecord;
use crate::store::{Store, StoreError, keys};

/// Documents read at once.
const READ_AHEAD: usize = 32;
/// A damaged document is looked at again after this, in case somebody repaired it.
const DAMAGED_FOR: Duration = Duration::from_mins(1);
/// Damaged documents remembered at most.
const DAMAGED_LIMIT: u64 = 10_000;

/// One document that the catalog is made of.
#[derive(Debug, Clone)]
pub(super) enum Document {
    Release(Arc<Release>),
    Deployment(Arc<Deployment>),
    Instance(Arc<Instance>),
    Snapshot(Arc<[Instance]>),
    Mark(Arc<Mark>),
    Tag(Arc<TagRecord>),
}

/// What changed since the last look.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// New documents with the key (or the chain) they belong to.
    pub(super) read: Vec<(String, Document)>,
    /// Keys and chains that are no longer there.
    pub(super) gone: Vec<String>,
    /// Newly found damaged documents, with the reason.
    pub(super) damaged: Vec<String>,
    /// False when a document could not be fetched; it is tried again at the next look.
    pub(super) complete: bool,
}

/// What has been read already.
#[derive(Debug)]
pub(super) struct Documents {
    store: Store,
    /// Key or chain, and the number of the link that was read (0 where there is no chain).
    known: HashMap<String, u64>,
    /// Keys of documents that could not be understood.
    damaged: Cache<String, ()>,
}

/// What kinds there are.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Release,
    Deployment,
    Instance,
    Snapshot,
    Mark,
    Tag,
}

const KINDS: [(&str, Kind); 6] = [
    ("releases", Kind::Release),
    ("deployments", Kind::Deployment),
    ("instances", Kind::Instance),
    ("snapshots", Kind::Snapshot),
    ("marks", Kind::Mark),
    ("tags", Kind::Tag),
];

impl Documents {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            known: HashMap::new(),
            damaged: Cache::builder()
                .max_capacity(DAMAGED_LIMIT)
                .time_to_live(DAMAGED_FOR)
                .build(),
        }
    }

    /// Lists everything and reads what is new.
    pub(super) async fn read_new(&mut self) -> Result<Change, StoreError> {
        let listings = KINDS.map(|(prefix, kind)| {
            let store = &self.store;
            async move { Ok::<_, StoreError>((kind, store.list(prefix).await?)) }
        });
        let listings = futures::future::try_join_all(listings).await?;
        let mut wanted: Vec<(Kind, String, u64, String)> = Vec::new();
        let mut still_there = 0;
        let mut listed: Vec<BTreeMap<String, (u64, String)>> = Vec::new();
        for (kind, names) in listings {
            let newest = newest(kind, names);
            for (place, (seq, key)) in &newest {
                let known = self.known.get(place);
                still_there += usize::from(known.is_some());
                let is_new = known.is_none_or(|known| known < seq);
                if is_new && !self.damaged.contains_key(key) {
                    wanted.push((kind, place.clone(), *seq, key.clone()));
                }
            }
            listed.push(newest);
        }
        let gone = if still_there < self.known.len() {
            let there = |place: &String| listed.iter().any(|newest| newest.contains_key(place));
            let gone = self.known.keys().filter(|place| !there(place));
            gone.cloned().collect()
        } else {
            Vec::new()
        };
        for place in &gone {
            self.known.remove(place);
        }
        let mut change = self.fetch(wanted).await;
        change.gone = gone;
        Ok(change)
    }

    async fn fetch(&mut self, wanted: Vec<(Kind, String, u64, String)>) -> Change {
        let mut change = Change {
            complete: true,
            ..Change::default()
        };
        let store = self.store.clone();
        let reads = stream::iter(wanted).map(|(kind, place, seq, key)| {
            let store = store.clone();
            async move {
                let document = read(&store, kind, &place, &key).await;
                (place, seq, key, document)
            }
        });
        let mut reads = reads.buffer_unordered(READ_AHEAD);
        let mut names = Names::default();
        while let Some((place, seq, key, document)) = reads.next().await {
            match document {
                Ok(Some(mut document)) => {
                    names.share(&mut document);
                    self.known.insert(place.clone(), seq);
                    change.read.push((place, document));
                }
                // Listed and gone: the next listing will tell.
                Ok(None) => {}
                Err(StoreError::Damaged { key: _, reason }) => {
                    change.damaged.push(format!("`{key}`: {reason}"));
                    self.damaged.insert(key, ()).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "a document of the catalog could not be fetched");
                    change.complete = false;
                }
            }
        }
        change
    }
}

/// Texts of hosts that were met: the same host is in many deployments, and its name is kept once.
#[derive(Default)]
struct Names(HashSet<Host>);

impl Names {
    fn share(&mut self, document: &mut Document) {
        match document {
            Document::Deployment(one) => {
                let one = Arc::make_mut(one);
                let members = one.batches.iter_mut().flat_map(|batch| &mut batch.hosts);
                for host in members.chain(&mut one.target_hosts) {
                    self.one(host);
                }
            }
            Document::Instance(one) => self.one(&mut Arc::make_mut(one).host),
            Document::Snapshot(all) => {
                for one in Arc::get_mut(all).into_iter().flatten() {
                    self.one(&mut one.host);
                }
            }
            Document::Release(_) | Document::Mark(_) | Document::Tag(_) => {}
        }
    }

    fn one(&mut self, host: &mut Host) {
        match self.0.get(host) {
            Some(known) => host.clone_from(known),
            None => drop(self.0.insert(host.clone())),
        }
    }
}

/// The newest link of each chain, by chain; documents without a chain by their key.
fn newest(kind: Kind, names: Vec<String>) -> BTreeMap<String, (u64, String)> {
    let mut newest: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for key in names {
        let Some(stem) = key.strip_suffix(".json") else {
            continue;
        };
        if let Kind::Release = kind {
            newest.insert(key.clone(), (0, key));
            continue;
        }
        let Some((chain, seq)) = stem.rsplit_once('/') else {
            continue;
        };
        let Ok(seq) = seq.parse::<u64>() else {
            continue;
        };
        if newest.get(chain).is_none_or(|(known, _)| *known < seq) {
            newest.insert(chain.to_owned(), (seq, key));
        }
    }
    newest
}

/// Reads one document and makes sure that it stands where it belongs: a document that names
/// another release or lane than its key does was not put there by its writer.
async fn read(
    store: &Store,
    kind: Kind,
    place: &str,
    key: &str,
) -> Result<Option<Document>, StoreError> {
    let (document, belongs) = match kind {
        Kind::Release => {
            let Some(release) = store.get::<Release>(key).await? else {
                return Ok(None);
            };
            let belongs = keys::release(&release.service, &release.id);
            (Document::Release(Arc::new(release)), belongs)
        }
        Kind::Deployment => {
            let Some(one) = store.get::<Deployment>(key).await? else {
                return Ok(None);
            };
            let belongs = keys::deployment(&one.service, &one.env, &one.id);
            (Document::Deployment(Arc::new(one)), belongs)
        }
        Kind::Instance => {
            let Some(one) = store.get::<Instance>(key).await? else {
                return Ok(None);
            };
            let belongs = keys::instance(&one.service, &one.env, &one.deployment_id, &one.host);
            (Document::Instance(Arc::new(one)), belongs)
        }
        Kind::Snapshot => {
            let Some(all) = store.get::<Instances>(key).await? else {
                return Ok(None);
            };
            let belongs = keys::snapshot(&all.service, &all.env, &all.deployment_id);
            (Document::Snapshot(all.records().collect()), belongs)
        }
        Kind::Mark => {
            let Some(mark) = store.get::<Mark>(key).await? else {
                return Ok(None);
            };
            let belongs = keys::marks(&mark.release_id);
            (Document::Mark(Arc::new(mark)), belongs)
        }
        Kind::Tag => {
            let Some(tag) = store.get::<TagRecord>(key).await? else {
                return Ok(None);
            };
            let service = tag.release_id.service();
            let belongs = service.map(|service| keys::tag(&service, &tag.release_id));
            (Document::Tag(Arc::new(tag)), belongs.unwrap_or_default())
        }
    };
    if belongs != place {
        return Err(StoreError::Damaged {
            key: key.to_owned(),
            reason: "it names another release, deployment or host than its key".into(),
        });
    }
    Ok(Some(document))
}
