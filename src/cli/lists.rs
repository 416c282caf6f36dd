//! `deployment`, `instance`: what a gateway knows of deployments and of the hosts they reached.

use std::process::ExitCode;

use super::exit::Exit;
use super::gateway::{Gateway, GatewayArgs, shape};
use super::output::{Out, OutputArgs};
use crate::domain::deployment::Instance;
use crate::domain::id::{DeploymentId, Env, Host, ReleaseId, Service};
use crate::web::api::{DeploymentState, Page};

/// `deployment …`
#[derive(Debug, clap::Subcommand)]
pub enum DeploymentVerb {
    /// List deployments with the progress of their batches, newest first.
    List(Args),
}

/// `instance …`
#[derive(Debug, clap::Subcommand)]
pub enum InstanceVerb {
    /// List which host ran which release, and when, newest first.
    List(InstanceArgs),
}

/// What of a list is wanted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of this service.
    service: Option<Service>,
    /// Of this environment.
    #[arg(long, value_name = "NAME")]
    env: Option<Env>,
    /// Of this release.
    #[arg(long, value_name = "ID")]
    release: Option<ReleaseId>,
    /// This deployment only.
    #[arg(long, value_name = "ID")]
    deployment: Option<DeploymentId>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `instance list`
#[derive(Debug, clap::Args)]
pub struct InstanceArgs {
    /// On this host.
    #[arg(long, value_name = "NAME")]
    host: Option<Host>,
    #[command(flatten)]
    args: Args,
}

pub(super) async fn deployments(verb: DeploymentVerb) -> anyhow::Result<ExitCode> {
    let DeploymentVerb::List(args) = verb;
    let page: Page<DeploymentState> = ask(&args, "deployments", None).await?;
    let lines = page.items.iter().map(deployment);
    show(&args, &page, lines.collect())
}

pub(super) async fn instances(verb: InstanceVerb) -> anyhow::Result<ExitCode> {
    let InstanceVerb::List(InstanceArgs { host, args }) = verb;
    let page: Page<Instance> = ask(&args, "instances", host.as_ref()).await?;
    let lines = page.items.iter().map(instance);
    show(&args, &page, lines.collect())
}

async fn ask<T: serde::de::DeserializeOwned>(
    args: &Args,
    list: &str,
    host: Option<&Host>,
) -> anyhow::Result<Page<T>> {
    let limit = args.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    let parts = [
        ("service", args.service.as_ref().map(Service::as_str)),
        ("env", args.env.as_ref().map(Env::as_str)),
        ("release_id", args.release.as_ref().map(ReleaseId::as_str)),
        (
            "deployment_id",
            args.deployment.as_ref().map(DeploymentId::as_str),
        ),
        ("host", host.map(Host::as_str)),
    ];
    let parts = parts.into_iter();
    query.extend(parts.filter_map(|(name, value)| Some((name, value?))));
    let gateway = Gateway::new(&args.gateway)?;
    Ok(shape(&gateway.query(&["api", "v1", list], &query).await?)?)
}

fn show<T: serde::Serialize>(
    args: &Args,
    page: &Page<T>,
    mut lines: Vec<String>,
) -> anyhow::Result<ExitCode> {
    if lines.is_empty() {
        lines.push("none".to_owned());
    }
    if page.stale {
        lines.push(format!("  stale: as of {:.0}", page.as_of));
    }
    if page.more {
        lines.push("  there are more: --limit".to_owned());
    }
    Out::new(args.output.output).show(page, || lines.join("\n"))?;
    Ok(Exit::Ok.into())
}

fn deployment(one: &DeploymentState) -> String {
    let (progress, what) = (&one.progress, &one.deployment);
    let started = what
        .started_at
        .map_or_else(|| "not started".to_owned(), |at| format!("{at:.0}"));
    let mut line = format!(
        "{}  {}  {}  {}  {}  {}/{} batches  {}/{} hosts  {}",
        what.id,
        what.release_id,
        what.env,
        word(&what.status),
        word(&one.phase),
        progress.batches_done,
        progress.batches,
        progress.hosts_reached,
        progress.hosts,
        started
    );
    if what.is_rollback {
        line.push_str("  rollback");
    }
    line
}

fn instance(one: &Instance) -> String {
    let moment = |at: Option<jiff::Timestamp>| at.map_or_else(String::new, |at| format!("{at:.0}"));
    format!(
        "{}  {}  {}  batch {}  {}  {}  from {}  to {}",
        one.host,
        one.release_id,
        one.env,
        one.batch,
        word(&one.status),
        word(&one.health_status),
        moment(one.from),
        moment(one.to)
    )
}

/// A value's word in documents.
fn word(value: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).unwrap_or_default();
    word.as_str().unwrap_or("?").to_owned()
}
