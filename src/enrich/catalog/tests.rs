use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::samples::{at, deployment, host, lane, put};
use super::*;
use crate::domain::clock::ManualClock;
use crate::domain::deployment::{Health, HostRecord, Instances, Phase, Status, Strategy};
use crate::domain::id::{DeploymentId, Host, ReleaseId};
use crate::domain::lane::{BatchStart, LaneState};
use crate::domain::release::{Mark, MarkKind};
use crate::store::chain;

async fn mark(store: &Store, seq: u64, version: &str, kind: MarkKind) {
    let release_id = ReleaseId::of(&lane().0, version).unwrap();
    let mark = Mark {
        release_id: release_id.clone(),
        kind,
        reason: "r".into(),
        by: "oncall".into(),
        at: at(0),
        incident: None,
    };
    chain::append(store, &keys::marks(&release_id), seq, &mark)
        .await
        .unwrap();
}

fn catalog(store: &Store, now: i64) -> (Catalog, Arc<ManualClock>) {
    let clock = ManualClock::at(at(now));
    let shared: SharedClock = clock.clone();
    (
        Catalog::new(store.clone(), shared, &Timing::default()),
        clock,
    )
}

fn index(catalog: &Catalog) -> Arc<LaneIndex> {
    let (service, env) = lane();
    catalog.view().lane(&service, &env).unwrap()
}

