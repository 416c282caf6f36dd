//! Publishes the demo's releases: the documents that CI's `release publish` leaves in the store.

use anyhow::{Context as _, ensure};
use backstop::domain::hex;
use backstop::domain::id::{ReleaseId, Service};
use backstop::domain::release::Release;
use backstop::store::{Created, keys};
use sha2::{Digest as _, Sha256};

use crate::acts::now;
use crate::world::World;

/// Publishes `release` (`<service>@<version>`) with a small artifact of its own.
///
/// # Errors
/// When the artifact or the document can't be written.
pub async fn release(world: &World, release: &str) -> anyhow::Result<()> {
    let id = ReleaseId::new(release)?;
    let service: Service = id.service().context("a release names its service")?;
    let folder = world.root.join("artifacts");
    std::fs::create_dir_all(&folder).context("create a folder of artifacts")?;
    let artifact = folder.join(release);
    let binary = format!("{release}\n");
    std::fs::write(&artifact, &binary).context("write an artifact")?;
    let document = Release {
        service: service.clone(),
        tag: format!("v{}", id.version()),
        version: id.version().to_owned(),
        artifact_url: format!("file://{}", artifact.display()),
        checksum: hex(&Sha256::digest(&binary)),
        config: None,
        commit: None,
        reversible: true,
        created_at: now(),
        created_by: "ci".to_owned(),
        id: id.clone(),
    };
    let key = keys::release(&service, &id);
    let created = world.store.create(&key, &document).await?;
    ensure!(matches!(created, Created::Mine), "`{key}` is there already");
    world.timeline.say("ci", format!("publishes {release}"));
    Ok(())
}
