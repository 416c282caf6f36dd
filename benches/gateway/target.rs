//! What is measured: the gateway and the floors, each a process of its own.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::support::process::{Process, Ready};

/// One kind of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `backstop serve`.
    Gateway,
    /// The floor that writes nothing.
    Floor,
    /// The floor that answers once a record is on disk.
    Durable,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Floor, Self::Durable, Self::Gateway];

    /// Its name in figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Floor => "floor",
            Self::Durable => "durable",
        }
    }
}

/// Starts a target that tells `sink`, with everything it writes in `folder`.
///
/// # Errors
/// When it does not come up.
pub(crate) async fn start(kind: Kind, folder: &Path, sink: &str) -> anyhow::Result<Process> {
    std::fs::create_dir_all(folder).context("create the target's folder")?;
    match kind {
        Kind::Gateway => {
            let web = "web: {external_url: \"http://127.0.0.1\"}\ndefault_channels: [ops]\n";
            write(&folder.join("backstop.yaml"), web)?;
            channel(folder, sink)?;
            gateway(folder).await
        }
        Kind::Floor | Kind::Durable => {
            let program = std::env::current_exe().context("find this program")?;
            let log = (kind == Kind::Durable).then(|| folder.join("log"));
            let sink = sink.to_owned();
            let recipe = move |port: u16| {
                let mut command = Command::new(&program);
                command.arg("floor").arg(port.to_string()).arg(&sink);
                command.args(&log);
                command
            };
            let output = folder.join("output");
            Process::start(kind.name(), &output, Ready::Http("/-/healthy"), recipe).await
        }
    }
}

/// Starts the gateway by the configuration that lies in `folder`.
///
/// # Errors
/// When it does not come up.
pub(crate) async fn gateway(folder: &Path) -> anyhow::Result<Process> {
    let directory = folder.to_owned();
    let recipe = move |port: u16| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
        command
            .current_dir(&directory)
            .arg("serve")
            .arg("--config.file=backstop.yaml")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command
    };
    let output = folder.join("output");
    Process::start("backstop", &output, Ready::Http("/-/ready"), recipe).await
}

/// Writes the channel `ops`: a robot whose limit is never met.
///
/// # Errors
/// When the file can't be written.
pub(crate) fn channel(folder: &Path, sink: &str) -> anyhow::Result<()> {
    write(&folder.join("token"), "bench\n")?;
    write(
        &folder.join("channels/ops.yaml"),
        &format!(
            "name: ops\ndingtalk: {{token: {{file: {}}}, api_url: {sink}}}\nrate_per_minute: 100000000\n",
            folder.join("token").display()
        ),
    )
}

/// Writes a file with the folders above it.
///
/// # Errors
/// When it can't.
pub(crate) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).context("create a folder")?;
    }
    std::fs::write(file, text).with_context(|| format!("write `{}`", file.display()))
}
