//! `target/demo/summary.json`: what happened, for programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::messages::Told;

/// The whole run.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Whether all of it really happened.
    pub ok: bool,
    /// What went wrong, when something did.
    pub error: Option<String>,
    /// From start to the last check, in seconds.
    pub seconds: f64,
    /// The acts, in order.
    pub acts: Vec<Act>,
    /// What was asked of the world from the outside, once all was over.
    pub checks: Vec<Check>,
}

/// One question and its answer.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What must hold.
    pub what: String,
    /// Whether it does.
    pub ok: bool,
    /// What was seen instead.
    pub seen: Option<String>,
}

/// One act.
#[derive(Debug, Serialize)]
pub struct Act {
    /// 1 or 2.
    pub number: u32,
    /// What it shows.
    pub title: String,
    /// The alert as it was received.
    pub alert: Alert,
    /// What was decided.
    pub decision: Decision,
    /// What Spinnaker ran.
    pub execution: Execution,
    /// Messages by channel.
    pub messages: BTreeMap<&'static str, Vec<Told>>,
    /// The report's folder; `report.html` and `report.md` lie beside `record.json`.
    pub report: PathBuf,
    /// When things happened.
    pub clocks: Clocks,
    /// The incident.
    pub incident: String,
}

/// The alert.
#[derive(Debug, Serialize)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// The release it accuses.
    pub release_id: String,
    /// Its fingerprints.
    pub fingerprints: Vec<String>,
}

/// The decision.
#[derive(Debug, Serialize)]
pub struct Decision {
    /// `batch 1` or `full`.
    pub scope: String,
    /// `<file>: <name>`.
    pub rule: Option<String>,
    /// The release to go back to.
    pub target: String,
    /// The hosts.
    pub hosts: Vec<String>,
    /// One sentence.
    pub why: String,
}

/// The rollback's execution.
#[derive(Debug, Serialize)]
pub struct Execution {
    /// Spinnaker's id.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// Its parameters, as Spinnaker got them.
    pub parameters: serde_json::Value,
    /// How it ended.
    pub status: String,
}

/// When things happened; RFC 3339.
#[derive(Debug, Serialize)]
pub struct Clocks {
    /// The release began to fail.
    pub bad_sample: String,
    /// The alert's startsAt.
    pub alert_starts_at: String,
    /// The gateway had it.
    pub received: String,
    /// It had decided.
    pub decided: String,
    /// Spinnaker had accepted.
    pub accepted: String,
    /// The execution had ended.
    pub finished: String,
    /// The metrics were well again.
    pub recovered: String,
    /// From the first bad request to the end of the rollback, in seconds.
    pub bad_sample_to_finished_seconds: f64,
}

impl Summary {
    /// Writes it into `folder`.
    pub fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let file = folder.join("summary.json");
        let text = serde_json::to_string_pretty(self).context("write the summary")?;
        std::fs::write(&file, text).context("write the summary")?;
        Ok(file)
    }
}
