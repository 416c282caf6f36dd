//! Gate's habits, each with a test in which the stand-in refuses or misleads, seen through our
//! client wherever it makes that call.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use backstop::{
    http::{self, CallErrorKind},
    spinnaker::{
        Execution, ExecutionId, ExecutionStatus, Gate, GateError, GateSettings, Login, Trigger,
        TriggerError,
    },
};
use serde_json::{Value, json};

use crate::support::gate::{GateStandIn, TriggerFault, Weather};

const DEADLINE: Duration = Duration::from_secs(10);

/// A stand-in with a pipeline that takes a parameter and waits so many seconds, 20 times faster.
async fn stand_in(wait: f64) -> GateStandIn {
    paced(20.0, wait).await
}

async fn paced(speed: f64, wait: f64) -> GateStandIn {
    let gate = GateStandIn::fast(speed).await;
    gate.save(json!({
        "application": "checkout", "name": "rollback",
        "parameterConfig": [{"name": "release", "required": true}, {"name": "hosts", "default": ""}],
        "stages": [{"refId": "1", "type": "wait", "name": "Wait", "waitTime": wait}],
    }));
    gate
}

fn trigger(correlation: &str) -> Trigger {
    Trigger {
        correlation_id: correlation.to_owned(),
        event_id: correlation.to_owned(),
        user: "backstop".to_owned(),
        parameters: BTreeMap::from([("release".to_owned(), "checkout@1.4.2".to_owned())]),
    }
}

async fn rollback(client: &Gate, correlation: &str) -> Result<ExecutionId, TriggerError> {
    client
        .trigger("checkout", "rollback", &trigger(correlation))
        .await
}

/// A client with its own login and timeout.
fn client(gate: &GateStandIn, login: Login, timeout: Duration) -> Gate {
    let base_url = gate.url().parse().unwrap();
    Gate::new(GateSettings {
        timeout,
        ..GateSettings::new(base_url, login)
    })
    .unwrap()
}

fn basic(password: &str) -> Login {
    Login::Basic {
        username: "gateway".to_owned(),
        password: password.into(),
    }
}

/// What our client finds of the pipeline `rollback`.
async fn found(gate: &GateStandIn) -> Vec<Execution> {
    let client = gate.client();
    let configs = client.pipeline_configs("checkout").await.unwrap();
    let ids: Vec<&str> = configs.iter().map(|c| c.id.as_str()).collect();
    client.executions_of(&ids, 10, &[]).await.unwrap()
}

#[tokio::test]
async fn a_wrong_login_is_a_redirect_to_a_page_that_answers_200() {
    let gate = stand_in(1.0).await;
    for login in [basic("wrong"), Login::None, Login::Bearer("wrong".into())] {
        let client = client(&gate, login, DEADLINE);
        let error = rollback(&client, "bs-1").await.unwrap_err();
        assert!(matches!(error, TriggerError::NotSent(_)), "{error:?}");
        assert_eq!(error.kind(), CallErrorKind::Auth);
        assert_eq!(
            client.probe().await.unwrap_err().kind(),
            CallErrorKind::Auth
        );
    }
    assert!(gate.executions().is_empty());

    let plain = http::client(&http::Settings::default()).unwrap();
    let refused = plain.get(gate.url() + "/executions").send().await.unwrap();
    assert_eq!(refused.status(), 302);
    let login = refused.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(login, gate.url() + "/login");
    let page = plain.get(login).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["content-type"], "text/html;charset=UTF-8");
    let user = plain.get(gate.url() + "/auth/user").send().await.unwrap();
    assert_eq!(user.status(), 200);
    assert_eq!(user.text().await.unwrap(), "");
}

#[tokio::test]
async fn the_session_of_a_login_lets_in_without_it() {
    let gate = stand_in(1.0).await;
    let cookies = http::Settings {
        cookies: http::Cookies::Keep,
        ..http::Settings::default()
    };
    let browser = http::client(&cookies).unwrap();
    let url = gate.url() + "/executions";
    let first = browser
        .get(&url)
        .basic_auth("gateway", Some("gate-password"))
        .send()
        .await
        .unwrap();
    assert!(first.headers().contains_key("set-cookie"));
    let second = browser.get(&url).send().await.unwrap();
    assert_eq!(second.status(), 200);
    assert!(
        !second.headers().contains_key("set-cookie"),
        "one session is enough"
    );
}

