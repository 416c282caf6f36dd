//! A real SMTP server that keeps every mail as a file and misbehaves on request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::eventually::eventually;
use super::process::{Process, Ready};
use super::tools::{self, Tool};

/// A mail the server accepted.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its file.
    pub path: PathBuf,
    /// The bytes between DATA and the closing dot.
    pub eml: Vec<u8>,
    /// What the envelope said.
    pub envelope: Envelope,
}

/// The SMTP envelope of a kept mail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Envelope {
    /// MAIL FROM.
    pub from: String,
    /// The accepted RCPT TO, in order.
    pub to: Vec<String>,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// Who had logged in.
    pub user: Option<String>,
}

/// How the server misbehaves from now on; the default is not at all.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Behaviour {
    /// Recipients answered with 550.
    pub refuse: Vec<String>,
    /// A reply of one's own to EHLO, MAIL, RCPT or DATA, such as `451 4.3.0 busy`.
    pub replies: BTreeMap<String, String>,
    /// Milliseconds to wait before answering EHLO, MAIL or DATA.
    pub delays_ms: BTreeMap<String, u64>,
}

/// What the server asks of its clients; the default is plain text and no login.
#[derive(Debug, Clone, Default)]
pub struct Demands {
    /// Name and password, required before MAIL.
    pub login: Option<(String, String)>,
    /// Certificate and key (PEM files); STARTTLS is then required.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// The running server.
#[derive(Debug)]
pub struct Smtp {
    /// To pause, kill and restart it.
    pub process: Process,
    directory: PathBuf,
}

impl Smtp {
    /// Starts it with the mails in `directory`.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        Self::start_demanding(directory, Demands::default()).await
    }

    /// Starts it with a login or STARTTLS required.
    pub async fn start_demanding(directory: &Path, demands: Demands) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).context("create the mail directory")?;
        let python_path = Tool::Smtp.path()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/smtp_server.py");
        let log = directory.join("smtp.log");
        let directory = directory.to_owned();
        let mails = directory.clone();
        let recipe = move |port: u16| {
            let mut command = Command::new(tools::python());
            command
                .env("PYTHONPATH", &python_path)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .arg(&script)
                .arg(port.to_string())
                .arg(&mails);
            if let Some((name, word)) = &demands.login {
                command.args(["--user", name, "--password", word]);
            }
            if let Some((certificate, key)) = &demands.tls {
                command.arg("--cert").arg(certificate).arg("--key").arg(key);
            }
            command
        };
        let process = Process::start("smtp server", &log, Ready::Banner("220 "), recipe).await?;
        Ok(Self { process, directory })
    }

    /// Changes how it behaves; in force with the next command it reads.
    pub fn behave(&self, behaviour: &Behaviour) -> anyhow::Result<()> {
        let part = self.directory.join("behaviour.json.part");
        std::fs::write(&part, serde_json::to_vec(behaviour)?).context("write the behaviour")?;
        std::fs::rename(&part, self.directory.join("behaviour.json")).context("write the behaviour")
    }

    /// Every mail kept so far, oldest first.
    pub fn mails(&self) -> anyhow::Result<Vec<Kept>> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&self.directory)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
            .collect();
        paths.sort();
        paths.into_iter().map(read).collect()
    }

    /// Waits until at least `count` mails are kept.
    pub async fn wait_for(&self, count: usize, within: Duration) -> anyhow::Result<Vec<Kept>> {
        let what = format!("{count} mails");
        eventually(within, &what, async || {
            self.mails().ok().filter(|mails| mails.len() >= count)
        })
        .await
    }
}

fn read(path: PathBuf) -> anyhow::Result<Kept> {
    let eml = std::fs::read(&path)?;
    let envelope = std::fs::read(path.with_extension("json"))?;
    Ok(Kept {
        envelope: serde_json::from_slice(&envelope).context("read an envelope")?,
        eml,
        path,
    })
}
