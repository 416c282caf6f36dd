//! Two services on real metrics, a gateway, and `canary pull`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use backstop::config::load::{Secrets, load};
use backstop::domain::clock::{Clock as _, SystemClock};
use backstop::domain::deployment::{Batch, Deployment, Status, Strategy};
use backstop::domain::id::{DeploymentId, Env, Host, ReleaseId, Service};
use backstop::store::{self, Store, chain, keys};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::eventually::eventually;
use crate::support::feed::{Feed, backfill};
use crate::support::fleet::{Fleet, Health};
use crate::support::front::Front;
use crate::support::gateway::Replica;
use crate::support::metrics_source::VictoriaMetrics;
use crate::support::tools::{Tool, required_in_ci};
use crate::support::vmalert::{Notifier, Vmalert};

pub(super) const PATIENCE: Duration = Duration::from_mins(1);
const HOSTS: usize = 5;

/// Two services on real metrics, a gateway, `canary pull`, and perhaps the vmalert.
pub(super) struct Scene {
    pub(super) folder: tempfile::TempDir,
    pub(super) metrics: VictoriaMetrics,
    pub(super) fleet: Fleet,
    _feed: Feed,
    pub(super) documents: Store,
    pub(super) front: Front,
    pub(super) gateway: Replica,
    pub(super) http: reqwest::Client,
    _pull: Child,
}

fn config(folder: &Path, metrics: &str, vmalerts: &[String], canary: &str) {
    let vmalerts: Vec<String> = vmalerts
        .iter()
        .map(|url| format!("{{url: \"{url}\", canary: true}}"))
        .collect();
    let service = |name: &str| {
        format!(
            "  {name}:\n    application: {name}\n    deploy: [{{pipeline: deploy-prod, env: prod, \
             strategy: canary, soak: 1s, release: '{{parameters.release_id}}'}}]\n"
        )
    };
    let text = format!(
        "auth:\n  tokens: [{{name: all, token: {{file: token}}, scopes: [ingest, read, deploy]}}]\n\
         store: {{url: 'file:{store}'}}\nmetrics: {{url: '{metrics}', latency_offset: true}}\n\
         vmalert: [{vmalerts}]\ncanary: {{interval: 1s{canary}}}\nservices:\n{services}\
         timing: {{sweep: 300ms, catalog_refresh: 300ms}}\n",
        store = folder.join("store").display(),
        vmalerts = vmalerts.join(", "),
        services = service("checkout") + &service("cart"),
    );
    std::fs::write(folder.join("token"), "let-me-in").unwrap();
    std::fs::write(folder.join("backstop.yaml"), text).unwrap();
}

impl Scene {
    /// Everything but the vmalert, which is to listen at `vmalerts`.
    pub(super) async fn start(vmalerts: &[String]) -> Self {
        Self::with(vmalerts, vmalerts, "").await
    }

    /// The same for newer vmalerts, which fetch the rules themselves: nothing tells them to.
    pub(super) async fn fetched(vmalerts: &[String]) -> Self {
        Self::with(vmalerts, &[], ", eval_delay: 0s").await
    }

    async fn with(vmalerts: &[String], reloaded: &[String], canary: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = VictoriaMetrics::start(&folder.path().join("vm"))
            .await
            .unwrap();
        let services = [("checkout", "checkout@1"), ("cart", "cart@1")];
        let fleet = Fleet::new("prod", &services, HOSTS, 3);
        let past = Duration::from_mins(10);
        backfill(&fleet, &metrics.importer, past, Duration::from_secs(5))
            .await
            .unwrap();
        let feed = Feed::start(fleet.clone(), metrics.importer.clone());
        config(folder.path(), &metrics.url(), vmalerts, canary);
        let file = folder.path().join("backstop.yaml");
        let settings = load(Some(&file), Secrets::Read).unwrap().store;
        let gateway = Replica::start(&file).await;
        let front = Front::start().await;
        front.set(vec![gateway.address]);
        let rules = folder.path().join("rules");
        let pull = Command::new(env!("CARGO_BIN_EXE_backstop"))
            .args([
                "canary",
                "pull",
                "--interval",
                "500ms",
                "--gateway",
                &front.url(),
            ])
            .arg("--token-file")
            .arg(folder.path().join("token"))
            .arg("--to")
            .arg(&rules)
            .args(reloaded.iter().flat_map(|url| ["--vmalert", url]))
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let scene = Self {
            http: crate::support::process::client().unwrap(),
            folder,
            metrics,
            fleet,
            documents: store::open(&settings).unwrap(),
            _feed: feed,
            front,
            gateway,
            _pull: pull,
        };
        eventually(PATIENCE, "the first rule file", || async { scene.file() })
            .await
            .unwrap();
        scene
    }

