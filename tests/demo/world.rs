//! Everything around the gateway, started in order, and the gateway itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backstop::store::{self, Store, StoreSettings};

use crate::config::{Files, RULES};
use crate::spinnaker::{self, Changes};
use crate::support::alertmanager::{self, Alertmanager};
use crate::support::chat::Time;
use crate::support::dingtalk::{DingTalk, Robot};
use crate::support::feed::{self, Feed};
use crate::support::fleet::Fleet;
use crate::support::gate::{GateStandIn, Options};
use crate::support::metrics_source::VictoriaMetrics;
use crate::support::process::{self, Process, Ready};
use crate::support::slack::Slack;
use crate::support::smtp::Smtp;
use crate::support::tools::Tool;
use crate::support::vmalert::{Notifier, Vmalert};
use crate::support::wecom::WeCom;
use crate::timeline::Timeline;
use crate::{ENV, HOSTS, SERVICES};

/// How much past the metrics store has before the demo begins, and how fine it is.
const HISTORY: (Duration, Duration) = (Duration::from_mins(75), Duration::from_secs(15));
/// The Slack channel in `config/slack.yaml`.
const SLACK_CHANNEL: &str = "C0OPS";
/// How often a condition is asked.
const PAUSE: Duration = Duration::from_millis(200);

/// The running world.
#[derive(Debug)]
pub struct World {
    /// Prints what happens.
    pub timeline: Timeline,
    /// `target/demo`.
    pub root: PathBuf,
    /// The configuration's files.
    pub files: Files,
    /// The metrics store.
    pub metrics: VictoriaMetrics,
    /// The rules' evaluator.
    pub vmalert: Vmalert,
    /// The simulated services.
    pub fleet: Fleet,
    /// Every change of the fleet by an execution.
    pub changes: Changes,
    /// Spinnaker.
    pub gate: GateStandIn,
    /// The mail server.
    pub smtp: Smtp,
    /// Slack.
    pub slack: Slack,
    /// WeCom.
    pub wecom: WeCom,
    /// DingTalk.
    pub dingtalk: DingTalk,
    /// The gateway's store, read only.
    pub store: Store,
    /// Where the gateway listens.
    pub gateway_url: String,
    /// The children that are the product.
    product: Mutex<Vec<Process>>,
    /// Pictures fetched from where a message points.
    pub pictures: Mutex<BTreeMap<String, Vec<u8>>>,
    alertmanager: Alertmanager,
    feed: Feed,
}

impl World {
    /// Starts everything but the gateway.
    ///
    /// # Errors
    /// What did not start, with its last lines.
    pub async fn start(timeline: Timeline) -> anyhow::Result<Self> {
        let root = fresh_folder()?;
        let gateway_port = process::free_port()?;
        let gateway_url = format!("http://127.0.0.1:{gateway_port}");
        let (fleet, metrics, feed) = history(&root, timeline).await?;

        let options = Options::default();
        let files = Files::with_secrets(&root.join("config"), &options.password)?;
        let gate = GateStandIn::with(options).await;
        let token = files.secret("spinnaker")?;
        let names = SERVICES.map(|service| service.name);
        spinnaker::save_pipelines(&gate, &names, &gateway_url, &token)?;
        let changes = spinnaker::drive(&gate, fleet.clone());

        let smtp = Smtp::start(&root.join("messages/email")).await?;
        let slack = Slack::start(&files.secret("slack")?, &[SLACK_CHANNEL], Time::real()).await;
        let wecom = WeCom::start(&[&files.secret("wecom")?], Time::real()).await;
        let robot = Robot {
            secret: Some(files.secret("dingtalk-signing")?),
            ..Robot::default()
        };
        let dingtalk = DingTalk::start(&[(&files.secret("dingtalk")?, robot)], Time::real()).await;
        timeline.say(
            "stand-ins",
            "Gate, Slack, WeCom and DingTalk listen; a real SMTP server does, too",
        );
        let (alertmanager, vmalert) = alerting(&root, &files, &gateway_url, &metrics).await?;
        timeline.say(
            "alerting",
            "vmalert tells Alertmanager and, at the same time, the gateway",
        );

        let store_folder = root.join("store");
        files.fill(&[
            ("GATEWAY", gateway_url.clone()),
            ("STORE", store_folder.display().to_string()),
            ("METRICS", metrics.url()),
            ("VMALERT", vmalert.url()),
            ("GATE", gate.url()),
            ("FONT", Tool::ChineseFont.path()?.display().to_string()),
            ("SMTP", smtp.process.address().to_string()),
            ("SLACK", slack.url()),
            ("WECOM", wecom.url()),
            ("DINGTALK", dingtalk.url()),
        ])?;
        let store = store::open(&StoreSettings {
            url: format!("file:{}", store_folder.display()),
            endpoint: None,
            region: None,
            keys: None,
        })?;
        let world = Self {
            timeline,
            root,
            files,
            metrics,
            vmalert,
            fleet,
            changes,
            gate,
            smtp,
            slack,
            wecom,
            dingtalk,
            store,
            gateway_url,
            product: Mutex::default(),
            pictures: Mutex::default(),
            alertmanager,
            feed,
        };
        world.start_product(gateway_port).await?;
        Ok(world)
    }

