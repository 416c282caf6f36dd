//! `release publish`: run in CI once the artifact is where hosts fetch it from.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Out, OutputArgs};
use crate::cli::place::{ConfigArgs, open_store, store_failed};
use crate::config::load::Secrets;
use crate::domain::clock::SystemClock;
use crate::domain::id::Service;
use crate::publish::{Content, File, Outcome, PublishError, PublishRequest, publish};

/// `release publish`
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("what").required(true).args(["artifact", "checksum"])),
    group(clap::ArgGroup::new("settings").args(["settings_file", "settings_checksum"]).requires("settings_url"))
)]
pub struct Args {
    /// Whose.
    service: Service,
    /// The git tag; the version is the tag without the service's `tag_prefix`.
    #[arg(long)]
    tag: String,
    /// Where hosts fetch the artifact from.
    #[arg(long, value_name = "URL")]
    artifact_url: String,
    /// The artifact itself: its checksum is taken from it.
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
    /// Its SHA-256, where the file is not here.
    #[arg(long, value_name = "SHA256")]
    checksum: Option<String>,
    /// Where hosts fetch the release's own configuration from, if it has one.
    #[arg(long, value_name = "URL", requires = "settings")]
    settings_url: Option<String>,
    /// That configuration itself: its checksum is taken from it.
    #[arg(long, value_name = "FILE")]
    settings_file: Option<PathBuf>,
    /// Its SHA-256, where the file is not here.
    #[arg(long, value_name = "SHA256")]
    settings_checksum: Option<String>,
    /// The commit the tag points at.
    #[arg(long, value_name = "HASH")]
    commit: Option<String>,
    /// Who or what publishes; it is recorded.
    #[arg(long, value_name = "NAME", env = "USER")]
    by: String,
    /// Going back over this release would break data, such as after a migration.
    #[arg(long)]
    irreversible: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load(Secrets::Read)?;
    let store = open_store(&config)?;
    let known = config.services.get(&args.service);
    if known.is_none() && !config.services.is_empty() {
        tracing::warn!(service.name = %args.service, "the configuration names no such service");
    }
    let tag_prefix = known.map_or_else(String::new, |service| service.tag_prefix.clone());
    let settings = args.settings_url.map(|url| {
        let content = content(args.settings_file, args.settings_checksum);
        content.map(|content| File { url, content })
    });
    let request = PublishRequest {
        service: args.service,
        tag: args.tag,
        tag_prefix,
        artifact: File {
            url: args.artifact_url,
            content: content(args.artifact, args.checksum)?,
        },
        config: settings.transpose()?,
        commit: args.commit,
        by: args.by,
        reversible: !args.irreversible,
    };
    let outcome = publish(&request, &store, &SystemClock).await;
    let (release, word) = match outcome.map_err(|error| failed(&error))? {
        Outcome::Created(release) => (release, "published"),
        Outcome::AlreadySame(release) => (release, "already published, the same"),
    };
    let document = json!({"created": word == "published", "release": release});
    Out::new(args.output.output).show(&document, || {
        format!("{}: {word} (sha256 {})", release.id, release.checksum)
    })?;
    Ok(Exit::Ok.into())
}

/// One of the two, as the argument groups see to.
fn content(file: Option<PathBuf>, checksum: Option<String>) -> Result<Content, Failure> {
    match (file, checksum) {
        (Some(file), None) => Ok(Content::Local(file)),
        (None, Some(checksum)) => Ok(Content::Checksum(checksum)),
        _ => Err(Failure::usage(
            "a file or its checksum is needed, and not both",
        )),
    }
}

fn failed(error: &PublishError) -> Failure {
    match error {
        PublishError::Tag { .. } | PublishError::File { .. } | PublishError::Checksum(_) => {
            Failure::usage(error.to_string())
        }
        PublishError::Conflict { .. } => Failure::new(Exit::Conflict, error.to_string())
            .next("a version is written once: publish another one, or find out who moved the tag"),
        PublishError::Store(error) => store_failed(error),
    }
}
