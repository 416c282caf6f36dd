//! `agent.yaml`: what `backstop agent` does on one host, for one service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::load::{self, Secrets};
use super::place::At;
use super::problem::{Problem, read_yaml};
use super::raw::SecretRef;
use super::tls::{self, RawTlsConfig};
use super::validate::Checker;
use crate::domain::id::{Env, Host, Service};
use crate::domain::secret::Secret;
use crate::http::Tls;

/// Bytes of an artifact where nothing is said: 1 GiB.
const MAX_BYTES: u64 = 1 << 30;
/// Bytes of all its files where nothing is said: 4 GiB.
const MAX_UNPACKED_BYTES: u64 = 4 << 30;
/// Files, folders and links of one where nothing is said.
const MAX_FILES: u64 = 100_000;
/// Where Linux keeps the machine's name.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// What an agent is told.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The gateway.
    pub gateway: AgentGateway,
    /// This host, as deployments name it.
    pub host: Host,
    /// The service it looks after.
    pub service: Service,
    /// Where it runs.
    pub env: Env,
    /// The folder with `releases/`, `current` and the agent's own `.backstop/`.
    pub root: PathBuf,
    /// Releases kept; `current` and its predecessor always are.
    pub keep: usize,
    /// What an artifact may be.
    pub artifact: ArtifactLimits,
    /// How the service is started anew.
    pub restart: Restart,
    /// How it is found to be well.
    pub health: HealthCheck,
}

/// Where the gateway is.
#[derive(Debug, Clone)]
pub struct AgentGateway {
    /// Its address.
    pub url: Url,
    /// A token with the scope `agent` that names this host.
    pub token: Secret,
    /// Whom we trust there, and the certificate we show.
    pub tls: Tls,
    /// Longest wait for one answer, downloads excepted.
    pub timeout: Duration,
}

/// What an artifact may be.
#[derive(Debug, Clone)]
pub struct ArtifactLimits {
    /// How it is packed.
    pub kind: ArtifactKind,
    /// Its own bytes.
    pub max_bytes: u64,
    /// Bytes of all files in it.
    pub max_unpacked_bytes: u64,
    /// Files, folders and links in it.
    pub max_files: u64,
    /// Longest wait for its last byte.
    pub timeout: Duration,
}

/// How an artifact is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// By its name: `.tar.gz` and `.tgz` are unpacked, anything else is one program.
    #[default]
    Auto,
    /// A gzip-compressed tar.
    TarGz,
    /// One program; it is named after the service.
    Binary,
}

/// How the service is started anew.
#[derive(Debug, Clone)]
pub struct Restart {
    /// By whom.
    pub by: RestartBy,
    /// It is given up after so long.
    pub timeout: Duration,
}

/// Who starts the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartBy {
    /// systemd: `systemctl restart UNIT`.
    Unit(String),
    /// A program with its arguments; it must end once the service is started.
    Command(Vec<String>),
}

/// How the service is found to be well: everything that is named must pass.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// An address that answers 2xx.
    pub http: Option<HttpCheck>,
    /// A port that takes connections.
    pub tcp: Option<SocketAddr>,
    /// A program that ends with 0.
    pub command: Option<Vec<String>>,
    /// Pause between checks.
    pub interval: Duration,
    /// Longest wait for one.
    pub timeout: Duration,
    /// Failures this soon after the restart do not count.
    pub start_period: Duration,
    /// So many failures in a row are a failure.
    pub retries: u32,
    /// It must pass for so long before the release counts as healthy.
    pub healthy_for: Duration,
    /// And that must be reached by then.
    pub within: Duration,
}

/// A health check by HTTP.
#[derive(Debug, Clone)]
pub struct HttpCheck {
    /// What is asked.
    pub url: Url,
    /// Where the answer tells the version that runs; it must be the release's. None: not asked.
    pub version: Option<VersionIn>,
}

/// Where an answer tells the version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionIn {
    /// The body is the version and nothing else.
    Body,
    /// A header of this name.
    Header(String),
    /// A JSON body: a text at this pointer, such as `/version`.
    Json(String),
}

/// `agent.yaml`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAgent {
    /// The gateway.
    pub gateway: RawGateway,
    /// This host, as deployments name it. Default: the machine's name.
    #[serde(default)]
    pub host: Option<At<String>>,
    /// The service it looks after.
    pub service: At<String>,
    /// Where it runs.
    pub env: At<String>,
    /// The folder with `releases/` and `current`.
    pub root: At<PathBuf>,
    /// Releases kept. Default 5.
    #[serde(default)]
    pub keep: Option<At<usize>>,
    /// What an artifact may be.
    #[serde(default)]
    pub artifact: RawArtifact,
    /// How the service is started anew.
    pub restart: RawRestart,
    /// How it is found to be well.
    pub health: At<RawHealth>,
}

