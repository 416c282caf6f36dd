//! The whole service in a test: replicas of the real app over one store, and the world around it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use backstop::app::{App, Options, Running};
use backstop::config::load::{Secrets, load};
use backstop::domain::alert::{Fingerprint, Labels};
use backstop::domain::clock::{self, Clock as _, SystemClock};
use backstop::domain::deployment::{Batch, Deployment, Status, Strategy};
use backstop::domain::id::{DeploymentId, Env, Host, LaneName, ReleaseId, Service};
use backstop::domain::lane::LaneEntry;
use backstop::domain::release::Release;
use backstop::store::{self, Store, StoreSettings, chain, keys};
use backstop::telemetry::log::LogFormat;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::artifact::{sha256, tar_gz};
use super::chat::Time;
use super::dingtalk::{DingTalk, Robot};
use super::eventually::eventually;
use super::front::Front;
use super::gate::{self, GateStandIn};
use super::mail_acceptor;
use super::prometheus::{ALERT, Prometheus, RECOVERY};
use super::slack::Slack;
use super::wecom::WeCom;

/// The accused service's hosts; the first is the canary.
pub const HOSTS: [&str; 6] = ["h1", "h2", "h3", "h4", "h5", "h6"];
/// The release that is deployed.
pub const NEW: &str = "checkout@1.3";
/// The one to go back to.
pub const STABLE: &str = "checkout@1.0";
/// The four channels by name.
pub const CHANNELS: [&str; 4] = ["ops-dingtalk", "ops-mail", "ops-slack", "ops-wecom"];
/// How many services a crowd is.
pub const CROWD: usize = 20;
/// A condition of a whole service may take this long on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Every secret of the configuration, by its file's name.
pub const SECRETS: [(&str, &str); 11] = [
    ("signing", "planted-signing-key-0123456789abcdef"),
    ("ingest", "planted-ingest-token-0123456789abcdef"),
    ("read", "planted-read-token-0123456789abcdef"),
    ("deploy", "planted-deploy-token-0123456789abcdef"),
    ("rollback", "planted-rollback-token-0123456789abcdef"),
    ("admin", "planted-admin-token-0123456789abcdef"),
    ("gate", "planted-gate-password"),
    ("slack", "planted-slack-token"),
    ("wecom", "planted-wecom-key"),
    ("dingtalk", "planted-dingtalk-token"),
    ("dingtalk-secret", "planted-dingtalk-secret"),
];

/// A secret's value.
pub fn secret(name: &str) -> &'static str {
    let found = SECRETS.iter().find(|(known, _)| *known == name);
    found.expect("a known secret").1
}

/// A deployment of this age has been sampled.
const SAMPLED_MS: i64 = 4_000;

/// `rollback:` by two pipelines that ask for admission.
const PIPELINES: &str = r#"      batch: {pipeline: rollback-batch, parameters: {release: "{target.release_id}", hosts: "{hosts}", incident: "{incident.id}", attempt: "{attempt}"}}
      full: {pipeline: rollback-full, parameters: {release: "{target.release_id}", incident: "{incident.id}", attempt: "{attempt}"}}"#;

/// How a world is set up.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The policy's mode.
    pub mode: &'static str,
    /// Replicas started at once.
    pub replicas: usize,
    /// One more key of the policy's rule.
    pub rule: &'static str,
    /// How long the recovery question is asked.
    pub within: &'static str,
    /// Strategy of the deploy pipeline.
    pub strategy: &'static str,
    /// Soak time of the deploy pipeline.
    pub soak: &'static str,
    /// Lines of `rollback:` of the accused service.
    pub rollback: &'static str,
    /// Whether batches are armed: the vmalert is one for canary rules, too, and never loads them.
    pub arms: bool,
    /// `store:` of the configuration; None: a directory of its own.
    pub store: Option<StoreSettings>,
    /// Whether [`CROWD`] more services are configured, `svc1` and so on.
    pub crowd: bool,
    /// More lines for the end of `backstop.yaml`.
    pub more: &'static str,
    /// Whether agents deploy on [`HOSTS`]: tokens, and releases that can be fetched.
    pub agents: bool,
    /// Seconds that pass for the chat vendors in one of ours; the channels' limits grow with it.
    pub vendor_speed: u32,
    /// Lines of `timing:` that differ.
    pub timing: &'static [(&'static str, &'static str)],
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            mode: "enforce",
            replicas: 1,
            rule: "",
            within: "15s",
            strategy: "canary",
            soak: "1h",
            rollback: PIPELINES,
            arms: false,
            store: None,
            crowd: false,
            more: "",
            agents: false,
            vendor_speed: 1,
            timing: &[],
        }
    }
}

