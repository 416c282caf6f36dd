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
        ensure!(!notifiers.is_empty(), "vmalert wants a notifier");
        let program = Tool::Vmalert.path()?;
        std::fs::create_dir_all(directory).context("create the directory")?;
        let mut arguments = vec![
            format!("-rule={}/*.yml", rules.display()),
            format!("-rule={}/*.yaml", rules.display()),
            format!("-datasource.url={datasource}"),
            "-evaluationInterval=1s".to_owned(),
            "-configCheckInterval=1s".to_owned(),
        ];
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
        let recipe = move |port: u16| {
            let mut command = Command::new(&program);
            command
                .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                .arg(format!("-external.url=http://127.0.0.1:{port}"))
                .args(&arguments);
            command
        };
        let log = directory.join("vmalert.log");
        let process = Process::start("vmalert", &log, Ready::Http("/health"), recipe).await?;
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

/// Lets vmalert itself judge rule files, as `-dryRun` does.
///
/// # Errors
/// What vmalert said about the first bad one.
pub fn check_rules(files: &Path) -> anyhow::Result<()> {
    let output = Command::new(Tool::Vmalert.path()?)
        .arg("-dryRun")
        .arg(format!("-rule={}", files.display()))
        .output()
        .context("run vmalert")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "vmalert -dryRun: {said}");
    Ok(())
}
