//! A gateway and hosts with real agents, as processes on one machine: a folder a host, a service
//! that a shell starts and asks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backstop::domain::clock::{Clock as _, SystemClock};
use backstop::domain::id::{ReleaseId, Service};
use backstop::domain::release::Release;
use backstop::store::{Store, StoreSettings, keys, open};
use serde_json::{Value, json};

use crate::support::artifact::{sha256, tar_gz};
use crate::support::eventually::eventually;
use crate::support::process::{Process, Ready};

/// A condition of the whole may take this long on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// What a release does on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    /// It passes everywhere but on hosts of this ordinal and above.
    BadFrom(usize),
    /// What is fetched is not what was published.
    Corrupt,
}

pub(super) struct Scene {
    folder: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) gateway: Process,
    pub(super) agents: BTreeMap<usize, Process>,
    http: reqwest::Client,
}

/// A number from the environment, for whoever asks for more than is quick.
#[expect(clippy::disallowed_methods, reason = "a knob of a test")]
pub(super) fn knob(name: &str, default: usize) -> usize {
    let asked = std::env::var(name).ok();
    asked
        .and_then(|asked| asked.parse().ok())
        .unwrap_or(default)
}

pub(super) fn name(n: usize) -> String {
    format!("vm-{n}")
}

/// A tar.gz with the version, and what its health depends on.
fn artifact(version: &str, kind: Kind) -> Vec<u8> {
    match kind {
        Kind::BadFrom(n) => tar_gz(&[("version", version), ("bad-from", &n.to_string())]),
        Kind::Good | Kind::Corrupt => tar_gz(&[("version", version)]),
    }
}

impl Scene {
    /// A gateway that knows hosts `1..=hosts`; no agent runs yet.
    pub(super) async fn new(hosts: usize, agents: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for below in ["secrets", "artifacts", "store"] {
            std::fs::create_dir(root.join(below)).unwrap();
        }
        std::fs::write(root.join("secrets/deploy"), "deploy-token").unwrap();
        let mut tokens = String::new();
        for n in 1..=hosts {
            let host = name(n);
            std::fs::write(root.join("secrets").join(&host), format!("token-of-{host}")).unwrap();
            let _infallible = writeln!(
                tokens,
                "    - {{name: {host}, token: {{file: secrets/{host}}}, scopes: [agent], host: {host}}}"
            );
        }
        let config = format!(
            r#"auth:
  tokens:
    - {{name: spinnaker, token: {{file: secrets/deploy}}, scopes: [deploy, read]}}
{tokens}store: {{url: "file:{store}"}}
artifacts: {{url: "file:{artifacts}"}}
services:
  checkout:
    application: checkout
    deploy:
      - {{pipeline: deploy-prod, env: prod, strategy: canary, release: "{{parameters.release_id}}", agents: {agents}}}
"#,
            store = root.join("store").display(),
            artifacts = root.join("artifacts").display(),
        );
        let file = root.join("backstop.yaml");
        std::fs::write(&file, config).unwrap();
        let serve = move |port: u16| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
            command.args(["serve", "--config.file"]).arg(&file);
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command
        };
        let log = root.join("gateway.log");
        let gateway = Process::start("gateway", &log, Ready::Http("/-/ready"), serve).await;
        let store = open(&StoreSettings {
            url: format!("file:{}", root.join("store").display()),
            endpoint: None,
            region: None,
            keys: None,
        });
        Self {
            store: store.unwrap(),
            gateway: gateway.unwrap(),
            agents: BTreeMap::new(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            folder,
        }
    }

    pub(super) fn root(&self, n: usize) -> PathBuf {
        self.folder.path().join("hosts").join(name(n))
    }

    /// Publishes `checkout@<version>`.
    pub(super) async fn publish(&self, version: &str, kind: Kind) {
        let bytes = artifact(version, kind);
        let checksum = sha256(&bytes);
        let file = self
            .folder
            .path()
            .join(format!("artifacts/checkout-{version}.tar.gz"));
        let kept = match kind {
            Kind::Corrupt => bytes.get(..bytes.len() - 1).unwrap().to_vec(),
            _ => bytes,
        };
        std::fs::write(&file, kept).unwrap();
        let service = Service::new("checkout").unwrap();
        let id = ReleaseId::of(&service, version).unwrap();
        let release = Release {
            id: id.clone(),
            service: service.clone(),
            tag: version.to_owned(),
            version: version.to_owned(),
            artifact_url: format!("file:{}", file.display()),
            checksum,
            config: None,
            commit: None,
            reversible: true,
            created_at: SystemClock.now(),
            created_by: "ci".to_owned(),
        };
        self.store
            .create(&keys::release(&service, &id), &release)
            .await
            .unwrap();
    }

    /// Starts the agent of host `n`.
    pub(super) async fn start(&mut self, n: usize) {
        let folder = self.folder.path().join("hosts");
        std::fs::create_dir_all(self.root(n)).unwrap();
        let file = folder.join(format!("{}.yaml", name(n)));
        let secrets = self.folder.path().join("secrets");
        agent_file(
            &file,
            &self.gateway.url(),
            &name(n),
            n,
            &self.root(n),
            &secrets,
        );
        let log = folder.join(format!("{}.log", name(n)));
        self.agents.insert(n, agent(&log, file).await);
    }