/// `gateway:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawGateway {
    /// Its address.
    pub url: At<String>,
    /// A token with the scope `agent` that names this host.
    pub token: At<SecretRef>,
    /// Whom we trust there, and the certificate we show.
    #[serde(default)]
    pub tls_config: Option<RawTlsConfig>,
    /// Longest wait for one answer. Default 10s.
    #[serde(default)]
    pub timeout: Option<At<String>>,
}

/// `artifact:`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawArtifact {
    /// auto, `tar_gz` or binary.
    pub kind: ArtifactKind,
    /// Its own bytes. Default 1 GiB.
    pub max_bytes: Option<u64>,
    /// Bytes of all files in it. Default 4 GiB.
    pub max_unpacked_bytes: Option<u64>,
    /// Files, folders and links in it. Default 100,000.
    pub max_files: Option<u64>,
    /// Longest wait for its last byte. Default 10m.
    pub timeout: Option<At<String>>,
}

/// `restart:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRestart {
    /// A systemd unit.
    #[serde(default)]
    pub unit: Option<At<String>>,
    /// A program with its arguments.
    #[serde(default)]
    pub command: Option<At<Vec<String>>>,
    /// Default 1m.
    #[serde(default)]
    pub timeout: Option<At<String>>,
}

/// `health:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawHealth {
    /// An address that answers 2xx.
    #[serde(default)]
    pub http: Option<RawHttpCheck>,
    /// A port that takes connections, such as `127.0.0.1:8080`.
    #[serde(default)]
    pub tcp: Option<At<String>>,
    /// A program with its arguments that ends with 0.
    #[serde(default)]
    pub command: Option<At<Vec<String>>>,
    /// Pause between checks. Default 2s.
    #[serde(default)]
    pub interval: Option<At<String>>,
    /// Longest wait for one. Default 2s.
    #[serde(default)]
    pub timeout: Option<At<String>>,
    /// Failures this soon after the restart do not count. Default 10s.
    #[serde(default)]
    pub start_period: Option<At<String>>,
    /// So many failures in a row are a failure. Default 3.
    #[serde(default)]
    pub retries: Option<At<u32>>,
    /// It must pass for so long. Default 10s.
    #[serde(default)]
    pub healthy_for: Option<At<String>>,
    /// And that must be reached by then. Default 5m.
    #[serde(default)]
    pub within: Option<At<String>>,
}

/// `health.http:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawHttpCheck {
    /// What is asked.
    pub url: At<String>,
    /// Where the answer tells the version: `body`, `{header: NAME}` or `{json: POINTER}`.
    #[serde(default)]
    pub version: Option<VersionIn>,
}

/// Reads `agent.yaml`.
///
/// # Errors
/// Every problem found, each with its place.
pub fn load(file: &Path, secrets: Secrets) -> Result<AgentConfig, Vec<Problem>> {
    let name = file.display().to_string();
    let raw: RawAgent = read_yaml(&name, &load::read(file)?)?;
    let root = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut checker = Checker {
        file: &name,
        root,
        secrets,
        problems: Vec::new(),
    };
    match read(&mut checker, &raw) {
        Some(config) if checker.problems.is_empty() => Ok(config),
        _ => Err(checker.problems),
    }
}

/// None: what is missing is among the problems.
fn read(checker: &mut Checker<'_>, raw: &RawAgent) -> Option<AgentConfig> {
    let gateway = gateway(checker, &raw.gateway);
    let host = host(checker, raw.host.as_ref());
    let service = checker.parse(&raw.service);
    let env = checker.parse(&raw.env);
    let root = absolute(checker, &raw.root);
    let keep = raw.keep.as_ref().map_or(5, |at| {
        if at.value < 2 {
            checker.problem(
                at,
                "at least 2 are kept: the current one and the one before",
            );
        }
        at.value
    });
    let artifact = artifact(checker, &raw.artifact);
    let restart = restart(checker, raw);
    let health = health(checker, &raw.health);
    Some(AgentConfig {
        gateway: gateway?,
        host: host?,
        service: service?,
        env: env?,
        root: root?,
        keep,
        artifact,
        restart: restart?,
        health,
    })
}

