//! The shipped rules about Backstop itself: of metrics that exist, explained, and firing when they
//! should in a real vmalert, and only then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstop::domain::clock::{Clock as _, SystemClock};
use backstop::telemetry::metrics::{Metrics, Step};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::metrics_source::VictoriaMetrics;
use crate::support::tools::{Tool, required_in_ci};
use crate::support::vmalert;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/vmalert/backstop.yml")
}

/// Every rule of the file, as written.
fn rules() -> Vec<Value> {
    let text = std::fs::read_to_string(shipped()).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let groups = file["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
    rules.collect()
}

fn text<'a>(rule: &'a Value, pointer: &str) -> &'a str {
    let found = rule.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no `{pointer}` in {rule:#}"))
}

/// Names of series as the program exposes them.
fn exposed() -> BTreeSet<String> {
    let metrics = Metrics::new();
    // A family without a series is not shown.
    metrics.webhook("alertmanager", "unavailable", Duration::ZERO);
    metrics.auth_failure("wrong_token");
    metrics.delivery("ops", "slack", "permanent");
    metrics.self_test_passed("gateway", 1);
    let text = metrics.encode();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names = BTreeSet::new();
    for line in types {
        let (name, kind) = line.split_once(' ').unwrap();
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    names
}

#[test]
fn the_rules_pass_vmalerts_own_check() {
    if required_in_ci(Tool::Vmalert) {
        vmalert::check_rules(&shipped()).unwrap();
        vmalert::check_rules(&shipped().with_file_name("self-test.yml")).unwrap();
    }
}

#[test]
fn every_series_in_a_rule_is_one_of_the_program() {
    let name = regex::Regex::new(r"\bbackstop_[a-z_]+").unwrap();
    let (known, mut asked) = (exposed(), BTreeSet::new());
    for rule in rules() {
        let expr = text(&rule, "/expr");
        assert!(name.is_match(expr), "{expr}");
        asked.extend(name.find_iter(expr).map(|found| found.as_str().to_owned()));
    }
    let unknown: Vec<&String> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(asked.len() > 10, "{asked:?}");
}

/// Metrics by the names of their series, with their labels: the table of the reference, which a
/// test compares with the program.
fn reference() -> BTreeMap<String, BTreeSet<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut known = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `backstop_")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (name, kind) = (cells[1].trim_matches('`'), cells[2]);
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`'));
        let mut labels: BTreeSet<String> = labels.map(str::to_owned).collect();
        // What a scrape adds.
        labels.insert("job".to_owned());
        if kind == "histogram" {
            labels.insert("le".to_owned());
            for ending in ["_bucket", "_count", "_sum"] {
                known.insert(format!("{name}{ending}"), labels.clone());
            }
        } else {
            known.insert(name.to_owned(), labels);
        }
    }
    known
}

/// Every expression of the dashboard, with what Grafana puts into it.
fn dashboard() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/backstop.json");
    let board: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let panels = board["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let annotations = board["annotations"]["list"].as_array().unwrap();
    let queries = targets
        .chain(annotations)
        .map(|target| text(target, "/expr"));
    queries
        .map(|expr| expr.replace("$__rate_interval", "5m").replace("$job", ".*"))
        .collect()
}

#[test]
fn every_series_of_the_dashboard_is_one_of_the_program_with_that_label() {
    let series = regex::Regex::new(r"\b(backstop_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let by = regex::Regex::new(r"\bby \(([^)]*)\)").unwrap();
    let known = reference();
    let mut shown = BTreeSet::new();
    for expr in dashboard() {
        let mut labels = BTreeSet::new();
        for found in series.captures_iter(&expr) {
            let name = &found[1];
            let has = known
                .get(name)
                .unwrap_or_else(|| panic!("no `{name}`: {expr}"));
            shown.insert(name.to_owned());
            for matcher in found.get(2).map_or("", |it| it.as_str()).split("\",") {
                let label = matcher.split(['=', '!']).next().unwrap();
                assert!(has.contains(label), "`{name}` has no `{label}`: {expr}");
            }
            labels.extend(has);
        }
        assert!(!labels.is_empty(), "{expr}");
        for grouped in by.captures_iter(&expr) {
            for label in grouped[1].split(", ") {
                assert!(labels.contains(&label.to_owned()), "no `{label}`: {expr}");
            }
        }
        assert!(!expr.contains('$'), "something else is put in: {expr}");
    }
    let missing: Vec<&String> = known
        .keys()
        .filter(|name| !name.ends_with("_sum") && !name.ends_with("_count"))
        // What agents do is seen by their own series, host by host.
        .filter(|name| !name.starts_with("backstop_agent_"))
        .filter(|name| !shown.contains(*name))
        .collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
}

#[test]
fn every_expression_of_the_dashboard_can_be_read_by_vmalert() {
    if !required_in_ci(Tool::Vmalert) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("dashboard.yml");
    let rules = dashboard();
    assert!(rules.len() > 20, "{rules:?}");
    let rules = rules.iter().enumerate().map(
        |(number, expr)| serde_json::json!({"record": format!("panel_{number}"), "expr": expr}),
    );
    let rules: Vec<Value> = rules.collect();
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, groups.to_string()).unwrap();
    vmalert::check_rules(&file).unwrap();
}

#[test]
fn the_objectives_bound_and_step_are_of_the_histogram() {
    let metrics = Metrics::new();
    metrics.alert_latency(Step::Asked, Duration::from_secs(100));
    metrics.report_latency(Duration::from_secs(4));
    let text = metrics.encode();
    for line in [
        r#"backstop_alert_latency_seconds_bucket{le="120.0",step="asked"} 1"#,
        r#"backstop_report_latency_seconds_bucket{le="5.0"} 1"#,
    ] {
        assert!(text.lines().any(|have| have == line), "{line}: {text}");
    }
}

#[test]
fn every_alert_is_in_the_runbook_and_says_how_bad_it_is() {
    let runbook =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md"));
    let runbook = runbook.unwrap();
    let headings: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    for rule in rules() {
        let name = text(&rule, "/alert");
        assert!(headings.contains(name), "the runbook lacks {name}");
        let anchor = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(text(&rule, "/annotations/runbook"), anchor);
        assert!(["critical", "warning"].contains(&text(&rule, "/labels/severity")));
    }
}

/// Half a minute is a step of the story below; it is two hours and a half long.
const STEP_S: i64 = 30;
const STEPS: i64 = 300;

/// A series of the story: its value at each step; None for no sample.
type Series<'a> = (&'a str, Box<dyn Fn(i64) -> Option<f64>>);

/// Minutes of the story, as steps.
fn minute(n: i64) -> i64 {
    n * 60 / STEP_S
}

/// `well` always, but `ill` in these minutes.
fn ill(from: i64, to: i64, well: f64, ill: f64) -> Box<dyn Fn(i64) -> Option<f64>> {
    Box::new(move |step| {
        let is_ill = (minute(from)..minute(to)).contains(&step);
        Some(if is_ill { ill } else { well })
    })
}

/// Zero, and `by` more each minute in these minutes.
fn grows(from: i64, to: i64, by: f64) -> Box<dyn Fn(i64) -> Option<f64>> {
    Box::new(move |step| {
        let steps = (step - minute(from)).clamp(0, minute(to) - minute(from));
        #[expect(clippy::cast_precision_loss, reason = "a few hundred steps")]
        let minutes = steps as f64 * STEP_S as f64 / 60.0;
        Some((minutes * by).floor())
    })
}

/// What a scrape of one replica would have brought: half an hour all is well, then one thing after
/// the other goes wrong.
fn story(start: i64) -> Vec<Series<'static>> {
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
    let opened = (start + 60 * 30) as f64;
    vec![
        (
            "backstop_build_info{version=\"1\"}",
            Box::new(|step| (!(minute(130)..minute(140)).contains(&step)).then_some(1.0)),
        ),
        ("backstop_store_up", ill(40, 46, 1.0, 0.0)),
        ("backstop_actions_enabled", ill(40, 50, 1.0, 0.0)),
        ("backstop_incidents_unknown", ill(45, 50, 0.0, 1.0)),
        (
            "backstop_incidents_oldest_timestamp_seconds",
            ill(30, 110, 0.0, opened),
        ),
        ("backstop_holds_open", ill(40, 80, 0.0, 2.0)),
        ("backstop_outbox_pending", ill(40, 60, 0.0, 3.0)),
        (
            "backstop_config_last_reload_successful",
            ill(40, 50, 1.0, 0.0),
        ),
        ("backstop_catalog_age_seconds", ill(40, 50, 2.0, 700.0)),
        (
            "backstop_deliveries_total{channel=\"ops\",kind=\"slack\",class=\"permanent\"}",
            Box::new(|step| (step >= minute(50)).then_some(1.0)),
        ),
        (
            "backstop_webhooks_total{source=\"alertmanager\",outcome=\"unavailable\"}",
            grows(50, 65, 4.0),
        ),
        (
            "backstop_auth_failures_total{reason=\"wrong_token\"}",
            grows(50, 70, 4.0),
        ),
        (
            "backstop_self_test_last_success_timestamp_seconds{from=\"gateway\"}",
            Box::new(move |step| {
                let silent = (minute(50)..minute(75)).contains(&step);
                let last = if silent { minute(50) } else { step };
                #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
                let at = (start + last * STEP_S) as f64;
                Some(at)
            }),
        ),
        ("backstop_panics_total", grows(60, 61, 1.0)),
        // Ten rollbacks in time, then six that are not.
        (
            "backstop_alert_latency_seconds_bucket{step=\"asked\",le=\"120.0\"}",
            grows(5, 15, 1.0),
        ),
        (
            "backstop_alert_latency_seconds_count{step=\"asked\"}",
            Box::new({
                let (good, bad) = (grows(5, 15, 1.0), grows(90, 96, 1.0));
                move |step| Some(good(step)? + bad(step)?)
            }),
        ),
        (
            "backstop_report_latency_seconds_bucket{le=\"5.0\"}",
            grows(5, 15, 1.0),
        ),
        (
            "backstop_report_latency_seconds_count",
            Box::new({
                let (good, bad) = (grows(5, 15, 1.0), grows(90, 91, 1.0));
                move |step| Some(good(step)? + bad(step)?)
            }),
        ),
    ]
}

/// The story in the text format, with timestamps.
fn samples(start: i64) -> String {
    let mut text = String::new();
    for (name, value) in story(start) {
        for step in 0..STEPS {
            if let Some(value) = value(step) {
                let at = (start + step * STEP_S) * 1000;
                let _infallible = writeln!(text, "{name} {value} {at}");
            }
        }
    }
    text
}

#[tokio::test]
async fn each_rule_fires_when_its_trouble_comes_and_none_while_all_is_well() {
    if ![Tool::VictoriaMetrics, Tool::Vmalert]
        .into_iter()
        .all(required_in_ci)
    {
        return;
    }
    let directory = TempDir::new().unwrap();
    let metrics = VictoriaMetrics::start(directory.path()).await.unwrap();
    let end = SystemClock.now().as_second() / 60 * 60 - 600;
    let start = end - STEPS * STEP_S;
    metrics.importer.import(&samples(start)).await.unwrap();
    vmalert::replay(&shipped(), &metrics.url(), start, end)
        .await
        .unwrap();
    metrics.importer.flush().await.unwrap();

    // How often each alert was firing in a stretch of minutes.
    let fired = async |from: i64, to: i64| -> BTreeMap<String, f64> {
        let query = format!(
            "sum by (alertname) (count_over_time(ALERTS{{alertstate=\"firing\"}}[{}m]))",
            to - from
        );
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
        let at = (start + to * 60) as f64;
        let found = metrics.query(&query, Some(at)).await.unwrap();
        let named = found
            .into_iter()
            .map(|(labels, times)| (labels["alertname"].clone(), times));
        named.collect()
    };
    assert_eq!(fired(0, 40).await, BTreeMap::new(), "all is well");
    let ever: BTreeSet<String> = fired(0, STEPS / 2).await.into_keys().collect();
    let shipped: BTreeSet<String> = rules()
        .iter()
        .map(|rule| text(rule, "/alert").to_owned())
        .collect();
    assert_eq!(ever, shipped);
    for (alert, from, to) in [
        ("BackstopStoreDown", 41, 47),
        ("BackstopExecutionUnknown", 45, 51),
        ("BackstopHoldsWait", 69, 81),
        ("BackstopOwesMessages", 54, 61),
        ("BackstopChannelRefuses", 49, 66),
        ("BackstopIncidentOpenLong", 94, 112),
        ("BackstopRollbacksSlow", 90, 150),
        ("BackstopSelfTestMissing", 65, 76),
        ("BackstopDown", 131, 145),
    ] {
        let (inside, all) = (fired(from, to).await, fired(0, STEPS / 2).await);
        assert_eq!(inside.get(alert), all.get(alert), "{alert}: {all:?}");
    }
}