    pub(super) async fn start_all(&mut self, hosts: usize) {
        for n in 1..=hosts {
            self.start(n).await;
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.bearer_auth("deploy-token").send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    fn batch_url(&self, deployment: &str, n: u32) -> String {
        format!(
            "{}/api/v1/deployments/{deployment}/batches/{n}",
            self.gateway.url()
        )
    }

    /// Spinnaker announces a batch.
    pub(super) async fn batch(
        &self,
        deployment: &str,
        n: u32,
        version: &str,
        hosts: impl IntoIterator<Item = usize>,
    ) -> (u16, Value) {
        let hosts: Vec<String> = hosts.into_iter().map(name).collect();
        let body = json!({"release_id": format!("checkout@{version}"), "env": "prod", "of": 3, "hosts": hosts});
        let request = self.http.post(self.batch_url(deployment, n)).json(&body);
        self.answer(request).await
    }

    /// Spinnaker polls a batch.
    pub(super) async fn state(&self, deployment: &str, n: u32) -> Value {
        let (status, state) = self
            .answer(self.http.get(self.batch_url(deployment, n)))
            .await;
        assert_eq!(status, 200, "{state:#}");
        assert!(
            state["status"].is_string() && state["progress"].is_string(),
            "{state:#}"
        );
        state
    }

    /// Polls until the batch is `status`; another end is a failure.
    pub(super) async fn until(&self, deployment: &str, n: u32, status: &str) -> Value {
        let ends = ["succeeded", "failed", "aborted", "canceled", "rolled_back"];
        let what = format!("batch {n} of {deployment} to be {status}");
        let found = eventually(PATIENCE, &what, || async {
            let state = self.state(deployment, n).await;
            let is = state["status"].as_str().unwrap().to_owned();
            assert!(is == status || !ends.contains(&is.as_str()), "{state:#}");
            (is == status).then_some(state)
        });
        found.await.unwrap()
    }

    /// Polls until the words of its progress hold `word`.
    pub(super) async fn until_told(&self, deployment: &str, n: u32, word: &str) -> Value {
        let what = format!("`{word}` of batch {n} of {deployment}");
        let found = eventually(PATIENCE, &what, || async {
            let state = self.state(deployment, n).await;
            let told = state["progress"].as_str().unwrap().contains(word);
            told.then_some(state)
        });
        found.await.unwrap()
    }

    /// What host `n` is linked to, and what its service serves.
    pub(super) fn runs(&self, n: usize) -> (String, String) {
        let root = self.root(n);
        let linked = std::fs::read_link(root.join("current")).unwrap_or_default();
        let serves = std::fs::read_to_string(root.join("running")).unwrap_or_default();
        (linked.display().to_string(), serves)
    }

    pub(super) fn assert_run(&self, hosts: impl IntoIterator<Item = usize>, version: &str) {
        for n in hosts {
            let wanted = (format!("releases/checkout@{version}"), version.to_owned());
            assert_eq!(self.runs(n), wanted, "host {n}");
        }
    }

    /// The steps of a host's records in a deployment, oldest first.
    pub(super) async fn steps(&self, deployment: &str, n: usize) -> Vec<String> {
        let prefix = format!("instances/checkout/prod/{deployment}/{}", name(n));
        let mut steps = Vec::new();
        for key in self.store.list(&prefix).await.unwrap() {
            let record: Value = self.store.get(&key).await.unwrap().unwrap();
            steps.push(record["step"].as_str().unwrap().to_owned());
        }
        steps
    }

    /// The newest record of a host in a deployment.
    pub(super) async fn record(&self, deployment: &str, n: usize) -> Value {
        let prefix = format!("instances/checkout/prod/{deployment}/{}", name(n));
        let keys = self.store.list(&prefix).await.unwrap();
        self.store.get(keys.last().unwrap()).await.unwrap().unwrap()
    }

    /// What an agent tells of itself.
    pub(super) async fn metrics(&self, n: usize) -> String {
        let url = format!("{}/metrics", self.agents[&n].url());
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }
}

/// An agent that reads `file`.
pub(super) async fn agent(log: &Path, file: PathBuf) -> Process {
    let run = move |port: u16| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
        command.args(["agent", "--config.file"]).arg(&file);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command
    };
    let agent = Process::start("agent", log, Ready::Http("/-/healthy"), run).await;
    agent.unwrap()
}

/// `agent.yaml` of host `n`: its service is a file that a shell writes.
pub(super) fn agent_file(
    file: &Path,
    gateway: &str,
    host: &str,
    n: usize,
    root: &Path,
    secrets: &Path,
) {
    let healthy = format!(
        "v=$BACKSTOP_ROOT/current/bad-from; test \"$(cat $BACKSTOP_ROOT/running)\" = \
         \"$BACKSTOP_VERSION\" && if test -e $v; then test {n} -lt \"$(cat $v)\"; fi"
    );
    let text = json!({
        "gateway": {"url": gateway, "token": {"file": secrets.join(host)}},
        "host": host,
        "service": "checkout",
        "env": "prod",
        "root": root,
        "restart": {"command": ["sh", "-c", "cat $BACKSTOP_ROOT/current/version > $BACKSTOP_ROOT/running"], "timeout": "30s"},
        "health": {"command": ["sh", "-c", healthy], "interval": "100ms", "timeout": "30s",
            "start_period": "0s", "retries": 2, "healthy_for": "200ms", "within": "60s"},
    });
    std::fs::write(file, text.to_string()).unwrap();
}
