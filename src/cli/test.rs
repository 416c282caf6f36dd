//! `test`: unit tests of the rules, offline and without secrets.

mod junit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::output::{Format, Out, OutputArgs, count};
use super::place::ConfigArgs;
use crate::config::Config;
use crate::config::load::{self, Secrets};
use crate::config::problem::Problem;
use crate::rehearsal::{self, Outcome, Test};

/// Where tests are, beside the configuration.
const FOLDER: &str = "rules/tests";

/// `test`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files of tests. Without one: `rules/tests/*.yaml` beside the configuration.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Run only tests whose name matches.
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Also write the results in the XML form of `JUnit`.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load(Secrets::Unread).map_err(unusable)?;
    let mut tests = read(&args.files, &config, &config.root).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::usage(format!("the tests can't be used\n{}", lines.join("\n")))
    })?;
    if tests.is_empty() {
        let advice = format!("write one in `{FOLDER}/`; `backstop schema rule-test` is its shape");
        return Err(Failure::usage("there is no test").next(advice).into());
    }
    if let Some(run) = &args.run {
        tests.retain(|test| run.is_match(&test.name));
        if tests.is_empty() {
            return Err(Failure::usage(format!("no test's name matches `{run}`")).into());
        }
    }
    let mut outcomes = Vec::new();
    for test in &tests {
        let started = clock();
        let outcome = rehearsal::play(test).await;
        outcomes.push((outcome, started.elapsed()));
    }
    if let Some(file) = &args.junit {
        std::fs::write(file, junit::of(&outcomes)).map_err(|error| {
            Failure::usage(format!("`{}` can't be written: {error}", file.display()))
        })?;
    }
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(outcome, _)| outcome).collect();
    let failed = outcomes.iter().filter(|one| !one.passed()).count();
    print(args.output.output, &outcomes, failed)?;
    Ok(if failed == 0 {
        Exit::Ok
    } else {
        Exit::Findings
    }
    .into())
}

/// Bad input, whoever wrote it: a test that could not run is not one that failed.
fn unusable(failure: Failure) -> Failure {
    Failure {
        exit: Exit::Usage,
        ..failure
    }
}

/// Reads these files, or those in the folder beside the configuration.
///
/// # Errors
/// Every problem of every file.
pub(super) fn read(
    files: &[PathBuf],
    config: &Config,
    root: &Path,
) -> Result<Vec<Test>, Vec<Problem>> {
    let texts = if files.is_empty() {
        let folder = match root.to_str() {
            Some("." | "") => PathBuf::from(FOLDER),
            _ => root.join(FOLDER),
        };
        load::read_folder(&folder)?
    } else {
        let read = |path: &PathBuf| Ok((path.display().to_string(), load::read(path)?));
        files
            .iter()
            .map(read)
            .collect::<Result<_, Vec<Problem>>>()?
    };
    let mut tests = Vec::new();
    let mut problems = Vec::new();
    for (name, text) in &texts {
        match rehearsal::read(name, text, config) {
            Ok(found) => tests.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        Ok(tests)
    } else {
        // A policy that several files name is complained about once.
        problems.sort();
        problems.dedup();
        Err(problems)
    }
}

fn print(format: Format, outcomes: &[Outcome], failed: usize) -> std::io::Result<()> {
    let mut out = Out::new(format);
    let passed = outcomes.len() - failed;
    if format == Format::Json {
        return out.json(&json!({"passed": passed, "failed": failed, "tests": outcomes}));
    }
    let mut file = "";
    for outcome in outcomes {
        if outcome.file != file {
            file = &outcome.file;
            out.text(file)?;
        }
        let word = if outcome.passed() { "ok  " } else { "FAIL" };
        out.text(&format!("  {word}  {}", outcome.name))?;
        for failure in &outcome.failures {
            let text = failure.to_string().replace('\n', "\n        ");
            out.text(&format!("        {text}"))?;
        }
    }
    out.text(&format!(
        "{}: {passed} passed, {failed} failed",
        count(outcomes.len(), "test")
    ))
}

/// How long a test took is told; nothing in it goes by this clock.
fn clock() -> Instant {
    Instant::now()
}

/// A duration in seconds, as `JUnit` has it.
fn seconds(took: Duration) -> String {
    format!("{:.3}", took.as_secs_f64())
}
