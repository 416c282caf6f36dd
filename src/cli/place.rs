//! Where the configuration is, and how a verb gets at it; how one that keeps running ends.

use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use crate::config::Config;
use crate::config::load::{self, Secrets};
use crate::config::problem::{Problem, listed};
use crate::store::{self, Store};

/// Taken where no file is named and this one is there.
const USUAL: &str = "backstop.yaml";

/// Where the configuration is.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// The main file; `rules/`, `channels/` and `templates/` are read beside it. Without it
    /// `./backstop.yaml`, if there is one, else the defaults.
    #[arg(
        long = "config.file",
        value_name = "FILE",
        env = "BACKSTOP_CONFIG_FILE"
    )]
    pub config_file: Option<PathBuf>,
}

impl ConfigArgs {
    /// The main file; None: the defaults.
    pub fn file(&self) -> Option<PathBuf> {
        self.config_file
            .clone()
            .or_else(|| Some(PathBuf::from(USUAL)).filter(|file| file.is_file()))
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// All problems in one text, with the code for findings.
    pub fn load(&self, secrets: Secrets) -> Result<Config, Failure> {
        load::load(self.file().as_deref(), secrets).map_err(|problems| refuse(&problems))
    }
}

/// Problems of a configuration a verb can't work with.
pub(super) fn refuse(problems: &[Problem]) -> Failure {
    Failure::new(
        Exit::Findings,
        format!("the configuration can't be used\n{}", listed(problems)),
    )
    .next("`backstop check` shows the same and the warnings")
}

/// Opens the configured store.
///
/// # Errors
/// When it can't be opened.
pub(super) fn open_store(config: &Config) -> Result<Store, Failure> {
    store::open(&config.store).map_err(|error| {
        let mut text = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            text = format!("{text}: {cause}");
        }
        Failure::new(Exit::Unreachable, text).next("`store.url` of the configuration names it")
    })
}

/// A store that failed on the way.
pub(super) fn store_failed(error: &store::StoreError) -> Failure {
    match error {
        store::StoreError::Damaged { .. } => Failure::new(Exit::Findings, error.to_string()),
        store::StoreError::Unavailable { .. } => {
            Failure::new(Exit::Unreachable, error.to_string()).next("`backstop doctor` says more")
        }
        store::StoreError::Unknown { .. } => Failure::new(Exit::Unreachable, error.to_string())
            .next("run the same command again: what was written is recognised"),
    }
}

/// Reads an input file.
///
/// # Errors
/// When it can't be read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::usage(format!("`{}` can't be read: {error}", path.display())))
}

/// Ends with SIGTERM or an interrupt.
pub(super) async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupt = tokio::signal::ctrl_c() => interrupt,
    }
}
