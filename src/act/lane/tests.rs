use super::*;
use crate::act::fixtures::opening;
use crate::domain::clock::ManualClock;
use crate::domain::decision::Scope;
use crate::domain::lane::Ending;

fn lanes(store: &Store, me: &str) -> LaneStore {
    let clock = ManualClock::at("2026-11-22T12:00:00Z".parse().unwrap());
    LaneStore::new(store.clone(), clock, me.parse().unwrap())
}

fn lane() -> LaneName {
    "checkout@prod".parse().unwrap()
}

fn batch(n: u32) -> LaneEvent {
    LaneEvent::Batch {
        deployment: "d1".parse().unwrap(),
        release_id: "checkout@2".parse().unwrap(),
        n,
        of: None,
        hosts: Vec::new(),
    }
}

fn opened() -> LaneEvent {
    LaneEvent::Opened(Box::new(opening("checkout", "d1", Scope::Full)))
}

fn withdrawn(id: &IncidentId) -> LaneEvent {
    LaneEvent::Closed {
        incident: id.clone(),
        ending: Ending::Withdrawn,
        why: "w".into(),
    }
}

#[tokio::test]
async fn two_replicas_fold_the_same_lane_from_what_either_appends() {
    let store = Store::in_memory();
    let (a, b) = (lanes(&store, "a"), lanes(&store, "b"));
    for n in 1..=6 {
        let by = if n % 2 == 0 { &a } else { &b };
        let won = by.append_with(&lane(), |_| Some(batch(n))).await.unwrap();
        assert!(matches!(won, Appended::Won { seq, .. } if seq == u64::from(n)));
    }
    let (a, b) = (a.refresh(&lane()).await, b.refresh(&lane()).await);
    let a = a.unwrap();
    assert_eq!(*a, *b.unwrap());
    assert_eq!(a.batches.values().next().unwrap().len(), 6);
}

#[tokio::test]
async fn whoever_loses_a_number_decides_again_on_the_new_state() {
    let store = Store::in_memory();
    let appends = (0..8).map(|n| {
        let lanes = lanes(&store, &format!("r{n}"));
        tokio::spawn(async move {
            lanes
                .append_with(&lane(), |_| Some(opened()))
                .await
                .unwrap()
        })
    });
    let outcomes = futures::future::join_all(appends).await;
    let won = outcomes.iter().flatten().filter(|outcome| outcome.is_won());
    assert_eq!(won.count(), 1, "the others find the lane busy");
}

#[tokio::test]
async fn what_is_not_legal_or_not_wanted_is_not_written() {
    let store = Store::in_memory();
    let lanes = lanes(&store, "a");
    let stranger = withdrawn(&"checkout@prod-1".parse().unwrap());
    for event in [Some(stranger), None] {
        let outcome = lanes.append_with(&lane(), |_| event.clone()).await.unwrap();
        assert!(!outcome.is_won());
    }
    assert!(store.list("lanes").await.unwrap().is_empty());
}

#[tokio::test]
async fn links_of_a_later_version_are_stepped_over_and_counted() {
    let store = Store::in_memory();
    let strange =
        serde_json::json!({"at": "2026-11-22T12:00:00Z", "by": "z", "event": {"sung": {"n": 1}}});
    chain::append(&store, &keys::lane(&lane()), 1, &strange)
        .await
        .unwrap();
    let lanes = lanes(&store, "a");
    let won = lanes
        .append_with(&lane(), |_| Some(batch(1)))
        .await
        .unwrap();
    assert_eq!((won.lane().skipped, won.lane().next_seq), (1, 3));
}

#[tokio::test]
async fn an_opening_is_announced_and_a_finished_one_is_forgotten() {
    let store = Store::in_memory();
    let (a, b) = (lanes(&store, "a"), lanes(&store, "b"));
    a.append_with(&lane(), |_| Some(opened())).await.unwrap();
    let id: IncidentId = "checkout@prod-1".parse().unwrap();
    assert_eq!(
        b.unfinished().await.unwrap().open,
        std::slice::from_ref(&id)
    );
    a.append_with(&lane(), |_| Some(withdrawn(&id)))
        .await
        .unwrap();
    assert!(b.unfinished().await.unwrap().open.is_empty());
    assert!(store.list("open").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_announcement_whose_append_may_still_come_is_kept() {
    let store = Store::in_memory();
    let lanes = lanes(&store, "a");
    store.create(&keys::open(&lane(), 1), &"z").await.unwrap();
    lanes.unfinished().await.unwrap();
    assert_eq!(store.list("open").await.unwrap().len(), 1);
    lanes
        .append_with(&lane(), |_| Some(batch(1)))
        .await
        .unwrap();
    lanes.unfinished().await.unwrap();
    assert!(store.list("open").await.unwrap().is_empty());
}

#[tokio::test]
async fn one_damaged_lane_does_not_hide_the_others() {
    let store = Store::in_memory();
    let lanes = lanes(&store, "a");
    lanes
        .append_with(&lane(), |_| Some(opened()))
        .await
        .unwrap();
    store.create("open/cart@prod-1", &"z").await.unwrap();
    let torn = bytes::Bytes::from_static(b"{\"nonce\"");
    store
        .put_bytes("lanes/cart@prod/0000000001.json", torn)
        .await
        .unwrap();
    let found = lanes.unfinished().await.unwrap();
    assert_eq!(found.open.len(), 1);
    assert_eq!(found.unreadable[0].0.as_str(), "cart@prod");
}
