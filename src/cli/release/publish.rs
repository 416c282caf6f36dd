//! `release publish`: run in CI once the artifact is built.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Out, OutputArgs};
use crate::cli::place::{ConfigArgs, open_store, store_failed};
use crate::cli::probe;
use crate::config::load::Secrets;
use crate::config::{Config, DeployPipeline, ServiceConfig, StoreSettings};
use crate::domain::clock::SystemClock;
use crate::domain::id::{ReleaseId, Service};
use crate::domain::release::Release;
use crate::publish::{
    Artifacts, Content, File, Order, Outcome, PublishError, PublishRequest, StartError, Started,
    UploadError, publish, published, release_id, start,
};
use crate::spinnaker::TriggerError;

/// `release publish`
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("what").required(true).args(["artifact", "checksum"])),
    group(clap::ArgGroup::new("where").required(true).args(["artifact_url", "upload"])),
    group(clap::ArgGroup::new("settings").args(["settings_file", "settings_checksum"]))
)]
pub struct Args {
    /// Whose.
    service: Service,
    /// The git tag; the version is the tag without the service's `tag_prefix`.
    #[arg(long)]
    tag: String,
    /// Where hosts fetch the artifact from; it is there already.
    #[arg(long, value_name = "URL")]
    artifact_url: Option<String>,
    /// Put the files there first, such as `s3://artifacts` (with the endpoint and keys of `store`)
    /// or `file:/srv/artifacts`: below `<service>/<version>/<checksum>/`, never over another file.
    #[arg(long, value_name = "URL", requires = "artifact", conflicts_with_all = ["settings_url", "settings_checksum"])]
    upload: Option<String>,
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
    /// Start this deploy pipeline of the service with the release, unless that was done before.
    #[arg(long, value_name = "PIPELINE")]
    deploy: Option<String>,
    /// One more parameter of it; may be given several times.
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter, requires = "deploy")]
    parameters: Vec<(String, String)>,
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
    // Before anything is written: a name that is wrong would leave a release without a deployment.
    let pipeline = match &args.deploy {
        Some(name) => Some(pipeline(known, name)?),
        None => None,
    };
    let prefix = known.map_or("", |service| service.tag_prefix.as_str());
    let id = release_id(&args.service, &args.tag, prefix).map_err(|error| failed(&error))?;
    let artifacts = args.upload.as_ref();
    let artifacts = artifacts.map(|place| artifacts_at(place, &config));
    let artifacts = artifacts.transpose()?;
    let request = request(&args, prefix, &id, artifacts.as_ref()).await?;
    let before = published(&request, &store, &SystemClock).await;
    let before = before.map_err(|error| failed(&error))?;
    if let (None, Some(artifacts)) = (before, &artifacts) {
        for file in args.artifact.iter().chain(&args.settings_file) {
            let uploaded = artifacts.upload(&id, file).await;
            uploaded.map_err(|error| not_uploaded(&error))?;
        }
    }
    let outcome = publish(&request, &store, &SystemClock).await;
    let (release, created) = match outcome.map_err(|error| failed(&error))? {
        Outcome::Created(release) => (release, true),
        Outcome::AlreadySame(release) => (release, false),
    };
    let started = match pipeline {
        Some((service, pipeline)) => {
            Some(deploy(&args, &config, service, pipeline, &release).await?)
        }
        None => None,
    };
    show(&args, &release, created, started.as_ref())?;
    Ok(Exit::Ok.into())
}

fn show(
    args: &Args,
    release: &Release,
    created: bool,
    started: Option<&Started>,
) -> anyhow::Result<()> {
    let execution = started.map_or(Value::Null, |started| match started {
        Started::Now(id) => json!({"id": id, "started": true}),
        Started::Before(id, status) => json!({"id": id, "started": false, "status": status}),
    });
    let document = json!({"created": created, "release": release, "execution": execution});
    Out::new(args.output.output).show(&document, || {
        let (id, checksum) = (&release.id, &release.checksum);
        let word = if created {
            "published"
        } else {
            "already published, the same"
        };
        let deployed = started.map_or(String::new(), |started| match started {
            Started::Now(execution) => format!("\n{id}: deploys as execution {execution}"),
            Started::Before(execution, status) => {
                format!("\n{id}: was deployed before, as execution {execution} ({status})")
            }
        });
        format!("{id}: {word} (sha256 {checksum}){deployed}")
    })?;
    Ok(())
}

