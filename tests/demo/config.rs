//! The gateway's files for this run: the templates beside this file with addresses and fresh
//! secrets in them, read back by the gateway's own loader.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use backstop::config::load::{self, Secrets};

/// Secrets of this run, by their file's name in `config/secrets`.
const SECRETS: [&str; 9] = [
    "signing",
    "alertmanager",
    "vmalert",
    "spinnaker",
    "oncall",
    "slack",
    "wecom",
    "dingtalk",
    "dingtalk-signing",
];

/// What the templates say, and where it goes.
const TEMPLATES: [(&str, &str); 6] = [
    (include_str!("config/backstop.yaml"), "backstop.yaml"),
    (include_str!("config/policy.yaml"), "rules/policy/demo.yaml"),
    (include_str!("config/email.yaml"), "channels/email.yaml"),
    (include_str!("config/slack.yaml"), "channels/slack.yaml"),
    (include_str!("config/wecom.yaml"), "channels/wecom.yaml"),
    (
        include_str!("config/dingtalk.yaml"),
        "channels/dingtalk.yaml",
    ),
];

/// The alert rules of vmalert.
pub const RULES: &str = include_str!("config/rules.yml");

/// The folder of this run's configuration.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Writes fresh secrets into `folder`.
    pub fn with_secrets(folder: &Path, gate_password: &str) -> anyhow::Result<Self> {
        let files = Self {
            folder: folder.to_owned(),
        };
        for name in SECRETS {
            let secret = uuid::Uuid::new_v4().simple().to_string();
            files.write(&format!("secrets/{name}"), &secret)?;
        }
        files.write("secrets/gate", gate_password)?;
        Ok(files)
    }

    /// A secret's text.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.secret_file(name)).context("read a secret")
    }

    /// A secret's file.
    pub fn secret_file(&self, name: &str) -> PathBuf {
        self.folder.join("secrets").join(name)
    }

    /// The main file.
    pub fn main(&self) -> PathBuf {
        self.folder.join("backstop.yaml")
    }

    /// Fills the templates in and lets the gateway's loader judge the result.
    ///
    /// # Errors
    /// A place that nothing was given for, and everything the loader finds.
    pub fn fill(&self, addresses: &[(&str, String)]) -> anyhow::Result<()> {
        for (template, name) in TEMPLATES {
            let mut text = template.to_owned();
            for (place, value) in addresses {
                text = text.replace(&format!("@{place}@"), value);
            }
            let left = text
                .split('@')
                .skip(1)
                .step_by(2)
                .find(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase()));
            ensure!(left.is_none(), "`{name}`: nothing was given for {left:?}");
            self.write(name, &text)?;
        }
        if let Err(problems) = load::load(Some(&self.main()), Secrets::Read) {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::bail!(
                "the demo's configuration is wrong:\n{}",
                problems.join("\n")
            );
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).context("create a folder of the configuration")?;
        }
        std::fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))
    }
}
