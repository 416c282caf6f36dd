//! The command line as a page of the documentation, written from the definitions themselves.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::exit::Exit;

/// `docs/reference/cli.md`.
pub fn markdown() -> String {
    let mut command = super::Cli::command();
    command.build();
    let mut page = String::from("# Command line\n\n");
    page.push_str(
        "This page is written from the program's own definitions; a test keeps it fresh.\n\n\
         Results go to stdout, logs and errors to stderr. Flags with an environment variable can \
         be set by it. Secrets are read from files or from where the configuration says; they are \
         never flags.\n\n## Exit codes\n\n| code | meaning |\n|---|---|\n",
    );
    for (exit, meaning) in Exit::ALL {
        line(&mut page, &format!("| {} | {meaning} |", exit.number()));
    }
    for sub in verbs(&command) {
        section(&mut page, sub, "backstop");
    }
    page
}

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
}

fn section(page: &mut String, command: &Command, above: &str) {
    let name = format!("{above} {}", command.get_name());
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    if command.has_subcommands() {
        for sub in verbs(command) {
            section(page, sub, &name);
        }
        return;
    }
    line(page, &format!("\n## {name}\n\n{about}.\n"));
    line(page, &format!("```\n{}\n```", usage(command, &name)));
    let args: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && arg.get_id() != "help")
        .collect();
    if args.is_empty() {
        return;
    }
    line(page, "\n| argument | meaning |\n|---|---|");
    for arg in args {
        line(
            page,
            &format!("| `{}` | {} |", form(arg).replace('|', "\\|"), meaning(arg)),
        );
    }
}

fn line(page: &mut String, text: &str) {
    // Writing to a String cannot fail.
    if writeln!(page, "{text}").is_err() {
        tracing::debug!("a line of the reference was lost");
    }
}

fn usage(command: &Command, name: &str) -> String {
    let mut usage = name.to_owned();
    for arg in command.get_arguments().filter(|arg| arg.is_required_set()) {
        usage = format!("{usage} {}", form(arg));
    }
    for arg in command
        .get_positionals()
        .filter(|arg| !arg.is_required_set())
    {
        usage = format!("{usage} [{}]", form(arg));
    }
    format!("{usage} [flags]")
}

/// `--flag VALUE`, or `NAME` of a positional one.
fn form(arg: &Arg) -> String {
    let value = || {
        let names = arg.get_value_names().unwrap_or_default();
        names
            .first()
            .map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string)
    };
    match arg.get_long() {
        None => value(),
        Some(long) if matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) => {
            format!("--{long} {}", value())
        }
        Some(long) => format!("--{long}"),
    }
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    text = text.replace('\n', " ").replace('|', "\\|");
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if takes_value && !values.is_empty() {
        text = format!("{text}. One of {}", values.join(", "));
    }
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if takes_value && !defaults.is_empty() {
        text = format!("{text}. Default {}", defaults.join(", "));
    }
    if let Some(env) = arg.get_env() {
        text = format!("{text}. Environment: `{}`", env.to_string_lossy());
    }
    text
}