#[tokio::test]
async fn membership_is_an_interval_from_one_batch_to_the_next() {
    let store = Store::in_memory();
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1", "h2"]])).await;
    put(&store, 1, &deployment("D2", "2", 1000, &[&["h1"], &["h2"]])).await;
    let (catalog, _) = catalog(&store, 5000);
    catalog.refresh().await.unwrap();
    let lane = index(&catalog);
    let who = |name, when| {
        let found = lane.membership(&host(name), at(when));
        found.map(|found| (found.deployment.id.to_string(), found.batch))
    };
    assert_eq!(who("h1", 59), None);
    assert_eq!(who("h1", 60), Some(("D1".into(), 1)));
    assert_eq!(who("h1", 1059), Some(("D1".into(), 1)));
    assert_eq!(who("h1", 1060), Some(("D2".into(), 1)));
    assert_eq!(who("h2", 1119), Some(("D1".into(), 1)));
    assert_eq!(who("h2", 9999), Some(("D2".into(), 2)));
    assert_eq!(who("h3", 100), None);
    assert_eq!(lane.stays(&host("h1"))[0].to, Some(at(1060)));
    let running = |when| {
        lane.running(at(when))
            .iter()
            .map(|one| one.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(running(1070), ["D1", "D2"]);
    assert_eq!(running(2000), ["D2"]);
}

#[tokio::test]
async fn a_second_set_that_took_over_ends_what_the_first_ran() {
    let store = Store::in_memory();
    let set = |id, version, start, hosts: &[&str], status| {
        let mut one = deployment(id, version, start, &[hosts]);
        one.strategy = Strategy::BlueGreen;
        one.batches[0].status = status;
        one.batches[0].finished_at = Some(at(start + 500));
        one
    };
    let (done, failed) = (Status::Success, Status::Failed);
    put(&store, 1, &set("D1", "1", 0, &["blue"], done)).await;
    put(&store, 1, &set("D2", "2", 1_000, &["green"], failed)).await;
    // Taken back later, yet it had taken over.
    let mut third = set("D3", "3", 2_000, &["red"], done);
    third.status = Status::RolledBack;
    put(&store, 1, &third).await;
    let mut back = set("R1", "1", 3_000, &["blue"], done);
    back.is_rollback = true;
    put(&store, 1, &back).await;
    let (catalog, _) = catalog(&store, 9_000);
    catalog.refresh().await.unwrap();
    let lane = index(&catalog);
    let runs = |when| {
        let mut hosts: Vec<&str> = lane.current_hosts(at(when)).map(Host::as_str).collect();
        hosts.sort_unstable();
        hosts
    };
    // The failed set ran beside the first, until another one took over.
    assert_eq!(runs(1_600), ["blue", "green"]);
    assert_eq!(runs(2_400), ["blue", "green", "red"]);
    assert_eq!(runs(2_600), ["red"]);
    assert_eq!(runs(3_400), ["blue", "red"]);
    assert_eq!(runs(3_600), ["blue"]);
}

#[tokio::test]
async fn a_host_is_found_by_its_other_names_unless_two_share_one() {
    let store = Store::in_memory();
    put(
        &store,
        1,
        &deployment(
            "D1",
            "1",
            0,
            &[&["web1.eu.example", "web2", "Db1.a", "db1.b"]],
        ),
    )
    .await;
    let instance = Instance {
        host: host("web2"),
        ip: Some("10.0.0.2".parse().unwrap()),
        status: Status::Success,
        deployed_at: None,
        health_status: Health::Unknown,
        error_message: None,
        deployment_id: DeploymentId::new("D1").unwrap(),
        release_id: ReleaseId::new("checkout@1").unwrap(),
        service: lane().0,
        env: lane().1,
        batch: 1,
        from: Some(at(90)),
        to: None,
    };
    let key = keys::instance(
        &lane().0,
        &lane().1,
        &instance.deployment_id,
        &instance.host,
    );
    chain::append(&store, &key, 1, &instance).await.unwrap();
    let (catalog, _) = catalog(&store, 5000);
    catalog.refresh().await.unwrap();
    let lane = index(&catalog);
    let name = |text| lane.canonical(&host(text)).map(Host::as_str);
    assert_eq!(name("web1"), Some("web1.eu.example"));
    assert_eq!(name("web1.us.example"), None);
    assert_eq!(name("web2.us.example"), Some("web2"));
    assert_eq!(name("WEB2"), Some("web2"));
    assert_eq!(name("10.0.0.2"), Some("web2"));
    assert_eq!(name("db1.a"), Some("Db1.a"));
    assert_eq!(name("db1"), None);
    // The agent knows better than the batch when the release arrived.
    assert!(lane.membership(&host("web2"), at(80)).is_none());
}

#[tokio::test]
async fn the_newest_link_counts_and_only_new_documents_are_read() {
    let store = Store::in_memory();
    let mut one = deployment("D1", "1", 0, &[&["h1"]]);
    one.status = Status::Running;
    put(&store, 1, &one).await;
    let (catalog, _) = catalog(&store, 5000);
    assert_eq!(catalog.refresh().await.unwrap().read, 1);
    assert_eq!(index(&catalog).active().len(), 1);
    assert_eq!(catalog.refresh().await.unwrap().read, 0);
    one.status = Status::Success;
    put(&store, 2, &one).await;
    put(&store, 1, &deployment("D2", "2", 100, &[&["h2"]])).await;
    assert_eq!(catalog.refresh().await.unwrap().read, 2);
    assert!(index(&catalog).active().is_empty());
    store
        .delete(&chain::key(
            &keys::deployment(&lane().0, &lane().1, &DeploymentId::new("D2").unwrap()),
            1,
        ))
        .await
        .unwrap();
    catalog.refresh().await.unwrap();
    assert_eq!(index(&catalog).deployments().len(), 1);
}

#[tokio::test]
async fn a_damaged_or_misplaced_document_is_reported_once_and_left_out() {
    let store = Store::in_memory();
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1"]])).await;
    store
        .put_bytes("marks/checkout@1/0000000001.json", Bytes::from_static(b"{"))
        .await
        .unwrap();
    let stray = deployment("D2", "2", 0, &[&["h1"]]);
    chain::append(&store, "deployments/cart/prod/D2", 1, &stray)
        .await
        .unwrap();
    let (catalog, _) = catalog(&store, 5000);
    let done = catalog.refresh().await.unwrap();
    assert_eq!(done.damaged.len(), 2, "{done:?}");
    assert!(
        done.damaged
            .iter()
            .any(|reason| reason.contains("names another release"))
    );
    assert_eq!(index(&catalog).deployments().len(), 1);
    assert!(catalog.refresh().await.unwrap().damaged.is_empty());
}

#[tokio::test]
async fn with_the_store_down_the_last_state_stays_and_grows_old() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    std::fs::create_dir(&root).unwrap();
    let files = object_store::local::LocalFileSystem::new_with_prefix(&root).unwrap();
    let store = Store::new(Arc::new(files), "file:");
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1"]])).await;
    let (catalog, clock) = catalog(&store, 0);
    assert_eq!(catalog.view().freshness(), None);
    catalog.refresh().await.unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::write(&root, "no folder").unwrap();
    clock.advance(Duration::from_secs(601));
    catalog.refresh().await.unwrap_err();
    let freshness = catalog.view().freshness().unwrap();
    assert_eq!((freshness.as_of, freshness.stale), (at(0), true));
    assert_eq!(index(&catalog).deployments().len(), 1);
}

#[tokio::test]
async fn stable_is_soaked_whole_and_not_refused_or_vouched_for() {
    let store = Store::in_memory();
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1"]])).await;
    put(&store, 1, &deployment("D2", "2", 2000, &[&["h1"]])).await;
    let mut refused = deployment("D3", "3", 4000, &[&["h1"]]);
    refused.status = Status::RolledBack;
    put(&store, 1, &refused).await;
    put(&store, 1, &deployment("D4", "4", 6000, &[&["h1"]])).await;
    let mut back = deployment("R1", "1", 6500, &[&["h1"]]);
    back.is_rollback = true;
    put(&store, 1, &back).await;
    put(&store, 1, &deployment("D5", "5", 8000, &[&["h1"]])).await;
    mark(&store, 1, "4", MarkKind::Bad).await;
    mark(&store, 1, "0", MarkKind::Stable).await;
    mark(&store, 1, "0.1", MarkKind::Stable).await;
    mark(&store, 2, "0.1", MarkKind::Clear).await;
    // D5 has ended and not soaked.
    let (catalog, _) = catalog(&store, 8700);
    catalog.refresh().await.unwrap();
    let stable = catalog.view().stable(&lane().0, &lane().1);
    let ids: Vec<(&str, bool)> = stable
        .iter()
        .map(|one| (one.release_id.as_str(), one.vouched))
        .collect();
    assert_eq!(
        ids,
        [
            ("checkout@2", false),
            ("checkout@1", false),
            ("checkout@0", true)
        ]
    );
}

fn starts(
    version: &str,
    starts: &[(u32, i64, &str)],
    of: Option<u32>,
) -> BTreeMap<u32, BatchStart> {
    let release_id = ReleaseId::of(&lane().0, version).unwrap();
    let start = |&(n, when, name): &(u32, i64, &str)| {
        let start = BatchStart {
            seq: 1,
            at: at(when),
            release_id: release_id.clone(),
            of,
            hosts: vec![host(name)],
        };
        (n, start)
    };
    starts.iter().map(start).collect()
}

#[tokio::test]
async fn a_batch_post_is_known_before_sync_tells() {
    let store = Store::in_memory();
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1", "h2"]])).await;
    let mut second = deployment("D2", "2", 2000, &[&["h1"], &["h2"]]);
    second.status = Status::Running;
    second.batches[1].started_at = None;
    put(&store, 1, &second).await;
    let (catalog, _) = catalog(&store, 5000);
    catalog.refresh().await.unwrap();
    let (service, env) = lane();
    let mut state = LaneState::default();
    state.batches.insert(
        second.id.clone(),
        starts("2", &[(1, 2060, "h1"), (2, 4000, "h2")], Some(2)),
    );
    let view = catalog.view().with_lane(&service, &env, &state, &[]);
    let lane = view.lane(&service, &env).unwrap();
    let found = lane.membership(&host("h2"), at(4001)).unwrap();
    assert_eq!((found.deployment.id.as_str(), found.batch), ("D2", 2));
    assert_eq!(found.deployment.phase(at(4001)), Phase::Between);

    // A deployment sync has never heard of: nobody says that its batch is the last.
    state.batches.insert(
        DeploymentId::new("D3").unwrap(),
        starts("3", &[(1, 4500, "h1")], None),
    );
    let view = catalog.view().with_lane(&service, &env, &state, &[]);
    let lane = view.lane(&service, &env).unwrap();
    let found = lane.membership(&host("h1"), at(4500)).unwrap();
    assert_eq!(found.deployment.release_id.as_str(), "checkout@3");
    assert_eq!(found.deployment.phase(at(4600)), Phase::Canary);
    assert!(found.deployment.is_active());

    // Said to be one of one, it is the last.
    state.batches.insert(
        DeploymentId::new("D3").unwrap(),
        starts("3", &[(1, 4500, "h1")], Some(1)),
    );
    let view = catalog.view().with_lane(&service, &env, &state, &[]);
    let found = view
        .lane(&service, &env)
        .unwrap()
        .membership(&host("h1"), at(4500))
        .unwrap();
    assert_eq!(found.deployment.phase(at(4600)), Phase::Between);
}

#[tokio::test]
async fn what_the_lane_adds_nothing_to_is_left_alone() {
    let store = Store::in_memory();
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1"]])).await;
    let (catalog, _) = catalog(&store, 200_000);
    catalog.refresh().await.unwrap();
    let (service, env) = lane();
    let mut state = LaneState::default();
    state.batches.insert(
        DeploymentId::new("D1").unwrap(),
        starts("1", &[(1, 60, "h1")], None),
    );
    // Two days old and never seen by sync.
    state.batches.insert(
        DeploymentId::new("D0").unwrap(),
        starts("0", &[(1, 10, "h1")], None),
    );
    let view = catalog.view().with_lane(&service, &env, &state, &[]);
    assert!(Arc::ptr_eq(
        &view.lane(&service, &env).unwrap(),
        &index(&catalog)
    ));
    let ids: BTreeSet<String> = view
        .lanes(None, None)
        .into_iter()
        .map(|(lane, _)| lane.0.to_string())
        .collect();
    assert_eq!(ids, BTreeSet::from(["checkout".to_owned()]));
}

/// The records of a deployment that is over are one document; what an agent tells later is newer.
#[tokio::test]
async fn a_snapshot_is_its_records_until_a_host_tells_something_newer() {
    let (store, clock) = (Store::in_memory(), ManualClock::at(at(9_000)));
    put(&store, 1, &deployment("D1", "1", 0, &[&["h1", "h2", "h3"]])).await;
    let (service, env) = lane();
    let record = |name: &str, from: i64, to: Option<i64>| HostRecord {
        host: host(name),
        ip: Some("10.0.0.7".parse().unwrap()).filter(|_| name == "h1"),
        status: Status::Success,
        deployed_at: Some(at(from)),
        health_status: Health::Healthy,
        error_message: None,
        batch: 1,
        from: Some(at(from)),
        to: to.map(at),
    };
    let all = Instances {
        service: service.clone(),
        env: env.clone(),
        deployment_id: DeploymentId::new("D1").unwrap(),
        release_id: ReleaseId::of(&service, "1").unwrap(),
        hosts: vec![record("h1", 100, Some(500)), record("h2", 200, None)],
    };
    let prefix = keys::snapshot(&service, &env, &all.deployment_id);
    chain::append(&store, &prefix, 1, &all).await.unwrap();
    let catalog = Catalog::new(store.clone(), clock.clone(), &Timing::default());
    catalog.refresh().await.unwrap();
    let index = |catalog: &Catalog| catalog.view().lane(&service, &env).unwrap();
    let told = |catalog: &Catalog| index(catalog).instances().count();
    assert_eq!(told(&catalog), 2);
    let runs = |catalog: &Catalog, name: &str, when| {
        index(catalog)
            .membership(&host(name), at(when))
            .map(|stay| stay.from)
    };
    assert_eq!(runs(&catalog, "h1", 450), Some(at(100)));
    assert_eq!(runs(&catalog, "10.0.0.7", 450), Some(at(100)));
    assert_eq!(runs(&catalog, "h1", 500), None);
    assert_eq!(runs(&catalog, "h2", 8_000), Some(at(200)));
    // Nobody told of it: its batch does.
    let untold: Vec<String> = index(&catalog)
        .untold()
        .map(|one| one.host.to_string())
        .collect();
    assert_eq!(untold, ["h3"]);

    let mut newer = all.clone();
    newer.hosts = vec![record("h2", 200, Some(700))];
    let newer = newer.records().next().unwrap();
    let own = keys::instance(&service, &env, &newer.deployment_id, &newer.host);
    chain::append(&store, &own, 4, &newer).await.unwrap();
    catalog.refresh().await.unwrap();
    assert_eq!(told(&catalog), 2);
    assert_eq!(runs(&catalog, "h2", 8_000), None);
    let one = index(&catalog);
    let one = one.instance(&newer.deployment_id, &host("h2")).unwrap();
    assert_eq!(one.to, Some(at(700)));

    for key in store.list("snapshots").await.unwrap() {
        store.delete(&key).await.unwrap();
    }
    catalog.refresh().await.unwrap();
    assert_eq!(told(&catalog), 1);
    assert_eq!(runs(&catalog, "h1", 500), Some(at(60)));
}
