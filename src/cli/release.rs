//! `release`: what a person or CI does with releases, in the store itself.

mod publish;

use std::process::ExitCode;

use super::exit::{Exit, Failure};
use super::output::{Out, OutputArgs};
use super::place::{ConfigArgs, open_store, store_failed};
use crate::config::load::Secrets;
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::id::{ReleaseId, Service};
use crate::domain::release::{Mark, MarkKind, Release};
use crate::store::{Store, StoreError, chain, keys};

/// `release …`
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Write a release down, once: what was built, from what, by whom.
    Publish(Box<publish::Args>),
    /// Vouch for a release, refuse it, or take that back.
    Mark(MarkArgs),
    /// List a service's releases, newest first.
    List(ListArgs),
}

/// `release mark`
#[derive(Debug, clap::Args)]
pub struct MarkArgs {
    /// stable: a person vouches for it. bad: never a target. clear: neither.
    #[arg(value_enum)]
    mark: Word,
    /// The release: `<service>@<version>`.
    release: ReleaseId,
    /// Why; it is recorded.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who; it is recorded.
    #[arg(long, value_name = "NAME", env = "USER")]
    by: String,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `release list`
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Whose; left out: of all services.
    service: Option<Service>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Word {
    /// A person vouches for it.
    Stable,
    /// Never a target.
    Bad,
    /// Neither.
    Clear,
}

impl Word {
    fn kind(self) -> MarkKind {
        match self {
            Self::Stable => MarkKind::Stable,
            Self::Bad => MarkKind::Bad,
            Self::Clear => MarkKind::Clear,
        }
    }
}

pub(super) async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Publish(args) => publish::run(*args).await,
        Verb::Mark(args) => mark(args).await,
        Verb::List(args) => list(args).await,
    }
}

async fn mark(args: MarkArgs) -> anyhow::Result<ExitCode> {
    let reason = args.reason.trim();
    if reason.is_empty() {
        return Err(Failure::usage("the reason is empty: it is recorded").into());
    }
    let config = args.config.load(Secrets::Read)?;
    let store = open_store(&config)?;
    let id = &args.release;
    let service = id.service();
    let service = service.ok_or_else(|| {
        Failure::usage(format!(
            "`{id}` is no release: it must be <service>@<version>"
        ))
    })?;
    let known = store.get::<Release>(&keys::release(&service, id)).await;
    if known.map_err(|error| store_failed(&error))?.is_none() {
        return Err(
            Failure::new(Exit::Findings, format!("there is no release `{id}`"))
                .next(format!(
                    "`backstop release list {service}` shows what there is"
                ))
                .into(),
        );
    }
    let kind = args.mark.kind();
    let mark = append(&store, id, kind, reason, &args.by)
        .await
        .map_err(|error| store_failed(&error))?;
    let text = || match &mark {
        Appended::New(mark) => format!("{id}: marked {}", word(mark.kind)),
        Appended::Already(mark) => {
            format!(
                "{id}: already marked {} by {}: {}",
                word(mark.kind),
                mark.by,
                mark.reason
            )
        }
    };
    let (Appended::New(document) | Appended::Already(document)) = &mark;
    Out::new(args.output.output).show(document, text)?;
    Ok(Exit::Ok.into())
}

enum Appended {
    New(Mark),
    Already(Mark),
}

/// Appends to the release's chain of marks; the same kind again changes nothing.
async fn append(
    store: &Store,
    id: &ReleaseId,
    kind: MarkKind,
    reason: &str,
    by: &str,
) -> Result<Appended, StoreError> {
    if let Some(newest) = newest(store, id).await?
        && newest.kind == kind
    {
        return Ok(Appended::Already(newest));
    }
    let mark = Mark {
        release_id: id.clone(),
        kind,
        reason: reason.to_owned(),
        by: by.to_owned(),
        at: SystemClock.now(),
        incident: None,
    };
    crate::publish::mark(store, &mark).await?;
    Ok(Appended::New(mark))
}

async fn newest(store: &Store, id: &ReleaseId) -> Result<Option<Mark>, StoreError> {
    let marks = chain::read_from::<Mark>(store, &keys::marks(id), 1).await?;
    Ok(marks.into_iter().next_back().map(|(_, mark)| mark))
}

fn word(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Stable => "stable",
        MarkKind::Bad => "bad",
        MarkKind::Clear => "clear",
    }
}

#[derive(serde::Serialize)]
struct Listed {
    #[serde(flatten)]
    release: Release,
    mark: Option<Mark>,
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let config = args.config.load(Secrets::Read)?;
    let store = open_store(&config)?;
    let prefix = match &args.service {
        Some(service) => format!("releases/{service}"),
        None => "releases".to_owned(),
    };
    let names = store
        .list(&prefix)
        .await
        .map_err(|error| store_failed(&error))?;
    let mut releases = Vec::new();
    for name in &names {
        let release = store.get::<Release>(name).await;
        releases.extend(release.map_err(|error| store_failed(&error))?);
    }
    releases.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(b.id.cmp(&a.id)));
    releases.truncate(args.limit);
    let mut listed = Vec::new();
    for release in releases {
        let mark = newest(&store, &release.id).await;
        let mark = mark.map_err(|error| store_failed(&error))?;
        let mark = mark.filter(|mark| mark.kind != MarkKind::Clear);
        listed.push(Listed { release, mark });
    }
    Out::new(args.output.output).show(&listed, || table(&listed))?;
    Ok(Exit::Ok.into())
}

fn table(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "no releases".to_owned();
    }
    let line = |one: &Listed| {
        let Release {
            id,
            created_at,
            created_by,
            checksum,
            ..
        } = &one.release;
        let short: String = checksum.chars().take(12).collect();
        let mark = one.mark.as_ref().map_or(String::new(), |mark| {
            format!("  {} by {}: {}", word(mark.kind), mark.by, mark.reason)
        });
        format!("{id}  {created_at}  {created_by}  sha256:{short}{mark}")
    };
    listed.iter().map(line).collect::<Vec<_>>().join("\n")
}
