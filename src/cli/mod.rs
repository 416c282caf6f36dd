//! The command line: one verb a file, and the exit codes they share.
//!
//! Verbs parse, ask a room of the library or a gateway's API, and print. The environment is read
//! here (as defaults of flags) and in [`crate::config::load`] alone. An error is printed once,
//! with what to do next, and never holds a secret.

mod agent;
mod backtest;
mod canary;
mod channels;
mod check;
mod completion;
mod doctor;
pub mod exit;
mod explain;
mod gateway;
mod lists;
mod mode;
pub mod output;
mod place;
mod probe;
pub mod reference;
mod release;
mod render;
mod replay;
mod rollback;
mod schema;
pub mod serve;
mod sync;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::exit::{Exit, Failure};
use self::output::complain;
use crate::telemetry::log::{self, LogFormat};

/// What `--help` closes with.
const EPILOGUE: &str = "Exit codes: 0 done or already done, 1 findings or failed, 2 usage, \
    3 cannot reach, 4 refused by policy, 5 conflict.";

/// The last stop behind a release: alerts come in, people are told, the release is taken back.
#[derive(Debug, Parser)]
#[command(name = "backstop", version, after_help = EPILOGUE, propagate_version = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the gateway.
    Serve(serve::Args),
    /// Check the configuration, rules and channels; with --online also what they reach.
    Check(check::Args),
    /// Run the unit tests of the rules.
    Test(test::Args),
    /// Show the exact bodies a channel would send for a recorded alert; sends nothing.
    Render(render::Args),
    /// Work with channels.
    #[command(subcommand)]
    Channels(channels::Verb),
    /// Send recorded webhook bodies to a gateway, or show what they hold.
    Replay(replay::Args),
    /// Examine this machine and everything the gateway depends on.
    Doctor(doctor::Args),
    /// Print the JSON schema of a file or a document.
    Schema(schema::Args),
    /// Say what these rules would have done over recorded history.
    Backtest(backtest::Args),
    /// Say why something was decided, or why nothing happened.
    Explain(explain::Args),
    /// Plan, start or follow a rollback through a gateway.
    #[command(subcommand)]
    Rollback(rollback::Verb),
    /// Read or set what automatic action may do.
    #[command(subcommand)]
    Mode(mode::Verb),
    /// Work with releases in the store.
    #[command(subcommand)]
    Release(release::Verb),
    /// Read deployments from a gateway.
    #[command(subcommand)]
    Deployment(lists::DeploymentVerb),
    /// Read from a gateway which host ran what, and when.
    #[command(subcommand)]
    Instance(lists::InstanceVerb),
    /// Copy what Spinnaker and GitHub say about deployments and releases into the store.
    Sync(sync::Args),
    /// Deploy on this host what the gateway wants here.
    Agent(agent::Args),
    /// Bring the rules of armed batches to vmalert.
    #[command(subcommand)]
    Canary(canary::Verb),
    /// Print a completion script for a shell.
    Completion(completion::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. A reader that left is no failure.
            if let Err(error) = error.print() {
                tracing::debug!("the help can't be written: {error}");
            }
            let usage = error.use_stderr();
            return if usage { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let (level, format) = match &cli.verb {
        Verb::Serve(args) => (args.log_level.as_str(), args.log_format),
        Verb::Agent(args) => (args.log_level.as_str(), args.log_format),
        _ => ("warn", LogFormat::Logfmt),
    };
    // Kept to the end: it writes the last lines.
    let _log = match log::init(level, format) {
        Ok(guard) => guard,
        Err(error) => return report(&Failure::usage(error.to_string()).into()),
    };
    run(cli.verb).unwrap_or_else(|error| report(&error))
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    // An agent shares its host with what it deploys: one thread, and little memory.
    let mut runtime = if let Verb::Agent(_) = verb {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = runtime.enable_all().build()?;
    let code = runtime.block_on(async move {
        match verb {
            Verb::Serve(args) => Box::pin(serve::run(args)).await,
            Verb::Check(args) => Box::pin(check::run(args)).await,
            Verb::Test(args) => Box::pin(test::run(args)).await,
            Verb::Render(args) => Box::pin(render::run(args)).await,
            Verb::Channels(verb) => Box::pin(channels::run(verb)).await,
            Verb::Replay(args) => Box::pin(replay::run(args)).await,
            Verb::Doctor(args) => Box::pin(doctor::run(args)).await,
            Verb::Backtest(args) => Box::pin(backtest::run(args)).await,
            Verb::Explain(args) => Box::pin(explain::run(args)).await,
            Verb::Schema(args) => schema::run(&args),
            Verb::Rollback(verb) => Box::pin(rollback::run(verb)).await,
            Verb::Mode(verb) => Box::pin(mode::run(verb)).await,
            Verb::Release(verb) => Box::pin(release::run(verb)).await,
            Verb::Deployment(verb) => Box::pin(lists::deployments(verb)).await,
            Verb::Instance(verb) => Box::pin(lists::instances(verb)).await,
            Verb::Sync(args) => Box::pin(sync::run(args)).await,
            Verb::Agent(args) => Box::pin(agent::run(args)).await,
            Verb::Canary(verb) => Box::pin(canary::run(verb)).await,
            Verb::Completion(args) => completion::run(&args),
        }
    });
    // A blocked task must not keep a finished verb from ending.
    runtime.shutdown_background();
    code
}

/// Prints an error once, with its causes and what to do next.
fn report(error: &anyhow::Error) -> ExitCode {
    let failure = error.downcast_ref::<Failure>();
    let mut text = format!("error: {error:#}");
    if let Some(next) = failure.and_then(|failure| failure.next.as_deref()) {
        text.push_str("\n  ");
        text.push_str(next);
    }
    complain(&text);
    failure
        .map_or(Exit::Findings, |failure| failure.exit)
        .into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_flag_takes_a_secret_itself() {
        fn walk(command: &clap::Command) {
            for arg in command.get_arguments() {
                let name = arg.get_long().unwrap_or_default();
                let secret = ["token", "password", "secret", "key"];
                let named = secret.contains(&name);
                assert!(!named, "--{name} would show in the process list");
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
