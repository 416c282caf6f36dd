//! An incident on its way, in words.

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::cli::exit::{Exit, Failure};
use crate::cli::gateway::{Gateway, shape};
use crate::cli::output::{Format, Out};
use crate::domain::id::IncidentId;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// A gateway may be away this long while it is followed: replicas restart.
const PATIENCE: Duration = Duration::from_mins(1);

/// What of an incident is told.
#[derive(Debug, Deserialize)]
struct Incident {
    stage: Value,
    #[serde(default)]
    attempt: u32,
    #[serde(default)]
    execution: Option<String>,
    #[serde(default)]
    finished: Option<Finished>,
    #[serde(default)]
    recovery: Option<Value>,
    #[serde(default)]
    ending: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Finished {
    status: String,
    succeeded: bool,
    detail: String,
}

impl Incident {
    /// `opened`, `submitted`, …; a stage with facts is an object of its name.
    fn stage(&self) -> &str {
        match &self.stage {
            Value::String(word) => word,
            Value::Object(fields) => fields.keys().next().map_or("?", String::as_str),
            _ => "?",
        }
    }

    fn line(&self) -> String {
        let mut text = self.stage().to_owned();
        if let Some(execution) = &self.execution {
            text = format!("{text}, execution {execution}");
        }
        if self.attempt > 1 {
            text = format!("{text}, attempt {}", self.attempt);
        }
        if let Some(finished) = &self.finished {
            text = format!("{text}, {}", finished.status);
            if !finished.succeeded && !finished.detail.is_empty() {
                text = format!("{text} ({})", finished.detail);
            }
        }
        if let Some(words) = self
            .recovery
            .as_ref()
            .and_then(|told| told.get(1)?.as_str())
        {
            text = format!("{text}, recovery: {words}");
        }
        match &self.ending {
            Some(ending) => format!("{text}: {}", ending.replace('_', " ")),
            None => text,
        }
    }

    fn is_over(&self) -> bool {
        self.stage() == "closed" || self.ending.is_some()
    }

    /// 0 only when the rollback did what it was for, or something else took it over.
    fn exit(&self) -> Exit {
        match self.ending.as_deref() {
            None | Some("recovered" | "superseded") => Exit::Ok,
            Some("withdrawn") => Exit::Refused,
            Some(_) => Exit::Findings,
        }
    }
}

async fn read(gateway: &Gateway, id: &IncidentId) -> Result<(Value, Incident), Failure> {
    let answer = gateway
        .get(&["api", "v1", "incidents", id.as_str()])
        .await?;
    let incident = shape(&answer)?;
    Ok((answer, incident))
}

/// Prints it as it stands.
pub(super) async fn once(
    gateway: &Gateway,
    id: &IncidentId,
    out: &mut Out,
) -> anyhow::Result<ExitCode> {
    let (answer, incident) = read(gateway, id).await?;
    out.show(&answer, || format!("{id}: {}", incident.line()))?;
    Ok(incident.exit().into())
}

/// Prints each change until it is over.
pub(super) async fn until_over(
    gateway: &Gateway,
    id: &IncidentId,
    patience: Duration,
    out: &mut Out,
) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut heard = began;
    let mut last = String::new();
    loop {
        match read(gateway, id).await {
            Ok((answer, incident)) => {
                heard = Instant::now();
                let line = format!("{id}: {}", incident.line());
                if line != last {
                    out.note(&line)?;
                    last = line;
                }
                if incident.is_over() {
                    if out.format() == Format::Json {
                        out.json(&answer)?;
                    }
                    return Ok(incident.exit().into());
                }
            }
            Err(failure) if failure.exit == Exit::Unreachable && heard.elapsed() < PATIENCE => {
                tracing::warn!("{failure}");
            }
            Err(failure) => return Err(failure.into()),
        }
        if began.elapsed() >= patience {
            let text = format!(
                "{id} is not over after {}",
                humantime::format_duration(patience)
            );
            return Err(Failure::new(Exit::Findings, text)
                .next("it goes on without you: `backstop rollback status` shows it")
                .into());
        }
        sleep(PAUSE).await;
    }
}
