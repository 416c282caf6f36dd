//! Chains of rules: what is served, and what survives damage and races.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::domain::clock;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn place(batch: u32) -> Place {
    Place {
        lane: LaneName::new("checkout@prod").unwrap(),
        deployment: DeploymentId::new("01X").unwrap(),
        batch,
    }
}

fn arm() -> ArmEvent {
    ArmEvent::Armed {
        release_id: ReleaseId::new("checkout@2").unwrap(),
        group: Box::new(Group {
            name: "canary/x".to_owned(),
            interval: "5s".to_owned(),
            eval_delay: None,
            params: BTreeMap::new(),
            labels: BTreeMap::new(),
            rules: Vec::new(),
        }),
        until: clock::after(at(0), Duration::from_hours(1)),
    }
}

/// Appends what is given, whatever stands.
async fn append(store: &ArmedStore, batch: u32, when: i64, event: ArmEvent) -> Armed {
    let mut event = Some(event);
    let place = place(batch);
    let done = store.append_with(&place, at(when), |_| event.take());
    done.await.unwrap().unwrap()
}

#[tokio::test]
async fn rules_live_from_their_arming_to_their_end_or_their_time() {
    let store = ArmedStore::new(Store::in_memory());
    let armed = append(&store, 1, 0, arm()).await;
    assert!(armed.is_live(at(10)) && !armed.is_live(at(3600)));
    assert_eq!(armed.ended_at(at(3600)), Some(at(3600)));
    let proven = append(
        &store,
        1,
        20,
        ArmEvent::Proven {
            by: vec!["a".into()],
        },
    )
    .await;
    assert_eq!(proven.proven_at, Some(at(20)));
    let why = "soaked".to_owned();
    let ended = append(&store, 1, 30, ArmEvent::Disarmed { why }).await;
    assert!(!ended.is_live(at(31)));
    assert_eq!(ended.ended_at(at(31)), Some(at(30)));
    // Armed again, it must be proven again.
    let again = append(&store, 1, 40, arm()).await;
    assert!(again.is_live(at(41)) && again.proven_at.is_none() && again.seq == 4);
    assert_eq!(store.all().await.unwrap().all, [again]);
}

#[tokio::test]
async fn a_damaged_chain_is_left_out_and_told_and_the_others_stay() {
    let documents = Store::in_memory();
    let store = ArmedStore::new(documents.clone());
    append(&store, 1, 0, arm()).await;
    append(&store, 2, 0, arm()).await;
    let key = chain::key(&place(2).prefix(), 2);
    documents
        .put_bytes(&key, Bytes::from_static(b"{"))
        .await
        .unwrap();
    // A word of a later version is no damage.
    let key = chain::key(&place(1).prefix(), 2);
    documents
        .create(
            &key,
            &serde_json::json!({"at": at(1), "event": {"paused": {}}}),
        )
        .await
        .unwrap();
    let listing = store.all().await.unwrap();
    let batches: Vec<u32> = listing.all.iter().map(|armed| armed.place.batch).collect();
    assert_eq!(batches, [1]);
    assert!(
        listing.damaged[0].contains("0000000002"),
        "{:?}",
        listing.damaged
    );
    let next = append(&store, 1, 5, ArmEvent::Proven { by: Vec::new() }).await;
    assert!(next.proven_at.is_some());
}

#[tokio::test]
async fn two_replicas_arm_a_batch_once() {
    let documents = Store::in_memory();
    let (one, two) = (
        ArmedStore::new(documents.clone()),
        ArmedStore::new(documents),
    );
    let once = |armed: Option<&Armed>| armed.is_none().then(arm);
    let place = place(1);
    let (a, b) = tokio::join!(
        one.append_with(&place, at(0), once),
        two.append_with(&place, at(1), once)
    );
    assert_eq!(a.unwrap().unwrap(), b.unwrap().unwrap());
}

#[tokio::test]
async fn what_ended_long_ago_is_removed_and_what_lives_stays() {
    let documents = Store::in_memory();
    let store = ArmedStore::new(documents.clone());
    append(&store, 1, 0, arm()).await;
    append(&store, 2, 0, arm()).await;
    append(
        &store,
        2,
        10,
        ArmEvent::Disarmed {
            why: "soaked".into(),
        },
    )
    .await;
    store.clear_away(at(20), at(15)).await.unwrap();
    assert_eq!(store.all().await.unwrap().all.len(), 2);
    store.clear_away(at(9000), at(8000)).await.unwrap();
    assert!(documents.list(FOLDER).await.unwrap().is_empty());
}
