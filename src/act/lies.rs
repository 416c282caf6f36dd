//! Everything `act` writes, over a store that lies once at any create: each event stands once, no
//! link is torn or missing, and of two executions one is let in.

use tokio::time::Instant;

use super::budget::{Budgets, Granted};
use super::fixtures::{incident, noon, opening};
use super::lane::LaneStore;
use super::marks::mark_bad;
use crate::config::{Budget, Rate};
use crate::domain::clock::ManualClock;
use crate::domain::decision::Scope;
use crate::domain::id::{ExecutionId, IncidentId, LaneName};
use crate::domain::lane::{Ending, LaneEvent, LaneState, Plan};
use crate::domain::release::Mark;
use crate::store::liar::each_lie;
use crate::store::{Store, chain, keys};

fn lane() -> LaneName {
    "checkout@prod".parse().unwrap()
}

fn lanes(store: Store, me: &str) -> LaneStore {
    LaneStore::new(store, ManualClock::at(noon()), me.parse().unwrap())
}

fn execution(id: &str) -> ExecutionId {
    id.parse().unwrap()
}

/// Once everything that was on its way has arrived, somebody who was not there reads the lane.
async fn as_it_stands(truth: Store) -> LaneState {
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    let lane = lanes(truth, "z").refresh(&lane()).await.unwrap();
    LaneState::clone(&lane)
}

fn submitting(incident: &IncidentId, attempt: u32) -> LaneEvent {
    LaneEvent::Submitting {
        incident: incident.clone(),
        attempt,
        plan: Plan {
            application: "checkout".into(),
            pipeline: "rollback-full".into(),
            scope: Scope::Full,
            hosts: Vec::new(),
            from: "checkout@2".parse().unwrap(),
            target: "checkout@1".parse().unwrap(),
            parameters: std::collections::BTreeMap::new(),
            admission: true,
            task: None,
        },
    }
}

fn claimed(incident: &IncidentId) -> LaneEvent {
    LaneEvent::Claimed {
        incident: incident.clone(),
        owner: "a".parse().unwrap(),
        until: noon(),
    }
}

