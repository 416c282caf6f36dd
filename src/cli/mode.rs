//! `mode`: what automatic action may do, as people switched it above the policies.

use std::process::ExitCode;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::gateway::{Gateway, GatewayArgs, shape};
use super::output::{Out, OutputArgs};
use super::place::{ConfigArgs, open_store, store_failed};
use crate::app::modes::ModeStore;
use crate::config::load::Secrets;
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::id::{Env, Service};
use crate::domain::policy::Mode;
use crate::web::api::ModeSwitch;

const PATH: &[&str] = &["api", "v1", "mode"];

/// `mode …`
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// List the switches that are set.
    Get(Get),
    /// Set a switch; of all modes that apply the strictest wins.
    Set(Set),
}

/// Where the switches are.
#[derive(Debug, clap::Args)]
struct Place {
    /// In the configured store itself, when no gateway answers; every replica follows within 5 s.
    #[arg(long)]
    in_store: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// `mode get`
#[derive(Debug, clap::Args)]
pub struct Get {
    #[command(flatten)]
    place: Place,
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
    /// Who, where no token says it: with --in-store. Recorded.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "unknown")]
    by: String,
    #[command(flatten)]
    place: Place,
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
    /// None takes the switch back.
    fn mode(self) -> Option<Mode> {
        match self {
            Self::Off => Some(Mode::Off),
            Self::Shadow => Some(Mode::Shadow),
            Self::Approve => Some(Mode::Approve),
            Self::Enforce => Some(Mode::Enforce),
            Self::Clear => None,
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
        Verb::Get(args) if args.place.in_store => (in_store(&args.place, None).await?, args.output),
        Verb::Get(args) => (
            Gateway::new(&args.place.gateway)?.get(PATH).await?,
            args.output,
        ),
        Verb::Set(args) => {
            if args.reason.trim().is_empty() {
                return Err(Failure::usage("the reason is empty: it is recorded").into());
            }
            let answer = if args.place.in_store {
                in_store(&args.place, Some(&args)).await?
            } else {
                let body = json!({
                    "mode": args.mode.mode(),
                    "service": args.service,
                    "env": args.env,
                    "reason": args.reason,
                });
                let gateway = Gateway::new(&args.place.gateway)?;
                gateway.send(Method::PUT, PATH, &body, None).await?
            };
            (answer, args.output)
        }
    };
    let switches: Vec<Switch> = shape(&answer)?;
    Out::new(output.output).show(&answer, || table(&switches))?;
    Ok(Exit::Ok.into())
}

/// The switches of the store, after `change` was made.
async fn in_store(place: &Place, change: Option<&Set>) -> anyhow::Result<Value> {
    let config = place.config.load(Secrets::Read)?;
    let modes = ModeStore::new(open_store(&config)?);
    if let Some(change) = change {
        let mode = change.mode.mode();
        let switch = ModeSwitch {
            service: change.service.clone(),
            env: change.env.clone(),
            mode: mode.unwrap_or(Mode::Enforce),
            by: change.by.clone(),
            reason: change.reason.trim().to_owned(),
            at: SystemClock.now(),
        };
        let set = modes.set(switch, mode.is_none()).await;
        set.map_err(|error| store_failed(&error))?;
    }
    let switches = modes.switches().await;
    let switches = switches.map_err(|error| store_failed(&error))?;
    Ok(serde_json::to_value(&*switches)?)
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