/// What is published, each file with the address it has or will have.
async fn request(
    args: &Args,
    tag_prefix: &str,
    id: &ReleaseId,
    artifacts: Option<&Artifacts>,
) -> anyhow::Result<PublishRequest> {
    let uploaded = async |file: Option<&PathBuf>| match (artifacts, file) {
        (Some(artifacts), Some(file)) => {
            let url = artifacts.url_of(id, file).await;
            url.map(Some).map_err(|error| not_uploaded(&error))
        }
        _ => Ok(None),
    };
    let url = uploaded(args.artifact.as_ref()).await?;
    let url = url.or_else(|| args.artifact_url.clone());
    let settings = uploaded(args.settings_file.as_ref()).await?;
    let settings = settings.or_else(|| args.settings_url.clone());
    if settings.is_none() && (args.settings_file.is_some() || args.settings_checksum.is_some()) {
        return Err(Failure::usage("`--settings-url` says where the configuration is").into());
    }
    let config = settings.map(|url| {
        let content = content(args.settings_file.clone(), args.settings_checksum.clone());
        content.map(|content| File { url, content })
    });
    Ok(PublishRequest {
        service: args.service.clone(),
        tag: args.tag.clone(),
        tag_prefix: tag_prefix.to_owned(),
        artifact: File {
            url: url.unwrap_or_default(),
            content: content(args.artifact.clone(), args.checksum.clone())?,
        },
        config: config.transpose()?,
        commit: args.commit.clone(),
        by: args.by.clone(),
        reversible: !args.irreversible,
    })
}

/// The place for artifacts, with the login of the store.
fn artifacts_at(place: &str, config: &Config) -> Result<Artifacts, Failure> {
    let settings = StoreSettings {
        url: place.to_owned(),
        ..config.store.clone()
    };
    Artifacts::open(&settings).map_err(|error| Failure::usage(error.to_string()))
}

fn pipeline<'a>(
    service: Option<&'a ServiceConfig>,
    name: &str,
) -> Result<(&'a ServiceConfig, &'a DeployPipeline), Failure> {
    let service =
        service.ok_or_else(|| Failure::usage("the configuration names no such service"))?;
    let mut known = service.deploy.iter();
    let pipeline = known.find(|one| one.pipeline == name).ok_or_else(|| {
        let known: Vec<&str> = service
            .deploy
            .iter()
            .map(|one| one.pipeline.as_str())
            .collect();
        let text = format!("`{name}` is no deploy pipeline of this service");
        Failure::usage(text).next(format!("it has: {}", known.join(", ")))
    })?;
    Ok((service, pipeline))
}

/// Starts the pipeline with the parameter that `sync` and the gateway read the release from.
async fn deploy(
    args: &Args,
    config: &Config,
    service: &ServiceConfig,
    pipeline: &DeployPipeline,
    release: &Release,
) -> anyhow::Result<Started> {
    let Some(spinnaker) = &config.spinnaker else {
        let failure = Failure::usage("there is no `spinnaker` in the configuration");
        return Err(failure.next("set `spinnaker.gate`").into());
    };
    let field = pipeline.release.only_field();
    let name = field.and_then(|field| field.strip_prefix("parameters."));
    let name = name.ok_or_else(|| {
        let text =
            "the pipeline's `release` is more than one parameter: nobody can tell what to send";
        Failure::usage(text).next("`release: \"{parameters.NAME}\"`")
    })?;
    let mut parameters: BTreeMap<String, String> = args.parameters.iter().cloned().collect();
    parameters.insert(name.to_owned(), release.id.to_string());
    let order = Order {
        application: &service.application,
        pipeline: &pipeline.pipeline,
        parameters,
        release,
        by: &args.by,
    };
    let started = start(&probe::gate(spinnaker)?, &order).await;
    Ok(started.map_err(|error| not_started(&error))?)
}

/// `NAME=VALUE`
fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
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

fn not_uploaded(error: &UploadError) -> Failure {
    let exit = match error {
        UploadError::Open(_) | UploadError::File { .. } | UploadError::Unfit { .. } => Exit::Usage,
        UploadError::Conflict { .. } => Exit::Conflict,
        UploadError::Store { .. } => Exit::Unreachable,
    };
    Failure::new(exit, error.to_string())
}

fn not_started(error: &StartError) -> Failure {
    let exit = match error {
        StartError::NoPipeline { .. } => Exit::Usage,
        StartError::Trigger {
            source: TriggerError::Refused { .. },
            ..
        } => Exit::Findings,
        StartError::Gate(_) | StartError::Trigger { .. } => Exit::Unreachable,
    };
    Failure::new(exit, format!("the release is published; {error}"))
        .next("run the same command again: it starts the pipeline only if that was not done")
}