/// One replica on a runtime of its own, so that it can die at any point.
#[derive(Debug)]
pub struct Replica {
    /// Where it listens.
    pub address: SocketAddr,
    runtime: Option<Runtime>,
    running: Option<Running>,
}

impl Replica {
    /// Starts the real app from a configuration file. With `RUST_LOG` set its log is shown.
    pub async fn start(file: &Path) -> Self {
        show_log();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let file = file.to_owned();
        let start = runtime.spawn(async move {
            let config = load(Some(&file), Secrets::Read)
                .unwrap_or_else(|problems| panic!("the configuration: {problems:#?}"));
            let options = Options {
                config_file: Some(file),
                web_config: backstop::config::WebConfig::default(),
                external_url: None,
                clock: Arc::new(SystemClock),
            };
            let app = App::build(config, options).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            app.start(listener).await.unwrap()
        });
        let running = start.await.unwrap();
        Self {
            address: running.address,
            runtime: Some(runtime),
            running: Some(running),
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it where it stands, as a crash does.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(&mut self) {
        let (Some(running), Some(runtime)) = (self.running.take(), self.runtime.take()) else {
            return;
        };
        runtime.spawn(running.stop()).await.unwrap();
        runtime.shutdown_background();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "only the test harness asks for its own log level"
)]
fn show_log() {
    static SHOWN: Once = Once::new();
    SHOWN.call_once(|| {
        if let Ok(level) = std::env::var("RUST_LOG") {
            let guard = backstop::telemetry::log::init(&level, LogFormat::Logfmt);
            // For the life of the process.
            std::mem::forget(guard.unwrap());
        }
    });
}

/// What the rollback pipelines have done to hosts.
pub type Touched = Arc<Mutex<Vec<Touch>>>;

/// One rollback stage that got past admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The execution.
    pub execution: String,
    /// Its pipeline.
    pub pipeline: String,
    /// The release it went to.
    pub release: String,
    /// The hosts it was told; none for all.
    pub hosts: Vec<String>,
}

/// The gateway and everything around it.
#[derive(Debug)]
pub struct TestGateway {
    /// The running replicas.
    pub replicas: Vec<Replica>,
    /// Spinnaker.
    pub gate: GateStandIn,
    /// The metrics store and the vmalert.
    pub metrics: Prometheus,
    /// Slack.
    pub slack: Slack,
    /// `WeCom`.
    pub wecom: WeCom,
    /// `DingTalk`.
    pub dingtalk: DingTalk,
    /// The mail server.
    pub mail: mail_acceptor::Server,
    /// What rollbacks did.
    pub touched: Touched,
    /// The same documents as the gateway's.
    pub store: Store,
    /// Where a local store lives.
    pub store_folder: PathBuf,
    /// The configuration's main file.
    pub config: PathBuf,
    front: Front,
    promote: watch::Sender<bool>,
    proceed: watch::Sender<bool>,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl TestGateway {
    /// One replica, everything enforced.
    pub async fn start() -> Self {
        Self::with(Setting::default()).await
    }

    /// The world of `setting`, with a stable release known and nothing in flight.
    pub async fn with(setting: Setting) -> Self {
        let mut site = Self::world(&setting).await;
        for _ in 0..setting.replicas {
            site.add_replica().await;
        }
        site
    }

    /// The world without a replica.
    pub async fn world(setting: &Setting) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let front = Front::start().await;
        let gate = GateStandIn::with(gate::Options {
            speed: 20.0,
            password: secret("gate").to_owned(),
            ..gate::Options::default()
        })
        .await;
        let metrics = Prometheus::start(&HOSTS).await;
        let time = Time::scaled(setting.vendor_speed);
        let slack = Slack::start(secret("slack"), &["C0123456"], time.clone()).await;
        let wecom = WeCom::start(&[secret("wecom")], time.clone()).await;
        let robot = Robot {
            secret: Some(secret("dingtalk-secret").to_owned()),
            keywords: Vec::new(),
        };
        let dingtalk = DingTalk::start(&[(secret("dingtalk"), robot)], time).await;
        let mail = mail_acceptor::Server::start().await;
        let store_folder = folder.path().join("store");
        let local = StoreSettings {
            url: format!("file:{}", store_folder.display()),
            endpoint: None,
            region: None,
            keys: None,
        };
        let store = store::open(setting.store.as_ref().unwrap_or(&local)).unwrap();
        let site = Self {
            replicas: Vec::new(),
            gate,
            metrics,
            slack,
            wecom,
            dingtalk,
            mail,
            touched: Touched::default(),
            store,
            store_folder,
            config: folder.path().join("backstop.yaml"),
            front,
            promote: watch::Sender::new(false),
            proceed: watch::Sender::new(true),
            // A connection each: what stands behind the front changes.
            http: reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
            _folder: folder,
        };
        site.write_config(setting, setting.store.as_ref().unwrap_or(&local));
        site.save_pipelines(setting);
        site.publish("1.0", 20).await;
        site.publish("1.3", 1).await;
        site.deployed("D-stable", "1.0", Duration::from_hours(10), Duration::ZERO)
            .await;
        site
    }

