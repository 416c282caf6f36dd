//! A real Alertmanager, alone or as one of several peers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::process::{self, Process, Ready};
use super::tools::{self, Tool};

/// The running Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    /// To pause, kill and restart it.
    pub process: Process,
    client: reqwest::Client,
    config: PathBuf,
    cluster_port: u16,
}

impl Alertmanager {
    /// Starts it with this configuration; data, configuration and log are in `directory`, an
    /// absolute path.
    pub async fn start(directory: &Path, config: &str) -> anyhow::Result<Self> {
        Self::start_beside(directory, config, &[]).await
    }

    /// Starts it as a peer of `others`, so that they share who has been notified.
    pub async fn start_beside(
        directory: &Path,
        config: &str,
        others: &[&Self],
    ) -> anyhow::Result<Self> {
        let program = Tool::Alertmanager.path()?;
        std::fs::create_dir_all(directory).context("create the data directory")?;
        let data = directory.join("data");
        let file = directory.join("alertmanager.yml");
        std::fs::write(&file, config).context("write the configuration")?;
        let cluster_port = process::free_port()?;
        let peers: Vec<String> = others
            .iter()
            .map(|peer| format!("--cluster.peer=127.0.0.1:{}", peer.cluster_port))
            .collect();
        let config = file.clone();
        let recipe = move |port: u16| {
            let mut command = Command::new(&program);
            command
                .current_dir(tools::alertmanager_dir())
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.path={}", data.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg(format!("--cluster.listen-address=127.0.0.1:{cluster_port}"))
                .arg(format!(
                    "--cluster.advertise-address=127.0.0.1:{cluster_port}"
                ))
                .arg("--cluster.settle-timeout=0s")
                .args(&peers);
            command
        };
        let log = directory.join("alertmanager.log");
        let ready = Ready::Http("/-/ready");
        let process = Process::start("alertmanager", &log, ready, recipe).await?;
        let client = process::client()?;
        Ok(Self {
            process,
            client,
            config,
            cluster_port,
        })
    }

    /// The base URL of its API.
    pub fn url(&self) -> String {
        self.process.url()
    }

    /// Writes another configuration and makes it take it.
    pub async fn reload(&self, config: &str) -> anyhow::Result<()> {
        std::fs::write(&self.config, config).context("write the configuration")?;
        let url = format!("{}/-/reload", self.url());
        let answer = self.client.post(url).send().await.context("reload")?;
        ensure!(answer.status().is_success(), "reload: {}", answer.status());
        Ok(())
    }

    /// Gives it alerts, as Prometheus does (`/api/v2/alerts`).
    pub async fn post_alerts(&self, alerts: &Value) -> anyhow::Result<()> {
        let url = format!("{}/api/v2/alerts", self.url());
        let answer = self.client.post(url).json(alerts).send().await?;
        ensure!(answer.status().is_success(), "alerts: {}", answer.status());
        Ok(())
    }

    /// How many peers it gossips with, itself included.
    pub async fn peers(&self) -> anyhow::Result<usize> {
        let url = format!("{}/api/v2/status", self.url());
        let body: Value = self.client.get(url).send().await?.json().await?;
        let peers = body.pointer("/cluster/peers").and_then(Value::as_array);
        Ok(peers.map_or(0, Vec::len))
    }

    /// The alerts it knows.
    pub async fn alerts(&self) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/api/v2/alerts", self.url());
        Ok(self.client.get(url).send().await?.json().await?)
    }
}

/// Lets amtool judge a configuration.
///
/// # Errors
/// What amtool said.
pub fn check_config(file: &Path) -> anyhow::Result<()> {
    check_config_by(Tool::Amtool, file)
}

/// The same by an amtool of another release.
///
/// # Errors
/// What amtool said.
pub fn check_config_by(amtool: Tool, file: &Path) -> anyhow::Result<()> {
    let output = Command::new(amtool.path()?)
        .arg("check-config")
        .arg(file)
        .output()
        .context("run amtool")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success(), "amtool check-config: {said}");
    Ok(())
}

/// `deploy/alertmanager/alertmanager.yml` with the gateway at `gateway` and its token in `token`.
///
/// # Errors
/// The file no longer has what is to be replaced.
pub fn shipped_config(gateway: &str, token: &Path) -> anyhow::Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alertmanager/alertmanager.yml");
    let mut text = std::fs::read_to_string(file).context("read the shipped configuration")?;
    for (shipped, ours) in [
        ("http://127.0.0.1:9095", gateway),
        (
            "/etc/alertmanager/backstop.token",
            &token.display().to_string(),
        ),
    ] {
        ensure!(
            text.contains(shipped),
            "the shipped configuration lacks `{shipped}`"
        );
        text = text.replace(shipped, ours);
    }
    Ok(text)
}
