//! The engine's view of Spinnaker through the real client, against the stand-in of Gate: what the
//! model assumes of its own Spinnaker holds for the one that production talks to.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use backstop::act::orders::{Order, Reach, Seen, Spinnaker, TriggerFailure, adopt};
use backstop::domain::decision::Scope;
use backstop::domain::id::ExecutionId;
use backstop::domain::lane::Plan;
use backstop::spinnaker::Gate;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::gate::{GateStandIn, TriggerFault};

const DEADLINE: Duration = Duration::from_secs(10);

fn order() -> Order {
    Order {
        incident: "checkout@prod-7".parse().expect("an id"),
        attempt: 1,
        plan: Plan {
            application: "checkout".into(),
            pipeline: "rollback-full".into(),
            scope: Scope::Full,
            hosts: Vec::new(),
            from: "checkout@2".parse().expect("an id"),
            target: "checkout@1".parse().expect("an id"),
            parameters: BTreeMap::from([
                ("incident".to_owned(), "checkout@prod-7".to_owned()),
                ("attempt".to_owned(), "1".to_owned()),
            ]),
            admission: true,
            task: None,
        },
    }
}

/// A gateway whose admission always answers `status`.
async fn gateway(status: StatusCode) -> String {
    let router = Router::new().fallback(async move || (status, axum::Json(json!({}))));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

/// A Spinnaker with the rollback pipeline: admit, then work.
async fn spinnaker(admission: StatusCode) -> (GateStandIn, Gate) {
    let base = gateway(admission).await;
    let stand_in = GateStandIn::fast(50.0).await;
    stand_in.save(json!({
        "application": "checkout", "name": "rollback-full", "stages": [
            {"refId": "1", "requisiteStageRefIds": [], "type": "webhook", "name": "Admit",
             "method": "POST", "payload": {"execution": "${execution.id}"},
             "url": format!("{base}/api/v1/incidents/${{parameters.incident}}/attempts/${{parameters.attempt}}/admit")},
            {"refId": "2", "requisiteStageRefIds": ["1"], "type": "wait", "name": "Roll back", "waitTime": 1}
        ]
    }));
    let gate = stand_in.client();
    (stand_in, gate)
}

async fn ended(stand_in: &GateStandIn, gate: &Gate, id: &ExecutionId) -> Seen {
    stand_in.ended(id.as_str(), DEADLINE).await;
    let seen = Spinnaker::execution(gate, id).await.expect("an answer");
    seen.expect("an execution")
}

#[tokio::test]
async fn an_order_is_started_found_and_read_to_its_end() {
    let (stand_in, gate) = spinnaker(StatusCode::OK).await;
    let id = Spinnaker::trigger(&gate, &order()).await.expect("started");
    let found = gate.find(&order()).await.expect("an answer");
    assert_eq!(adopt(&order(), found).map(|seen| seen.id), Some(id.clone()));
    let seen = ended(&stand_in, &gate, &id).await;
    assert!(order().is_answered_by(&seen));
    assert!(seen.terminal && seen.succeeded);
    assert_eq!(seen.reach, Reach::PastAdmission);
    let mut next = order();
    next.attempt = 2;
    assert_eq!(gate.find(&next).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_refused_admission_ends_it_before_it_touches_anything() {
    let (stand_in, gate) = spinnaker(StatusCode::CONFLICT).await;
    let id = Spinnaker::trigger(&gate, &order()).await.expect("started");
    let seen = ended(&stand_in, &gate, &id).await;
    assert!(seen.terminal && !seen.succeeded);
    assert_eq!(seen.reach, Reach::Nothing);
    assert!(seen.failure.is_some());
}

#[tokio::test]
async fn whatever_happens_to_the_answer_the_lookup_tells() {
    for (fault, started) in [
        (TriggerFault::DropBefore, 0),
        (TriggerFault::DropAfter, 1),
        (TriggerFault::ErrorAfter, 1),
    ] {
        let (stand_in, gate) = spinnaker(StatusCode::OK).await;
        stand_in.fail_trigger(fault);
        let failure = Spinnaker::trigger(&gate, &order()).await;
        assert!(
            matches!(failure, Err(TriggerFailure::Unclear(_))),
            "{fault:?}: {failure:?}"
        );
        let found = gate.find(&order()).await.expect("an answer");
        assert_eq!(found.len(), started, "{fault:?}");
    }
    let (stand_in, gate) = spinnaker(StatusCode::OK).await;
    stand_in.fail_trigger(TriggerFault::Duplicate);
    Spinnaker::trigger(&gate, &order()).await.expect("started");
    assert_eq!(gate.find(&order()).await.expect("an answer").len(), 2);
}

#[tokio::test]
async fn what_can_not_be_asked_is_never_mistaken_for_absence() {
    let (mut stand_in, gate) = spinnaker(StatusCode::OK).await;
    stand_in.set_orca_down(true);
    let failure = Spinnaker::trigger(&gate, &order()).await;
    assert!(
        matches!(failure, Err(TriggerFailure::NotSent(_))),
        "{failure:?}"
    );
    assert!(gate.find(&order()).await.is_err());
    let id = "01M82G4ZXJA10WZ4CQQNM0ZKE4".parse().expect("an id");
    assert!(Spinnaker::execution(&gate, &id).await.is_err());
    stand_in.set_orca_down(false);
    assert_eq!(Spinnaker::execution(&gate, &id).await, Ok(None));
    stand_in.stop_listening().await;
    let failure = Spinnaker::trigger(&gate, &order()).await;
    assert!(
        matches!(failure, Err(TriggerFailure::NotSent(_))),
        "{failure:?}"
    );
    assert!(gate.find(&order()).await.is_err());
}

#[tokio::test]
async fn a_pipeline_that_is_missing_or_disabled_is_noticed_before_and_at_the_trigger() {
    let (stand_in, gate) = spinnaker(StatusCode::OK).await;
    assert_eq!(
        gate.pipeline_config_exists("checkout", "rollback-full")
            .await,
        Ok(true)
    );
    assert_eq!(
        gate.pipeline_config_exists("checkout", "rollback-batch")
            .await,
        Ok(false)
    );
    stand_in.save(json!({
        "application": "checkout", "name": "rollback-batch", "disabled": true, "stages": []
    }));
    assert_eq!(
        gate.pipeline_config_exists("checkout", "rollback-batch")
            .await,
        Ok(false)
    );
    for name in ["rollback-batch", "nosuch"] {
        let mut wrong = order();
        wrong.plan.pipeline = name.into();
        let failure = Spinnaker::trigger(&gate, &wrong).await;
        assert!(
            matches!(failure, Err(TriggerFailure::Refused(_))),
            "{failure:?}"
        );
    }
    let mut missing = order();
    missing.plan.pipeline = "nosuch".into();
    assert!(
        gate.find(&missing).await.is_err(),
        "a lost pipeline is no proof of absence"
    );
}

#[tokio::test]
async fn a_running_execution_is_canceled() {
    let (stand_in, gate) = spinnaker(StatusCode::OK).await;
    stand_in.save(json!({
        "application": "checkout", "name": "deploy-prod", "stages": [
            {"refId": "1", "requisiteStageRefIds": [], "type": "wait", "name": "Wait", "waitTime": 6000}
        ]
    }));
    let id: ExecutionId = stand_in
        .run("checkout", "deploy-prod", json!({"type": "manual"}))
        .parse()
        .expect("an id");
    Spinnaker::cancel(&gate, &id, "taken back")
        .await
        .expect("canceled");
    let seen = ended(&stand_in, &gate, &id).await;
    assert_eq!((seen.status.as_str(), seen.terminal), ("CANCELED", true));
}
