//! Every metric of the product: names, labels and help, in this file alone.
//!
//! Labels are bounded by code or configuration: never an alert's name, a host or a token.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
mod labels;

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use labels::{SelfTestFailure, Step};

/// Label pairs with fixed names.
type Pairs<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Pairs<N>, Counter>;
type Histograms<const N: usize> = Family<Pairs<N>, Histogram, fn() -> Histogram>;

/// From a millisecond to the longest a webhook may wait.
const LATENCY: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// From an alert's start on: a second, the objective of two minutes, and holds of an hour.
const SINCE_ALERT: [f64; 15] = [
    1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1800.0, 3600.0,
];

fn latency() -> Histogram {
    Histogram::new(LATENCY)
}

fn since_alert() -> Histogram {
    Histogram::new(SINCE_ALERT)
}

/// What a sender of alerts may be answered.
const ANSWERS: [u16; 11] = [200, 400, 401, 403, 408, 413, 415, 421, 429, 500, 503];

/// The numbers, shared by all rooms as `Arc<Metrics>`.
pub struct Metrics {
    registry: Registry,
    requests: Counters<2>,
    webhooks: Counters<2>,
    webhook_duration: Histograms<1>,
    alerts: Counters<2>,
    rejected: Counters<2>,
    auth_failures: Counters<1>,
    auth_failures_seen: AtomicU64,
    self_test_failures: Counters<2>,
    self_test_last_success_timestamp_seconds: Family<Pairs<1>, Gauge>,
    episodes: Counters<1>,
    decisions: Counters<2>,
    guards: Counters<3>,
    decide_duration: Histogram,
    alert_latency: Histograms<1>,
    report_latency: Histogram,
    deliveries: Counters<3>,
    errors: Counters<2>,
    panics: Counter,
    agent_records: Counters<1>,
    /// Polls of agents.
    pub agent_polls: Counter,
    /// Connections being served.
    pub connections_open: Gauge,
    /// Incidents that are not closed.
    pub incidents_open: Gauge,
    /// Of those, the ones of which nobody can tell whether Spinnaker has them.
    pub incidents_unknown: Gauge,
    /// When the oldest of them opened, Unix seconds; 0 while none is open.
    pub incidents_oldest_timestamp_seconds: Gauge,
    /// Holds that wait.
    pub holds_open: Gauge,
    /// Messages not delivered yet.
    pub outbox_pending: Gauge,
    /// Age of the catalog, seconds.
    pub catalog_age_seconds: Gauge,
    /// 1 while the store answers.
    pub store_up: Gauge,
    /// 1 while automatic action is possible at all (the store's racing probe passed).
    pub actions_enabled: Gauge,
    /// 1 when the last reading of the configuration succeeded.
    pub config_last_reload_successful: Gauge,
    /// When that was, Unix seconds.
    pub config_last_reload_success_timestamp_seconds: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero, labelled as this build.
    #[expect(clippy::too_many_lines, reason = "one line per metric")]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("backstop"),
            requests: Family::default(),
            webhooks: Family::default(),
            webhook_duration: Family::new_with_constructor(latency),
            alerts: Family::default(),
            rejected: Family::default(),
            auth_failures: Family::default(),
            auth_failures_seen: AtomicU64::new(0),
            self_test_failures: Family::default(),
            self_test_last_success_timestamp_seconds: Family::default(),
            episodes: Family::default(),
            decisions: Family::default(),
            guards: Family::default(),
            decide_duration: latency(),
            alert_latency: Family::new_with_constructor(since_alert),
            report_latency: latency(),
            deliveries: Family::default(),
            errors: Family::default(),
            panics: Counter::default(),
            agent_records: Family::default(),
            agent_polls: Counter::default(),
            connections_open: Gauge::default(),
            incidents_open: Gauge::default(),
            incidents_unknown: Gauge::default(),
            incidents_oldest_timestamp_seconds: Gauge::default(),
            holds_open: Gauge::default(),
            outbox_pending: Gauge::default(),
            catalog_age_seconds: Gauge::default(),
            store_up: Gauge::default(),
            actions_enabled: Gauge::default(),
            config_last_reload_successful: Gauge::default(),
            config_last_reload_success_timestamp_seconds: Gauge::default(),
        };
        let build: Family<Pairs<1>, Gauge> = Family::default();
        build
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION").to_owned())])
            .set(1);
        // From the start on, so that the first incident is an increase.
        for step in Step::ALL {
            drop(metrics.since_alert(step));
        }
        let m = &metrics;
        let mut r = Registry::with_prefix("backstop");
        r.register("build_info", "This build", build);
        r.register(
            "http_requests",
            "Requests answered, by route and code",
            m.requests.clone(),
        );
        r.register(
            "webhooks",
            "Deliveries of alerts, by source and outcome",
            m.webhooks.clone(),
        );
        r.register_with_unit(
            "webhook_duration",
            "From a delivery's last byte to its answer",
            Unit::Seconds,
            m.webhook_duration.clone(),
        );
        r.register(
            "alerts",
            "Alerts received, by source and whether they were kept, ignored or truncated",
            m.alerts.clone(),
        );
        r.register(
            "rejected",
            "Bodies that can never be accepted, by source and reason",
            m.rejected.clone(),
        );
        r.register(
            "auth_failures",
            "Requests refused for who sent them, by reason",
            m.auth_failures.clone(),
        );
        r.register(
            "episodes",
            "Copies of alerts, by what they meant",
            m.episodes.clone(),
        );
        r.register(
            "decisions",
            "Decisions, by verdict and mode",
            m.decisions.clone(),
        );
        r.register(
            "guard_verdicts",
            "What guards said, by guard, outcome and code",
            m.guards.clone(),
        );
        r.register_with_unit(
            "decide_duration",
            "From an alert's arrival to its decision",
            Unit::Seconds,
            m.decide_duration.clone(),
        );
        r.register_with_unit(
            "alert_latency",
            "From an alert's start to a step of what it led to",
            Unit::Seconds,
            m.alert_latency.clone(),
        );
        r.register_with_unit(
            "report_latency",
            "From Spinnaker's acceptance of a rollback to the report's first revision",
            Unit::Seconds,
            m.report_latency.clone(),
        );
        r.register(
            "deliveries",
            "Tries to send a message, by channel, its kind and how the vendor took it",
            m.deliveries.clone(),
        );
        r.register("errors", "Failures, by stage and kind", m.errors.clone());
        r.register(
            "self_test_failures",
            "Self-tests that did not come through, by sender and reason",
            m.self_test_failures.clone(),
        );
        r.register(
            "self_test_last_success_timestamp_seconds",
            "When a self-test last came through on any replica, by sender",
            m.self_test_last_success_timestamp_seconds.clone(),
        );
        r.register("agent_polls", "Polls of agents", m.agent_polls.clone());
        r.register(
            "agent_records",
            "Records that agents sent, by step",
            m.agent_records.clone(),
        );
        r.register("panics", "Tasks that panicked", m.panics.clone());
        r.register(
            "connections_open",
            "Connections being served",
            m.connections_open.clone(),
        );
        r.register(
            "incidents_open",
            "Incidents that are not closed",
            m.incidents_open.clone(),
        );
        r.register(
            "incidents_unknown",
            "Incidents of which nobody can tell whether Spinnaker has them",
            m.incidents_unknown.clone(),
        );
        r.register(
            "incidents_oldest_timestamp_seconds",
            "When the oldest open incident opened; 0 while none is open",
            m.incidents_oldest_timestamp_seconds.clone(),
        );
        r.register("holds_open", "Holds that wait", m.holds_open.clone());
        r.register(
            "outbox_pending",
            "Messages not delivered yet",
            m.outbox_pending.clone(),
        );
        r.register(
            "catalog_age_seconds",
            "Age of what is known about releases",
            m.catalog_age_seconds.clone(),
        );
        r.register(
            "store_up",
            "1 while the object store answers",
            m.store_up.clone(),
        );
        r.register(
            "actions_enabled",
            "1 while automatic rollbacks are possible",
            m.actions_enabled.clone(),
        );
        r.register(
            "config_last_reload_successful",
            "1 when the last reading of the configuration succeeded",
            m.config_last_reload_successful.clone(),
        );
        r.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was last read successfully",
            m.config_last_reload_success_timestamp_seconds.clone(),
        );
        metrics.registry = r;
        metrics
    }

    /// All of them in the `OpenMetrics` text format.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(8 * 1024);
        // Writing to a String can't fail.
        let _infallible = encode(&mut text, &self.registry);
        text
    }

    /// A request was answered. `route` is the pattern, not the path.
    pub fn request(&self, route: &str, code: u16) {
        let pairs = [("route", route.to_owned()), ("code", code.to_string())];
        self.requests.get_or_create(&pairs).inc();
    }

    /// Answers at the alerts' own addresses so far, as `webhook 200`: how many of each. Those of
    /// `-notifier.url` with a path of its own are not told apart from other requests.
    pub fn answers_to_senders(&self) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        for (route, name) in [("/api/v1/webhook", "webhook"), ("/api/v2/alerts", "alerts")] {
            for code in ANSWERS {
                let pairs = [("route", route.to_owned()), ("code", code.to_string())];
                // Asking for one must not make it.
                if let Some(count) = self.requests.get(&pairs) {
                    found.insert(format!("{name} {code}"), count.get());
                }
            }
        }
        found
    }

    /// A delivery of alerts was answered. `outcome`: `ok`, `rejected`, `unavailable`.
    pub fn webhook(&self, source: &'static str, outcome: &'static str, took: Duration) {
        let pairs = [
            ("source", source.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        self.webhooks.get_or_create(&pairs).inc();
        let pairs = [("source", source.to_owned())];
        self.webhook_duration
            .get_or_create(&pairs)
            .observe(took.as_secs_f64());
    }

    /// Alerts of a delivery. `fate`: `kept`, `ignored`, `truncated`.
    pub fn alerts(&self, source: &'static str, fate: &'static str, count: u64) {
        let pairs = [("source", source.to_owned()), ("fate", fate.to_owned())];
        self.alerts.get_or_create(&pairs).inc_by(count);
    }

    /// A body that can never be accepted.
    pub fn rejected(&self, source: &'static str, reason: &'static str) {
        let pairs = [("source", source.to_owned()), ("reason", reason.to_owned())];
        self.rejected.get_or_create(&pairs).inc();
    }

    /// A request that was refused for who sent it: `no_token`, `wrong_token`, `scope`, `host`.
    pub fn auth_failure(&self, reason: &'static str) {
        self.auth_failures
            .get_or_create(&[("reason", reason.to_owned())])
            .inc();
        self.auth_failures_seen.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn auth_failures(&self) -> u64 {
        self.auth_failures_seen.load(Ordering::Relaxed)
    }

    /// A self-test did not come through. `from`: `gateway`, `vmalert`.
    pub fn self_test_failed(&self, from: &'static str, failure: SelfTestFailure) {
        let pairs = [
            ("from", from.to_owned()),
            ("reason", failure.as_str().to_owned()),
        ];
        self.self_test_failures.get_or_create(&pairs).inc();
    }

    /// When a self-test last came through, Unix seconds.
    pub fn self_test_passed(&self, from: &'static str, at: i64) {
        self.self_test_last_success_timestamp_seconds
            .get_or_create(&[("from", from.to_owned())])
            .set(at);
    }

    /// A copy of an alert, by its class.
    pub fn episode(&self, class: &'static str) {
        self.episodes
            .get_or_create(&[("class", class.to_owned())])
            .inc();
    }

    /// A decision, `took` after its alerts arrived.
    pub fn decision(&self, verdict: &'static str, mode: &'static str, took: Duration) {
        let pairs = [("verdict", verdict.to_owned()), ("mode", mode.to_owned())];
        self.decisions.get_or_create(&pairs).inc();
        self.decide_duration.observe(took.as_secs_f64());
    }

    /// A guard's verdict, with the word for why.
    pub fn guard(&self, guard: &'static str, outcome: &'static str, code: &'static str) {
        let pairs = [
            ("guard", guard.to_owned()),
            ("outcome", outcome.to_owned()),
            ("code", code.to_owned()),
        ];
        self.guards.get_or_create(&pairs).inc();
    }

    /// A step was reached `after` an alert's start.
    pub fn alert_latency(&self, step: Step, after: Duration) {
        self.since_alert(step).observe(after.as_secs_f64());
    }

    fn since_alert(&self, step: Step) -> impl std::ops::Deref<Target = Histogram> {
        let pairs = [("step", step.as_str().to_owned())];
        self.alert_latency.get_or_create(&pairs)
    }

    /// A report's first revision is in the store, `after` Spinnaker accepted the rollback.
    pub fn report_latency(&self, after: Duration) {
        self.report_latency.observe(after.as_secs_f64());
    }

    /// A try to send. `class`: `sent`, `retry`, `wait`, `permanent`.
    pub fn delivery(&self, channel: &str, kind: &'static str, class: &'static str) {
        let pairs = [
            ("channel", channel.to_owned()),
            ("kind", kind.to_owned()),
            ("class", class.to_owned()),
        ];
        self.deliveries.get_or_create(&pairs).inc();
    }

    /// A failure, where it is handled.
    pub fn error(&self, stage: &'static str, kind: &'static str) {
        let pairs = [("stage", stage.to_owned()), ("kind", kind.to_owned())];
        self.errors.get_or_create(&pairs).inc();
    }

    /// A task panicked.
    pub fn panic(&self) {
        self.panics.inc();
    }

    /// An agent's record of a step was taken in.
    pub fn agent_record(&self, step: &'static str) {
        let pairs = [("step", step.to_owned())];
        self.agent_records.get_or_create(&pairs).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_names_with_their_units_and_ends_as_the_format_wants() {
        let metrics = Metrics::new();
        metrics.webhook("alertmanager", "ok", Duration::from_millis(3));
        metrics.request("/api/v1/webhook", 200);
        metrics.store_up.set(1);
        let text = metrics.encode();
        for line in [
            r#"backstop_webhooks_total{source="alertmanager",outcome="ok"} 1"#,
            r#"backstop_http_requests_total{route="/api/v1/webhook",code="200"} 1"#,
            r#"backstop_webhook_duration_seconds_bucket{le="0.005",source="alertmanager"} 1"#,
            "backstop_store_up 1",
            concat!(
                "backstop_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            assert!(
                text.lines().any(|have| have == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_metric_has_help() {
        let text = Metrics::new().encode();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .collect();
        assert!(names.len() > 10);
        for name in names {
            let name = name.split(' ').next().unwrap();
            assert!(name.starts_with("backstop_"), "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
    }
}