    /// A vmalert over the pulled folder that posts to the gateway.
    pub(super) async fn vmalert(&self, port: u16) -> Vmalert {
        let notifier = Notifier::new(self.front.url()).with_token("let-me-in");
        let folder = self.folder.path().join(format!("vmalert-{port}"));
        let rules = self.folder.path().join("rules");
        let (metrics, notifiers) = (self.metrics.url(), [notifier]);
        Vmalert::start_on(port, &folder, &rules, &metrics, &notifiers)
            .await
            .unwrap()
    }

    /// The newest vmalert, which fetches the rules from the gateway and posts to it.
    pub(super) async fn fetching_vmalert(&self, port: u16) -> Vmalert {
        let front = self
            .front
            .url()
            .replace("http://", "http://vmalert:let-me-in@");
        let rules = format!("{front}/api/v1/canary/rules.yaml");
        let notifier = Notifier::new(self.front.url()).with_token("let-me-in");
        let folder = self.folder.path().join(format!("vmalert-{port}"));
        let metrics = self.metrics.url();
        Vmalert::start_fetching(port, &folder, &rules, &metrics, &[notifier])
            .await
            .unwrap()
    }

    pub(super) fn file(&self) -> Option<String> {
        let file = self.folder.path().join("rules/backstop-canary.yaml");
        std::fs::read_to_string(file).ok()
    }

    pub(super) async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let url = format!("{}{path}", self.gateway.url());
        let mut request = self.http.request(method, url).bearer_auth("let-me-in");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.ask(reqwest::Method::GET, path, None).await.1
    }

    pub(super) async fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.gateway.url());
        let answer = self
            .http
            .get(url)
            .bearer_auth("let-me-in")
            .send()
            .await
            .unwrap();
        answer.text().await.unwrap()
    }

    /// Announces batch `n` of `service`'s release 2, as Spinnaker does.
    pub(super) async fn announce(&self, service: &str, n: u32) -> Value {
        let hosts = self.fleet.hosts(service)[..2].to_vec();
        let body = json!({"release_id": format!("{service}@2"), "env": "prod",
            "strategy": "canary", "of": 3, "hosts": hosts});
        let path = format!("/api/v1/deployments/D-{service}/batches/{n}");
        let (status, state) = self.ask(reqwest::Method::POST, &path, Some(body)).await;
        assert_eq!(status, 202, "{state}");
        state
    }

    pub(super) async fn batch(&self, service: &str, n: u32) -> Value {
        self.get(&format!("/api/v1/deployments/D-{service}/batches/{n}"))
            .await
    }

    pub(super) async fn armed(&self, service: &str, n: u32) {
        eventually(PATIENCE, "the batch to be armed", || async {
            (self.batch(service, n).await["status"] == "armed").then_some(())
        })
        .await
        .unwrap();
    }

    /// The batch's words, once they hold `words`.
    pub(super) async fn waits(&self, service: &str, n: u32, words: &str) {
        let what = format!("a batch that waits because: {words}");
        eventually(PATIENCE, &what, || async {
            let state = self.batch(service, n).await;
            assert_eq!(state["status"], "arming", "{state}");
            state["progress"].as_str()?.contains(words).then_some(())
        })
        .await
        .unwrap();
    }

    /// Brings release 2 to the announced hosts, and writes that down as `sync` does.
    pub(super) async fn deploy(&self, service: &str, health: Health) {
        let release = format!("{service}@2");
        self.fleet.set_health(&release, health);
        let hosts = self.fleet.hosts(service)[..2].to_vec();
        self.fleet.set_release(&hosts, &release, Some(1));
        self.sync(service, 1, Status::Running).await;
    }

    /// The deployment as its `seq`-th version says.
    pub(super) async fn sync(&self, service: &str, seq: u64, status: Status) {
        let host = |name: &String| Host::new(name.as_str()).unwrap();
        let hosts: Vec<Host> = self.fleet.hosts(service).iter().map(host).collect();
        let now = SystemClock.now();
        let service = Service::new(service).unwrap();
        let deployment = Deployment {
            id: DeploymentId::new(format!("D-{service}")).unwrap(),
            release_id: ReleaseId::of(&service, "2").unwrap(),
            env: Env::new("prod").unwrap(),
            strategy: Strategy::Canary,
            batches: vec![Batch {
                n: 1,
                hosts: hosts[..2].to_vec(),
                status,
                started_at: Some(now),
                finished_at: None,
            }],
            target_hosts: hosts,
            status,
            started_at: Some(now),
            finished_at: (status == Status::Success).then_some(now),
            soak: Duration::ZERO,
            application: service.to_string(),
            pipeline: "deploy-prod".to_owned(),
            is_rollback: false,
            service,
        };
        let prefix = keys::deployment(&deployment.service, &deployment.env, &deployment.id);
        chain::append(&self.documents, &prefix, seq, &deployment)
            .await
            .unwrap();
    }
}

pub(super) fn has_tools() -> bool {
    [Tool::VictoriaMetrics, Tool::Vmalert]
        .into_iter()
        .all(required_in_ci)
}
