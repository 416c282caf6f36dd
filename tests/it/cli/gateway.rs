//! The verbs that speak to a gateway: `rollback`, `mode`, `replay`.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{CANARY, Folder, Seen, StandIn, nowhere};

fn plan(outcome: &Value) -> Value {
    let allowed = outcome.get("pass").is_some();
    json!({
        "service": "checkout", "env": "prod", "deployment_id": "01J", "scope": "full",
        "hosts": ["web-1", "web-2"], "current": "checkout@1.8.1", "target": "checkout@1.8.0",
        "pipeline": "rollback-full",
        "guards": [{"guard": "target", "outcome": outcome}],
        "allowed": allowed,
    })
}

fn problem(status: u16, code: &str, detail: &str) -> (u16, Value) {
    (
        status,
        json!({"status": status, "code": code, "detail": detail}),
    )
}

/// A gateway whose plan says `outcome` and that answers the deed with `done`.
async fn gateway(outcome: Value, done: (u16, Value)) -> StandIn {
    StandIn::start(move |seen: &Seen| {
        if seen.header("authorization") != format!("Bearer {CANARY}") {
            return problem(401, "unauthorized", "no valid token");
        }
        if seen.body["dry_run"] == true {
            (200, plan(&outcome))
        } else {
            done.clone()
        }
    })
    .await
}

fn opened() -> (u16, Value) {
    (
        202,
        json!({"incident_id": "checkout@prod-17", "created": true}),
    )
}

const PLAN: [&str; 6] = ["rollback", "plan", "checkout", "prod", "--scope", "full"];
const APPLY: [&str; 8] = [
    "rollback",
    "apply",
    "checkout",
    "prod",
    "--scope",
    "full",
    "--reason",
    "errors doubled",
];
const EXPECT: [&str; 4] = [
    "--expect-current",
    "checkout@1.8.1",
    "--expect-target",
    "checkout@1.8.0",
];

async fn ask(gateway: &StandIn, args: &[&str]) -> super::Ran {
    let folder = Folder::new();
    folder.write("token", &format!("{CANARY}\n"));
    let env = [
        ("BACKSTOP_GATEWAY", gateway.url.as_str()),
        ("BACKSTOP_TOKEN_FILE", "token"),
    ];
    folder.run_with(args, &env).await
}

#[tokio::test]
async fn a_plan_is_shown_and_its_guards_make_the_exit_code() {
    let gateway = gateway(json!({"pass": "stable since yesterday"}), opened()).await;
    let ran = ask(&gateway, &PLAN).await.ended(0);
    assert_eq!(
        ran.stdout,
        "checkout in prod: full\n  from        checkout@1.8.1\n  back to     checkout@1.8.0\n  deployment  01J\n  pipeline    rollback-full\n  hosts       2: web-1, web-2\n  pass  target      stable since yesterday\nwould be done\n"
    );
    let asked = &gateway.seen()[0];
    assert_eq!(asked.line, "POST /api/v1/rollbacks");
    assert_eq!(
        asked.body,
        json!({"service": "checkout", "env": "prod", "scope": "full", "dry_run": true})
    );

    let gateway =
        super::gateway::gateway(json!({"deny": "the target is marked bad"}), opened()).await;
    let ran = ask(&gateway, &PLAN).await.ended(4);
    assert!(
        ran.stdout.ends_with("would not be done\n"),
        "{}",
        ran.stdout
    );
}

#[tokio::test]
async fn a_rollback_sends_what_was_seen_under_a_key_it_printed() {
    let gateway = gateway(json!({"pass": "ok"}), opened()).await;
    let ran = ask(&gateway, &[&APPLY[..], &EXPECT].concat())
        .await
        .ended(0);
    let seen = gateway.seen();
    let [_, deed] = seen.as_slice() else {
        panic!("{seen:?}")
    };
    let key = deed.header("idempotency-key");
    assert!(
        ran.stdout.contains(&format!("idempotency key: {key}\n")),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.ends_with("incident checkout@prod-17: opened\n"),
        "{}",
        ran.stdout
    );
    assert_eq!(
        deed.body,
        json!({
            "service": "checkout", "env": "prod", "scope": "full", "deployment_id": "01J",
            "reason": "errors doubled", "override_hold": false,
            "expect": {"current": "checkout@1.8.1", "target": "checkout@1.8.0"},
        })
    );
}