fn gateway(checker: &mut Checker<'_>, raw: &RawGateway) -> Option<AgentGateway> {
    let url = checker.url(&raw.url);
    let token = checker.secret(&raw.token);
    let tls = raw.tls_config.as_ref();
    let tls = tls.map_or_else(Tls::default, |raw| tls::read(checker, raw));
    let timeout = checker.duration_or(raw.timeout.as_ref(), Duration::from_secs(10));
    Some(AgentGateway {
        url: url?,
        token: token?,
        tls,
        timeout,
    })
}

/// This host's name: as written, else the machine's.
fn host(checker: &mut Checker<'_>, raw: Option<&At<String>>) -> Option<Host> {
    if let Some(at) = raw {
        return checker.parse(at);
    }
    let name = std::fs::read_to_string(HOSTNAME);
    let found = name
        .map_err(|error| error.to_string())
        .and_then(|name| Host::new(name.trim()).map_err(|error| error.to_string()));
    found
        .map_err(|why| {
            let message = format!("the machine's name can't be used as `host`: {why}");
            let problem = Problem::of_file(checker.file, message);
            checker.problems.push(problem.hint("write `host: NAME`"));
        })
        .ok()
}

fn absolute(checker: &mut Checker<'_>, at: &At<PathBuf>) -> Option<PathBuf> {
    let path = &at.value;
    if path.is_absolute() && path.parent().is_some() {
        return Some(path.clone());
    }
    checker.problem(at, "this must be a whole path, such as /opt/checkout");
    None
}

fn artifact(checker: &mut Checker<'_>, raw: &RawArtifact) -> ArtifactLimits {
    ArtifactLimits {
        kind: raw.kind,
        max_bytes: raw.max_bytes.unwrap_or(MAX_BYTES),
        max_unpacked_bytes: raw.max_unpacked_bytes.unwrap_or(MAX_UNPACKED_BYTES),
        max_files: raw.max_files.unwrap_or(MAX_FILES),
        timeout: checker.duration_or(raw.timeout.as_ref(), Duration::from_mins(10)),
    }
}

fn restart(checker: &mut Checker<'_>, raw: &RawAgent) -> Option<Restart> {
    let timeout = checker.duration_or(raw.restart.timeout.as_ref(), Duration::from_mins(1));
    let by = match (&raw.restart.unit, &raw.restart.command) {
        (Some(at), None) => RestartBy::Unit(unit(checker, at)?),
        (None, Some(at)) => RestartBy::Command(program(checker, at)?),
        (Some(at), Some(_)) => {
            checker.problem(at, "`unit` and `command` exclude each other");
            return None;
        }
        (None, None) => {
            checker.problem(&raw.service, "`restart` needs a `unit` or a `command`");
            return None;
        }
    };
    Some(Restart { by, timeout })
}

fn unit(checker: &mut Checker<'_>, at: &At<String>) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@:\\".contains(c);
    if !at.value.is_empty() && !at.value.starts_with('-') && at.value.chars().all(fits) {
        return Some(at.value.clone());
    }
    checker.problem(at, format!("`{}` is no unit's name", at.value));
    None
}

fn program(checker: &mut Checker<'_>, at: &At<Vec<String>>) -> Option<Vec<String>> {
    if at.value.first().is_some_and(|program| !program.is_empty()) {
        return Some(at.value.clone());
    }
    checker.problem(at, "a command is a list: the program and its arguments");
    None
}

fn health(checker: &mut Checker<'_>, at: &At<RawHealth>) -> HealthCheck {
    let raw = &at.value;
    if raw.http.is_none() && raw.tcp.is_none() && raw.command.is_none() {
        let message =
            "without a check nothing tells whether a release is well: `http`, `tcp` or `command`";
        checker.problem(at, message);
    }
    let retries = raw.retries.as_ref().map_or(3, |at| {
        if at.value == 0 {
            checker.problem(at, "it must be tried at least once");
        }
        at.value.max(1)
    });
    let mut duration =
        |at: Option<&At<String>>, seconds| checker.duration_or(at, Duration::from_secs(seconds));
    let interval = duration(raw.interval.as_ref(), 2);
    let timeout = duration(raw.timeout.as_ref(), 2);
    let start_period = duration(raw.start_period.as_ref(), 10);
    let healthy_for = duration(raw.healthy_for.as_ref(), 10);
    let within = duration(raw.within.as_ref(), 300);
    if within < start_period.saturating_add(healthy_for) {
        let message = "`within` is shorter than `start_period` and `healthy_for` together: a slow start could never pass";
        checker.problem(
            raw.within.as_ref().unwrap_or(&At {
                value: String::new(),
                place: at.place,
            }),
            message,
        );
    }
    HealthCheck {
        http: raw.http.as_ref().and_then(|raw| http(checker, raw)),
        tcp: raw.tcp.as_ref().and_then(|at| checker.parse(at)),
        command: raw.command.as_ref().and_then(|at| program(checker, at)),
        interval: interval.max(Duration::from_millis(10)),
        timeout,
        start_period,
        retries,
        healthy_for,
        within,
    }
}

