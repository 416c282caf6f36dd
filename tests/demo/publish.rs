//! Publishes the demo's releases as CI would.

use anyhow::Context as _;

use crate::world::World;

/// Publishes `release` (`<service>@<version>`) with a small artifact of its own.
///
/// # Errors
/// What `backstop release publish` said.
pub async fn release(world: &World, service: &str, release: &str) -> anyhow::Result<()> {
    let (_, version) = release.split_once('@').context("a release has a version")?;
    let folder = world.root.join("artifacts");
    std::fs::create_dir_all(&folder).context("create a folder of artifacts")?;
    let artifact = folder.join(release);
    std::fs::write(&artifact, format!("{release}\n")).context("write an artifact")?;
    let config = format!("--config.file={}", world.files.main().display());
    let file = artifact.display().to_string();
    world
        .backstop(&[
            "release",
            "publish",
            &config,
            "--service",
            service,
            "--tag",
            version,
            "--artifact",
            &file,
        ])
        .await?;
    world
        .timeline
        .say("backstop", format!("release publish {release}"));
    Ok(())
}