    /// Starts `backstop serve` and `backstop sync`.
    async fn start_product(&self, port: u16) -> anyhow::Result<()> {
        let program = backstop_program()?;
        let config = self.files.main();
        let serve = move |port: u16| {
            let mut command = Command::new(&program);
            command
                .arg("serve")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command
        };
        let log = self.log("gateway");
        let gateway =
            Process::start_on(port, "backstop serve", &log, Ready::Http("/-/ready"), serve).await?;
        let (program, config) = (backstop_program()?, self.files.main());
        let sync = move |_: u16| {
            let mut command = Command::new(&program);
            command
                .arg("sync")
                .arg(format!("--config.file={}", config.display()))
                .args(["--interval", "1s"]);
            command
        };
        let sync = Process::start("backstop sync", &self.log("sync"), Ready::Running, sync).await?;
        let mut product = self.product.lock().unwrap_or_else(PoisonError::into_inner);
        product.extend([gateway, sync]);
        self.timeline.say(
            "backstop",
            format!(
                "`serve` at {} in mode enforce, `sync` beside it",
                self.gateway_url
            ),
        );
        Ok(())
    }

    /// The log of one of our own programs.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join(format!("logs/{name}.log"))
    }

    /// Waits for a step of the demo; an error of `probe` means "not yet".
    ///
    /// # Errors
    /// Names the step, what was seen last and where the logs are, once `within` has passed or one
    /// of our own programs has ended.
    pub async fn step<T, F, Fut>(
        &self,
        within: Duration,
        step: &str,
        mut probe: F,
    ) -> anyhow::Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = anyhow::Result<T>>,
    {
        let started = self.timeline.seconds();
        loop {
            let seen = match probe().await {
                Ok(found) => return Ok(found),
                Err(seen) => seen,
            };
            self.product_runs()?;
            ensure!(
                self.timeline.seconds() - started < within.as_secs_f64(),
                "this step did not happen within {within:?}: {step}\n  seen last: {seen:#}\n  logs: {}",
                self.root.join("logs").display()
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// # Errors
    /// When `serve` or `sync` has ended, with its last lines.
    fn product_runs(&self) -> anyhow::Result<()> {
        let mut product = self.product.lock().unwrap_or_else(PoisonError::into_inner);
        for process in product.iter_mut() {
            let ended = !process.is_running();
            ensure!(!ended, "{process:?} has ended:\n{}", process.tail());
        }
        Ok(())
    }

    /// What has a page of its own: name and address.
    pub fn pages(&self) -> [(&'static str, String); 3] {
        [
            ("backstop", self.gateway_url.clone()),
            ("vmalert", self.vmalert.url()),
            ("alertmanager", self.alertmanager.url()),
        ]
    }

    /// How many pushes of samples have failed.
    pub fn missed_samples(&self) -> u64 {
        self.feed.missed()
    }
}

/// `target/demo`, emptied.
fn fresh_folder() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/demo");
    if root.exists() {
        std::fs::remove_dir_all(&root).context("remove the last run's files")?;
    }
    std::fs::create_dir_all(root.join("logs")).context("create target/demo")?;
    Ok(root)
}

/// The fleet, and a metrics store that has known it for a while.
async fn history(
    root: &Path,
    timeline: Timeline,
) -> anyhow::Result<(Fleet, VictoriaMetrics, Feed)> {
    let fleet = Fleet::shared(
        ENV,
        &SERVICES.map(|service| (service.name, service.old)),
        HOSTS,
        7,
    );
    let metrics = VictoriaMetrics::start(&root.join("victoria-metrics")).await?;
    let (span, step) = HISTORY;
    feed::backfill(&fleet, &metrics.importer, span, step).await?;
    let feed = Feed::start(fleet.clone(), metrics.importer.clone());
    let (services, minutes) = (SERVICES.len(), span.as_secs() / 60);
    timeline.say(
        "metrics",
        format!(
            "{HOSTS} hosts, {services} services, {minutes} minutes of history in VictoriaMetrics"
        ),
    );
    Ok((fleet, metrics, feed))
}

/// Alertmanager with the shipped configuration, and vmalert, which tells it and the gateway.
async fn alerting(
    root: &Path,
    files: &Files,
    gateway: &str,
    metrics: &VictoriaMetrics,
) -> anyhow::Result<(Alertmanager, Vmalert)> {
    let config = alertmanager::shipped_config(gateway, &files.secret_file("alertmanager"))?;
    let alertmanager = Alertmanager::start(&root.join("alertmanager"), &config).await?;
    let rules = root.join("config/vmalert");
    std::fs::create_dir_all(&rules).context("create the rules' folder")?;
    std::fs::write(rules.join("rules.yml"), RULES).context("write the rules")?;
    let notifiers = [
        Notifier::new(alertmanager.url()),
        Notifier::new(gateway).with_token(files.secret("vmalert")?),
    ];
    let folder = root.join("vmalert");
    let vmalert = Vmalert::start(&folder, &rules, &metrics.url(), &notifiers).await?;
    Ok((alertmanager, vmalert))
}

/// `backstop`, built beside this example.
fn backstop_program() -> anyhow::Result<PathBuf> {
    let demo = std::env::current_exe().context("where is this program")?;
    let folder = demo.parent().and_then(Path::parent);
    let program = folder
        .context("no folder above the examples")?
        .join("backstop");
    ensure!(
        program.exists(),
        "`{}` is not there: `make demo` builds it",
        program.display()
    );
    Ok(program)
}
