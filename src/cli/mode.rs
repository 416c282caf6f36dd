//! `mode`: what automatic action may do, as people switched it above the policies.

use std::process::ExitCode;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::gateway::{Gateway, GatewayArgs, shape};
use super::output::{Out, OutputArgs};
use crate::domain::id::{Env, Service};

const PATH: &[&str] = &["api", "v1", "mode"];

/// `mode …`
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// List the switches that are set.
    Get(Get),
    /// Set a switch; of all modes that apply the strictest wins.
    Set(Set),
}

/// `mode get`
#[derive(Debug, clap::Args)]
pub struct Get {
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `mode set`
#[derive(Debug, clap::Args)]
pub struct Set {
    /// off, shadow, approve, enforce; clear takes the switch back.
    #[arg(value_enum)]
    mode: Word,
    /// Only this service.
    #[arg(long, value_name = "NAME")]
    service: Option<Service>,
    /// Only this environment.
    #[arg(long, value_name = "NAME")]
    env: Option<Env>,
    /// Why; it is recorded.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Word {
    /// Nothing is decided.
    Off,
    /// Decided and told, never done.
    Shadow,
    /// Done after a person says yes.
    Approve,
    /// Done.
    Enforce,
    /// No switch here any more.
    Clear,
}

impl Word {
    fn body(self) -> Value {
        match self {
            Self::Off => "off".into(),
            Self::Shadow => "shadow".into(),
            Self::Approve => "approve".into(),
            Self::Enforce => "enforce".into(),
            Self::Clear => Value::Null,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Switch {
    service: Option<String>,
    env: Option<String>,
    mode: String,
    by: String,
    reason: String,
    at: String,
}

pub(super) async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let (answer, output) = match verb {
        Verb::Get(args) => (Gateway::new(&args.gateway)?.get(PATH).await?, args.output),
        Verb::Set(args) => {
            if args.reason.trim().is_empty() {
                return Err(Failure::usage("the reason is empty: it is recorded").into());
            }
            let body = json!({
                "mode": args.mode.body(),
                "service": args.service,
                "env": args.env,
                "reason": args.reason,
            });
            let gateway = Gateway::new(&args.gateway)?;
            (
                gateway.send(Method::PUT, PATH, &body, None).await?,
                args.output,
            )
        }
    };
    let switches: Vec<Switch> = shape(&answer)?;
    Out::new(output.output).show(&answer, || table(&switches))?;
    Ok(Exit::Ok.into())
}

fn table(switches: &[Switch]) -> String {
    if switches.is_empty() {
        return "no switch is set: the policies' modes apply".to_owned();
    }
    let line = |switch: &Switch| {
        let service = switch.service.as_deref().unwrap_or("all services");
        let env = switch.env.as_deref().unwrap_or("everywhere");
        format!(
            "{}: {service}, {env}: {} (by {}, {})",
            switch.mode, switch.reason, switch.by, switch.at
        )
    };
    switches.iter().map(line).collect::<Vec<_>>().join("\n")
}
