use std::time::Duration;

use super::*;
use crate::act::fixtures::{incident, noon, opening};
use crate::domain::clock::ManualClock;
use crate::domain::decision::Scope;
use crate::domain::lane::{Ending, LaneEvent};
use crate::store::Store;

const RATE: Rate = Rate {
    count: 1,
    per: Duration::from_mins(30),
};
const BUDGET: Budget = Budget {
    per_service: RATE,
    overall: Rate {
        count: 3,
        per: Duration::from_mins(10),
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn grant(service: &str, second: i64, escalation: bool) -> Grant {
    Grant {
        incident: format!("{service}@prod-{second}").parse().unwrap(),
        service: service.parse().unwrap(),
        escalation,
        at: at(second),
    }
}

fn fits(grants: &[Grant], service: &str, escalation: bool, second: i64) -> bool {
    let view = BudgetView {
        grants: grants.to_vec(),
    };
    view.check(&BUDGET, &service.parse().unwrap(), escalation, at(second))
        .is_ok()
}

#[test]
fn a_service_has_one_per_half_hour() {
    let used = [grant("cart", 0, false)];
    assert!(!fits(&used, "cart", false, 1799));
    assert!(fits(&used, "cart", false, 1800));
    assert!(fits(&used, "checkout", false, 1));
}

#[test]
fn an_escalation_is_outside_the_service_budget_and_inside_the_overall_one() {
    let used = [grant("cart", 0, false), grant("cart", 1, true)];
    assert!(fits(&used, "cart", true, 2));
    assert!(fits(&[grant("cart", 1, true)], "cart", false, 2));
    let used = [
        grant("cart", 0, false),
        grant("a", 1, false),
        grant("b", 2, false),
    ];
    assert!(!fits(&used, "cart", true, 3));
    assert!(!fits(&used, "c", false, 599));
    assert!(fits(&used, "c", false, 600));
}

#[test]
fn the_refusal_says_what_is_used_up() {
    let view = BudgetView {
        grants: vec![grant("cart", 0, false)],
    };
    let why = view.check(&BUDGET, &"cart".parse().unwrap(), false, at(1));
    assert_eq!(
        why.unwrap_err(),
        "1 automatic rollbacks of cart within 30m, the budget is 1"
    );
}

fn budgets(store: &Store, me: &str) -> Budgets {
    let clock = ManualClock::at(noon());
    Budgets::new(LaneStore::new(store.clone(), clock, me.parse().unwrap()))
}

/// Opens an incident of `service` in the store.
async fn open(store: &Store, service: &str) -> Incident {
    let opened = opening(service, "d1", Scope::Full);
    let incident = incident(opened.clone(), []);
    let lanes = budgets(store, "a").lanes;
    let event = LaneEvent::Opened(Box::new(opened));
    lanes
        .append_with(&incident.lane, |_| Some(event.clone()))
        .await
        .unwrap();
    incident
}

#[tokio::test]
async fn asking_twice_grants_once_and_a_person_needs_none() {
    let store = Store::in_memory();
    let cart = open(&store, "cart").await;
    for me in ["a", "b"] {
        let granted = budgets(&store, me).grant(&cart, &BUDGET, noon()).await;
        assert_eq!(granted.unwrap(), Granted::Yes);
    }
    let mut by_hand = open(&store, "checkout").await;
    by_hand.opened.origin = Origin::Manual {
        by: "oncall".into(),
        reason: "r".into(),
        key: "k".into(),
    };
    let a = budgets(&store, "a");
    a.grant(&by_hand, &BUDGET, noon()).await.unwrap();
    assert_eq!(a.view(&BUDGET, noon()).await.unwrap().grants.len(), 1);
}

#[tokio::test]
async fn racing_replicas_never_grant_more_than_there_is() {
    let store = Store::in_memory();
    let mut asking = Vec::new();
    for n in 0..8 {
        let incident = open(&store, &format!("s{n}")).await;
        let budgets = budgets(&store, &format!("r{n}"));
        asking.push(tokio::spawn(async move {
            budgets.grant(&incident, &BUDGET, noon()).await.unwrap()
        }));
    }
    let answers = futures::future::join_all(asking).await;
    let yes = answers.iter().flatten().filter(|one| **one == Granted::Yes);
    assert_eq!(yes.count(), 3);
}

#[tokio::test]
async fn a_grant_of_what_closed_without_being_let_in_is_ignored() {
    let store = Store::in_memory();
    let cart = open(&store, "cart").await;
    let a = budgets(&store, "a");
    a.grant(&cart, &BUDGET, noon()).await.unwrap();
    assert_eq!(a.view(&BUDGET, noon()).await.unwrap().grants.len(), 1);
    let closed = LaneEvent::Closed {
        incident: cart.id.clone(),
        ending: Ending::Withdrawn,
        why: "w".into(),
    };
    a.lanes
        .append_with(&cart.lane, |_| Some(closed.clone()))
        .await
        .unwrap();
    assert_eq!(a.view(&BUDGET, noon()).await.unwrap().grants, []);
}
