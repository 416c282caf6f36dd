//! `rollback`: what people do by hand, through a gateway: look at the plan, do it, follow it,
//! answer what is asked, give up.
//!
//! `apply` always shows the plan first and sends what was seen, so that nobody takes back another
//! release than the one they looked at.

mod answer;
mod follow;
mod plan;

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use self::plan::Plan;
use super::exit::{Exit, Failure};
use super::gateway::{Gateway, GatewayArgs, shape};
use super::output::{Format, Out, OutputArgs, complain};
use crate::domain::decision::Scope;
use crate::domain::id::{self, DeploymentId, Env, IncidentId, ReleaseId, Service};

const PATH: &[&str] = &["api", "v1", "rollbacks"];

/// `rollback …`
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Show what a rollback would do now, and what each guard says; changes nothing.
    Plan(PlanArgs),
    /// Show the plan, then do it.
    Apply(ApplyArgs),
    /// Show an incident; with --wait until it is over.
    Status(StatusArgs),
    /// List the rollbacks that wait for a person's yes or no.
    Approvals(answer::ListArgs),
    /// Say yes to one of them.
    Approve(answer::AnswerArgs),
    /// Say no; binds its deployment and rule until it is cleared.
    Deny(answer::AnswerArgs),
    /// Take a no back.
    Clear(answer::AnswerArgs),
    /// Give an open incident up: nothing more of it is sent or let in.
    Abandon(answer::AbandonArgs),
}

/// What is to be taken back.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct What {
    /// Whose release.
    service: Service,
    /// Where.
    env: Env,
    /// `full`, or batches: `batch:1` or `batch:1,2`.
    #[arg(long, value_name = "SCOPE")]
    scope: ScopeArg,
    /// The release to go back to; left out: the newest stable one.
    #[arg(long, value_name = "RELEASE")]
    to: Option<ReleaseId>,
    /// The deployment; left out: the newest one.
    #[arg(long, value_name = "ID")]
    deployment: Option<DeploymentId>,
}

/// `rollback plan`
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `rollback apply`
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    what: What,
    /// Why; it is recorded and told.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The release that runs, as you saw it in the plan.
    #[arg(long, value_name = "RELEASE", requires = "expect_target")]
    expect_current: Option<ReleaseId>,
    /// The release to go back to, as you saw it in the plan.
    #[arg(long, value_name = "RELEASE", requires = "expect_current")]
    expect_target: Option<ReleaseId>,
    /// Go on over a hold; a deny is never overridden.
    #[arg(long)]
    override_hold: bool,
    /// The key of an earlier try: the same key never rolls back twice.
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    idempotency_key: Option<String>,
    /// Follow the incident until it is over.
    #[arg(long)]
    wait: bool,
    /// The longest to follow it.
    #[arg(long, value_name = "DURATION", default_value = "2h", value_parser = humantime::parse_duration)]
    wait_timeout: Duration,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `rollback status`
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The incident.
    incident: IncidentId,
    /// Follow it until it is over.
    #[arg(long)]
    wait: bool,
    /// The longest to follow it.
    #[arg(long, value_name = "DURATION", default_value = "2h", value_parser = humantime::parse_duration)]
    wait_timeout: Duration,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `full` or `batch:1,2`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ScopeArg(Scope);

impl FromStr for ScopeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no scope: full, batch:1 or batch:1,2");
        if text == "full" {
            return Ok(Self(Scope::Full));
        }
        let numbers = text.strip_prefix("batch:").ok_or_else(wrong)?;
        let numbers: BTreeSet<u32> = numbers
            .split(',')
            .map(|number| number.trim().parse().map_err(|_| wrong()))
            .collect::<Result<_, _>>()?;
        if numbers.contains(&0) {
            return Err("batches are counted from 1".to_owned());
        }
        Ok(Self(Scope::Batch(numbers)))
    }
}

fn idempotency_key(text: &str) -> Result<String, String> {
    if id::is_id(text) {
        Ok(text.to_owned())
    } else {
        Err("it must match [A-Za-z0-9][A-Za-z0-9._@+-]{0,127}".to_owned())
    }
}

pub(super) async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Plan(args) => show_plan(args).await,
        Verb::Apply(args) => Box::pin(apply(args)).await,
        Verb::Status(args) => status(args).await,
        Verb::Approvals(args) => answer::list(args).await,
        Verb::Approve(args) => answer::answer(args, "approve").await,
        Verb::Deny(args) => answer::answer(args, "deny").await,
        Verb::Clear(args) => answer::answer(args, "clear").await,
        Verb::Abandon(args) => answer::abandon(args).await,
    }
}

async fn show_plan(args: PlanArgs) -> anyhow::Result<ExitCode> {
    let gateway = Gateway::new(&args.gateway)?;
    let answer = fetch_plan(&gateway, &args.what).await?;
    let plan: Plan = shape(&answer)?;
    Out::new(args.output.output).show(&answer, || plan.to_string())?;
    Ok(if plan.allowed {
        Exit::Ok
    } else {
        Exit::Refused
    }
    .into())
}

async fn fetch_plan(gateway: &Gateway, what: &What) -> Result<Value, Failure> {
    let mut body = body(what);
    body.insert("dry_run".to_owned(), true.into());
    gateway
        .send(Method::POST, PATH, &Value::Object(body), None)
        .await
}

