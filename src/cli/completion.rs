//! `completion`: a script that teaches a shell the verbs and flags.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::exit::Exit;
use super::output::{Format, Out};

/// `completion`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let mut command = super::Cli::command();
    clap_complete::generate(args.shell, &mut command, "backstop", &mut script);
    Out::new(Format::Text).write(&script)?;
    Ok(Exit::Ok.into())
}
