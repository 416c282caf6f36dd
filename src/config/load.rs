//! Reads the files and secrets; the only place that reads the environment.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest as _, Sha256};

use super::canary::SHIPPED_TEMPLATES;
use super::problem::{Problem, read_yaml};
use super::raw::{RawWebConfig, SecretRef};
use super::validate::{self, CanaryText, Files};
use super::{Config, TlsFiles, WebConfig};
use crate::domain::secret::Secret;

/// The largest file read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The policy that applies where a team has written none.
pub const SHIPPED_POLICY: (&str, &str) = (
    "(shipped) rules/policy/default.yaml",
    include_str!("../../rules/policy/default.yaml"),
);

/// Whether secrets are read, or stood in for: `check` and `render` work where they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// Read; a missing one is a problem.
    Read,
    /// Not read; each is the word `unread`.
    Unread,
}

impl Secrets {
    /// The secret at `place`, or what is wrong in words that do not hold it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub(super) fn resolve(self, place: &SecretRef, root: &Path) -> Result<Secret, String> {
        if self == Self::Unread {
            return Ok(Secret::new("unread"));
        }
        let text = match place {
            SecretRef::Env(name) => std::env::var(name)
                .map_err(|_| format!("the environment variable `{name}` is not set"))?,
            SecretRef::File(path) => {
                let path = root.join(path);
                let text = fs::read_to_string(&path).map_err(|error| {
                    format!(
                        "the secret file `{}` can't be read: {error}",
                        path.display()
                    )
                })?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        if text.is_empty() {
            Err("this secret is empty".to_owned())
        } else {
            Ok(Secret::new(text))
        }
    }
}

/// Reads `backstop.yaml` and the folders beside it; without a file, the defaults.
///
/// # Errors
/// Every problem found, each with its place.
pub fn load(file: Option<&Path>, secrets: Secrets) -> Result<Config, Vec<Problem>> {
    let files = read_files(file)?;
    validate::config(&files, secrets)
}

/// Reads a `--web.config.file`.
///
/// # Errors
/// Every problem found, each with its place.
pub fn load_web_config(file: &Path) -> Result<WebConfig, Vec<Problem>> {
    let name = file.display().to_string();
    let raw: RawWebConfig = read_yaml(&name, &read(file)?)?;
    let root = file.parent().unwrap_or(Path::new("."));
    let users = raw.basic_auth_users.into_iter();
    let basic_auth_users = users
        .map(|(name, hash)| (name, Secret::new(hash)))
        .collect();
    let Some(tls) = raw.tls_server_config else {
        return Ok(WebConfig {
            tls: None,
            basic_auth_users,
        });
    };
    let wants_client = match &tls.client_auth_type {
        None => tls.client_ca_file.is_some(),
        Some(kind) if kind.value == "NoClientCert" => false,
        Some(kind) if kind.value == "RequireAndVerifyClientCert" => true,
        Some(kind) => {
            let problem = Problem::at(&name, kind.place, format!("unknown word `{}`", kind.value));
            return Err(vec![
                problem.hint("one of: NoClientCert, RequireAndVerifyClientCert"),
            ]);
        }
    };
    let client_ca_file = tls
        .client_ca_file
        .map(|path| root.join(path))
        .filter(|_| wants_client);
    if wants_client && client_ca_file.is_none() {
        return Err(vec![Problem::of_file(
            &name,
            "client certificates are required, but `client_ca_file` is missing",
        )]);
    }
    let tls = TlsFiles {
        cert_file: root.join(tls.cert_file),
        key_file: root.join(tls.key_file),
        client_ca_file,
    };
    Ok(WebConfig {
        tls: Some(tls),
        basic_auth_users,
    })
}

/// The digest of everything [`load`] would read, without judging it: what a reload compares.
///
/// # Errors
/// When a file can't be read.
pub fn digest(file: Option<&Path>) -> Result<String, Vec<Problem>> {
    read_files(file).map(|files| files.digest)
}

fn read_files(file: Option<&Path>) -> Result<Files, Vec<Problem>> {
    let mut hash = Sha256::new();
    let mut take = |name: &str, text: &str| {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    let (shipped_name, shipped) = SHIPPED_POLICY;
    let shipped = vec![(shipped_name.to_owned(), shipped.to_owned())];
    let Some(file) = file else {
        return Ok(Files {
            root: PathBuf::from("."),
            main: (String::new(), "{}".to_owned()),
            policies: shipped,
            channels: Vec::new(),
            canary: shipped_canary(),
            digest: "shipped".to_owned(),
        });
    };
    let root = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let main = (file.display().to_string(), read(file)?);
    let mut policies = read_folder(&root.join("rules/policy"))?;
    let channels = read_folder(&root.join("channels"))?;
    let mut canary = read_canary(&root.join("rules/canary"))?;
    for (name, text) in std::iter::once(&main).chain(&policies).chain(&channels) {
        take(name, text);
    }
    for file in &canary {
        take(&file.name, &file.text);
    }
    if canary.iter().all(|file| file.service.is_some()) {
        canary.extend(shipped_canary());
    }
    if policies.is_empty() {
        policies = shipped;
    }
    let digest = crate::domain::hex(&hash.finalize());
    Ok(Files {
        root: root.to_owned(),
        main,
        policies,
        channels,
        canary,
        digest,
    })
}

/// The shipped templates of canary rules, for every service.
fn shipped_canary() -> Vec<CanaryText> {
    let file = |(name, text): &(&str, &str)| CanaryText {
        service: None,
        name: (*name).to_owned(),
        text: (*text).to_owned(),
    };
    SHIPPED_TEMPLATES.iter().map(file).collect()
}

/// Templates of canary rules: those in the folder for every service, those in a folder below it
/// for the service it is named after.
fn read_canary(folder: &Path) -> Result<Vec<CanaryText>, Vec<Problem>> {
    let file = |service: Option<&str>, (name, text)| CanaryText {
        service: service.map(str::to_owned),
        name,
        text,
    };
    let mut found: Vec<_> = read_folder(folder)?
        .into_iter()
        .map(|one| file(None, one))
        .collect();
    for below in folders(folder)? {
        let files = read_folder(&folder.join(&below))?;
        found.extend(files.into_iter().map(|one| file(Some(&below), one)));
    }
    Ok(found)
}

/// The folders below `folder`, by name; none when there is no such folder.
fn folders(folder: &Path) -> Result<Vec<String>, Vec<Problem>> {
    let mut names: Vec<String> = entries(folder)?
        .into_iter()
        .filter(|path| path.is_dir())
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// What is in a folder and not hidden; nothing when there is no such folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Vec<Problem>> {
    let problem = |error: io::Error| {
        vec![Problem::of_file(
            &folder.display().to_string(),
            error.to_string(),
        )]
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(problem(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> = paths.collect::<io::Result<_>>().map_err(problem)?;
    // ConfigMaps mount hidden folders (`..data`) beside the files.
    let is_hidden = |path: &PathBuf| {
        let name = path.file_name();
        name.is_some_and(|name| name.to_string_lossy().starts_with('.'))
    };
    Ok(paths.into_iter().filter(|path| !is_hidden(path)).collect())
}

/// The YAML files of a folder, by name; none when there is no such folder.
///
/// # Errors
/// Every file that can't be read.
pub fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, Vec<Problem>> {
    read_ending(folder, &["yaml", "yml"])
}

/// The files of a folder that end so, by name; none when there is no such folder.
///
/// # Errors
/// Every file that can't be read.
pub(super) fn read_ending(
    folder: &Path,
    extensions: &[&str],
) -> Result<Vec<(String, String)>, Vec<Problem>> {
    let is_ours = |path: &PathBuf| {
        let extension = path.extension();
        extension.is_some_and(|extension| extensions.iter().any(|ours| extension == *ours))
    };
    let mut paths: Vec<PathBuf> = entries(folder)?.into_iter().filter(is_ours).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| Ok((path.display().to_string(), read(&path)?)))
        .collect()
}

/// Reads a file that people write, up to a size no such file has.
///
/// # Errors
/// That it can't be read.
pub fn read(path: &Path) -> Result<String, Vec<Problem>> {
    let problem = |text: String| vec![Problem::of_file(&path.display().to_string(), text)];
    let size = fs::metadata(path)
        .map_err(|error| problem(format!("can't be read: {error}")))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(problem(format!(
            "is {size} bytes; at most {MAX_FILE_BYTES} are read"
        )));
    }
    fs::read_to_string(path).map_err(|error| problem(format!("can't be read: {error}")))
}
