//! Answers of people: to questions about a rollback, and to an incident they take over.

use std::fmt::Write as _;
use std::process::ExitCode;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure};
use crate::cli::gateway::{Gateway, GatewayArgs, shape};
use crate::cli::output::{Out, OutputArgs};
use crate::domain::decision::Scope;
use crate::domain::id::{ApprovalId, IncidentId};

const APPROVALS: [&str; 3] = ["api", "v1", "approvals"];

/// `rollback approvals`
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Settled ones too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `rollback approve`, `deny` and `clear`
#[derive(Debug, clap::Args)]
pub struct AnswerArgs {
    /// The question, as the message or `rollback approvals` names it.
    approval: ApprovalId,
    /// Why; it is recorded and told.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `rollback abandon`
#[derive(Debug, clap::Args)]
pub struct AbandonArgs {
    /// The incident.
    incident: IncidentId,
    /// Why; it is recorded and told.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Deserialize)]
struct Question {
    id: ApprovalId,
    asked: Asked,
    outcome: Value,
}

#[derive(Debug, Deserialize)]
struct Asked {
    service: String,
    env: String,
    release_id: String,
    scope: Scope,
    target: String,
    expires: String,
}

impl Question {
    /// `open`, `approved`, …; an outcome with facts is an object of its name.
    fn state(&self) -> &str {
        match &self.outcome {
            Value::String(word) => word,
            Value::Object(fields) => fields.keys().next().map_or("?", String::as_str),
            _ => "?",
        }
    }

    fn by(&self) -> Option<String> {
        let answer = self.outcome.get(self.state())?;
        let (by, why) = (answer.get("by")?.as_str()?, answer.get("reason")?.as_str()?);
        Some(format!(" by {by}: {why}"))
    }

    fn line(&self) -> String {
        let asked = &self.asked;
        let mut line = format!(
            "{}: {} {}: {} of {} back to {}: {}{}",
            self.id,
            asked.service,
            asked.env,
            asked.scope,
            asked.release_id,
            asked.target,
            self.state(),
            self.by().unwrap_or_default(),
        );
        if self.state() == "open" {
            let _infallible = write!(line, " until {}", asked.expires);
        }
        line
    }
}

pub(super) async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    #[derive(Deserialize)]
    struct Listed {
        items: Vec<Value>,
    }
    let answer = Gateway::new(&args.gateway)?.get(&APPROVALS).await?;
    let Listed { items } = shape(&answer)?;
    let mut shown = Vec::new();
    for item in items {
        let question: Question = shape(&item)?;
        if args.all || question.state() == "open" {
            shown.push((item, question.line()));
        }
    }
    let (items, lines): (Vec<Value>, Vec<String>) = shown.into_iter().unzip();
    Out::new(args.output.output).show(&items, || match lines.as_slice() {
        [] => "nothing waits for an answer".to_owned(),
        lines => lines.join("\n"),
    })?;
    Ok(Exit::Ok.into())
}

pub(super) async fn answer(args: AnswerArgs, answer: &str) -> anyhow::Result<ExitCode> {
    #[derive(Deserialize)]
    struct Answered {
        approval: Question,
        recorded: bool,
    }
    let reason = reason(&args.reason)?;
    let gateway = Gateway::new(&args.gateway)?;
    let [api, v1, approvals] = APPROVALS;
    let path = [api, v1, approvals, args.approval.as_str()];
    let body = json!({"answer": answer, "reason": reason});
    let reply = gateway.send(Method::POST, &path, &body, None).await;
    let reply = reply.map_err(|failure| match failure.exit {
        Exit::Conflict => {
            failure.next("a question gets one answer: `backstop rollback approvals --all`")
        }
        _ => failure,
    })?;
    let Answered { approval, recorded } = shape(&reply)?;
    Out::new(args.output.output).show(&reply, || {
        let before = if recorded { "" } else { " (it was before)" };
        format!("{}{before}", approval.line())
    })?;
    Ok(Exit::Ok.into())
}

pub(super) async fn abandon(args: AbandonArgs) -> anyhow::Result<ExitCode> {
    let body = json!({"reason": reason(&args.reason)?});
    let gateway = Gateway::new(&args.gateway)?;
    let path = ["api", "v1", "incidents", args.incident.as_str(), "abandon"];
    let reply = gateway.send(Method::POST, &path, &body, None).await;
    let reply = reply.map_err(|failure| match failure.exit {
        Exit::Conflict => failure.next("what is over can't be given up"),
        _ => failure,
    })?;
    Out::new(args.output.output).show(&reply, || {
        format!(
            "{}: given up; nothing more of it is sent or let in, what was let in is followed to its end",
            args.incident
        )
    })?;
    Ok(Exit::Ok.into())
}

fn reason(text: &str) -> Result<&str, Failure> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::usage(
            "the reason is empty: it is recorded and told",
        ));
    }
    Ok(text)
}
