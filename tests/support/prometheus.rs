//! A metrics store and a vmalert's rule list, small enough to be steered by a test.
//!
//! It knows one condition over a table of hosts: [`CONDITION`] holds for hosts whose value is above
//! the line. It keeps every expression it was asked, so that a test can say which were not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::chat::{Server, field};
use super::feed::unix_ms;

/// The alert's name in the rule list.
pub const ALERT: &str = "CanaryErrors";
/// What it asks.
pub const CONDITION: &str = "error_ratio{service=\"checkout\"} > 0.05";
/// What the gateway asks afterwards.
pub const RECOVERY: &str = "recovery_ratio{service=\"checkout\"}";
/// Above this a host is bad.
const LINE: f64 = 0.05;
/// A healthy host's value.
const HEALTHY: f64 = 0.002;

/// One series, by host.
#[derive(Debug, Clone)]
struct Line {
    labels: BTreeMap<String, String>,
    /// Unix seconds since when it is `now`; healthy before.
    since: f64,
    now: f64,
}

#[derive(Debug)]
struct Inside {
    down: bool,
    ranges_hang: bool,
    recovery: f64,
    lines: BTreeMap<String, Line>,
    asked: Vec<String>,
}

/// The running stand-in.
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
    inside: Arc<Mutex<Inside>>,
}

impl Prometheus {
    /// Hosts of `checkout` in `prod`, all healthy.
    pub async fn start(hosts: &[&str]) -> Self {
        let line = |host: &&str| {
            let labels = [("service", "checkout"), ("env", "prod"), ("instance", host)];
            let labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned()));
            let line = Line {
                labels: labels.into(),
                since: 0.0,
                now: HEALTHY,
            };
            ((*host).to_owned(), line)
        };
        let inside = Arc::new(Mutex::new(Inside {
            down: false,
            ranges_hang: false,
            recovery: 0.001,
            lines: hosts.iter().map(line).collect(),
            asked: Vec::new(),
        }));
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inside));
        Self {
            server: Server::start(router).await,
            inside,
        }
    }

    /// The base URL of both APIs.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// One more host, of another service.
    pub fn add(&self, service: &str, host: &str) {
        let labels = [("service", service), ("env", "prod"), ("instance", host)];
        let line = Line {
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            since: 0.0,
            now: HEALTHY,
        };
        self.lock().lines.insert(host.to_owned(), line);
    }

    /// From now on these hosts are at `value`.
    pub fn set(&self, hosts: &[&str], value: f64) {
        let mut inside = self.lock();
        for host in hosts {
            let line = inside.lines.get_mut(*host).expect("a known host");
            line.since = now();
            line.now = value;
        }
    }

    /// What the recovery question is answered.
    pub fn set_recovery(&self, value: f64) {
        self.lock().recovery = value;
    }

    /// Answers everything with 503.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Never answers what is asked over a range of time.
    pub fn set_ranges_hang(&self, hang: bool) {
        self.lock().ranges_hang = hang;
    }

    /// Every expression that was asked.
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of this century fit"
)]
fn now() -> f64 {
    unix_ms() as f64 / 1000.0
}

async fn answer(State(inside): State<Arc<Mutex<Inside>>>, uri: Uri, body: Bytes) -> Response {
    let hang = inside
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .ranges_hang;
    if hang && uri.path() == "/api/v1/query_range" {
        return std::future::pending().await;
    }
    let mut inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
    if inside.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let query = field(&body, "query").unwrap_or_default();
    let number = |name: &str| field(&body, name).and_then(|text| text.parse::<f64>().ok());
    let data = match uri.path() {
        "/api/v1/query" => {
            inside.asked.push(query.clone());
            inside.instant(&query, now())
        }
        "/api/v1/query_range" => {
            inside.asked.push(query.clone());
            let step = field(&body, "step").unwrap_or_default();
            let step: f64 = step.trim_end_matches('s').parse().unwrap_or(60.0);
            let (start, end) = (number("start").unwrap_or(0.0), number("end").unwrap_or(0.0));
            inside.range(&query, start, end, step)
        }
        "/api/v1/rules" => rules(),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    axum::Json(json!({"status": "success", "data": data})).into_response()
}

fn rules() -> Value {
    json!({"groups": [{"name": "checkout", "file": "checkout.yml", "interval": 1, "rules": [
        {"name": ALERT, "query": CONDITION, "duration": 0, "labels": {"severity": "critical"},
         "health": "ok", "type": "alerting", "datasourceType": "prometheus",
         "lastEvaluation": "2026-01-01T00:00:00Z"},
    ]}]})
}

impl Line {
    fn at(&self, time: f64) -> f64 {
        if time >= self.since {
            self.now
        } else {
            HEALTHY
        }
    }
}

impl Inside {
    /// Only what the gateway was configured to trust has an answer with data in it.
    fn lines_of(&self, query: &str) -> Vec<Line> {
        if query.starts_with("recovery_ratio") {
            return vec![Line {
                labels: BTreeMap::new(),
                since: 0.0,
                now: self.recovery,
            }];
        }
        if query.contains("error_ratio") {
            return self.lines.values().cloned().collect();
        }
        if query.contains("vector(1)") {
            // What a forged expression would make true for everybody.
            let mut lines: Vec<Line> = self.lines.values().cloned().collect();
            for line in &mut lines {
                (line.since, line.now) = (0.0, 1.0);
            }
            return lines;
        }
        Vec::new()
    }

    fn instant(&self, query: &str, time: f64) -> Value {
        let filter = query.contains('>');
        let found = self.lines_of(query).into_iter();
        let found = found.filter(|line| !filter || line.at(time) > LINE);
        let result: Vec<Value> = found
            .map(|line| json!({"metric": line.labels, "value": [time, line.at(time).to_string()]}))
            .collect();
        json!({"resultType": "vector", "result": result})
    }

    fn range(&self, query: &str, start: f64, end: f64, step: f64) -> Value {
        let filter = query.contains('>');
        let mut result = Vec::new();
        for line in self.lines_of(query) {
            let mut values = Vec::new();
            let mut time = start;
            while time <= end {
                let value = line.at(time);
                if !filter || value > LINE {
                    values.push(json!([time, value.to_string()]));
                }
                time += step;
            }
            if !values.is_empty() {
                result.push(json!({"metric": line.labels, "values": values}));
            }
        }
        json!({"resultType": "matrix", "result": result})
    }
}
