//! The bad release against the one that is gone back to.

use super::super::input::Input;
use super::super::parts::{Commit, Section};
use super::super::record::{Change, ReleaseFacts};
use super::super::text::Text;
use super::super::words::known;
use crate::domain::id::ReleaseId;
use crate::domain::release::Release;

pub(super) fn change(input: &Input) -> Change {
    let incident = &input.incident;
    let target = incident
        .plan
        .as_ref()
        .map_or(&incident.opened.target, |plan| &plan.target);
    Change {
        from: facts(&incident.opened.release_id, input.from.as_ref()),
        target: facts(target, input.target.as_ref()),
        commits: openable(input.commits.clone()),
        compare: input.compare.as_ref().and_then(super::link),
    }
}

/// Commits whose pages a browser may open; the others without a page.
fn openable(mut commits: Section<Vec<Commit>>) -> Section<Vec<Commit>> {
    for commit in commits.value_mut().into_iter().flatten() {
        commit.url = commit.url.take().and_then(|url| super::address(&url));
    }
    commits
}

fn facts(id: &ReleaseId, release: Option<&Release>) -> ReleaseFacts {
    // A document of another release would put false facts beside this id.
    let release = release.filter(|release| release.id == *id);
    let text = |read: fn(&Release) -> &str| {
        let text = release.map(read).map(Text::from);
        text.filter(|text| !text.is_empty())
    };
    ReleaseFacts {
        id: id.clone(),
        version: text(|release| &release.version).unwrap_or_else(|| id.version().into()),
        tag: text(|release| &release.tag),
        commit: text(|release| release.commit.as_deref().unwrap_or_default()),
        checksum: text(|release| &release.checksum),
        artifact_url: text(|release| &release.artifact_url),
        config_checksum: text(|release| {
            release
                .config
                .as_ref()
                .map_or("", |config| &config.checksum)
        }),
        reversible: release.map(|release| release.reversible),
        created_at: release.and_then(|release| known(release.created_at)),
        created_by: text(|release| &release.created_by),
    }
}