/// A rollback whose first attempt came to nothing, and one that was given up: every kind of event.
fn story() -> Vec<LaneEvent> {
    let batch = LaneEvent::Batch {
        deployment: "d1".parse().unwrap(),
        release_id: "checkout@2".parse().unwrap(),
        n: 1,
        of: None,
        hosts: Vec::new(),
    };
    let opened =
        |deployment| LaneEvent::Opened(Box::new(opening("checkout", deployment, Scope::Full)));
    let first: IncidentId = "checkout@prod-2".parse().unwrap();
    let second: IncidentId = "checkout@prod-16".parse().unwrap();
    let (of, why) = (|| first.clone(), || "w".to_owned());
    let reported = |revision| LaneEvent::Reported {
        incident: of(),
        revision,
    };
    vec![
        batch,
        opened("d1"),
        claimed(&first),
        submitting(&first, 1),
        LaneEvent::Unknown {
            incident: of(),
            attempt: 1,
            why: why(),
        },
        LaneEvent::Voided {
            incident: of(),
            attempt: 1,
            why: why(),
        },
        claimed(&first),
        submitting(&first, 2),
        LaneEvent::Submitted {
            incident: of(),
            attempt: 2,
            execution: execution("e2"),
        },
        LaneEvent::Admitted {
            incident: of(),
            attempt: 2,
            execution: execution("e2"),
        },
        reported(1),
        LaneEvent::Finished {
            incident: of(),
            execution: execution("e2"),
            status: "SUCCEEDED".into(),
            succeeded: true,
            detail: String::new(),
        },
        LaneEvent::Recovery {
            incident: of(),
            ending: Ending::Recovered,
            detail: String::new(),
        },
        reported(2),
        LaneEvent::Closed {
            incident: of(),
            ending: Ending::Recovered,
            why: String::new(),
        },
        opened("d2"),
        LaneEvent::Abandoned {
            incident: second.clone(),
            by: "oncall".into(),
            why: why(),
        },
        LaneEvent::Closed {
            incident: second,
            ending: Ending::Abandoned,
            why: why(),
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn every_event_of_a_lane_stands_once() {
    each_lie(|liar| async move {
        let mine = lanes(liar.store(), "a");
        for event in story() {
            let appended = mine.append_with(&lane(), |_| Some(event.clone())).await;
            assert!(appended.unwrap().is_won(), "{event:?}");
        }
        let stands = as_it_stands(liar.truth()).await;
        assert_eq!(*mine.refresh(&lane()).await.unwrap(), stands);
        assert_eq!((stands.skipped, stands.closed.len()), (0, 2));
        assert_eq!(stands.epoch(), story().len() as u64);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_two_executions_that_ask_two_replicas_at_once_one_is_let_in() {
    each_lie(|liar| async move {
        let (a, b) = (lanes(liar.store(), "a"), lanes(liar.truth(), "b"));
        let id: IncidentId = "checkout@prod-1".parse().unwrap();
        let before = [
            LaneEvent::Opened(Box::new(opening("checkout", "d1", Scope::Full))),
            claimed(&id),
            submitting(&id, 1),
        ];
        for event in before {
            let appended = a.append_with(&lane(), |_| Some(event.clone())).await;
            assert!(appended.unwrap().is_won());
        }
        let asks = |who: LaneStore, name: &'static str| {
            let event = LaneEvent::Admitted {
                incident: id.clone(),
                attempt: 1,
                execution: execution(name),
            };
            async move {
                let appended = who.append_with(&lane(), |_| Some(event.clone())).await;
                appended.unwrap().is_won().then(|| execution(name))
            }
        };
        let (first, second) = tokio::join!(asks(a, "e1"), asks(b, "e2"));
        let let_in: Vec<_> = first.into_iter().chain(second).collect();
        assert_eq!(let_in.len(), 1, "{let_in:?}");
        let stands = as_it_stands(liar.truth()).await.open.unwrap();
        assert_eq!(stands.admitted.as_ref(), let_in.first());
    })
    .await;
}

fn one(minutes: u64) -> Rate {
    Rate {
        count: 1,
        per: std::time::Duration::from_secs(minutes * 60),
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_given_once_and_never_beyond_the_budget() {
    let budget = Budget {
        per_service: one(30),
        overall: one(10),
    };
    each_lie(move |liar| async move {
        let (a, b) = (
            Budgets::new(lanes(liar.store(), "a")),
            Budgets::new(lanes(liar.truth(), "b")),
        );
        let wants = |service: &str| incident(opening(service, "d1", Scope::Full), []);
        let (checkout, cart) = (wants("checkout"), wants("cart"));
        let (mine, theirs) = tokio::join!(
            a.grant(&checkout, &budget, noon()),
            b.grant(&cart, &budget, noon())
        );
        let granted = [mine.unwrap(), theirs.unwrap()];
        let yes = granted.iter().filter(|answer| **answer == Granted::Yes);
        assert_eq!(yes.count(), 1, "{granted:?}");
        // Asked again, it is the same grant.
        let again = a.grant(&checkout, &budget, noon()).await.unwrap();
        assert_eq!(again, granted[0]);
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        let links = liar.truth().list(&keys::budget()).await.unwrap();
        assert_eq!(links, [chain::key(&keys::budget(), 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_release_is_marked_once_per_incident() {
    each_lie(|liar| async move {
        let (clock, taken_back) = (
            ManualClock::at(noon()),
            incident(opening("checkout", "d1", Scope::Full), []),
        );
        let (mine, theirs) = (liar.store(), liar.truth());
        let (mine, theirs) = tokio::join!(
            mark_bad(&mine, clock.as_ref(), &taken_back),
            mark_bad(&theirs, clock.as_ref(), &taken_back)
        );
        mine.unwrap();
        theirs.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        let prefix = keys::marks(&taken_back.opened.release_id);
        let marks = chain::read_from::<Mark>(&liar.truth(), &prefix, 1).await;
        assert_eq!(marks.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_append_that_nobody_can_tell_of_is_not_done_and_harms_nobody() {
    use crate::store::StoreError;
    use crate::store::liar::{Liar, Lie};

    let liar = Liar::new(Lie::NobodyCanTell, 0);
    let batch = story().swap_remove(0);
    let began = Instant::now();
    let appended = lanes(liar.store(), "a")
        .append_with(&lane(), |_| Some(batch.clone()))
        .await;
    assert!(
        matches!(appended, Err(StoreError::Unknown { .. })),
        "{appended:?}"
    );
    assert!(began.elapsed() >= super::lane::APPEND_DEADLINE);
    // It landed: whoever reads on takes it for what it is.
    let stands = as_it_stands(liar.truth()).await;
    assert_eq!((stands.epoch(), stands.skipped), (1, 0));
}
