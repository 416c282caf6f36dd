//! The metrics store and the vmalert that evidence is asked of, as a stub that answers at once:
//! what is measured is the gateway, not a store.
//!
//! Every service has two hosts and one metric, `http_error_ratio`. Release 2 runs everywhere
//! since [`DEPLOYED`] ago and is bad since [`BAD`] ago; before, release 1 ran and was well.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::scene;

/// When release 2 was deployed.
pub(crate) const DEPLOYED: Duration = Duration::from_mins(40);
/// Since when it is bad.
const BAD: Duration = Duration::from_mins(3);
/// Above it, the alert fires.
const THRESHOLD: f64 = 0.05;

#[derive(Debug)]
struct Stub {
    deployed: f64,
    bad: f64,
    now: f64,
    services: Vec<String>,
}

/// Starts the stub; it lives as long as the program. Its base URL serves as both.
///
/// # Errors
/// When no port is free.
pub(crate) async fn start(now: Timestamp, services: Vec<String>) -> anyhow::Result<String> {
    let now = now.as_duration().as_secs_f64();
    let stub = Arc::new(Stub {
        deployed: now - DEPLOYED.as_secs_f64(),
        bad: now - BAD.as_secs_f64(),
        now,
        services,
    });
    let router = Router::new()
        .route("/api/v1/rules", get(rules))
        .route("/api/v1/{what}", post(query))
        .with_state(stub);
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .context("a port for the stub")?;
    let url = format!("http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // It works without, slower.
        drop(stream.set_nodelay(true));
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// The expression of a service's alert.
fn expression(service: &str) -> String {
    format!("http_error_ratio{{service=\"{service}\"}} > {THRESHOLD}")
}

async fn rules(State(stub): State<Arc<Stub>>) -> Response {
    let rules: Vec<Value> = stub
        .services
        .iter()
        .map(|service| {
            json!({
                "name": "ErrorRatio", "type": "alerting", "query": expression(service),
                "duration": 0, "labels": {"service": service}, "health": "ok",
                "datasourceType": "prometheus", "state": "firing", "alerts": [],
            })
        })
        .collect();
    success(&json!({"groups": [{"name": "bench", "file": "bench.yml", "rules": rules}]}))
}

async fn query(State(stub): State<Arc<Stub>>, Path(what): Path<String>, body: String) -> Response {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let asked = form.get("query").map_or("", String::as_str);
    let number = |name: &str| {
        let text = form.get(name)?.trim_end_matches('s');
        text.parse::<f64>().ok()
    };
    if what == "query" {
        let at = number("time").unwrap_or_else(|| stub.now.max(unix_now()));
        return success(&json!({"resultType": "vector", "result": stub.instant(asked, at)}));
    }
    let start = number("start").unwrap_or(stub.now);
    let end = number("end").unwrap_or(start);
    let step = number("step").unwrap_or(15.0).max(1.0);
    success(&json!({"resultType": "matrix", "result": stub.range(asked, start, end, step)}))
}

impl Stub {
    /// The series an expression selects: labels, and the value at a time where there is one.
    fn series(&self, asked: &str) -> Vec<(Value, impl Fn(f64) -> Option<f64>)> {
        let Some(service) = quoted(asked, "service=\"") else {
            return Vec::new();
        };
        let without = quoted(asked, "release_id!=\"");
        let only_bad = asked.contains(&format!("> {THRESHOLD}"));
        let mut series = Vec::new();
        for release in [1, 2] {
            let release_id = format!("{service}@{release}");
            if without == Some(release_id.as_str()) {
                continue;
            }
            for host in scene::hosts(service) {
                let labels = json!({
                    "__name__": "http_error_ratio", "service": service, "env": "prod",
                    "instance": format!("{host}:9100"), "release_id": release_id,
                });
                let (deployed, bad) = (self.deployed, self.bad);
                let value = move |at: f64| {
                    if (at >= deployed) != (release == 2) {
                        return None;
                    }
                    let value = if at >= bad { 0.31 } else { 0.012 };
                    (!only_bad || value > THRESHOLD).then_some(value)
                };
                series.push((labels, value));
            }
        }
        series
    }

    fn instant(&self, asked: &str, at: f64) -> Vec<Value> {
        let sample = |(labels, value): (Value, _)| {
            let value: f64 = sample_at(&value, at)?;
            Some(json!({"metric": labels, "value": [at, value.to_string()]}))
        };
        self.series(asked).into_iter().filter_map(sample).collect()
    }

    fn range(&self, asked: &str, start: f64, end: f64, step: f64) -> Vec<Value> {
        let mut found = Vec::new();
        for (labels, value) in self.series(asked) {
            let mut values = Vec::new();
            let mut at = start;
            while at <= end {
                if let Some(value) = value(at) {
                    values.push(json!([at, value.to_string()]));
                }
                at += step;
            }
            if !values.is_empty() {
                found.push(json!({"metric": labels, "values": values}));
            }
        }
        found
    }
}

fn sample_at(value: &impl Fn(f64) -> Option<f64>, at: f64) -> Option<f64> {
    value(at)
}

fn unix_now() -> f64 {
    use backstop::domain::clock::{Clock as _, SystemClock};
    SystemClock.now().as_duration().as_secs_f64()
}

/// What follows `before` up to the next quotation mark.
fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once('"').map(|(value, _)| value)
}

fn success(data: &Value) -> Response {
    let body = json!({"status": "success", "data": data}).to_string();
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
