//! Webhook bodies as Alertmanager sends them, each with alerts nobody has seen before.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use backstop::domain::clock::{Clock as _, SystemClock};

/// Alerts are spread over this many services, as in a company that has some.
const SERVICES: u64 = 400;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// One webhook body.
#[derive(Debug)]
pub(crate) struct Body {
    /// Its number, which stands in its alerts' words too.
    pub(crate) id: u64,
    pub(crate) text: String,
}

/// What marks a message with the number of the webhook it came from.
pub(crate) const MARK: &str = "probe-";

/// What one webhook is about.
struct About<'a> {
    service: &'a str,
    severity: &'a str,
    /// More labels of every alert, as JSON members that end in a comma.
    labels: &'a str,
    /// The hosts its alerts name, one after the other; none: a new host each.
    hosts: &'a [String],
}

/// A webhook of `count` new alerts of one group, about no release anybody knows.
pub(crate) fn webhook(count: u64) -> Body {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let about = About {
        service: &format!("svc-{:03}", id % SERVICES),
        severity: "warning",
        labels: "",
        hosts: &[],
    };
    let text = body(id, count, &about);
    Body { id, text }
}

/// A webhook of `count` new alerts about release 2 of `service` on `hosts`.
pub(crate) fn about_release(count: u64, service: &str, severity: &str, hosts: &[String]) -> Body {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let about = About {
        service,
        severity,
        labels: &format!(r#""release_id":"{service}@2","#),
        hosts,
    };
    let text = body(id, count, &about);
    Body { id, text }
}

fn body(id: u64, count: u64, about: &About<'_>) -> String {
    let now = SystemClock.now();
    let About {
        service,
        severity,
        labels,
        hosts,
    } = about;
    let mut text = String::from(r#"{"receiver":"backstop","status":"firing","alerts":["#);
    let mut names = hosts.iter().cycle();
    for n in 0..count {
        let comma = if n == 0 { "" } else { "," };
        let host = names
            .next()
            .cloned()
            .unwrap_or_else(|| format!("node-{id:07}-{n:04}"));
        let fingerprint = id << 12 | n;
        // Writing to a String does not fail.
        let _infallible = write!(
            text,
            r#"{comma}{{"status":"firing","labels":{{"alertname":"ErrorRatio","cluster":"prod-cn-1","env":"prod","instance":"{host}:9100","job":"node","path":"/v1/{id}/{n}",{labels}"service":"{service}","severity":"{severity}","team":"payments"}},"annotations":{{"description":"More than five percent of the requests to {service} on {host} have failed for two minutes. Look at the newest release first, then at the database.","runbook_url":"https://runbooks.example.com/error-ratio","summary":"Error ratio of {service} on {host} is 31 % ({MARK}{id:010})"}},"startsAt":"{now}","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus.example.com:9090/graph?g0.expr=http_error_ratio%7Bservice%3D%22{service}%22%7D+%3E+0.05&g0.tab=1","fingerprint":"{fingerprint:016x}"}}"#
        );
    }
    let _infallible = write!(
        text,
        r#"],"groupLabels":{{"alertname":"ErrorRatio","service":"{service}"}},"commonLabels":{{"alertname":"ErrorRatio","env":"prod","job":"node","service":"{service}","severity":"{severity}"}},"commonAnnotations":{{"runbook_url":"https://runbooks.example.com/error-ratio"}},"externalURL":"http://alertmanager.example.com:9093","version":"4","groupKey":"{{}}/{{team=\"payments\"}}:{{alertname=\"ErrorRatio\", service=\"{service}\", id=\"{id}\"}}","truncatedAlerts":0}}"#
    );
    text
}
