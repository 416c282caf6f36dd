//! `sync`: copies what Spinnaker says about deployments into the store.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use super::output::{Out, OutputArgs, count};
use super::place::{ConfigArgs, open_store};
use super::probe;
use crate::config::load::Secrets;
use crate::sync::{Summary, Syncer};

/// `sync`
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["once", "interval"])))]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// One round; its exit code says whether everything could be reached.
    #[arg(long)]
    once: bool,
    /// Rounds this far apart, until a signal.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    interval: Option<Duration>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load(Secrets::Read)?;
    let Some(spinnaker) = &config.spinnaker else {
        let failure = Failure::usage("there is no `spinnaker` in the configuration");
        return Err(failure.next("set `spinnaker.gate`").into());
    };
    if config.services.is_empty() {
        let failure = Failure::usage("there are no `services` in the configuration");
        return Err(failure.next("name each with its deploy pipelines").into());
    }
    let gate = probe::gate(spinnaker)?;
    let syncer = Syncer::new(gate, config.services.clone(), open_store(&config)?);
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

async fn once(syncer: &Syncer, args: &Args) -> anyhow::Result<ExitCode> {
    let summary = syncer.run_once().await;
    let problems: Vec<String> = summary
        .problems
        .iter()
        .map(|problem| {
            let (execution, pipeline) = (&problem.execution, &problem.pipeline);
            format!(
                "{}: execution {execution} of `{pipeline}`: {}",
                problem.service, problem.error
            )
        })
        .collect();
    let failures: Vec<String> = summary.failures.iter().map(ToString::to_string).collect();
    let document = json!({
        "read": summary.read,
        "written": summary.written,
        "problems": problems,
        "failures": failures,
    });
    Out::new(args.output.output).show(&document, || {
        let mut lines = vec![format!(
            "{} read, {} changed",
            count(summary.read, "execution"),
            count(summary.written.len(), "deployment")
        )];
        lines.extend(
            problems
                .iter()
                .map(|text| format!("  not understood: {text}")),
        );
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

/// Ends with SIGTERM or an interrupt.
async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupt = tokio::signal::ctrl_c() => interrupt,
    }
}