fn body(what: &What) -> serde_json::Map<String, Value> {
    let fields = [
        ("service", json!(what.service)),
        ("env", json!(what.env)),
        ("scope", json!(what.scope.0)),
        ("deployment_id", json!(what.deployment)),
        ("target", json!(what.to)),
    ];
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[derive(Debug, Deserialize)]
struct Opened {
    incident_id: IncidentId,
    created: bool,
}

async fn apply(args: ApplyArgs) -> anyhow::Result<ExitCode> {
    if args.reason.trim().is_empty() {
        return Err(Failure::usage("the reason is empty: it is recorded and told").into());
    }
    let gateway = Gateway::new(&args.gateway)?;
    let mut out = Out::new(args.output.output);
    let key = match &args.idempotency_key {
        Some(key) => key.clone(),
        None => uuid::Uuid::now_v7().to_string(),
    };
    // A repeated key must be sent even if the plan of now says no: it was done then.
    let repeated = args.idempotency_key.is_some();
    let plan: Plan = shape(&fetch_plan(&gateway, &args.what).await?)?;
    out.note(&plan.to_string())?;
    if !repeated {
        permitted(&plan, &args)?;
    }
    let (current, target) = confirmed(&plan, &args)?;
    // Said before it is sent: whoever loses the answer can ask again with it.
    out.note(&format!("idempotency key: {key}"))?;
    let mut body = body(&args.what);
    body.insert(
        "deployment_id".to_owned(),
        plan.deployment_id.clone().into(),
    );
    body.insert("reason".to_owned(), args.reason.trim().into());
    body.insert(
        "expect".to_owned(),
        json!({"current": current, "target": target}),
    );
    body.insert("override_hold".to_owned(), args.override_hold.into());
    let sent = gateway
        .send(Method::POST, PATH, &Value::Object(body), Some(&key))
        .await;
    let answer = sent.map_err(|failure| match failure.exit {
        Exit::Unreachable => failure.next(format!(
            "nobody can tell whether it was taken: run the same again with --idempotency-key {key}"
        )),
        _ => failure,
    })?;
    let opened: Opened = shape(&answer)?;
    let word = if opened.created {
        "opened"
    } else {
        "already opened by this key"
    };
    out.note(&format!("incident {}: {word}", opened.incident_id))?;
    if args.wait {
        return follow::until_over(&gateway, &opened.incident_id, args.wait_timeout, &mut out)
            .await;
    }
    if out.format() == Format::Json {
        let mut answer = answer;
        if let Some(fields) = answer.as_object_mut() {
            fields.insert("idempotency_key".to_owned(), key.into());
        }
        out.json(&answer)?;
    }
    Ok(Exit::Ok.into())
}

/// Whether the plan's guards let it through, as far as they may be overridden.
fn permitted(plan: &Plan, args: &ApplyArgs) -> Result<(), Failure> {
    if plan.allowed {
        return Ok(());
    }
    if let Some(denial) = plan.denial() {
        return Err(Failure::new(Exit::Refused, format!("refused: {denial}")));
    }
    if args.override_hold {
        return Ok(());
    }
    let hold = plan
        .hold()
        .unwrap_or_else(|| "the plan is not allowed".to_owned());
    Err(Failure::new(Exit::Refused, format!("on hold: {hold}"))
        .next("--override-hold goes on over it; the reason is recorded"))
}

/// What the person saw: told by flags, or by typing the service's name on a terminal.
fn confirmed(plan: &Plan, args: &ApplyArgs) -> Result<(String, String), Failure> {
    let seen = (plan.current.clone(), plan.target.clone());
    if let (Some(current), Some(target)) = (&args.expect_current, &args.expect_target) {
        let expected = (current.to_string(), target.to_string());
        if expected == seen || args.idempotency_key.is_some() {
            return Ok(expected);
        }
        let text = format!(
            "the plan goes from `{}` to `{}`, not from `{current}` to `{target}`",
            seen.0, seen.1
        );
        return Err(
            Failure::new(Exit::Conflict, text).next("look at `backstop rollback plan` again")
        );
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::usage("not confirmed: there is no terminal to ask on").next(format!(
                "--expect-current '{}' --expect-target '{}'",
                seen.0, seen.1
            )),
        );
    }
    let service = args.what.service.as_str();
    complain(&format!(
        "Type `{service}` to roll it back from {} to {}:",
        seen.0, seen.1
    ));
    let mut typed = String::new();
    let read = std::io::stdin().lock().read_line(&mut typed);
    read.map_err(|error| Failure::usage(format!("the terminal can't be read: {error}")))?;
    if typed.trim() == service {
        Ok(seen)
    } else {
        Err(Failure::usage("not confirmed: nothing was done"))
    }
}

async fn status(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let gateway = Gateway::new(&args.gateway)?;
    let mut out = Out::new(args.output.output);
    if args.wait {
        return follow::until_over(&gateway, &args.incident, args.wait_timeout, &mut out).await;
    }
    follow::once(&gateway, &args.incident, &mut out).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_full_or_names_batches() {
        let scope = |text: &str| text.parse::<ScopeArg>().map(|scope| scope.0);
        assert_eq!(scope("full"), Ok(Scope::Full));
        assert_eq!(scope("batch:2,1"), Ok(Scope::Batch(BTreeSet::from([1, 2]))));
        for wrong in ["", "batch", "batch:", "batch:x", "batch:0", "1", "Full"] {
            assert!(scope(wrong).is_err(), "{wrong}");
        }
    }
}
