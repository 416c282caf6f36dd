//! Rollbacks that wait for a person, and what follows one that did not help.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{
    CHANNELS, HOSTS, NEW, STABLE, Setting, TestGateway, alert, canary_alert, group, labels,
};

fn asking() -> Setting {
    Setting {
        mode: "approve",
        ..Setting::default()
    }
}

/// A bad canary is told, and people are asked; the question.
async fn asked(site: &TestGateway) -> Value {
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    let (status, answer) = site.webhook(&canary_alert()).await;
    assert_eq!(status, 200, "{answer:#}");
    question(site, "open").await
}

async fn questions(site: &TestGateway) -> Vec<Value> {
    let page = site.get("/api/v1/approvals").await;
    page["items"].as_array().cloned().unwrap_or_default()
}

/// The newest question, once it stands so.
async fn question(site: &TestGateway, outcome: &str) -> Value {
    site.until(&format!("a question that is {outcome}"), || async {
        let newest = questions(site).await.into_iter().next()?;
        let now = match &newest["outcome"] {
            Value::String(word) => word.clone(),
            other => other.as_object()?.keys().next()?.clone(),
        };
        (now == outcome).then_some(newest)
    })
    .await
}

async fn say(site: &TestGateway, base: &str, id: &str, answer: &str) -> (u16, Value) {
    let body = json!({"answer": answer, "reason": "as the drill says"});
    let path = format!("/api/v1/approvals/{id}");
    site.post_to(base, &path, "rollback", &body).await
}

fn id(question: &Value) -> &str {
    question["id"].as_str().unwrap()
}

/// The address behind a channel's message.
fn link(site: &TestGateway, channel: &str) -> String {
    let messages = site.messages();
    let texts = messages[channel].iter();
    let mut found = texts.filter_map(|text| {
        let (_, rest) = text.split_once("/approve/")?;
        let ends = |c: char| !(c.is_ascii_alphanumeric() || "._@+-~".contains(c));
        let token = rest.split(ends).next()?;
        Some(format!("{}/approve/{token}", site.url()))
    });
    found
        .next_back()
        .unwrap_or_else(|| panic!("no link in {:#?}", messages[channel]))
}

async fn nothing_was_done(site: &TestGateway) {
    assert_eq!(site.incidents().await, Vec::<Value>::new());
    assert_eq!(site.rollbacks(), Vec::<Value>::new());
}

