//! `schema`: JSON schemas of the files people write and the documents the gateway keeps.

use std::process::ExitCode;

use clap::ValueEnum;
use schemars::{Schema, schema_for};

use super::exit::Exit;
use super::output::{Format, Out};
use crate::config::{agent, canary, policy, raw};
use crate::domain::{alert, deployment, lane, record, release};
use crate::notify::channel::webhook::Payload;
use crate::rehearsal;
use crate::report::Record;

/// `schema`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of what; left out: of everything, in one object.
    #[arg(value_name = "KIND", value_enum)]
    of: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// `backstop.yaml`.
    Config,
    /// A file of `channels/`.
    Channel,
    /// A file of `rules/policy/`.
    Policy,
    /// A file of `rules/canary/`.
    Canary,
    /// A file of `rules/tests/`.
    RuleTest,
    /// A `--web.config.file`.
    WebConfig,
    /// `agent.yaml`.
    Agent,
    /// A release's document.
    Release,
    /// A deployment.
    Deployment,
    /// An instance record.
    Instance,
    /// An alert.
    Alert,
    /// An incident.
    Incident,
    /// A decision.
    Decision,
    /// The record of an incident's report.
    Report,
    /// What a `webhook` channel posts.
    Webhook,
}

impl Kind {
    fn schema(self) -> Schema {
        match self {
            Self::Config => schema_for!(raw::RawConfig),
            Self::Channel => schema_for!(raw::RawChannel),
            Self::Policy => policy::schema(),
            Self::Canary => canary::schema(),
            Self::RuleTest => rehearsal::schema(),
            Self::WebConfig => schema_for!(raw::RawWebConfig),
            Self::Agent => schema_for!(agent::RawAgent),
            Self::Release => schema_for!(release::Release),
            Self::Deployment => schema_for!(deployment::Deployment),
            Self::Instance => schema_for!(deployment::Instance),
            Self::Alert => schema_for!(alert::Alert),
            Self::Incident => schema_for!(lane::Incident),
            Self::Decision => schema_for!(record::DecisionRecord),
            Self::Report => schema_for!(Record),
            Self::Webhook => schema_for!(Payload<'_>),
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = Out::new(Format::Json);
    if let Some(kind) = args.of {
        out.json(&kind.schema())?;
    } else {
        let named = Kind::value_variants().iter().filter_map(|kind| {
            let name = kind.to_possible_value()?.get_name().to_owned();
            Some((name, kind.schema().to_value()))
        });
        out.json(&named.collect::<serde_json::Map<_, _>>())?;
    }
    Ok(Exit::Ok.into())
}