#[tokio::test]
async fn a_correlation_id_holds_while_its_execution_runs_and_over_all_pipelines() {
    let gate = stand_in(20.0).await;
    gate.save(json!({"application": "cart", "name": "other", "stages": []}));
    let client = gate.client();
    let first = rollback(&client, "bs-1-1").await.unwrap();
    assert_eq!(rollback(&client, "bs-1-1").await.unwrap(), first);
    let elsewhere = client
        .trigger("cart", "other", &trigger("bs-1-1"))
        .await
        .unwrap();
    assert_eq!(elsewhere, first, "the other pipeline is not started");
    let ended = gate.ended(first.as_str(), DEADLINE).await;
    assert_eq!(ended["status"], "SUCCEEDED");
    let again = rollback(&client, "bs-1-1").await.unwrap();
    assert_ne!(again, first, "a finished execution does not hold its id");
    assert_eq!(gate.executions().len(), 2);
}

#[tokio::test]
async fn a_dead_orca_is_a_500_that_was_not_sent() {
    let gate = stand_in(1.0).await;
    let client = gate.client();
    let id = rollback(&client, "bs-1").await.unwrap();
    gate.set_orca_down(true);
    let error = rollback(&client, "bs-2").await.unwrap_err();
    let TriggerError::NotSent(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (error.kind, error.status),
        (CallErrorKind::Server, Some(500))
    );
    assert_eq!(
        client.execution(&id).await.unwrap_err().kind(),
        CallErrorKind::Server
    );
    assert_eq!(
        client.cancel(&id, "x").await.unwrap_err().kind(),
        CallErrorKind::Server
    );
    assert_eq!(client.pipeline_configs("checkout").await.unwrap().len(), 1);
    client.probe().await.unwrap();
    gate.set_orca_down(false);
    assert!(client.execution(&id).await.unwrap().is_some());
    assert_eq!(gate.executions().len(), 1);
}

#[tokio::test]
async fn what_can_never_work_is_refused_and_a_disabled_pipeline_leaves_a_trace() {
    let gate = stand_in(1.0).await;
    gate.save(
        json!({"application": "checkout", "name": "off", "disabled": true,
        "stages": [{"refId": "1", "type": "wait", "waitTime": 1}]}),
    );
    let client = gate.client();
    let refused = async |pipeline: &str, trigger: &Trigger| match client
        .trigger("checkout", pipeline, trigger)
        .await
    {
        Err(TriggerError::Refused { status, message }) => (status, message),
        other => panic!("{other:?}"),
    };
    let (status, message) = refused("nosuch", &trigger("bs-1")).await;
    assert_eq!(status, 404);
    assert!(
        message.contains("No pipeline found with id 'nosuch'"),
        "{message}"
    );
    let bare = Trigger {
        parameters: BTreeMap::new(),
        ..trigger("bs-2")
    };
    let (status, message) = refused("rollback", &bare).await;
    assert_eq!(
        (status, message.as_str()),
        (400, "Required parameter release is missing")
    );
    assert!(gate.executions().is_empty());

    let (status, message) = refused("off", &trigger("bs-3")).await;
    assert_eq!(status, 400);
    assert!(
        message.ends_with("Pipeline is disabled and cannot be started."),
        "{message}"
    );
    let stored = gate.executions().remove(0);
    assert_eq!(stored["status"], "TERMINAL");
    assert_eq!(stored["canceledBy"], "system");
    let id = ExecutionId::new(stored["id"].as_str().unwrap());
    let read = client.execution(&id).await.unwrap().unwrap();
    assert_eq!(
        read.failure().unwrap(),
        "Failed on startup: Pipeline is disabled and cannot be started."
    );
}

#[tokio::test]
async fn a_cancel_takes_effect_later() {
    let gate = paced(1.0, 600.0).await;
    let client = gate.client();
    let id = rollback(&client, "bs-1").await.unwrap();
    client.cancel(&id, "alert resolved").await.unwrap();
    let marked = gate.execution(id.as_str()).unwrap();
    assert_eq!(
        (&marked["canceled"], &marked["canceledBy"]),
        (&json!(true), &json!("gateway"))
    );
    assert_ne!(marked["status"], "CANCELED");
    gate.ended(id.as_str(), DEADLINE).await;
    let read = client.execution(&id).await.unwrap().unwrap();
    assert_eq!(read.status, ExecutionStatus::Canceled);
    assert_eq!(read.stages[0].status, ExecutionStatus::Canceled);
    assert!(read.failure().unwrap().contains("alert resolved"));
    let error = client
        .cancel(&ExecutionId::new("01NOSUCH"), "x")
        .await
        .unwrap_err();
    assert!(matches!(error, GateError::UnknownExecution(_)), "{error:?}");
}

