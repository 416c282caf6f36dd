//! Where an agent fetches a release's files from.

use std::time::Duration;

use super::super::core::Core;
use super::order::lane_of;
use crate::domain::agent::Fetch;
use crate::domain::id::{Host, ReleaseId};
use crate::domain::release::Release;
use crate::store::ArtifactPlace;
use crate::web::api::{AgentAsk, ArtifactStream, Refusal};

/// How long a signed address opens its file: longer than a slow download takes to begin.
const SIGNED_FOR: Duration = Duration::from_mins(15);

/// Where the release's artifact and configuration are fetched from.
///
/// # Errors
/// When one is at a place that agents can't reach.
pub(super) async fn of(
    place: Option<&ArtifactPlace>,
    release: &Release,
) -> Result<(Fetch, Option<Fetch>), Refusal> {
    let id = &release.id;
    let (url, checksum) = (&release.artifact_url, &release.checksum);
    let artifact = fetch(place, id, "artifact", url, checksum).await?;
    let config = match &release.config {
        Some(config) => Some(fetch(place, id, "config", &config.url, &config.checksum).await?),
        None => None,
    };
    Ok((artifact, config))
}

async fn fetch(
    place: Option<&ArtifactPlace>,
    id: &ReleaseId,
    what: &str,
    url: &str,
    checksum: &str,
) -> Result<Fetch, Refusal> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let made = |url: String| Fetch {
        url,
        name: name.clone(),
        checksum: checksum.to_owned(),
    };
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(made(url.to_owned()));
    }
    let kept = place.and_then(|place| Some((place, place.key_of(url)?)));
    let Some((place, key)) = kept else {
        return Err(Refusal::Conflict {
            code: "artifact_out_of_reach",
            reason: format!(
                "agents can't fetch the {what} of `{id}`: `artifacts.url` does not hold its address"
            ),
        });
    };
    Ok(match place.signed(&key, SIGNED_FOR).await? {
        Some(signed) => made(signed.into()),
        None => made(format!("/api/v1/agent/artifacts/{id}/{what}")),
    })
}

impl Core {
    /// The bytes of a release's file, for a host that was told to run it.
    pub(in crate::app) async fn served_artifact(
        &self,
        host: &Host,
        id: &ReleaseId,
        what: &str,
    ) -> Result<ArtifactStream, Refusal> {
        let missing = || Refusal::Missing(format!("{what} of `{id}` for this host"));
        let setup = self.setup().clone();
        let service = id.service().ok_or_else(missing)?;
        let known = setup.config.services.get(&service).ok_or_else(missing)?;
        let mut told = false;
        for deploy in known.deploy.iter().filter(|one| one.agents.is_some()) {
            let lane = lane_of(&AgentAsk {
                host: host.clone(),
                service: service.clone(),
                env: deploy.env.clone(),
            })?;
            let state = self.lane_lately(&lane).await?;
            let wishes = self.wishes(&lane, &state);
            told |= wishes.host(host).iter().any(|wish| wish.release_id == *id);
        }
        if !told {
            return Err(missing());
        }
        let release = self.release_of(id).await?;
        let url = match what {
            "artifact" => Some(&release.artifact_url),
            "config" => release.config.as_ref().map(|config| &config.url),
            _ => None,
        };
        let place = setup.artifacts.as_ref().ok_or_else(missing)?;
        let key = url.and_then(|url| place.key_of(url)).ok_or_else(missing)?;
        let (size, pieces) = place.read(&key).await?.ok_or_else(missing)?;
        Ok(ArtifactStream { size, pieces })
    }
}
