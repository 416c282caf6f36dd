//! `sync`: copies what Spinnaker and GitHub say about deployments and releases into the store.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use super::output::{Out, OutputArgs, count};
use super::place::{ConfigArgs, open_store, signal};
use super::probe;
use crate::config::Github;
use crate::config::load::Secrets;
use crate::domain::clock::{self, Clock as _, SystemClock};
use crate::domain::moment;
use crate::github::{GitHub, GitHubSettings};
use crate::http::BuildError;
use crate::sync::{Progress, Reach, Summary, Syncer};

/// `sync`
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["once", "interval", "since"])))]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// One round; its exit code says whether everything could be reached.
    #[arg(long)]
    once: bool,
    /// Rounds this far apart, until a signal.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    interval: Option<Duration>,
    /// One round that goes back so far, such as `90d` or `2026-01-01`, with a progress bar; what
    /// the store has is not read again, so one that was broken off goes on.
    #[arg(long, value_name = "MOMENT", value_parser = since, allow_hyphen_values = true)]
    since: Option<Timestamp>,
    /// Read executions again that the store has, such as after a template was changed.
    #[arg(long, conflicts_with = "interval")]
    again: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load(Secrets::Read)?;
    if config.spinnaker.is_none() && config.github.is_none() {
        let failure = Failure::usage("the configuration names neither `spinnaker` nor `github`");
        return Err(failure
            .next("set `spinnaker.gate`, `github`, or both")
            .into());
    }
    if config.services.is_empty() {
        let failure = Failure::usage("there are no `services` in the configuration");
        return Err(failure.next("name each with its deploy pipelines").into());
    }
    let mut syncer = Syncer::new(config.services.clone(), open_store(&config)?);
    if let Some(spinnaker) = &config.spinnaker {
        syncer = syncer.with_gate(probe::gate(spinnaker)?);
    }
    if let Some(github) = &config.github {
        syncer = syncer.with_github(client(github)?, github.interval);
    }
    let (since, again) = (args.since, args.again);
    syncer = syncer.with_reach(Reach { since, again });
    if since.is_some() {
        syncer = syncer.with_progress(Arc::new(Bar::new()));
    }
    match args.interval {
        None => once(&syncer, &args).await,
        Some(pause) => {
            let stop = CancellationToken::new();
            let rounds = syncer.keep_synced(pause, stop.clone());
            tokio::pin!(rounds);
            tokio::select! {
                () = &mut rounds => {}
                ended = signal() => {
                    ended?;
                    // The round that runs is finished: what it read is worth keeping.
                    stop.cancel();
                    rounds.await;
                }
            }
            Ok(Exit::Ok.into())
        }
    }
}

/// How long ago, or a moment.
fn since(text: &str) -> Result<Timestamp, String> {
    let now = SystemClock.now();
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(clock::before(now, ago));
    }
    moment::parse(text, now, &TimeZone::UTC).map_err(|error| error.to_string())
}

/// A bar on stderr, if that is a terminal.
#[derive(Debug)]
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let template = "{elapsed_precise} {wide_bar} {pos}/{len} read, {eta} to go";
        let bar = ProgressBar::new(0);
        Self(match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }
}

impl Progress for Bar {
    fn found(&self, more: usize) {
        self.0.inc_length(u64::try_from(more).unwrap_or(u64::MAX));
    }

    fn read(&self, more: usize) {
        self.0.inc(u64::try_from(more).unwrap_or(u64::MAX));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn client(settings: &Github) -> Result<GitHub, BuildError> {
    let settings = GitHubSettings {
        api_url: settings.api_url.clone(),
        token: settings.token.clone(),
        timeout: settings.timeout,
    };
    GitHub::new(settings, Arc::new(SystemClock))
}

async fn once(syncer: &Syncer, args: &Args) -> anyhow::Result<ExitCode> {
    let summary = syncer.run_once().await;
    let problems: Vec<String> = summary
        .problems
        .iter()
        .map(|problem| format!("{}: {}: {}", problem.service, problem.of, problem.finding))
        .collect();
    let failures: Vec<String> = summary.failures.iter().map(ToString::to_string).collect();
    let document = json!({
        "read": summary.read,
        "tags": summary.tags,
        "written": summary.written,
        "problems": problems,
        "failures": failures,
    });
    Out::new(args.output.output).show(&document, || {
        let mut lines = vec![format!(
            "{} and {} read, {} written",
            count(summary.read, "execution"),
            count(summary.tags, "tag"),
            count(summary.written.len(), "document")
        )];
        lines.extend(problems.iter().map(|text| format!("  look at: {text}")));
        lines.extend(failures.iter().map(|text| format!("  not reached: {text}")));
        lines.join("\n")
    })?;
    Ok(verdict(&summary).into())
}

fn verdict(summary: &Summary) -> Exit {
    if !summary.is_complete() {
        Exit::Unreachable
    } else if summary.problems.is_empty() {
        Exit::Ok
    } else {
        Exit::Findings
    }
}
