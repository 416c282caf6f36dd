//! A real vmalert, evaluating every second against one store.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::process::{self, Process, Ready};
use super::tools::Tool;

/// Somebody who gets the alerts, at `<url>/api/v2/alerts`.
#[derive(Debug, Clone)]
pub struct Notifier {
    url: String,
    token: Option<String>,
}

impl Notifier {
    /// Without authentication.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
        }
    }

    /// With a bearer token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }
}

/// The running vmalert.
#[derive(Debug)]
pub struct Vmalert {
    /// To pause, kill and restart it.
    pub process: Process,
    client: reqwest::Client,
}

impl Vmalert {
    /// Starts it over every `*.yml` and `*.yaml` in `rules`, re-read each second.
    ///
    /// The groups' own intervals win over the second used here. Its log and the notifiers' tokens
    /// are kept in `directory`.
    pub async fn start(
        directory: &Path,
        rules: &Path,
        datasource: &str,
        notifiers: &[Notifier],
    ) -> anyhow::Result<Self> {
        let recipe = recipe(directory, rules, datasource, notifiers)?;
        let log = directory.join("vmalert.log");
        let process = Process::start("vmalert", &log, Ready::Http("/health"), recipe).await?;
        let client = process::client()?;
        Ok(Self { process, client })
    }

    /// The same on a port that others have been told already.
    pub async fn start_on(
        port: u16,
        directory: &Path,
        rules: &Path,
        datasource: &str,
        notifiers: &[Notifier],
    ) -> anyhow::Result<Self> {
        let recipe = recipe(directory, rules, datasource, notifiers)?;
        let log = directory.join("vmalert.log");
        let ready = Ready::Http("/health");
        let process = Process::start_on(port, "vmalert", &log, ready, recipe).await?;
        let client = process::client()?;
        Ok(Self { process, client })
    }

    /// The newest vmalert, which fetches its rules from `rules`, an address, each second; evaluates them
    /// as of now.
    pub async fn start_fetching(
        port: u16,
        directory: &Path,
        rules: &str,
        datasource: &str,
        notifiers: &[Notifier],
    ) -> anyhow::Result<Self> {
        let from = [format!("-rule={rules}"), "-rule.evalDelay=0s".to_owned()];
        let recipe = recipe_of(Tool::NewVmalert, directory, &from, datasource, notifiers)?;
        let log = directory.join("vmalert.log");
        let ready = Ready::Http("/health");
        let process = Process::start_on(port, "vmalert", &log, ready, recipe).await?;
        let client = process::client()?;
        Ok(Self { process, client })
    }

    /// The base URL of its API.
    pub fn url(&self) -> String {
        self.process.url()
    }

    /// The groups as `/api/v1/rules` lists them.
    pub async fn groups(&self) -> anyhow::Result<Vec<Value>> {
        self.list("rules", "/data/groups").await
    }

    /// The pending and firing alerts as `/api/v1/alerts` lists them.
    pub async fn alerts(&self) -> anyhow::Result<Vec<Value>> {
        self.list("alerts", "/data/alerts").await
    }

    async fn list(&self, what: &str, pointer: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/api/v1/{what}", self.url());
        let mut body: Value = self.client.get(url).send().await?.json().await?;
        let list = body.pointer_mut(pointer).map(Value::take);
        match list {
            Some(Value::Array(list)) => Ok(list),
            // An empty list is written as null.
            Some(Value::Null) => Ok(Vec::new()),
            _ => anyhow::bail!("no `{pointer}` in {body}"),
        }
    }
}

/// How it is started on a port.
fn recipe(
    directory: &Path,
    rules: &Path,
    datasource: &str,
    notifiers: &[Notifier],
) -> anyhow::Result<impl Fn(u16) -> Command + Send + Sync + use<>> {
    let files = ["yml", "yaml"].map(|kind| format!("-rule={}/*.{kind}", rules.display()));
    recipe_of(Tool::Vmalert, directory, &files, datasource, notifiers)
}

fn recipe_of(
    vmalert: Tool,
    directory: &Path,
    rules: &[String],
    datasource: &str,
    notifiers: &[Notifier],
) -> anyhow::Result<impl Fn(u16) -> Command + Send + Sync + use<>> {
    ensure!(!notifiers.is_empty(), "vmalert wants a notifier");
    let program = vmalert.path()?;
    std::fs::create_dir_all(directory).context("create the directory")?;
    let mut arguments = rules.to_vec();
    arguments.extend([
        format!("-datasource.url={datasource}"),
        "-evaluationInterval=1s".to_owned(),
        "-configCheckInterval=1s".to_owned(),
    ]);
    for (number, notifier) in notifiers.iter().enumerate() {
        arguments.push(format!("-notifier.url={}", notifier.url));
        // Positional: the n-th file belongs to the n-th URL.
        let token = directory.join(format!("notifier-{number}.token"));
        std::fs::write(&token, notifier.token.as_deref().unwrap_or_default())?;
        arguments.push(match notifier.token {
            Some(_) => format!("-notifier.bearerTokenFile={}", token.display()),
            None => "-notifier.bearerTokenFile=".to_owned(),
        });
    }
    Ok(move |port: u16| {
        let mut command = Command::new(&program);
        command
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .arg(format!("-external.url=http://127.0.0.1:{port}"))
            .args(&arguments);
        command
    })
}

/// Lets vmalert itself judge rule files, as `-dryRun` does.
///
/// # Errors
/// What vmalert said about the first bad one.
pub fn check_rules(files: &Path) -> anyhow::Result<()> {
    check_flags(Tool::Vmalert, &[format!("-rule={}", files.display())])
}

/// Lets a vmalert judge flags and the rules they name.
///
/// # Errors
/// What vmalert said.
pub fn check_flags(vmalert: Tool, flags: &[String]) -> anyhow::Result<()> {
    let output = Command::new(vmalert.path()?)
        .arg("-dryRun")
        .args(flags)
        .output()
        .context("run vmalert")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "vmalert -dryRun: {said}");
    Ok(())
}

/// Evaluates a rule file over the past of a store, as `-replay.timeFrom` does, and writes what came
/// out (`ALERTS`) into it. Times are Unix seconds.
///
/// # Errors
/// What vmalert said.
pub async fn replay(file: &Path, store: &str, from: i64, to: i64) -> anyhow::Result<()> {
    let time = |at: i64| anyhow::Ok(jiff::Timestamp::from_second(at)?.to_string());
    let output = tokio::process::Command::new(Tool::Vmalert.path()?)
        .arg(format!("-rule={}", file.display()))
        .arg(format!("-datasource.url={store}"))
        .arg(format!("-remoteWrite.url={store}"))
        .arg(format!("-replay.timeFrom={}", time(from)?))
        .arg(format!("-replay.timeTo={}", time(to)?))
        .args(["-replay.rulesDelay=100ms", "-replay.disableProgressBar"])
        // Each group's own interval; a coarser step would never let a `for` run out.
        .arg("-datasource.queryStep=0")
        .args([
            "-remoteWrite.flushInterval=100ms",
            "-httpListenAddr=127.0.0.1:0",
        ])
        .output()
        .await
        .context("run vmalert")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "vmalert -replay: {said}");
    Ok(())
}