async fn resolve(site: &TestGateway) {
    let over = group(&[alert(&labels(HOSTS[0], &[]), false)]);
    assert_eq!(site.webhook(&over).await.0, 200);
    site.until("every hold to end", || async {
        let mut ends = std::collections::BTreeMap::new();
        for key in site.store.list("holds").await.ok()? {
            let link = site.store.get::<Value>(&key).await.ok()??;
            ends.insert(
                key.rsplit_once('/')?.0.to_owned(),
                link.get("ended").is_some(),
            );
        }
        ends.values().all(|ended| *ended).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_asked_in_every_channel_and_the_link_s_page_rolls_back_after_a_yes() {
    let site = TestGateway::with(asking()).await;
    let question = asked(&site).await;
    assert_eq!(question["asked"]["scope"]["batch"], json!([1]));
    assert_eq!(question["asked"]["target"], STABLE);
    site.told("/approve/", 1).await;
    let client = crate::support::process::client().unwrap();
    for channel in CHANNELS {
        let page = client.get(link(&site, channel)).send().await.unwrap();
        assert_eq!(page.status(), 200, "{channel}");
        let page = page.text().await.unwrap();
        for told in [NEW, STABLE, HOSTS[0], "batch 1", "verify"] {
            assert!(page.contains(told), "{channel}: {told}: {page}");
        }
    }
    nothing_was_done(&site).await;

    let form = [
        ("answer", "approve"),
        ("name", "Ada"),
        ("reason", "seen it"),
    ];
    let post = |channel| {
        let request = client.post(link(&site, channel));
        request.header("origin", site.url()).form(&form).send()
    };
    let page = post("ops-mail").await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("Approved by Ada"));
    let second = post("ops-slack").await.unwrap();
    assert_eq!(second.status(), 409);

    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    assert_eq!(incident["opened"]["approval"], question["id"]);
    assert_eq!(site.touched().len(), 1, "{:?}", site.touched());
    let events = incident["events"].as_array().unwrap();
    let answer = &events[1]["event"]["approved"]["answer"];
    assert_eq!(answer["by"], "Ada", "{events:#?}");
    assert_eq!(answer["via"]["link"]["channel"], "ops-mail");
    site.told("approved by Ada", 1).await;
    assert_eq!(questions(&site).await.len(), 1);
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_binds_the_deployment_until_it_is_cleared_and_then_people_are_asked_again() {
    let site = TestGateway::with(asking()).await;
    let first = asked(&site).await;
    let (status, answer) = say(&site, &site.url(), id(&first), "deny").await;
    assert_eq!(status, 200, "{answer:#}");
    site.told("denied by rollback", 1).await;
    assert_eq!(say(&site, &site.url(), id(&first), "approve").await.0, 409);
    // Another alert of the same deployment.
    let more = group(&[alert(&labels(HOSTS[0], &[("path", "/pay")]), true)]);
    assert_eq!(site.webhook(&more).await.0, 200);
    site.until("the denial to be held against it", || async {
        let decisions = site.decisions().await;
        let denied = decisions.iter().filter(|one| one.contains("said no"));
        (denied.count() >= 1).then_some(())
    })
    .await;
    assert_eq!(questions(&site).await.len(), 1);
    nothing_was_done(&site).await;

    let (status, answer) = say(&site, &site.url(), id(&first), "clear").await;
    assert_eq!(status, 200, "{answer:#}");
    let again = question(&site, "open").await;
    assert_ne!(again["id"], first["id"]);
    assert_eq!(say(&site, &site.url(), id(&again), "approve").await.0, 200);
    let incident = site.closed_incident().await;
    assert_eq!(incident["ending"], "recovered", "{incident:#}");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_holds_where_the_rule_says_hold_and_people_are_paged() {
    let site = TestGateway::with(Setting {
        rule: "approval: {expires: 2s, then: hold}",
        ..Setting::default()
    })
    .await;
    let asked = asked(&site).await;
    question(&site, "expired").await;
    site.told("nobody answered", 1).await;
    assert_eq!(say(&site, &site.url(), id(&asked), "approve").await.0, 409);
    nothing_was_done(&site).await;
    assert_eq!(questions(&site).await.len(), 1);
    resolve(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_rolls_back_where_the_rule_says_so_and_never_in_mode_approve() {
    for (mode, done) in [("enforce", true), ("approve", false)] {
        let site = TestGateway::with(Setting {
            mode,
            rule: "approval: {expires: 2s, then: rollback}",
            ..Setting::default()
        })
        .await;
        asked(&site).await;
        question(&site, "expired").await;
        if done {
            let incident = site.closed_incident().await;
            assert_eq!(incident["ending"], "recovered", "{incident:#}");
            assert_eq!(site.touched().len(), 1);
        } else {
            site.told("nobody answered", 1).await;
            nothing_was_done(&site).await;
            resolve(&site).await;
        }
        site.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_falls_away_with_its_alerts() {
    let site = TestGateway::with(asking()).await;
    let asked = asked(&site).await;
    resolve(&site).await;
    question(&site, "lapsed").await;
    assert_eq!(say(&site, &site.url(), id(&asked), "approve").await.0, 409);
    nothing_was_done(&site).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_and_a_no_at_once_on_two_replicas_have_one_outcome() {
    let site = TestGateway::with(Setting {
        replicas: 2,
        ..asking()
    })
    .await;
    let asked = asked(&site).await;
    let (one, two) = (site.replicas[0].url(), site.replicas[1].url());
    let (yes, no) = tokio::join!(
        say(&site, &one, id(&asked), "approve"),
        say(&site, &two, id(&asked), "deny"),
    );
    let mut statuses = [yes.0, no.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{yes:?} {no:?}");
    assert_eq!(questions(&site).await.len(), 1);
    if yes.0 == 200 {
        let incident = site.closed_incident().await;
        assert_eq!(incident["ending"], "recovered", "{incident:#}");
    } else {
        site.told("denied by rollback", 1).await;
        nothing_was_done(&site).await;
        resolve(&site).await;
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_did_not_help_is_followed_by_everything_where_the_rule_says_so() {
    let site = TestGateway::with(Setting {
        rule: "escalate: full",
        within: "2s",
        ..Setting::default()
    })
    .await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    site.metrics.set_recovery(0.3);
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    site.until("the full rollback", || async {
        let touched = site.touched();
        touched
            .iter()
            .any(|one| one.pipeline == "rollback-full")
            .then_some(())
    })
    .await;
    site.metrics.set_recovery(0.001);
    let incidents = site
        .until("two closed incidents", || async {
            let incidents = site.incidents().await;
            let closed = |one: &&Value| one["stage"]["stage"] == "closed";
            (incidents.iter().filter(closed).count() == 2).then_some(incidents)
        })
        .await;
    let (full, batch) = (&incidents[0], &incidents[1]);
    assert_eq!(batch["ending"], "superseded", "{batch:#}");
    assert_eq!(full["opened"]["supersedes"], batch["id"], "{full:#}");
    assert_eq!(full["plan"]["scope"], "full", "{full:#}");
    assert_eq!(full["ending"], "recovered", "{full:#}");
    let pipelines: Vec<String> = site.touched().into_iter().map(|one| one.pipeline).collect();
    assert_eq!(pipelines, ["rollback-batch", "rollback-full"]);
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_that_is_given_up_sends_nothing_more() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.let_rollbacks_end(false);
    site.metrics.set(&HOSTS[..1], 0.3);
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    let open = site
        .until("an open incident", || async {
            site.incidents().await.into_iter().next()
        })
        .await;
    let path = format!("/api/v1/incidents/{}/abandon", open["id"].as_str().unwrap());
    let body = json!({"reason": "by hand"});
    let (status, answer) = site.post_to(&site.url(), &path, "rollback", &body).await;
    assert_eq!(status, 200, "{answer:#}");
    site.let_rollbacks_end(true);
    let incident = site.closed_incident().await;
    assert!(site.touched().len() <= 1, "{incident:#}");
    assert_eq!(
        site.post_to(&site.url(), &path, "rollback", &body).await.0,
        409
    );
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_release_that_comes_back_is_told_once() {
    let site = TestGateway::start().await;
    site.deploy_canary().await;
    site.metrics.set(&HOSTS[..1], 0.3);
    assert_eq!(site.webhook(&canary_alert()).await.0, 200);
    site.closed_incident().await;
    site.until("the catalog to know the mark", || async {
        (!site
            .store
            .list(&format!("marks/{NEW}"))
            .await
            .ok()?
            .is_empty())
        .then_some(())
    })
    .await;
    site.metrics.set(&HOSTS, 0.0);
    site.deploy_canary().await;
    site.told("a bad release is back", 1).await;
    // Looked at again and again meanwhile.
    site.promote();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (channel, count) in site.messages_with("a bad release is back") {
        assert_eq!(count, 1, "{channel}: {:#?}", site.messages()[channel]);
    }
    site.finish().await;
}
