//! `canary`: rules of batches, on their way to vmalert.

mod pull;

use std::process::ExitCode;

use clap::Subcommand;

/// The verbs of `canary`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Keep a rule file for vmalert as the gateway says, and let vmalert read it.
    Pull(pull::Args),
}

pub(super) async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Pull(args) => pull::run(args).await,
    }
}