#[tokio::test]
async fn a_cancel_of_a_finished_execution_marks_it_and_changes_nothing() {
    let gate = stand_in(0.1).await;
    let client = gate.client();
    let id = rollback(&client, "bs-1").await.unwrap();
    gate.ended(id.as_str(), DEADLINE).await;
    client.cancel(&id, "late").await.unwrap();
    let marked = gate.execution(id.as_str()).unwrap();
    assert_eq!(
        (&marked["canceled"], &marked["status"]),
        (&json!(true), &json!("SUCCEEDED"))
    );
    let read = client.execution(&id).await.unwrap().unwrap();
    assert!(read.status.succeeded());
    assert_eq!(read.failure(), None);
}

#[tokio::test]
async fn a_search_never_answers_and_unknown_paths_are_remembered() {
    let gate = stand_in(1.0).await;
    let settings = http::Settings {
        timeout: Duration::from_millis(200),
        ..Default::default()
    };
    let plain = http::client(&settings).unwrap();
    let ask = async |path: &str| {
        let request = plain
            .get(gate.url() + path)
            .basic_auth("gateway", Some("gate-password"));
        request.send().await
    };
    let search = "/applications/checkout/executions/search?eventId=x&size=200";
    assert!(ask(search).await.unwrap_err().is_timeout());
    let unknown = ask("/executions/correlated/x").await.unwrap();
    assert_eq!(unknown.status(), 404);
    let body: Value = unknown.json().await.unwrap();
    assert_eq!(body["message"], "No message available");
    let paths: Vec<String> = gate.unexpected().into_iter().map(|r| r.path).collect();
    assert_eq!(
        paths,
        [
            "/applications/checkout/executions/search",
            "/executions/correlated/x"
        ]
    );
}

#[tokio::test]
async fn lists_count_their_limit_per_pipeline() {
    let gate = stand_in(0.1).await;
    gate.save(json!({"application": "checkout", "name": "deploy", "stages": []}));
    for n in 0..3 {
        let trigger = json!({"parameters": {"release": n.to_string()}});
        let id = gate.run("checkout", "rollback", trigger.clone());
        gate.ended(&id, DEADLINE).await;
        gate.run("checkout", "deploy", trigger);
    }
    gate.save(json!({"application": "checkout", "name": "slow",
        "stages": [{"refId": "1", "type": "manualJudgment"}]}));
    let slow = gate.run("checkout", "slow", json!({}));
    let client = gate.client();
    let two = client
        .application_executions("checkout", 2, &[], None)
        .await
        .unwrap();
    assert_eq!(two.len(), 5, "two, two, and the only one");
    let times: Vec<_> = two.iter().map(|e| e.build_time).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    let one = client
        .application_executions("checkout", 1, &[], Some("back"))
        .await
        .unwrap();
    assert_eq!(
        one[0].trigger.parameter("release"),
        Some("2"),
        "the newest one"
    );
    assert_eq!(one[0].stages[0].context["waitTime"], 0.1);
    gate.when(DEADLINE, |w| {
        (w.run(&slow)?.status == "RUNNING").then_some(())
    })
    .await;
    let running = [ExecutionStatus::Running];
    let running = client
        .application_executions("checkout", 9, &running, None)
        .await
        .unwrap();
    assert_eq!(
        running.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(),
        [slow.as_str()]
    );
    assert_eq!(gate.unexpected(), []);
}

#[tokio::test]
async fn a_trigger_without_an_answer_is_unclear_whether_it_started_or_not() {
    let cases = [
        (TriggerFault::DropBefore, 0),
        (TriggerFault::DropAfter, 1),
        (TriggerFault::ErrorAfter, 1),
        (TriggerFault::AnswerLate(Duration::from_secs(5)), 1),
    ];
    for (fault, started) in cases {
        let gate = stand_in(600.0).await;
        gate.fail_trigger(fault);
        let client = client(&gate, basic("gate-password"), Duration::from_millis(500));
        let error = rollback(&client, "bs-1-1").await.unwrap_err();
        assert!(
            matches!(error, TriggerError::Unclear(_)),
            "{fault:?}: {error:?}"
        );
        let found = found(&gate).await;
        assert_eq!(found.len(), started, "{fault:?}");
        for execution in found {
            assert_eq!(execution.trigger.correlation_id.as_deref(), Some("bs-1-1"));
            assert_eq!(execution.trigger.event_id.as_deref(), Some("bs-1-1"));
            assert_eq!(
                execution.trigger.parameter("release"),
                Some("checkout@1.4.2")
            );
        }
        rollback(&client, "bs-1-2")
            .await
            .expect("a fault is used up by one trigger");
    }
}