fn http(checker: &mut Checker<'_>, raw: &RawHttpCheck) -> Option<HttpCheck> {
    if let Some(VersionIn::Json(pointer)) = &raw.version
        && !pointer.starts_with('/')
    {
        let message = format!("`{pointer}` is no JSON pointer, such as /version");
        checker.problem(&raw.url, message);
    }
    // The path and query are the service's own business.
    let url = checker.with(&raw.url, |text| match text.parse::<Url>() {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(url),
        Ok(_) => Err("only http and https are asked".to_owned()),
        Err(error) => Err(error.to_string()),
    })?;
    Some(HttpCheck {
        url,
        version: raw.version.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = r"
gateway: {url: https://backstop.example.com, token: {file: agent.token}}
host: vm-17
service: checkout
env: prod
root: /opt/checkout
restart: {unit: checkout.service}
health: {http: {url: 'http://127.0.0.1:8080/healthz', version: {json: /version}}}
";

    fn said(text: &str) -> Result<AgentConfig, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.yaml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("agent.token"), "s3cr3t\n").unwrap();
        let name = format!("{}/", folder.path().display());
        load(&file, Secrets::Read).map_err(|problems| {
            let problems = problems.iter();
            problems
                .map(|one| one.to_string().replace(&name, ""))
                .collect()
        })
    }

    #[test]
    fn what_is_usual_need_not_be_said() {
        let config = said(USUAL).unwrap();
        assert_eq!(config.keep, 5);
        assert_eq!(
            config.restart.by,
            RestartBy::Unit("checkout.service".into())
        );
        assert_eq!(config.health.retries, 3);
        let http = config.health.http.unwrap();
        assert_eq!(http.version, Some(VersionIn::Json("/version".into())));
        assert_eq!(config.gateway.token.expose(), "s3cr3t");
        let unnamed = said(&USUAL.replace("host: vm-17\n", "")).unwrap();
        let name = std::fs::read_to_string(HOSTNAME).unwrap();
        assert_eq!(unnamed.host.as_str(), name.trim());
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        for (from, to, wanted) in [
            (
                "/opt/checkout",
                "opt",
                "agent.yaml:6:7: this must be a whole path, such as /opt/checkout",
            ),
            (
                "root: /opt/checkout",
                "root: /",
                "agent.yaml:6:7: this must be a whole path, such as /opt/checkout",
            ),
            (
                "unit: checkout.service",
                "unit: -x",
                "agent.yaml:7:17: `-x` is no unit's name",
            ),
            (
                "{unit: checkout.service}",
                "{}",
                "agent.yaml:4:10: `restart` needs a `unit` or a `command`",
            ),
            (
                "{unit: checkout.service}",
                "{command: []}",
                "agent.yaml:7:20: a command is a list: the program and its arguments",
            ),
            (
                "{json: /version}",
                "{json: version}",
                "agent.yaml:8:22: `version` is no JSON pointer, such as /version",
            ),
            (
                "host: vm-17",
                "host: ../x",
                "agent.yaml:3:7: `../x` is not an id: it must match [A-Za-z0-9][A-Za-z0-9._@+-]{0,127}",
            ),
            (
                "env: prod",
                "env: prod\nkeep: 1",
                "agent.yaml:6:7: at least 2 are kept: the current one and the one before",
            ),
            (
                "env: prod",
                "env: prod\nkeeps: 9",
                "agent.yaml:6:1: unknown key `keeps`\n  hint: did you mean `keep`?",
            ),
        ] {
            let problems = said(&USUAL.replace(from, to)).unwrap_err();
            assert_eq!(problems, [wanted], "{to}");
        }
        let unchecked = USUAL.split("health:").next().unwrap().to_owned() + "health: {}\n";
        assert!(said(&unchecked).unwrap_err()[0].contains("without a check"));
    }
}
