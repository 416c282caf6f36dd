//! Checkout 1.8.0 goes bad in its second batch, and Backstop takes that batch back.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::super::*;
use crate::chart;
use crate::domain::alert::{Alert, AlertStatus, Fingerprint, Labels, Source};
use crate::domain::deployment::{Batch, Deployment, Health, Status, Strategy};
use crate::domain::id::{ChannelName, DeploymentId, Env, Host, ReleaseId, Service};
use crate::domain::lane::{Incident, LaneEntry};
use crate::domain::notice::{Link, NoticeKind};
use crate::domain::release::{Artifact, Mark, MarkKind, Release};

/// `seconds` after 2026-11-22 14:00:00 UTC.
pub(super) fn at(seconds: i64) -> Timestamp {
    "2026-11-22T14:00:00Z"
        .parse::<Timestamp>()
        .unwrap()
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap()
}

pub(super) fn host(n: u32) -> Host {
    Host::new(format!("web-{n:02}.eu1")).unwrap()
}

fn release_id(version: &str) -> ReleaseId {
    ReleaseId::new(format!("checkout@{version}")).unwrap()
}

fn release(version: &str, fill: &str, created: Timestamp) -> Release {
    Release {
        id: release_id(version),
        service: Service::new("checkout").unwrap(),
        tag: format!("v{version}"),
        version: version.to_owned(),
        artifact_url: format!("s3://releases/checkout/{version}/checkout.tar.zst"),
        checksum: fill.repeat(32),
        config: Some(Artifact {
            url: format!("s3://releases/checkout/{version}/config.tar"),
            checksum: "c4".repeat(32),
        }),
        commit: Some(fill.repeat(20)),
        reversible: true,
        created_at: created,
        created_by: "ci/checkout#4711".to_owned(),
    }
}

fn deployment() -> Deployment {
    let batch = |n: u32, hosts: std::ops::RangeInclusive<u32>, started: Option<i64>| Batch {
        n,
        hosts: hosts.map(host).collect(),
        status: if n == 1 {
            Status::Success
        } else {
            Status::Running
        },
        started_at: started.map(at),
        finished_at: (n == 1).then(|| at(-840)),
    };
    Deployment {
        id: DeploymentId::new("01KAZ3DEPLOY").unwrap(),
        release_id: release_id("1.8.0"),
        service: Service::new("checkout").unwrap(),
        env: Env::new("prod").unwrap(),
        strategy: Strategy::Canary,
        target_hosts: (1..=36).map(host).collect(),
        batches: vec![
            batch(1, 1..=2, Some(-900)),
            batch(2, 3..=11, Some(-60)),
            batch(3, 12..=36, None),
        ],
        status: Status::Running,
        started_at: Some(at(-905)),
        finished_at: None,
        soak: Duration::from_mins(15),
        application: "checkout".to_owned(),
        pipeline: "deploy-prod".to_owned(),
        is_rollback: false,
    }
}