#[tokio::test]
async fn nothing_is_sent_unless_it_is_confirmed_and_as_expected() {
    let gateway = gateway(json!({"pass": "ok"}), opened()).await;
    let ran = ask(&gateway, &APPLY).await.ended(2);
    assert!(ran.stderr.contains("not confirmed"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("--expect-current 'checkout@1.8.1'"),
        "{}",
        ran.stderr
    );
    let other = [
        "--expect-current",
        "checkout@1.8.2",
        "--expect-target",
        "checkout@1.8.0",
    ];
    let ran = ask(&gateway, &[&APPLY[..], &other].concat()).await.ended(5);
    assert!(
        ran.stderr.contains("not from `checkout@1.8.2`"),
        "{}",
        ran.stderr
    );
    ask(
        &gateway,
        &["rollback", "apply", "checkout", "prod", "--scope", "full"],
    )
    .await
    .ended(2);
    assert!(
        gateway
            .seen()
            .iter()
            .all(|seen| seen.body["dry_run"] == true)
    );
}

#[tokio::test]
async fn a_hold_needs_an_override_and_a_deny_takes_none() {
    let held = gateway(json!({"hold": "another deployment runs"}), opened()).await;
    let ran = ask(&held, &[&APPLY[..], &EXPECT].concat()).await.ended(4);
    assert!(
        ran.stderr
            .contains("on hold: target: another deployment runs"),
        "{}",
        ran.stderr
    );
    let over = [&APPLY[..], &EXPECT, &["--override-hold"]].concat();
    ask(&held, &over).await.ended(0);
    assert_eq!(held.seen().last().unwrap().body["override_hold"], true);

    let denied = gateway(json!({"deny": "the kill switch is on"}), opened()).await;
    let ran = ask(&denied, &over).await.ended(4);
    assert!(
        ran.stderr
            .contains("refused: target: the kill switch is on"),
        "{}",
        ran.stderr
    );
    assert_eq!(denied.seen().len(), 1);
}

#[tokio::test]
async fn each_answer_of_the_gateway_has_its_exit_code() {
    let args = [&APPLY[..], &EXPECT].concat();
    for (status, code) in [(400, 2), (403, 4), (404, 1), (409, 5), (422, 4), (503, 3)] {
        let gateway = gateway(
            json!({"pass": "ok"}),
            problem(status, "some_code", "because"),
        )
        .await;
        let ran = ask(&gateway, &args).await.ended(code);
        assert!(
            ran.stderr.contains("because [some_code]"),
            "{status}: {}",
            ran.stderr
        );
        let key = gateway
            .seen()
            .last()
            .unwrap()
            .header("idempotency-key")
            .to_owned();
        assert_eq!(
            ran.stderr.contains(&key),
            status == 503,
            "{status}: {}",
            ran.stderr
        );
    }
    let folder = Folder::new();
    let gone = nowhere().await;
    let ran = folder
        .run(&[&PLAN[..], &["--gateway", &gone]].concat())
        .await
        .ended(3);
    assert!(
        ran.stderr.contains("gives no answer: cannot connect"),
        "{}",
        ran.stderr
    );
    let gateway = gateway(json!({"pass": "ok"}), opened()).await;
    let ran = folder
        .run(&[&PLAN[..], &["--gateway", &gateway.url]].concat())
        .await
        .ended(4);
    assert!(ran.stderr.contains("--token-file"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_repeat_with_the_same_key_is_sent_though_the_plan_moved_on() {
    let again = (
        200,
        json!({"incident_id": "checkout@prod-17", "created": false}),
    );
    let gateway = gateway(json!({"hold": "already being handled"}), again).await;
    let repeat = [&APPLY[..], &EXPECT, &["--idempotency-key", "k1"]].concat();
    let ran = ask(&gateway, &repeat).await.ended(0);
    assert!(
        ran.stdout
            .ends_with("incident checkout@prod-17: already opened by this key\n"),
        "{}",
        ran.stdout
    );
    assert_eq!(
        gateway.seen().last().unwrap().header("idempotency-key"),
        "k1"
    );
}

#[tokio::test]
async fn an_incident_is_followed_to_its_end() {
    for (ending, code) in [("recovered", 0), ("still_bad", 1), ("withdrawn", 4)] {
        let looks = AtomicU32::new(0);
        let gateway = StandIn::start(move |_| {
            let open = json!({"stage": {"claimed": {"owner": "r", "until": "x"}}, "attempt": 1});
            let closed = json!({
                "stage": "closed", "attempt": 1, "execution": "01K", "ending": ending,
                "finished": {"status": "SUCCEEDED", "succeeded": true, "detail": ""},
                "recovery": [ending, "errors are at 0.1 %"],
            });
            (
                200,
                if looks.fetch_add(1, Ordering::Relaxed) == 0 {
                    open
                } else {
                    closed
                },
            )
        })
        .await;
        let ran = ask(
            &gateway,
            &["rollback", "status", "checkout@prod-17", "--wait"],
        )
        .await
        .ended(code);
        assert_eq!(
            ran.stdout,
            format!(
                "checkout@prod-17: claimed\ncheckout@prod-17: closed, execution 01K, SUCCEEDED, recovery: errors are at 0.1 %: {}\n",
                ending.replace('_', " ")
            )
        );
        assert_eq!(gateway.lines()[0], "GET /api/v1/incidents/checkout@prod-17");
    }
}

fn question(outcome: &Value) -> Value {
    json!({
        "id": "checkout@prod-9", "outcome": outcome,
        "asked": {
            "service": "checkout", "env": "prod", "release_id": "checkout@1.8.0",
            "scope": {"batch": [1]}, "target": "checkout@1.7.0", "expires": "2026-03-01T12:15:00Z",
        },
    })
}

#[tokio::test]
async fn questions_are_listed_and_answered_with_a_reason() {
    let denied = json!({"denied": {"by": "oncall", "via": "token", "reason": "not ours"}});
    let answer = question(&denied);
    let gateway = StandIn::start(move |seen| {
        if seen.line.starts_with("GET") {
            let items = [question(&json!("open")), question(&json!("expired"))];
            return (200, json!({"items": items}));
        }
        (200, json!({"approval": answer, "recorded": true}))
    })
    .await;
    let ran = ask(&gateway, &["rollback", "approvals"]).await.ended(0);
    assert_eq!(
        ran.stdout,
        "checkout@prod-9: checkout prod: batch 1 of checkout@1.8.0 back to checkout@1.7.0: open until 2026-03-01T12:15:00Z\n"
    );
    let all = ask(&gateway, &["rollback", "approvals", "--all"]).await;
    assert_eq!(all.ended(0).stdout.lines().count(), 2);
    let deny = [
        "rollback",
        "deny",
        "checkout@prod-9",
        "--reason",
        "not ours",
    ];
    let ran = ask(&gateway, &deny).await.ended(0);
    assert!(
        ran.stdout.ends_with(": denied by oncall: not ours\n"),
        "{}",
        ran.stdout
    );
    let sent = gateway.seen().pop().unwrap();
    assert_eq!(sent.line, "POST /api/v1/approvals/checkout@prod-9");
    assert_eq!(sent.body, json!({"answer": "deny", "reason": "not ours"}));
    for wrong in [
        &["rollback", "approve", "checkout@prod-9", "--reason", " "][..],
        &["rollback", "approve", "checkout@prod-9"],
        &["rollback", "abandon", "../x", "--reason", "r"],
    ] {
        ask(&gateway, wrong).await.ended(2);
    }
}

#[tokio::test]
async fn a_question_that_was_settled_otherwise_is_a_conflict_and_an_incident_is_given_up() {
    let gateway = StandIn::start(|seen| {
        if seen.line.contains("/abandon") {
            return (200, json!({"id": "checkout@prod-17"}));
        }
        let why = "`checkout@prod-9` is denied by oncall: not ours";
        (409, json!({"code": "approval_settled", "detail": why}))
    })
    .await;
    let approve = ["rollback", "approve", "checkout@prod-9", "--reason", "yes"];
    let ran = ask(&gateway, &approve).await.ended(5);
    assert!(ran.stderr.contains("denied by oncall"), "{}", ran.stderr);
    let abandon = [
        "rollback",
        "abandon",
        "checkout@prod-17",
        "--reason",
        "by hand",
    ];
    ask(&gateway, &abandon).await.ended(0);
    assert_eq!(
        gateway.lines().pop().unwrap(),
        "POST /api/v1/incidents/checkout@prod-17/abandon"
    );
}

#[tokio::test]
async fn modes_are_read_and_set_with_a_reason() {
    let gateway = StandIn::start(|seen| {
        let switch = json!({
            "service": null, "env": "prod", "mode": "off", "by": "oncall", "reason": "gate is ill", "at": "2026-03-01T12:00:00Z",
        });
        (200, if seen.line.starts_with("PUT") { json!([switch]) } else { json!([]) })
    })
    .await;
    let ran = ask(&gateway, &["mode", "get"]).await.ended(0);
    assert_eq!(ran.stdout, "no switch is set: the policies' modes apply\n");
    let ran = ask(
        &gateway,
        &[
            "mode",
            "set",
            "off",
            "--env",
            "prod",
            "--reason",
            "gate is ill",
        ],
    )
    .await
    .ended(0);
    assert_eq!(
        ran.stdout,
        "off: all services, prod: gate is ill (by oncall, 2026-03-01T12:00:00Z)\n"
    );
    let set = gateway.seen().pop().unwrap();
    assert_eq!(set.line, "PUT /api/v1/mode");
    assert_eq!(
        set.body,
        json!({"mode": "off", "service": null, "env": "prod", "reason": "gate is ill"})
    );
    ask(&gateway, &["mode", "set", "off"]).await.ended(2);
    ask(&gateway, &["mode", "set", "loud", "--reason", "x"])
        .await
        .ended(2);
}

fn recorded(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn recorded_bodies_go_through_the_door_they_came_by() {
    let gateway = StandIn::start(|seen| {
        if seen.line.contains("v2") {
            problem(503, "overload", "come again")
        } else {
            (
                200,
                json!({"delivered": 1, "pending": 0, "deduplicated": 2, "ignored": 0}),
            )
        }
    })
    .await;
    let webhook = recorded("alertmanager/alertmanager-0.25_webhook_firing_3alerts.json");
    let ran = ask(&gateway, &["replay", &webhook]).await.ended(0);
    assert_eq!(
        ran.stdout,
        format!("{webhook}: 200 deduplicated=2 delivered=1 ignored=0 pending=0\n")
    );
    let direct = recorded("vmalert/vmalert-1.150_notifier_firing_3alerts.json");
    let ran = ask(&gateway, &["replay", &direct]).await.ended(3);
    assert_eq!(ran.stdout, format!("{direct}: 503 come again [overload]\n"));
    assert_eq!(
        gateway.lines(),
        ["POST /api/v1/webhook", "POST /api/v2/alerts"]
    );
    let sent = std::fs::read(&webhook).unwrap();
    assert_eq!(
        gateway.seen()[0].body,
        serde_json::from_slice::<Value>(&sent).unwrap()
    );
    let folder = Folder::new();
    folder
        .run(&["replay", &webhook, "--to", &nowhere().await])
        .await
        .ended(3);
    folder.run(&["replay", "nothing.json"]).await.ended(2);
}

#[tokio::test]
async fn a_dry_run_sends_nothing_and_shows_what_is_held() {
    let folder = Folder::new();
    folder.write("a/1.json", r#"{"version":"4"}"#);
    folder.write(
        "a/2.json",
        r#"[{"labels":{"alertname":"A"},"endsAt":"2026-03-01T12:05:00Z"}]"#,
    );
    let at = ["replay", "--dry-run", "--at", "2026-03-01T12:01:00Z", "a"];
    let ran = folder.run(&at).await.ended(1);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        lines[0].starts_with("a/1.json: this body can't be accepted: "),
        "{lines:?}"
    );
    assert_eq!(lines[1], "a/2.json: 1 group, 1 alert (1 firing)");
    let later = folder
        .run(&["replay", "--dry-run", "a/2.json"])
        .await
        .ended(0);
    assert_eq!(later.stdout, "a/2.json: 1 group, 1 alert (0 firing)\n");
}