    /// Starts one more replica behind the front.
    pub async fn add_replica(&mut self) {
        self.replicas.push(Replica::start(&self.config).await);
        self.front_all();
    }

    fn front_all(&self) {
        let addresses = self.replicas.iter().map(|replica| replica.address);
        self.front.set(addresses.collect());
    }

    /// Puts another process behind the front.
    pub fn front_to(&self, address: SocketAddr) {
        self.front.set(vec![address]);
    }

    /// The folder of the configuration and its secrets.
    pub fn folder(&self) -> &Path {
        self.config.parent().unwrap()
    }

    fn artifacts(&self) -> PathBuf {
        self.folder().join("artifacts")
    }

    /// The address in front of all replicas.
    pub fn url(&self) -> String {
        self.front.url()
    }

    fn write_config(&self, setting: &Setting, store: &StoreSettings) {
        let root = self.config.parent().unwrap();
        for folder in ["secrets", "channels", "rules/policy"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (name, value) in SECRETS {
            std::fs::write(root.join("secrets").join(name), format!("{value}\n")).unwrap();
        }
        if setting.agents {
            std::fs::create_dir(self.artifacts()).unwrap();
        }
        let mut timing = BTreeMap::from([
            ("sweep", "200ms"),
            ("outbox", "200ms"),
            ("follow", "100ms"),
            ("catalog_refresh", "300ms"),
            ("evidence_deadline", "3s"),
            ("chart_deadline", "2s"),
            ("lease", "5s"),
            ("skew", "500ms"),
            ("settle", "2s"),
            ("stop_deadline", "20s"),
            ("drain", "10s"),
            ("drain_accept", "200ms"),
        ]);
        timing.extend(setting.timing.iter().copied());
        let mut text = self.main_file(setting, store);
        text.push_str("timing:\n");
        for (name, value) in timing {
            let _infallible = writeln!(text, "  {name}: {value}");
        }
        text.push_str(setting.more);
        std::fs::write(&self.config, text).unwrap();
        let policy = format!(
            "services: [checkout]\nrules:\n  - name: bad release goes back\n    matchers: \
             ['severity=~\"critical|page\"']\n    min_hosts: 1\n    action: rollback\n    {}\n    channels: \
             [{}]\nguards: {{mode: {}, cooldown: 1s}}\n",
            setting.rule,
            CHANNELS.join(", "),
            setting.mode
        );
        std::fs::write(root.join("rules/policy/checkout.yaml"), policy).unwrap();
        if setting.crowd {
            let policy = "services: [\"svc*\"]\nrules:\n  - name: bad release goes back\n    \
                          matchers: ['severity=\"critical\"']\n    action: rollback\n    verify: \
                          error_ratio > 0.05\n    channels: [ops-mail]\nguards: {mode: enforce}\n";
            std::fs::write(root.join("rules/policy/crowd.yaml"), policy).unwrap();
        }
        for (name, body) in self.channels() {
            let limit = match name {
                "ops-slack" => 60,
                "ops-mail" => 6_000,
                _ => 20,
            };
            let limit = limit * setting.vendor_speed;
            let text = format!("name: {name}\n{body}\nrate_per_minute: {limit}\n");
            std::fs::write(root.join(format!("channels/{name}.yaml")), text).unwrap();
        }
    }

    fn channels(&self) -> [(&'static str, String); 4] {
        let file = |name: &str| format!("{{file: secrets/{name}}}");
        [
            (
                "ops-dingtalk",
                format!(
                    "dingtalk: {{token: {}, secret: {}, api_url: \"{}\"}}",
                    file("dingtalk"),
                    file("dingtalk-secret"),
                    self.dingtalk.url()
                ),
            ),
            (
                "ops-mail",
                format!(
                    "email: {{smarthost: \"smtp://{}\", from: backstop@example.com, to: \
                     [oncall@example.com]}}",
                    self.mail.address
                ),
            ),
            (
                "ops-slack",
                format!(
                    "slack: {{token: {}, channel: C0123456, api_url: \"{}\"}}",
                    file("slack"),
                    self.slack.url()
                ),
            ),
            (
                "ops-wecom",
                format!(
                    "wecom: {{key: {}, api_url: \"{}\"}}",
                    file("wecom"),
                    self.wecom.url()
                ),
            ),
        ]
    }

    /// What a deploy entry and the main file say where agents deploy; their tokens are added.
    fn by_agents(&self, setting: &Setting, tokens: &mut String) -> (&'static str, String) {
        if !setting.agents {
            return ("", String::new());
        }
        for host in HOSTS {
            let file = self.folder().join("secrets").join(host);
            std::fs::write(file, format!("token-of-{host}")).unwrap();
            let _infallible = writeln!(
                tokens,
                "    - {{name: {host}, token: {{file: secrets/{host}}}, scopes: [agent], host: {host}}}"
            );
        }
        let place = self.artifacts();
        let artifacts = format!("artifacts: {{url: \"file:{}\"}}\n", place.display());
        (", agents: {poll: 200ms}", artifacts)
    }

    fn main_file(&self, setting: &Setting, store: &StoreSettings) -> String {
        let mut place = format!("url: \"{}\"", store.url);
        if let Some(endpoint) = &store.endpoint {
            let _infallible = write!(place, ", endpoint: \"{endpoint}\"");
        }
        if let Some(region) = &store.region {
            let _infallible = write!(place, ", region: {region}");
        }
        if let Some((id, key)) = &store.keys {
            let root = self.config.parent().unwrap();
            std::fs::write(root.join("secrets/s3-id"), id).unwrap();
            std::fs::write(root.join("secrets/s3-key"), key.expose()).unwrap();
            place.push_str(
                ", access_key_id: {file: secrets/s3-id}, secret_access_key: {file: secrets/s3-key}",
            );
        }
        let mut tokens = String::new();
        for (name, scopes) in [
            ("ingest", "ingest"),
            ("read", "read"),
            ("deploy", "deploy"),
            ("rollback", "read, rollback"),
            ("admin", "read, admin"),
        ] {
            let _infallible = writeln!(
                tokens,
                "    - {{name: {name}, token: {{file: secrets/{name}}}, scopes: [{scopes}]}}"
            );
        }
        let (by, artifacts) = self.by_agents(setting, &mut tokens);
        let mut crowd = String::new();
        for n in 1..=if setting.crowd { CROWD } else { 0 } {
            let _infallible = write!(
                crowd,
                r#"  svc{n}:
    application: svc{n}
    deploy:
      - {{pipeline: deploy-prod, env: prod, strategy: all, soak: 1s, release: "{{parameters.release_id}}"}}
    rollback:
      full: {{pipeline: rollback-full, parameters: {{release: "{{target.release_id}}", incident: "{{incident.id}}", attempt: "{{attempt}}"}}}}
    recovery: {{expr: '{RECOVERY}', op: "<", value: 0.01, for: 300ms, within: 15s}}
"#
            );
        }
        format!(
            r#"web: {{external_url: "{front}"}}
auth:
  signing_key: {{file: secrets/signing}}
  tokens:
{tokens}store: {{{place}}}
{artifacts}replicas: {replicas}
metrics: {{url: "{metrics}", timeout: 2s}}
vmalert: [{{url: "{metrics}"}}{canary}]
spinnaker: {{gate: "{gate}", basic: {{username: gateway, password: {{file: secrets/gate}}}}, timeout: 2s}}
default_channels: [{channels}]
services:
  checkout:
    application: checkout
    deploy:
      - {{pipeline: deploy-prod, env: prod, strategy: {strategy}, soak: {soak}, release: "{{parameters.release_id}}", batch: "{{stage.context.batch}}", hosts: "{{stage.context.hosts}}"{by}}}
    rollback:
{rollback}
    recovery: {{expr: '{RECOVERY}', op: "<", value: 0.01, for: 300ms, within: {within}}}
{crowd}"#,
            front = self.front.url(),
            replicas = setting.replicas.max(1),
            metrics = self.metrics.url(),
            gate = self.gate.url(),
            channels = CHANNELS.join(", "),
            canary = if setting.arms {
                format!(", {{url: \"{}\", canary: true}}", self.metrics.url())
            } else {
                String::new()
            },
            strategy = setting.strategy,
            soak = setting.soak,
            rollback = setting.rollback,
            within = setting.within,
        )
    }

    fn save_pipelines(&self, setting: &Setting) {
        let front = self.front.url();
        let header = json!({"Authorization": format!("Bearer {}", secret("deploy"))});
        let announce = |place: &str, after: &[&str], n: u32, hosts: &str| {
            json!({"refId": place, "requisiteStageRefIds": after, "type": "webhook",
                "name": format!("Announce batch {n}"), "method": "POST", "customHeaders": header,
                "failFastStatusCodes": ["409"],
                "url": format!("{front}/api/v1/deployments/${{execution.id}}/batches/{n}"),
                "payload": {"release_id": "${parameters.release_id}", "env": "prod",
                    "of": 2, "hosts": hosts}})
        };
        let rest = HOSTS[1..].join(",");
        // Where agents deploy a test brings its own two.
        let save = |pipeline: Value| {
            let is_own = ["deploy-prod", "rollback-batch"].map(|name| pipeline["name"] == name);
            if !(setting.agents && is_own.contains(&true)) {
                self.gate.save(pipeline);
            }
        };
        save(
            json!({"application": "checkout", "name": "deploy-prod", "stages": [
                announce("1", &[], 1, HOSTS[0]),
                {"refId": "2", "requisiteStageRefIds": ["1"], "type": "deployHosts",
                 "name": "Deploy batch 1", "batch": "1", "hosts": HOSTS[0]},
                {"refId": "3", "requisiteStageRefIds": ["2"], "type": "watchCanary", "name": "Watch"},
                announce("4", &["3"], 2, &rest),
                {"refId": "5", "requisiteStageRefIds": ["4"], "type": "deployHosts",
                 "name": "Deploy batch 2", "batch": "2", "hosts": rest},
            ]}),
        );
        let crowd = (1..=if setting.crowd { CROWD } else { 0 })
            .map(|n| (format!("svc{n}"), "rollback-full"));
        let own = ["rollback-batch", "rollback-full"].map(|name| ("checkout".to_owned(), name));
        for (application, name) in own.into_iter().chain(crowd) {
            save(json!({"application": application, "name": name, "stages": [
                {"refId": "1", "requisiteStageRefIds": [], "type": "webhook", "name": "Admit",
                 "method": "POST", "payload": {"execution": "${execution.id}"},
                 "customHeaders": header, "failFastStatusCodes": ["409"],
                 "url": format!("{front}/api/v1/incidents/${{parameters.incident}}/attempts/${{parameters.attempt}}/admit")},
                {"refId": "2", "requisiteStageRefIds": ["1"], "type": "rollbackHosts",
                 "name": "Roll back", "release": "${parameters.release}",
                 "hosts": "${parameters.hosts}"},
            ]}));
        }
        self.gate
            .on_stage("deployHosts", |_| async { Ok(serde_json::Map::new()) });
        let promote = self.promote.subscribe();
        self.gate.on_stage("watchCanary", move |_| {
            let mut promote = promote.clone();
            async move {
                drop(promote.wait_for(|yes| *yes).await);
                Ok(serde_json::Map::new())
            }
        });
        let (touched, proceed) = (Arc::clone(&self.touched), self.proceed.subscribe());
        self.gate.on_stage("rollbackHosts", move |call| {
            let (touched, mut proceed) = (Arc::clone(&touched), proceed.clone());
            async move {
                touched.lock().unwrap().push(Touch {
                    execution: call.execution_id.clone(),
                    pipeline: call.pipeline.clone(),
                    release: call.text("release").to_owned(),
                    hosts: match call.pipeline.as_str() {
                        "rollback-batch" => call.list("hosts"),
                        _ => Vec::new(),
                    },
                });
                drop(proceed.wait_for(|yes| *yes).await);
                Ok(serde_json::Map::new())
            }
        });
    }

    /// Lets the watched canary go on to everybody.
    pub fn promote(&self) {
        self.promote.send_replace(true);
    }

    /// Whether rollback stages that touch hosts may end.
    pub fn let_rollbacks_end(&self, yes: bool) {
        self.proceed.send_replace(yes);
    }

    /// Publishes a release of `hours` ago.
    pub async fn publish(&self, version: &str, hours: u64) {
        self.publish_of("checkout", version, hours).await;
    }

    async fn publish_of(&self, service: &str, version: &str, hours: u64) {
        let service = Service::new(service).unwrap();
        let id = ReleaseId::of(&service, version).unwrap();
        let mut artifact_url = format!("https://artifacts.example.com/checkout/{version}");
        let mut checksum = "0".repeat(64);
        if self.artifacts().is_dir() {
            let bytes = tar_gz(&[("version", version)]);
            let file = self.artifacts().join(format!("{version}.tar.gz"));
            artifact_url = format!("file:{}", file.display());
            checksum = sha256(&bytes);
            std::fs::write(file, bytes).unwrap();
        }
        let release = Release {
            id: id.clone(),
            service: service.clone(),
            tag: format!("v{version}"),
            version: version.to_owned(),
            artifact_url,
            checksum,
            config: None,
            commit: None,
            reversible: true,
            created_at: clock::before(SystemClock.now(), Duration::from_secs(hours * 3600)),
            created_by: "ci".to_owned(),
        };
        self.store
            .create(&keys::release(&service, &id), &release)
            .await
            .unwrap();
    }

    /// Writes down a deployment that went everywhere `ago`, as `sync` does.
    pub async fn deployed(&self, id: &str, version: &str, ago: Duration, soak: Duration) {
        self.deployed_of("checkout", &HOSTS, id, version, ago, soak)
            .await;
    }

    /// Every service of the crowd runs 1.3 for 20 minutes, after 1.0, and is bad now.
    pub async fn deploy_crowd(&self) {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        for n in 1..=CROWD {
            let (service, host) = (format!("svc{n}"), format!("svc{n}-h"));
            for (version, ago) in [("1.0", 600), ("1.3", 20)] {
                self.publish_of(&service, version, 20).await;
                let id = format!("D-{service}-{version}");
                let hosts = [host.as_str()];
                self.deployed_of(&service, &hosts, &id, version, minutes(ago), Duration::ZERO)
                    .await;
            }
            self.metrics.add(&service, &host);
            self.metrics.set(&[&host], 0.3);
        }
        self.until("the crowd in the catalog", || async {
            let page = self.get("/api/v1/deployments?service=svc20").await;
            (page["items"].as_array()?.len() == 2).then_some(())
        })
        .await;
    }

    async fn deployed_of(
        &self,
        service: &str,
        hosts: &[&str],
        id: &str,
        version: &str,
        ago: Duration,
        soak: Duration,
    ) {
        let service = Service::new(service).unwrap();
        let at = clock::before(SystemClock.now(), ago);
        let hosts: Vec<Host> = hosts.iter().map(|host| Host::new(*host).unwrap()).collect();
        let deployment = Deployment {
            id: DeploymentId::new(id).unwrap(),
            release_id: ReleaseId::of(&service, version).unwrap(),
            service: service.clone(),
            env: Env::new("prod").unwrap(),
            strategy: Strategy::All,
            target_hosts: hosts.clone(),
            batches: vec![Batch {
                n: 1,
                hosts,
                status: Status::Success,
                started_at: Some(at),
                finished_at: Some(at),
            }],
            status: Status::Success,
            started_at: Some(at),
            finished_at: Some(at),
            soak,
            application: service.to_string(),
            pipeline: "deploy-prod".to_owned(),
            is_rollback: false,
        };
        let chain = keys::deployment(&service, &deployment.env, &deployment.id);
        chain::append(&self.store, &chain, 1, &deployment)
            .await
            .unwrap();
    }

    /// Starts the deployment of [`NEW`] and waits until its canary runs.
    pub async fn deploy_canary(&self) -> String {
        let trigger = json!({"parameters": {"release_id": NEW}});
        let id = self.gate.run("checkout", "deploy-prod", trigger);
        let canary = |world: &gate::World| {
            let document = world.run(&id)?.document(true);
            (document["stages"][2]["status"] == "RUNNING").then_some(())
        };
        self.gate.when(PATIENCE, canary).await;
        // Younger than this, the store has no two samples of it to compare.
        self.aged(&id, "startTime").await;
        id
    }

    /// Deploys [`NEW`] everywhere.
    pub async fn deploy_everywhere(&self) -> String {
        let id = self.deploy_canary().await;
        self.promote();
        let ended = self.gate.ended(&id, PATIENCE).await;
        assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
        // A short soak is over then.
        self.aged(&id, "endTime").await;
        id
    }

    /// Waits until something of an execution is long enough ago.
    async fn aged(&self, execution: &str, field: &str) {
        let what = format!("`{field}` of {execution} to be some seconds ago");
        let aged = eventually(PATIENCE, &what, || async {
            let at = self.gate.execution(execution)?[field].as_i64()?;
            (SystemClock.now().as_millisecond() - at >= SAMPLED_MS).then_some(())
        });
        aged.await.unwrap();
    }

    /// Gives a body to Alertmanager's door of all replicas.
    pub async fn webhook(&self, body: &Value) -> (u16, Value) {
        self.post_to(&self.url(), "/api/v1/webhook", "ingest", body)
            .await
    }

    /// Posts JSON with a token.
    pub async fn post_to(&self, base: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        self.send(reqwest::Method::POST, base, path, token, Some(body), &[])
            .await
    }

    /// Any request.
    pub async fn send(
        &self,
        method: reqwest::Method,
        base: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let mut request = self
            .http
            .request(method, format!("{base}{path}"))
            .timeout(Duration::from_secs(30))
            .bearer_auth(secret(token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let text_value = || Value::String(text.clone());
        (
            status,
            serde_json::from_str(&text).unwrap_or_else(|_| text_value()),
        )
    }

    /// The metrics of one replica, as a scrape reads them.
    pub async fn metrics_of(&self, base: &str) -> String {
        let answer = self.http.get(format!("{base}/metrics")).send().await;
        answer.unwrap().text().await.unwrap()
    }

    /// Reads JSON from the API.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self
            .send(reqwest::Method::GET, &self.url(), path, "read", None, &[])
            .await;
        assert_eq!(status, 200, "{path}: {body:#}");
        body
    }

    /// Every incident, newest first.
    pub async fn incidents(&self) -> Vec<Value> {
        let page = self.get("/api/v1/incidents").await;
        page["items"].as_array().cloned().unwrap_or_default()
    }

    /// The lane's entries as they stand in the store.
    pub async fn lane(&self) -> Vec<LaneEntry> {
        let (service, env) = (Service::new("checkout").unwrap(), Env::new("prod").unwrap());
        let lane = LaneName::of(&service, &env).unwrap();
        let entries = chain::read_from(&self.store, &keys::lane(&lane), 1).await;
        entries.unwrap().into_iter().map(|(_, one)| one).collect()
    }

    /// Waits for a condition.
    pub async fn until<T, F, Fut>(&self, what: &str, probe: F) -> T
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Option<T>>,
    {
        match eventually(PATIENCE, what, probe).await {
            Ok(found) => found,
            Err(error) => {
                let incidents: Vec<Value> = match self.replicas.first() {
                    Some(_) => self.incidents().await,
                    None => Vec::new(),
                };
                panic!(
                    "{error}\nincidents: {:#}\nexecutions: {:#}\ndecisions: {:#?}",
                    json!(incidents),
                    json!(self.gate.executions()),
                    self.decisions().await
                )
            }
        }
    }

    /// Waits until the one incident is closed and its report complete, and answers it.
    pub async fn closed_incident(&self) -> Value {
        let due = |incident: &Value| {
            let steps = ["execution", "finished", "recovery"];
            let reached = steps.iter().filter(|step| !incident[**step].is_null());
            u64::try_from(reached.count()).ok()
        };
        let incident = self
            .until("a closed incident", || async {
                let incidents = self.incidents().await;
                let closed = incidents
                    .first()
                    .filter(|one| one["stage"]["stage"] == "closed")
                    .filter(|one| one["revision"].as_u64() >= due(one))?;
                Some(closed.clone())
            })
            .await;
        assert_eq!(self.incidents().await.len(), 1);
        incident
    }

    /// Open holds as their chains end, in words.
    pub async fn held(&self) -> Vec<String> {
        let mut ends = BTreeMap::new();
        for key in self.store.list("holds").await.unwrap_or_default() {
            if let (Ok(Some(link)), Some((chain, _))) =
                (self.store.get::<Value>(&key).await, key.rsplit_once('/'))
            {
                ends.insert(chain.to_owned(), link);
            }
        }
        ends.retain(|_, link| link.get("ended").is_none());
        ends.into_iter()
            .map(|(chain, link)| format!("{chain}: {link}"))
            .collect()
    }

    /// Waits until it was decided `n` times to hold.
    pub async fn held_again(&self, n: u64) {
        self.until("holds decided again", || async {
            let metrics = self.get("/metrics").await;
            let held = metrics.as_str()?.lines().filter(|line| {
                line.starts_with("backstop_decisions_total{") && line.contains("\"hold\"")
            });
            let counts = held.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            (counts.sum::<u64>() >= n).then_some(())
        })
        .await;
    }

    /// What was decided, in words, newest last.
    pub async fn decisions(&self) -> Vec<String> {
        let mut found = Vec::new();
        for key in self.store.list("decisions").await.unwrap_or_default() {
            if let Ok(Some(decision)) = self.store.get::<Value>(&key).await {
                found.push(format!(
                    "{} shadow={} {:#}",
                    decision["verdict"], decision["shadow"], decision["guards"]
                ));
            }
        }
        found
    }

    /// What stands in each channel, in words.
    pub fn messages(&self) -> BTreeMap<&'static str, Vec<String>> {
        let texts = |messages: Vec<super::chat::Message>| -> Vec<String> {
            let words = messages.into_iter().map(|message| message.text);
            words.filter(|text| !text.is_empty()).collect()
        };
        let mails = self.mail.taken().into_iter().filter_map(|mail| {
            // A replica that was killed in the middle of sending leaves nothing to read.
            let parsed = mail_parser::MessageParser::default().parse(&mail.bytes)?;
            let body = parsed.body_text(0).unwrap_or_default().into_owned();
            Some(format!("{}\n{body}", parsed.subject().unwrap_or_default()))
        });
        BTreeMap::from([
            ("ops-slack", texts(self.slack.messages())),
            ("ops-wecom", texts(self.wecom.messages())),
            ("ops-dingtalk", texts(self.dingtalk.messages())),
            ("ops-mail", mails.collect()),
        ])
    }

    /// How many messages of each channel hold `word`.
    pub fn messages_with(&self, word: &str) -> BTreeMap<&'static str, usize> {
        let count = |texts: &Vec<String>| texts.iter().filter(|text| text.contains(word)).count();
        let messages = self.messages();
        messages
            .iter()
            .map(|(name, texts)| (*name, count(texts)))
            .collect()
    }

    /// Waits until every channel has at least `n` messages that hold `word`.
    pub async fn told(&self, word: &str, n: usize) {
        let what = format!("{n} messages with `{word}` in every channel");
        let told = eventually(PATIENCE, &what, || async {
            let counts = self.messages_with(word);
            counts.values().all(|count| *count >= n).then_some(())
        })
        .await;
        if let Err(error) = told {
            panic!("{error}: {:#?}", self.messages());
        }
    }

    /// Executions of the rollback pipelines, oldest first.
    pub fn rollbacks(&self) -> Vec<Value> {
        let mut all = self.gate.executions();
        all.retain(|one| {
            let name = one["name"].as_str().unwrap_or_default();
            name.starts_with("rollback-")
        });
        all
    }

    /// Tasks as Gate shows them, oldest first.
    pub fn tasks(&self) -> Vec<Value> {
        let world = self.gate.world();
        let tasks = world.runs().filter(|run| run.is_task());
        tasks.map(gate::Run::task_document).collect()
    }

    /// What rollbacks touched.
    pub fn touched(&self) -> Vec<Touch> {
        self.touched.lock().unwrap().clone()
    }

    /// Stops every replica and looks at what is left: no open incident, no open hold, nothing that
    /// no client should have asked Gate.
    pub async fn finish(mut self) {
        let open = |incidents: Vec<Value>| {
            let open = incidents
                .into_iter()
                .filter(|one| one["stage"]["stage"] != "closed");
            open.collect::<Vec<_>>()
        };
        let incidents = self.incidents().await;
        assert_eq!(open(incidents), Vec::<Value>::new(), "open incidents");
        let held = self.held().await;
        assert!(held.is_empty(), "open holds: {held:#?}");
        assert_eq!(self.gate.unexpected(), []);
        for replica in &mut self.replicas {
            replica.stop().await;
        }
    }
}

/// The labels of the canary's alert on a host.
pub fn labels(host: &str, more: &[(&str, &str)]) -> Labels {
    let mut labels: Labels = [
        ("alertname", ALERT),
        ("alertgroup", "checkout"),
        ("severity", "critical"),
        ("service", "checkout"),
        ("env", "prod"),
        ("instance", host),
        ("release_id", NEW),
        ("batch", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (name, value) in more {
        if value.is_empty() {
            labels.remove(*name);
        } else {
            labels.insert((*name).to_owned(), (*value).to_owned());
        }
    }
    labels
}

/// One alert of an Alertmanager's webhook.
pub fn alert(labels: &Labels, firing: bool) -> Value {
    let now = SystemClock.now();
    let ends = if firing {
        "0001-01-01T00:00:00Z".to_owned()
    } else {
        now.to_string()
    };
    json!({"status": if firing { "firing" } else { "resolved" }, "labels": labels,
        "annotations": {"summary": "errors above 5 %"},
        "startsAt": clock::before(now, Duration::from_secs(2)).to_string(), "endsAt": ends,
        "generatorURL": "http://vmalert.example.com/vmalert/alert?group_id=1&alert_id=2",
        "fingerprint": Fingerprint::of(labels).to_string()})
}

/// An Alertmanager's webhook.
pub fn group(alerts: &[Value]) -> Value {
    let firing = alerts.iter().any(|alert| alert["status"] == "firing");
    json!({"version": "4", "groupKey": "{}:{alertname=\"CanaryErrors\"}", "truncatedAlerts": 0,
        "status": if firing { "firing" } else { "resolved" }, "receiver": "backstop",
        "groupLabels": {"alertname": ALERT}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com", "alerts": alerts})
}

/// The canary's alert, alone in its group.
pub fn canary_alert() -> Value {
    group(&[alert(&labels(HOSTS[0], &[]), true)])
}