fn alert() -> Alert {
    let labels: Labels = [
        ("alertname", "CanaryErrorRatio"),
        ("severity", "critical"),
        ("release_id", "checkout@1.8.0"),
        ("batch", "2"),
        ("service", "checkout"),
        ("env", "prod"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    Alert {
        fingerprint: Fingerprint::of(&labels),
        status: AlertStatus::Firing,
        labels,
        annotations: [(
            "summary".to_owned(),
            "Batch 2 of checkout@1.8.0 answers 5.9 % of requests with 5xx".to_owned(),
        )]
        .into(),
        starts_at: at(125),
        ends_at: Some(at(425)),
        generator_url: None,
        source: Source::Vmalert,
    }
}

const QUERY: &str = r#"sum by (instance) (rate(http_requests_total{service="checkout",release_id="checkout@1.8.0",code=~"5.."}[1m])) / sum by (instance) (rate(http_requests_total{service="checkout",release_id="checkout@1.8.0"}[1m]))"#;

/// Well until 45 s, bad until the rollback ends at 214 s, well again. In 4096ths, which JSON
/// carries exactly.
fn metric() -> MetricSnapshot {
    let curve = |bad: i64, phase: i64| {
        (-40..=30).map(move |i| {
            let seconds = i * 15;
            let level = if (45..214).contains(&seconds) { bad } else { 8 };
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let value = (level + (i + phase).rem_euclid(5)) as f64 / 4096.0;
            (at(seconds), value)
        })
    };
    let labels = |n: u32| Labels::from([("instance".to_owned(), format!("{}:9100", host(n)))]);
    let series = |n: u32, role, bad| Series::new(&labels(n), role, curve(bad, i64::from(n)));
    let mut metric = MetricSnapshot {
        title: "error ratio".into(),
        query: QUERY.into(),
        source: "http://vmselect:8481/select/0/prometheus".into(),
        unit: "ratio".into(),
        threshold: Some(Threshold {
            value: Number(0.02),
            bad: Side::Above,
        }),
        from: at(-600),
        to: at(450),
        step: Duration::from_secs(15),
        series: vec![
            series(3, Role::Accused, 238),
            series(4, Role::Accused, 168),
            series(20, Role::Rest, 8),
        ],
        chart: None,
        chart_png: None,
    };
    metric.chart_png = Some(Png(draw(&metric).into()));
    metric
}

fn draw(metric: &MetricSnapshot) -> Vec<u8> {
    let series = metric.series.iter().map(|series| chart::Series {
        label: series
            .labels
            .values()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        role: match series.role {
            Role::Accused => chart::Role::Accused,
            Role::Rest => chart::Role::Rest,
        },
        points: series
            .points
            .iter()
            .map(|point| (point.0, point.1.0))
            .collect(),
    });
    let mark = |seconds, label: &str, kind| chart::Mark {
        at: at(seconds),
        label: label.to_owned(),
        kind,
    };
    let picture = chart::Chart {
        title: "checkout/prod: error ratio".to_owned(),
        unit: chart::Unit::Ratio,
        series: series.collect(),
        threshold: metric.threshold.map(|line| line.value.0),
        marks: vec![
            mark(-60, "batch 2", chart::MarkKind::Batch),
            mark(140, "rollback", chart::MarkKind::Rollback),
        ],
        from: metric.from,
        to: metric.to,
        time_zone: jiff::tz::TimeZone::UTC,
        theme: chart::Theme::Light,
        locale: chart::Locale::En,
        size: chart::Chart::DEFAULT_SIZE,
    };
    chart::render(&picture, &chart::Fonts::bundled()).unwrap()
}

fn stage(
    name: &str,
    kind: &str,
    status: &str,
    span: (i64, i64),
    message: Option<&str>,
) -> StageLine {
    StageLine {
        name: name.into(),
        kind: kind.into(),
        status: status.into(),
        started: Some(at(span.0)),
        finished: Some(at(span.1)),
        message: message.map(Text::from),
        hosts: Vec::new(),
    }
}

fn rollback_log() -> ExecutionLog {
    let ansible = "PLAY [web-03.eu1,web-04.eu1]\nTASK [fetch artifact] ok\n  curl -H 'Authorization: Bearer 8f2a9c' https://s3/releases\nTASK [switch symlink] changed\nTASK [health check] ok\nPLAY RECAP: web-03.eu1 ok=4 changed=1, web-04.eu1 ok=4 changed=1";
    let mut roll_back = stage(
        "Roll hosts back",
        "runJob",
        "SUCCEEDED",
        (145, 208),
        Some(ansible),
    );
    roll_back.hosts = (3..=11).map(host).collect();
    ExecutionLog {
        execution: "01KAZ4ROLLBACK".into(),
        pipeline: "rollback-batch".into(),
        status: "SUCCEEDED".into(),
        started: Some(at(141)),
        finished: Some(at(214)),
        stages: vec![
            stage("Admit", "webhook", "SUCCEEDED", (141, 143), None),
            roll_back,
            stage(
                "Health check",
                "webhook",
                "SUCCEEDED",
                (208, 213),
                Some("9 of 9 hosts answer 200"),
            ),
        ],
    }
}

fn deploy_log() -> ExecutionLog {
    ExecutionLog {
        execution: "01KAZ3DEPLOY".into(),
        pipeline: "deploy-prod".into(),
        status: "CANCELED".into(),
        started: Some(at(-905)),
        finished: Some(at(139)),
        stages: vec![
            stage(
                "Deploy batch 1 (5 %)",
                "runJob",
                "SUCCEEDED",
                (-900, -840),
                None,
            ),
            stage("Soak", "wait", "SUCCEEDED", (-840, -70), None),
            stage(
                "Deploy batch 2 (25 %)",
                "runJob",
                "SUCCEEDED",
                (-60, 20),
                None,
            ),
            stage(
                "Soak",
                "wait",
                "CANCELED",
                (20, 139),
                Some("canceled by backstop: incident checkout@prod-41"),
            ),
        ],
    }
}

fn states(version: &str, health: Health) -> Option<HostState> {
    Some(HostState {
        release_id: Some(release_id(version)),
        status: Some(Status::Success),
        health,
        error: None,
    })
}

fn hosts() -> Vec<HostLine> {
    (3..=11)
        .map(|n| HostLine {
            host: host(n),
            batch: Some(2),
            before: states("1.8.0", Health::Unhealthy),
            after: states("1.7.4", Health::Healthy),
        })
        .collect()
}

/// One lane event, as it is kept.
pub(super) fn entry(seconds: i64, event: serde_json::Value) -> LaneEntry {
    serde_json::from_value(json!({"at": at(seconds), "by": "r1", "event": event})).unwrap()
}

pub(super) const ID: &str = "checkout@prod-41";

fn guards() -> serde_json::Value {
    json!([
        {"guard": "mode", "outcome": {"pass": "the mode is enforce (enforce in rules/policy/checkout.yaml)"}},
        {"guard": "freshness", "outcome": {"pass": "delivered 1s ago"}},
        {"guard": "context", "outcome": {"pass": "checkout@1.8.0 by release labels; the catalog is 2s old"}},
        {"guard": "threshold", "outcome": {"pass": "open for 30s of 30s; 9 accused hosts of at least 1"}},
        {"guard": "verify", "outcome": {"pass": "the metrics store says so: worst value 0.059 in 2 series"}},
        {"guard": "attribution", "outcome": {"pass": "began 1m 45s after batch 2; others are well; it still runs there"}},
        {"guard": "phase", "outcome": {"pass": "canary: batch 2"}},
        {"guard": "lane", "outcome": {"pass": "no other incident or execution"}},
        {"guard": "target", "outcome": {"pass": "checkout@1.7.4 is the last stable release"}},
        {"guard": "budget", "outcome": {"pass": "0 of 1 per 30m for checkout, 0 of 3 per 10m overall"}},
    ])
}

fn decision() -> serde_json::Value {
    json!({
        "at": at(136), "verdict": {"rollback": {"batch": [2]}}, "shadow": false, "mode": "enforce",
        "rule": "checkout.yaml: bad canary takes its batch back",
        "rules": [
            {"rule": "checkout.yaml: bad canary takes its batch back", "matched": true, "why": "severity and alertname match; the phase is canary"},
            {"rule": "checkout.yaml: bad full rollout goes back", "matched": false, "why": "the phase is canary, not full"},
        ],
        "guards": guards(), "service": "checkout", "env": "prod", "lane": "checkout@prod",
        "deployment": "01KAZ3DEPLOY", "release_id": "checkout@1.8.0", "phase": "canary",
        "scope": {"batch": [2]}, "hosts": (3..=11).map(host).collect::<Vec<_>>(),
        "target": "checkout@1.7.4", "alerts": [alert().fingerprint],
        "evidence": {
            "verify": {"answer": "holds", "expr": QUERY, "from": "armed rule", "value": 0.059, "series": 2, "at": at(136)},
            "attribution": {
                "began_after": {"pass": "bad since 14:00:45, batch 2 started 13:59:00"},
                "others_are_well": {"pass": "25 hosts without 1.8.0 are at 0.2 %"},
                "still_running": {"pass": "all 9 hosts still run 1.8.0"},
            },
            "at": at(136),
        },
        "recheck_at": null, "incident": null,
    })
}

pub(super) fn opened() -> serde_json::Value {
    json!({
        "service": "checkout", "env": "prod", "deployment": "01KAZ3DEPLOY",
        "release_id": "checkout@1.8.0", "scope": {"batch": [2]},
        "hosts": (3..=11).map(host).collect::<Vec<_>>(), "target": "checkout@1.7.4",
        "origin": "automatic", "decision": decision(), "thread": "vmalert/canary/CanaryErrorRatio",
        "channels": ["ops-slack"], "supersedes": null,
    })
}

pub(super) fn plan() -> serde_json::Value {
    json!({
        "application": "checkout", "pipeline": "rollback-batch", "scope": {"batch": [2]},
        "hosts": (3..=11).map(host).collect::<Vec<_>>(), "from": "checkout@1.8.0",
        "target": "checkout@1.7.4", "parameters": {"release": "checkout@1.7.4", "attempt": "1"},
    })
}

/// The lane up to Spinnaker's answer.
pub(super) fn accepted_events(opened: &serde_json::Value) -> Vec<LaneEntry> {
    vec![
        entry(136, json!({"opened": opened})),
        entry(
            136,
            json!({"claimed": {"incident": ID, "owner": "r1", "until": at(166)}}),
        ),
        entry(
            139,
            json!({"submitting": {"incident": ID, "attempt": 1, "plan": plan()}}),
        ),
        entry(
            140,
            json!({"submitted": {"incident": ID, "attempt": 1, "execution": "01KAZ4ROLLBACK"}}),
        ),
        entry(
            142,
            json!({"admitted": {"incident": ID, "attempt": 1, "execution": "01KAZ4ROLLBACK"}}),
        ),
    ]
}

/// The folded incident at Spinnaker's answer; a test sets what came later.
pub(super) fn accepted(opened: &serde_json::Value) -> Incident {
    serde_json::from_value(json!({
        "id": ID, "lane": "checkout@prod", "opened": opened, "opened_at": at(136),
        "stage": {"stage": "admitted"}, "attempt": 1, "plan": plan(), "submitting_at": at(139),
        "execution": "01KAZ4ROLLBACK", "submitted_at": at(140), "admitted": "01KAZ4ROLLBACK",
        "finished": null, "recovery": null, "revision": 0, "ending": null, "closed_at": null,
        "events": accepted_events(opened),
    }))
    .unwrap()
}

fn message(seconds: i64, kind: NoticeKind) -> MessageLine {
    MessageLine {
        channel: ChannelName::new("ops-slack").unwrap(),
        at: at(seconds),
        status: "sent".into(),
        kind,
    }
}

fn commits() -> Vec<Commit> {
    let commit = |id: &str, author: &str, title: &str, seconds| Commit {
        id: id.into(),
        author: Some(author.into()),
        title: title.into(),
        at: Some(at(seconds)),
        url: Some(format!("https://git.example.com/shop/checkout/commit/{id}")),
    };
    vec![
        commit(
            "b8b8b8b8b8b8b8b8",
            "mlin",
            "Retry payments through the new pool",
            -90_000,
        ),
        commit(
            "41d0aa97c2e15f08",
            "asato",
            "Move the connection pool behind a flag",
            -98_000,
        ),
    ]
}

/// Revision 3: rolled back and recovered, everything at hand.
pub(super) fn recovered() -> Input {
    let mut incident = accepted(&opened());
    let detail = "error ratio 0.22 % < 1 % for 1m";
    incident.events.extend([
        entry(216, json!({"finished": {"incident": ID, "execution": "01KAZ4ROLLBACK", "status": "SUCCEEDED", "succeeded": true, "detail": "9 of 9 hosts run checkout@1.7.4"}})),
        entry(217, json!({"reported": {"incident": ID, "revision": 2}})),
        entry(334, json!({"recovery": {"incident": ID, "ending": "recovered", "detail": detail}})),
        entry(335, json!({"closed": {"incident": ID, "ending": "recovered", "why": detail}})),
    ]);
    incident.finished = serde_json::from_value(json!({"at": at(216), "status": "SUCCEEDED", "succeeded": true, "detail": "9 of 9 hosts run checkout@1.7.4"})).unwrap();
    incident.recovery = serde_json::from_value(json!(["recovered", detail])).unwrap();
    incident.ending = serde_json::from_value(json!("recovered")).unwrap();
    incident.stage = serde_json::from_value(json!({"stage": "closed"})).unwrap();
    Input {
        incident,
        from: Some(release("1.8.0", "b8", at(-86_400))),
        target: Some(release("1.7.4", "74", at(-864_000))),
        mark: Some(Mark {
            release_id: release_id("1.8.0"),
            kind: MarkKind::Bad,
            reason: format!("rolled back by {ID}"),
            by: "backstop".to_owned(),
            at: at(217),
            incident: None,
        }),
        deployment: Some(deployment()),
        alerts: vec![alert()],
        received_at: Some(at(135)),
        commits: Section::Whole(commits()),
        compare: Some(Link {
            text: "v1.7.4...v1.8.0".to_owned(),
            url: "https://github.com/example/checkout/compare/v1.7.4...v1.8.0".to_owned(),
        }),
        deploy_log: Section::Whole(deploy_log()),
        rollback_log: Section::Whole(rollback_log()),
        metrics: Section::Whole(vec![metric()]),
        messages: Section::Whole(vec![
            message(137, NoticeKind::Alert),
            message(141, NoticeKind::RollbackStarted),
            message(217, NoticeKind::RollbackFinished),
            message(336, NoticeKind::Recovery),
        ]),
        judged: Section::Whole(vec![
            JudgedLine {
                at: at(136),
                what: Judging::Decided {
                    verdict: "hold".to_owned(),
                    shadow: false,
                },
                why: "verify: evidence pending".into(),
            },
            JudgedLine {
                at: at(139),
                what: Judging::HoldEnded,
                why: format!("incident `{ID}` took over").into(),
            },
        ]),
        hosts: Section::Whole(hosts()),
        revision: 3,
        now: at(340),
        links: vec![
            Link {
                text: "Incident in Backstop".to_owned(),
                url: format!("https://backstop.example.com/incidents/{ID}"),
            },
            Link {
                text: "Rollback in Spinnaker".to_owned(),
                url: "https://spinnaker.example.com/#/applications/checkout/executions/01KAZ4ROLLBACK".to_owned(),
            },
        ],
    }
}

/// Revision 1: Spinnaker just accepted it, and little is at hand.
pub(super) fn first_revision() -> Input {
    let mut input = recovered();
    input.incident = accepted(&opened());
    input.mark = None;
    input.commits = Section::missing("GitHub did not answer within 2s");
    input.rollback_log = Section::missing("the execution has no stage yet");
    input.hosts = Section::partial(
        "the hosts have not changed yet",
        hosts()
            .into_iter()
            .map(|line| HostLine {
                after: None,
                ..line
            })
            .collect(),
    );
    if let Section::Whole(metrics) = &mut input.metrics {
        for metric in metrics {
            metric.chart_png = None;
            metric.to = at(140);
            for series in &mut metric.series {
                series.points.retain(|point| point.0 <= at(140));
            }
        }
    }
    input.messages = Section::Whole(vec![message(137, NoticeKind::Alert)]);
    input.revision = 1;
    input.now = at(141);
    input
}

/// Revision 2 of a rollback whose execution failed half way.
pub(super) fn failed() -> Input {
    let mut input = first_revision();
    let detail = "stage \"Roll hosts back\": 3 of 9 hosts unreachable over SSH";
    input.incident.events.push(entry(200, json!({"finished": {"incident": ID, "execution": "01KAZ4ROLLBACK", "status": "TERMINAL", "succeeded": false, "detail": detail}})));
    input.incident.finished = serde_json::from_value(
        json!({"at": at(200), "status": "TERMINAL", "succeeded": false, "detail": detail}),
    )
    .unwrap();
    input.incident.stage = serde_json::from_value(json!({"stage": "finished"})).unwrap();
    input.revision = 2;
    input.now = at(201);
    input
}

/// A person took everything back; no alert was involved.
pub(super) fn manual() -> Input {
    let mut opened = opened();
    opened["origin"] =
        json!({"manual": {"by": "dana", "reason": "support sees double charges", "key": "k1"}});
    opened["scope"] = json!("full");
    opened["decision"]["evidence"] = json!(null);
    opened["decision"]["rule"] = json!(null);
    let mut input = recovered();
    let mut incident = accepted(&opened);
    incident.plan.as_mut().unwrap().scope = crate::domain::decision::Scope::Full;
    let late = input.incident.events.split_off(5);
    incident.events.extend(late);
    incident.finished.clone_from(&input.incident.finished);
    incident.recovery = serde_json::from_value(json!(["unverified", "no traffic"])).unwrap();
    incident.events.retain(|entry| entry.at < at(300));
    incident.ending = serde_json::from_value(json!("unverified")).unwrap();
    input.incident = incident;
    input.alerts.clear();
    input.received_at = None;
    input.metrics = Section::missing("the metrics store did not answer: connection refused");
    input
}
