//! Starts the service anew, and asks whether it is well.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::disk::Seam;
use super::journal::Known;
use crate::config::agent::{HealthCheck, HttpCheck, Restart, RestartBy, VersionIn};
use crate::http;

/// Most of a health answer that is read.
const MOST_READ: usize = 64 * 1024;
/// Most of a program's last words that is told.
const MOST_WORDS: usize = 400;

/// The service on this host.
#[derive(Debug)]
pub(super) struct Managed {
    pub(super) restart: Restart,
    pub(super) health: HealthCheck,
    pub(super) root: PathBuf,
    /// Where a program's words go.
    pub(super) log: PathBuf,
    pub(super) http: reqwest::Client,
}

impl Managed {
    /// Starts it anew.
    ///
    /// # Errors
    /// In words, with the program's own last ones.
    pub(super) async fn start(&self, what: &Known, seam: &dyn Seam) -> Result<(), String> {
        seam.before("restart the service")
            .map_err(|error| error.to_string())?;
        let command: Vec<String> = match &self.restart.by {
            RestartBy::Unit(unit) => systemctl("restart", unit),
            RestartBy::Command(command) => command.clone(),
        };
        let outcome = self.run(&command, what, self.restart.timeout).await;
        outcome.map_err(|why| format!("the restart failed: {why}"))
    }

    /// Stops it, where systemd can: nothing ran before that could be gone back to.
    pub(super) async fn stop(&self, what: &Known) -> Result<(), String> {
        match &self.restart.by {
            RestartBy::Unit(unit) => {
                let command = systemctl("stop", unit);
                self.run(&command, what, self.restart.timeout).await
            }
            RestartBy::Command(_) => Ok(()),
        }
    }

    /// How often systemd itself has started the unit again since it was started.
    pub(super) async fn crashes(&self) -> Option<u64> {
        let RestartBy::Unit(unit) = &self.restart.by else {
            return None;
        };
        let mut command = Command::new("systemctl");
        command.args(["show", "--property=NRestarts", "--value", "--", unit]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(self.health.timeout, command.output()).await.ok()?;
        String::from_utf8(output.ok()?.stdout)
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// One look at all its checks.
    ///
    /// # Errors
    /// In words: the first that does not pass.
    pub(super) async fn look(&self, what: &Known) -> Result<(), String> {
        let wait = self.health.timeout;
        if let Some(check) = &self.health.http {
            let asked = timeout(wait, ask(&self.http, check, what)).await;
            asked.unwrap_or_else(|_| Err(format!("{} gave no answer in time", place(check))))?;
        }
        if let Some(address) = &self.health.tcp {
            match timeout(wait, TcpStream::connect(address)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(format!("{address} takes no connection: {error}")),
                Err(_) => return Err(format!("{address} takes no connection in time")),
            }
        }
        if let Some(command) = &self.health.command {
            let ran = self.run(command, what, wait).await;
            ran.map_err(|why| format!("the health command failed: {why}"))?;
        }
        Ok(())
    }

    /// Runs a program to its end. What it leaves running keeps its output, so that goes to a file.
    async fn run(&self, command: &[String], what: &Known, limit: Duration) -> Result<(), String> {
        let Some((program, arguments)) = command.split_first() else {
            return Err("there is no command".to_owned());
        };
        let (out, err) = output_to(&self.log);
        let child = Command::new(program)
            .args(arguments)
            .env("BACKSTOP_ROOT", &self.root)
            .env("BACKSTOP_RELEASE", what.release_id.as_str())
            .env("BACKSTOP_VERSION", &what.version)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|error| format!("`{program}` can't be started: {error}"))?;
        match timeout(limit, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("`{program}` ended with {status}{}", self.words())),
            Ok(Err(error)) => Err(format!("`{program}`: {error}")),
            Err(_) => {
                let text = format!("`{program}` did not end within {limit:?}");
                child
                    .kill()
                    .await
                    .map_err(|error| format!("{text}: {error}"))?;
                Err(text)
            }
        }
    }

    fn words(&self) -> String {
        let Ok(said) = std::fs::read(&self.log) else {
            return String::new();
        };
        let said = String::from_utf8_lossy(&said);
        let mut words: Vec<char> = said.trim().chars().rev().take(MOST_WORDS).collect();
        words.reverse();
        let words: String = words.into_iter().collect();
        if words.is_empty() {
            words
        } else {
            format!(": {words}")
        }
    }
}

fn systemctl(verb: &str, unit: &str) -> Vec<String> {
    ["systemctl", verb, "--", unit].map(str::to_owned).to_vec()
}

/// On a full disk the words are lost, and nothing else.
fn output_to(log: &Path) -> (Stdio, Stdio) {
    let both = File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
    match both {
        Ok((out, err)) => (out.into(), err.into()),
        Err(_) => (Stdio::null(), Stdio::null()),
    }
}

fn place(check: &HttpCheck) -> String {
    // The query may hold a secret.
    let mut url = check.url.clone();
    url.set_query(None);
    url.to_string()
}

async fn ask(http: &reqwest::Client, check: &HttpCheck, what: &Known) -> Result<(), String> {
    let place = place(check);
    let response = http.get(check.url.clone()).send().await;
    let response = response.map_err(|error| {
        let error = http::CallError::from(error);
        format!("{place} can't be asked: {error}")
    })?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("{place} answered {status}"));
    }
    let Some(version_in) = &check.version else {
        return Ok(());
    };
    let named = |name: &String| {
        response
            .headers()
            .get(name)?
            .to_str()
            .ok()
            .map(str::to_owned)
    };
    let found = match version_in {
        VersionIn::Header(name) => named(name),
        VersionIn::Body | VersionIn::Json(_) => {
            let body = http::read_body(response, MOST_READ).await;
            let body = body.map_err(|error| format!("{place}: {error}"))?;
            version_of(version_in, &body)
        }
    };
    match found {
        Some(found) if found == what.version || found == what.release_id.as_str() => Ok(()),
        Some(found) => {
            let found: String = found.escape_debug().take(80).collect();
            Err(format!(
                "{place} runs version `{found}`, not `{}`",
                what.version
            ))
        }
        None => Err(format!("{place} does not tell its version")),
    }
}

fn version_of(version_in: &VersionIn, body: &[u8]) -> Option<String> {
    match version_in {
        VersionIn::Body => Some(String::from_utf8(body.to_vec()).ok()?.trim().to_owned()),
        VersionIn::Json(pointer) => {
            let body: serde_json::Value = serde_json::from_slice(body).ok()?;
            Some(body.pointer(pointer)?.as_str()?.to_owned())
        }
        VersionIn::Header(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_where_it_is_told() {
        let json = VersionIn::Json("/app/version".into());
        let body = br#"{"app": {"version": "1.8.0"}}"#;
        assert_eq!(version_of(&json, body).as_deref(), Some("1.8.0"));
        assert_eq!(version_of(&json, b"{}"), None);
        assert_eq!(version_of(&json, b"1.8.0"), None);
        assert_eq!(
            version_of(&VersionIn::Body, b" 1.8.0\n").as_deref(),
            Some("1.8.0")
        );
    }
}
