//! `check`: everything that can be known of a configuration without running it.
//!
//! Offline by default and without secrets, so that it works in a fresh checkout and in CI.
//! `--online` reads the secrets and asks what the configuration names.

mod finding;
mod templates;
mod warnings;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;

use self::finding::{Finding, Severity};
use super::exit::Exit;
use super::output::{Format, Out, count};
use super::place::ConfigArgs;
use super::probe::{self, Probe};
use crate::canary;
use crate::config::Config;
use crate::config::load::{self, Secrets};

pub(super) use finding::data;
pub(super) use templates::renderer;

/// Keys raced by `--online`.
const RACE_KEYS: usize = 8;

/// `check`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// A `--web.config.file` to check as well.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config: Option<PathBuf>,
    /// Read the secrets, and ask the store, the metrics store, the vmalerts, Gate and the channels.
    #[arg(long)]
    online: bool,
    /// Let a warning fail the check.
    #[arg(long)]
    deny_warnings: bool,
    /// How findings are printed.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: CheckFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum CheckFormat {
    /// For people and editors: `file:line:column: error: …`.
    #[default]
    Text,
    /// For programs.
    Json,
    /// Annotations of a GitHub pull request.
    Github,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let file = args.config.file();
    let secrets = if args.online {
        Secrets::Read
    } else {
        Secrets::Unread
    };
    let name = file
        .as_ref()
        .map_or("(defaults)".to_owned(), |file| file.display().to_string());
    let mut findings = Vec::new();
    let config = match load::load(file.as_deref(), secrets) {
        Ok(config) => Some(config),
        Err(problems) => {
            findings.extend(problems.into_iter().map(Finding::error));
            None
        }
    };
    if let Some(path) = &args.web_config
        && let Err(problems) = load::load_web_config(path)
    {
        findings.extend(problems.into_iter().map(Finding::error));
    }
    let mut probes = Vec::new();
    if let Some(config) = &config {
        let own = templates::check(&config.root);
        findings.extend(own);
        let rules = canary::render::check(config, &name);
        findings.extend(rules.into_iter().map(Finding::error));
        findings.extend(warnings::of(config, &name));
        let tests = super::test::read(&[], config, &config.root);
        findings.extend(tests.err().into_iter().flatten().map(Finding::error));
        if args.online && findings.iter().all(|one| one.severity != Severity::Error) {
            probes = probe::all(config, RACE_KEYS).await;
        }
    }
    print(args.output, &findings, &probes, config.as_ref())?;
    Ok(verdict(&findings, &probes, args.deny_warnings).into())
}

fn verdict(findings: &[Finding], probes: &[Probe], deny_warnings: bool) -> Exit {
    let has = |severity| findings.iter().any(|finding| finding.severity == severity);
    if has(Severity::Error) || (deny_warnings && has(Severity::Warning)) {
        return Exit::Findings;
    }
    probe::verdict(probes, deny_warnings)
}

fn print(
    format: CheckFormat,
    findings: &[Finding],
    probes: &[Probe],
    config: Option<&Config>,
) -> std::io::Result<()> {
    match format {
        CheckFormat::Json => {
            let document = json!({
                "findings": findings,
                "probes": probes,
                "digest": config.map(|config| &config.digest),
            });
            Out::new(Format::Json).json(&document)
        }
        CheckFormat::Github => {
            let mut out = Out::new(Format::Text);
            for finding in findings {
                out.text(&finding.annotation())?;
            }
            for probe in probes {
                if let Some(line) = probe.annotation() {
                    out.text(&line)?;
                }
            }
            Ok(())
        }
        CheckFormat::Text => {
            let mut out = Out::new(Format::Text);
            for finding in findings {
                out.text(&finding.to_string())?;
            }
            for probe in probes {
                out.text(&probe.to_string())?;
            }
            out.text(&summary(findings, config))
        }
    }
}

fn summary(findings: &[Finding], config: Option<&Config>) -> String {
    let of = |severity| {
        let same = findings.iter().filter(|one| one.severity == severity);
        same.count()
    };
    let errors = of(Severity::Error);
    let warnings = count(of(Severity::Warning), "warning");
    match config {
        Some(config) if errors == 0 => {
            let rules = config.policies.iter().map(|policy| policy.rules.len());
            format!(
                "ok: {}, {}, {}; {warnings}",
                count(config.services.len(), "service"),
                count(rules.sum(), "rule"),
                count(config.channels.len(), "channel"),
            )
        }
        _ => format!("not usable: {}, {warnings}", count(errors, "error")),
    }
}
