use std::time::Duration;

use super::*;
use crate::act::fixtures::{decision, noon};
use crate::domain::clock::{self, ManualClock};
use crate::domain::decision::Scope;
use crate::domain::lane::{Settled, Via};
use crate::domain::policy::Expiry;
use crate::store::Store;

const STANDS: Duration = Duration::from_mins(15);

fn lanes(store: &Store, me: &str) -> LaneStore {
    LaneStore::new(store.clone(), ManualClock::at(noon()), me.parse().unwrap())
}

fn lane() -> LaneName {
    "checkout@prod".parse().unwrap()
}

fn asked() -> Asked {
    Asked {
        service: "checkout".parse().unwrap(),
        env: "prod".parse().unwrap(),
        deployment: "d1".parse().unwrap(),
        release_id: "checkout@2".parse().unwrap(),
        rule: "checkout.yaml: back".into(),
        scope: Scope::Full,
        hosts: Vec::new(),
        target: "checkout@1".parse().unwrap(),
        decision: decision(),
        thread: "t".into(),
        channels: Vec::new(),
        expires: clock::after(noon(), STANDS),
        then: Expiry::Hold,
    }
}

fn answer(by: &str) -> Answer {
    Answer {
        by: by.into(),
        via: Via::Token,
        reason: "seen".into(),
    }
}

fn id() -> ApprovalId {
    "checkout@prod-1".parse().unwrap()
}

#[tokio::test]
async fn of_all_who_reply_at_once_one_is_recorded_and_all_hear_the_same() {
    let store = Store::in_memory();
    let late = clock::after(noon(), STANDS);
    ask(&lanes(&store, "a"), &lane(), asked()).await.unwrap();
    let replies = [
        Reply::Approve(answer("ada")),
        Reply::Deny(answer("bob")),
        Reply::Expire,
        Reply::Lapse("its alerts are over".into()),
    ];
    let all = replies.into_iter().enumerate().map(|(n, said)| {
        let lanes = lanes(&store, &format!("r{n}"));
        tokio::spawn(async move { reply(&lanes, &id(), &said, late).await.unwrap() })
    });
    let mut recorded = Vec::new();
    let mut heard = Vec::new();
    for outcome in futures::future::join_all(all).await {
        match outcome.unwrap() {
            Replied::Recorded(approval) => {
                recorded.push(approval.outcome.clone());
                heard.push(approval.outcome);
            }
            Replied::Settled(approval) => heard.push(approval.outcome),
            Replied::NotAsked => panic!("it was asked"),
        }
    }
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert!(heard.iter().all(|outcome| *outcome == recorded[0]));
}

#[tokio::test]
async fn nothing_expires_before_its_time() {
    let store = Store::in_memory();
    let lanes = lanes(&store, "a");
    ask(&lanes, &lane(), asked()).await.unwrap();
    let early = clock::after(noon(), Duration::from_mins(14));
    let Replied::Settled(open) = reply(&lanes, &id(), &Reply::Expire, early).await.unwrap() else {
        panic!("it expired");
    };
    assert_eq!(open.outcome, Settled::Open);
    let due = reply(&lanes, &id(), &Reply::Expire, clock::after(noon(), STANDS)).await;
    assert!(matches!(due.unwrap(), Replied::Recorded(_)));
}

#[tokio::test]
async fn asking_twice_asks_once() {
    let store = Store::in_memory();
    for me in ["a", "b"] {
        let state = ask(&lanes(&store, me), &lane(), asked()).await.unwrap();
        assert_eq!(state.approvals.len(), 1);
    }
}

#[tokio::test]
async fn what_nobody_asked_has_no_answer() {
    let store = Store::in_memory();
    let lanes = lanes(&store, "a");
    for unknown in ["checkout@prod-7", "nonsense", "checkout@prod-x"] {
        let said = Reply::Approve(answer("ada"));
        let replied = reply(&lanes, &unknown.parse().unwrap(), &said, noon()).await;
        assert_eq!(replied.unwrap(), Replied::NotAsked, "{unknown}");
    }
    assert!(store.list("lanes").await.unwrap().is_empty());
}
