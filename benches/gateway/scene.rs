//! A fleet for the gateway: services of two hosts, each with a good release and a bad one that
//! has soaked, in the store as `sync` and `release publish` write them.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use backstop::domain::clock;
use backstop::domain::deployment::{Batch, Deployment, Status, Strategy};
use backstop::domain::id::{DeploymentId, Env, Host, ReleaseId, Service};
use backstop::domain::release::Release;
use backstop::store::{Store, StoreSettings, chain, keys};
use jiff::Timestamp;

use crate::metrics_stub::DEPLOYED;
use crate::target;

/// How many services.
pub(crate) const SERVICES: usize = 48;
/// A deployment is full after it.
const SOAK: Duration = Duration::from_mins(5);

/// Whether rules act in a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They do, and people are told.
    Enforce,
    /// They only judge, and nobody is told.
    Shadow,
}

/// The services' names.
pub(crate) fn services() -> Vec<String> {
    (0..SERVICES).map(|n| format!("shop-{n:02}")).collect()
}

/// The hosts of a service.
pub(crate) fn hosts(service: &str) -> [String; 2] {
    [1, 2].map(|n| format!("{service}-vm{n}"))
}

/// Writes the releases and deployments of every service.
///
/// # Errors
/// When the store can't be written.
pub(crate) async fn fill(store: &Store, now: Timestamp) -> anyhow::Result<()> {
    for name in services() {
        let service = Service::new(&name)?;
        let starts = [Duration::from_hours(20), DEPLOYED];
        for (version, ago) in ["1", "2"].into_iter().zip(starts) {
            let started = clock::before(now, ago);
            let release = release(&service, version, started)?;
            let key = keys::release(&service, &release.id);
            store.create(&key, &release).await?;
            let deployment = deployment(&service, &release.id, started)?;
            let chain = keys::deployment(&service, &deployment.env, &deployment.id);
            chain::append(store, &chain, 1, &deployment).await?;
        }
    }
    Ok(())
}

fn release(service: &Service, version: &str, created_at: Timestamp) -> anyhow::Result<Release> {
    Ok(Release {
        id: ReleaseId::of(service, version)?,
        service: service.clone(),
        tag: format!("v{version}"),
        version: version.to_owned(),
        artifact_url: format!("http://127.0.0.1/{service}-{version}"),
        checksum: "0".repeat(64),
        config: None,
        commit: None,
        reversible: true,
        created_at,
        created_by: "ci".to_owned(),
    })
}

fn deployment(
    service: &Service,
    release_id: &ReleaseId,
    started: Timestamp,
) -> anyhow::Result<Deployment> {
    let hosts: Vec<Host> = hosts(service.as_str())
        .into_iter()
        .map(Host::new)
        .collect::<Result<_, _>>()?;
    let finished = clock::after(started, Duration::from_mins(2));
    Ok(Deployment {
        id: DeploymentId::new(format!("{service}-{}", release_id.version()))?,
        release_id: release_id.clone(),
        service: service.clone(),
        env: Env::new("prod")?,
        strategy: Strategy::Canary,
        target_hosts: hosts.clone(),
        batches: vec![Batch {
            n: 1,
            hosts,
            status: Status::Success,
            started_at: Some(started),
            finished_at: Some(finished),
        }],
        status: Status::Success,
        started_at: Some(started),
        finished_at: Some(finished),
        soak: SOAK,
        application: service.as_str().to_owned(),
        pipeline: "deploy-prod".to_owned(),
        is_rollback: false,
    })
}

/// The lines of `store:`, its keys in files.
fn place(folder: &Path, store: &StoreSettings) -> anyhow::Result<String> {
    let mut place = format!("url: \"{}\"", store.url);
    if let Some(endpoint) = &store.endpoint {
        let _infallible = write!(place, ", endpoint: \"{endpoint}\"");
    }
    if let Some((id, key)) = &store.keys {
        let (id_file, key_file) = (folder.join("s3-id"), folder.join("s3-key"));
        target::write(&id_file, id)?;
        target::write(&key_file, key.expose())?;
        let _infallible = write!(
            place,
            ", access_key_id: {{file: {}}}, secret_access_key: {{file: {}}}",
            id_file.display(),
            key_file.display()
        );
    }
    Ok(place)
}

/// Writes the configuration of a gateway over that fleet.
///
/// # Errors
/// When a file can't be written.
pub(crate) fn configure(
    folder: &Path,
    mode: Mode,
    (metrics, gate, sink): (&str, &str, &str),
    store: &StoreSettings,
) -> anyhow::Result<()> {
    let mut text = format!(
        "store: {{{}}}\nmetrics: {{url: {metrics}}}\n\
         vmalert: [{{url: {metrics}}}]\n\
         spinnaker: {{gate: {gate}, basic: {{username: gateway, password: {{file: {}}}}}}}\n\
         budget: {{per_service: 1 per 30m, overall: 1000 per 10m}}\n",
        place(folder, store)?,
        folder.join("gate-password").display()
    );
    target::write(&folder.join("gate-password"), "gate-password\n")?;
    let mut channels = "";
    if mode == Mode::Enforce {
        text.push_str("default_channels: [ops]\n");
        target::channel(folder, sink)?;
        channels = "    channels: [ops]\n";
    }
    text.push_str("services:\n");
    for service in services() {
        let _infallible = write!(
            text,
            "  {service}:\n    application: {service}\n    deploy:\n      \
             - {{pipeline: deploy-prod, env: prod, strategy: canary, soak: 5m, release: \"{{parameters.release_id}}\"}}\n    \
             rollback:\n      \
             full: {{pipeline: rollback-full, parameters: {{release: \"{{target.release_id}}\", incident: \"{{incident.id}}\", attempt: \"{{attempt}}\"}}}}\n"
        );
    }
    target::write(&folder.join("backstop.yaml"), &text)?;
    let word = match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
    };
    let policy = format!(
        "services: [\"shop-*\"]\nrules:\n  - name: a bad release goes back\n    \
         matchers: ['severity=\"critical\"']\n    phase: [full]\n    action: rollback_full\n\
         {channels}guards: {{mode: {word}}}\n"
    );
    target::write(&folder.join("rules/policy/shop.yaml"), &policy)
}
