//! The real binary: exact words and exit codes, in folders of its own and against loopback only.

mod check;
mod gateway;
mod github;
mod releases;
mod render;
mod rules;
mod serving;
mod vendors;
mod words;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use serde_json::Value;

/// A secret that must show nowhere.
const CANARY: &str = "c4n4ry-s3cr3t";

/// A folder to run in.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, and the folders above it.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs the binary here, with nothing in its environment but what it is given.
    async fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[]).await
    }

    async fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_backstop"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let ran = Ran::of(&output);
        assert!(
            !ran.stdout.contains(CANARY) && !ran.stderr.contains(CANARY),
            "a secret was printed by {args:?}"
        );
        assert!(!ran.stderr.contains("panicked"), "{args:?}: {}", ran.stderr);
        ran
    }
}

/// How it ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    #[track_caller]
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// One request a stand-in saw.
#[derive(Debug, Clone)]
struct Seen {
    /// `POST /api/v1/rollbacks`
    line: String,
    headers: HeaderMap,
    body: Value,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// A server on loopback that answers by a script and remembers what it was asked.
struct StandIn {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl StandIn {
    async fn start(answer: impl Fn(&Seen) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (notes, answer) = (Arc::clone(&seen), Arc::new(answer));
        let router = Router::new().fallback(move |request: Request| {
            let (notes, answer) = (Arc::clone(&notes), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let body: Bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
                let one = Seen {
                    line: format!("{} {}", parts.method, parts.uri),
                    headers: parts.headers,
                    body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                };
                notes.lock().unwrap().push(one.clone());
                let (status, body) = answer(&one);
                let json = [("content-type", "application/json")];
                (
                    StatusCode::from_u16(status).unwrap(),
                    json,
                    body.to_string(),
                )
                    .into_response()
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The lines of what was asked.
    fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

/// A configuration without a warning; `{url}` stands for what it reaches.
fn whole(folder: &Folder, url: &str) {
    folder.write("token", CANARY);
    folder.write(
        "backstop.yaml",
        &r#"web: {external_url: https://backstop.example.com}
auth:
  signing_key: {file: token}
  tokens: [{name: oncall, token: {file: token}, scopes: [read, rollback]}]
metrics: {url: "{url}/metrics"}
vmalert: [{url: "{url}/vmalert"}]
spinnaker: {gate: "{url}/gate", bearer: {file: token}}
default_channels: [ops]
services:
  checkout:
    application: checkout
    deploy: [{pipeline: deploy, env: prod, strategy: canary, release: "{parameters.release_id}"}]
    rollback:
      batch: {pipeline: rb, parameters: {release: "{target.release_id}", hosts: "{hosts}", incident: "{incident.id}", attempt: "{attempt}"}}
      full: {pipeline: rf, parameters: {release: "{target.release_id}", incident: "{incident.id}", attempt: "{attempt}"}}
    recovery: {expr: errors, op: "<", value: 0.01, for: 1m, within: 5m}
"#
        .replace("{url}", url),
    );
    folder.write("channels/ops.yaml", &slack(url));
    folder.write(
        "rules/policy/checkout.yaml",
        "services: [checkout]\nrules:\n  - name: bad\n    matchers: ['severity=\"critical\"']\n    action: rollback\nguards: {mode: enforce}\n",
    );
}

fn slack(url: &str) -> String {
    format!(
        "name: ops\nslack: {{token: {{file: token}}, channel: C1, api_url: \"{url}/slack\", mention: [here]}}\n"
    )
}

/// An address where nothing listens.
async fn nowhere() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
