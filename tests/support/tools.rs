//! Finds the real programs that `scripts/fetch-tools` and `scripts/fetch-linters` put under
//! `target/tools`.
//!
//! A test that needs one asks [`required_in_ci`] first: on a developer's machine a missing program
//! skips that test and says so loudly, in CI it fails it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::ensure;

/// Something that `scripts/fetch-tools` brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Prometheus Alertmanager.
    Alertmanager,
    /// Alertmanager's own checker of configurations.
    Amtool,
    /// Single-node `VictoriaMetrics`.
    VictoriaMetrics,
    /// vmalert, of the same release.
    Vmalert,
    /// An S3 server over a local directory; built only where there is Go.
    VersityGw,
    /// The Python modules of the SMTP server.
    Smtp,
    /// Checks GitHub workflows; built only where there is Go.
    Actionlint,
    /// Looks for what is unsafe in GitHub workflows; a wheel.
    Zizmor,
    /// Alertmanager's checker, of the newest release; built only where there is Go.
    NewAmtool,
    /// vmalert, of the newest release; built only where there is Go.
    NewVmalert,
    /// Builds Kubernetes manifests; built only where there is Go.
    Kustomize,
    /// Checks Kubernetes manifests against the schemas it brings; a wheel.
    KubernetesValidate,
    /// Checks container files; a wheel.
    Hadolint,
    /// Checks roles and playbooks; a wheel.
    AnsibleLint,
    /// Runs playbooks; a wheel.
    AnsiblePlaybook,
    /// `OpenSSH`'s server.
    Sshd,
    /// `OpenSSH`'s client.
    Ssh,
    /// Makes keys for both.
    SshKeygen,
    /// A font that draws Latin and Chinese (`WenQuanYi` Micro Hei).
    ChineseFont,
}

impl Tool {
    fn location(self) -> &'static str {
        match self {
            Self::Alertmanager => "bin/alertmanager",
            Self::Amtool => "bin/amtool",
            Self::VictoriaMetrics => "bin/victoria-metrics",
            Self::Vmalert => "bin/vmalert",
            Self::VersityGw => "bin/versitygw",
            Self::Actionlint => "lint/bin/actionlint",
            Self::Zizmor => "lint/bin/zizmor",
            Self::NewAmtool => "lint/bin/amtool",
            Self::NewVmalert => "lint/bin/vmalert",
            Self::Kustomize => "lint/bin/kustomize",
            Self::KubernetesValidate => "lint/bin/kubernetes-validate",
            Self::Hadolint => "lint/bin/hadolint",
            Self::AnsibleLint => "lint/bin/ansible-lint",
            Self::AnsiblePlaybook => "lint/bin/ansible-playbook",
            Self::Sshd => "bin/sshd",
            Self::Ssh => "bin/ssh",
            Self::SshKeygen => "bin/ssh-keygen",
            Self::Smtp => "root/usr/lib/python3/dist-packages",
            Self::ChineseFont => "root/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// Says how to get it when it is not there.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        let path = tools_dir().join(self.location());
        ensure!(
            path.exists(),
            "`{}` is not under target/tools: run `make tools`",
            self.location()
        );
        Ok(path)
    }
}

/// `target/tools` of this checkout.
pub fn tools_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}

/// Shared libraries that the fetched programs may use where the machine has none.
pub fn library_path() -> Option<PathBuf> {
    let root = tools_dir().join("root");
    let relative = std::fs::read_to_string(root.join("library-path")).ok()?;
    Some(root.join(relative.trim()))
}

/// Where Alertmanager has to be started: it looks for its default template in its own folder.
pub fn alertmanager_dir() -> PathBuf {
    tools_dir().join("root/usr/share/prometheus/alertmanager")
}

/// The interpreter: the system's, else the first on the path.
pub fn python() -> OsString {
    let system = Path::new("/usr/bin/python3");
    if system.exists() {
        system.into()
    } else {
        "python3".into()
    }
}

/// Whether the test may go on with `tool`: false, and a loud line, where it is missing.
///
/// # Panics
/// In CI, where nothing may be skipped.
pub fn required_in_ci(tool: Tool) -> bool {
    let Err(missing) = tool.path() else {
        return true;
    };
    assert!(!in_ci(), "CI runs every test, but {missing}");
    skipped(&missing.to_string());
    false
}

/// Says loudly that a test did not run, because this machine can't.
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
pub fn skipped(why: &str) {
    eprintln!("SKIPPED, NOT TESTED: {why}");
}

/// Whether CI runs the tests: every tool is required then, and long games are played longer.
#[expect(
    clippy::disallowed_methods,
    reason = "only the test harness asks whether this is CI"
)]
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