#[tokio::test]
async fn an_execution_can_appear_after_its_sender_has_given_up() {
    let gate = stand_in(600.0).await;
    gate.fail_trigger(TriggerFault::ActLate(Duration::from_millis(1_500)));
    let client = client(&gate, basic("gate-password"), Duration::from_millis(100));
    let error = rollback(&client, "bs-1-1").await.unwrap_err();
    assert!(matches!(error, TriggerError::Unclear(_)), "{error:?}");
    assert!(
        found(&gate).await.is_empty(),
        "\"not found\" means nothing yet"
    );
    gate.when(DEADLINE, |world| world.runs().next().map(drop))
        .await;
    assert_eq!(found(&gate).await.len(), 1);
}

#[tokio::test]
async fn racing_triggers_can_start_two_executions_with_one_id() {
    let gate = stand_in(600.0).await;
    gate.fail_trigger(TriggerFault::Duplicate);
    let id = rollback(&gate.client(), "bs-1-1").await.unwrap();
    let found = found(&gate).await;
    assert_eq!(found.len(), 2);
    assert!(found.iter().any(|e| e.id == id));
    assert!(
        found
            .iter()
            .all(|e| e.trigger.correlation_id.as_deref() == Some("bs-1-1"))
    );
}

#[tokio::test]
async fn triggers_of_one_id_that_meet_in_orca_all_start() {
    let gate = stand_in(600.0).await;
    gate.set_weather(Weather {
        correlation_gap: Duration::from_millis(200),
        ..Weather::default()
    });
    let client = gate.client();
    let all = (0..4).map(|_| rollback(&client, "bs-1-1"));
    let ids: BTreeSet<ExecutionId> = futures::future::join_all(all)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(ids.len() > 1, "looking and starting is not one step");
    assert_eq!(found(&gate).await.len(), ids.len());
    let after = rollback(&client, "bs-1-1").await.unwrap();
    assert!(ids.contains(&after), "one that runs is found");
}

#[tokio::test]
async fn a_slow_gate_acts_after_its_caller_has_gone_and_late_answers_come_late() {
    let gate = stand_in(600.0).await;
    let hasty = client(&gate, basic("gate-password"), Duration::from_millis(100));
    for (n, (slow, late)) in [(500, 0), (0, 500)].into_iter().enumerate() {
        gate.set_weather(Weather {
            slow: Duration::from_millis(slow),
            late: Duration::from_millis(late),
            ..Weather::default()
        });
        let error = rollback(&hasty, &format!("bs-{n}")).await.unwrap_err();
        assert!(matches!(error, TriggerError::Unclear(_)), "{error:?}");
        gate.when(DEADLINE, |world| (world.runs().count() > n).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn a_reply_can_be_lost_after_it_was_accepted_again_and_again() {
    let gate = stand_in(600.0).await;
    gate.set_weather(Weather {
        drop_reply_every: 2,
        ..Weather::default()
    });
    let client = gate.client();
    for n in 1..=4 {
        let answer = rollback(&client, &format!("bs-{n}")).await;
        match answer {
            Ok(_) => assert_eq!(n % 2, 1),
            Err(error) => {
                assert_eq!(n % 2, 0, "{error:?}");
                assert!(matches!(error, TriggerError::Unclear(_)), "{error:?}");
            }
        }
    }
    assert_eq!(gate.executions().len(), 4);
}

#[tokio::test]
async fn a_gate_that_is_gone_was_not_sent_anything_and_keeps_its_world() {
    let mut gate = stand_in(600.0).await;
    let client = gate.client();
    let id = rollback(&client, "bs-1").await.unwrap();
    gate.stop_listening().await;
    let error = rollback(&client, "bs-2").await.unwrap_err();
    assert!(matches!(error, TriggerError::NotSent(_)), "{error:?}");
    assert_eq!(
        client.execution(&id).await.unwrap_err().kind(),
        CallErrorKind::Network
    );
    gate.listen_again().await;
    assert!(client.execution(&id).await.unwrap().is_some());
    assert_eq!(gate.executions().len(), 1);
}

#[tokio::test]
async fn a_bearer_token_is_a_login_too_and_requests_are_recorded() {
    let gate = GateStandIn::with(crate::support::gate::Options {
        bearer: Some("good".to_owned()),
        ..Default::default()
    })
    .await;
    let bearer = client(&gate, Login::Bearer("good".into()), DEADLINE);
    bearer.probe().await.unwrap();
    let error = rollback(&bearer, "bs-1").await.unwrap_err();
    assert!(
        matches!(error, TriggerError::Refused { status: 404, .. }),
        "{error:?}"
    );
    let sent = gate.requests().pop().unwrap();
    assert_eq!(
        (sent.method.as_str(), sent.path.as_str()),
        ("POST", "/pipelines/checkout/rollback")
    );
    assert_eq!(
        sent.body,
        json!({"type": "manual", "user": "backstop", "correlationId": "bs-1", "eventId": "bs-1",
            "parameters": {"release": "checkout@1.4.2"}})
    );
}
