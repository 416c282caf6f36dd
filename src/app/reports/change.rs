//! What lies between the two releases, as `sync` and release documents tell, and the hosts on
//! either side.

use jiff::Timestamp;

use crate::app::setup::Setup;
use crate::domain::deployment::Health;
use crate::domain::id::{Host, ReleaseId, Service};
use crate::domain::lane::Incident;
use crate::domain::notice::Link;
use crate::domain::release::Release;
use crate::domain::source::{ChangeSet, Relation, SourceCommit, is_commit};
use crate::enrich::catalog::{LaneIndex, View};
use crate::report::{Commit, HostLine, HostState, Section};
use crate::store::{Store, StoreError, keys};

/// Most steps from one release to another that are put together.
const STEPS: usize = 50;

/// The release that is gone back to: as sent, or as decided while nothing was sent.
pub(super) fn target(incident: &Incident) -> &ReleaseId {
    let sent = incident.plan.as_ref().map(|plan| &plan.target);
    sent.unwrap_or(&incident.opened.target)
}

/// Where a browser shows everything between the two releases.
pub(super) fn compare(setup: &Setup, incident: &Incident, view: &View) -> Option<Link> {
    let opened = &incident.opened;
    let (bad, good) = (
        view.release(&opened.release_id)?,
        view.release(target(incident))?,
    );
    let service = setup.config.services.get(&opened.service)?;
    Some(link(service.repository.as_ref()?, good, bad))
}

/// The commits that the accused release has and the target has not, newest first, as `sync` has
/// read them; where it has not, the builds in between, which is never whole.
pub(super) async fn commits(
    store: &Store,
    setup: &Setup,
    incident: &Incident,
    view: &View,
) -> Section<Vec<Commit>> {
    let opened = &incident.opened;
    let (bad, good) = (
        view.release(&opened.release_id),
        view.release(target(incident)),
    );
    let (Some(bad), Some(good)) = (bad, good) else {
        return Section::missing("a document of one of the two releases was not published");
    };
    let builds = builds(view, good, bad);
    let instead = |why: &str| {
        let builds = builds.iter().skip(1).map(|release| commit(release));
        Section::partial(why, builds.rev().collect())
    };
    if bad.created_at <= good.created_at {
        return instead("the accused release is the older of the two");
    }
    let known: Option<Vec<&str>> = builds.iter().map(|one| built_from(view, one)).collect();
    let ends = built_from(view, good).zip(built_from(view, bad));
    let Some((base, head)) = ends.filter(|(base, head)| is_commit(base) && is_commit(head)) else {
        return instead("the document of one of the two releases names no commit");
    };
    let service = &opened.service;
    let exact = keys::change(service, base, head);
    let told = match store.get::<ChangeSet>(&exact).await {
        Ok(Some(one)) => Ok(vec![one]),
        // From build to build, where nothing lies beside the way.
        Ok(None) => steps(store, service, known.unwrap_or_default()).await,
        Err(error) => Err(error),
    };
    match told {
        Err(error) => instead(&error.to_string()),
        Ok(sets) if !sets.is_empty() => section(&sets),
        Ok(_) if setup.config.github.is_none() => {
            instead("no `github` is configured: only the builds in between are known here")
        }
        Ok(_) => instead("`sync` has not read the commits: only the builds in between are known"),
    }
}

/// The range of each two neighbours, if all are there and each descends from the one before;
/// then, and only then, they add up to the whole range.
async fn steps(
    store: &Store,
    service: &Service,
    commits: Vec<&str>,
) -> Result<Vec<ChangeSet>, StoreError> {
    let pairs = commits.iter().zip(commits.iter().skip(1));
    let pairs = pairs.filter(|(base, head)| base != head && is_commit(base) && is_commit(head));
    let mut sets = Vec::new();
    for (base, head) in pairs.take(STEPS) {
        let set: Option<ChangeSet> = store.get(&keys::change(service, base, head)).await?;
        match set.filter(|set| matches!(set.relation, Relation::Ahead | Relation::Identical)) {
            Some(set) => sets.push(set),
            None => return Ok(Vec::new()),
        }
    }
    let arrives = sets.last().map(|set| set.head.as_str()) == commits.last().copied();
    Ok(if arrives { sets } else { Vec::new() })
}

/// What ranges that follow each other say, and how much of it is missing.
fn section(sets: &[ChangeSet]) -> Section<Vec<Commit>> {
    let listed = sets.iter().rev().flat_map(|set| set.commits.iter().rev());
    let commits: Vec<Commit> = listed.map(of_source).collect();
    let total: u64 = sets.iter().map(|set| set.total).sum();
    let behind: u64 = sets.iter().map(|set| set.behind).sum();
    if behind > 0 {
        let why = format!(
            "the two have diverged: going back also brings {behind} commits that the accused release lacks, which are not listed"
        );
        return Section::partial(why, commits);
    }
    if sets.iter().all(ChangeSet::is_whole) {
        return Section::Whole(commits);
    }
    let why = format!(
        "there are {total} commits, of which {} are listed",
        commits.len()
    );
    Section::partial(why, commits)
}

fn of_source(commit: &SourceCommit) -> Commit {
    Commit {
        id: commit.id.as_str().into(),
        author: commit.author.as_deref().map(Into::into),
        title: commit.title.as_str().into(),
        at: commit.at,
        url: Some(commit.url.clone()),
    }
}

/// The releases published from the target to the accused one, both included, oldest first.
fn builds<'a>(view: &'a View, good: &Release, bad: &Release) -> Vec<&'a Release> {
    let mut builds: Vec<&Release> = view
        .releases()
        .map(AsRef::as_ref)
        .filter(|one| one.service == bad.service)
        .filter(|one| one.created_at >= good.created_at && one.created_at <= bad.created_at)
        .collect();
    builds.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    builds
}

/// The commit of a release: as it was published, else as GitHub's tag says.
fn built_from<'a>(view: &'a View, release: &'a Release) -> Option<&'a str> {
    let tag = || view.tag(&release.id)?.commit.as_deref();
    release.commit.as_deref().or_else(tag)
}

fn commit(release: &Release) -> Commit {
    Commit {
        id: release.commit.as_deref().unwrap_or_default().into(),
        author: Some(release.created_by.as_str().into()),
        title: format!("release {} (tag {})", release.id, release.tag).into(),
        at: Some(release.created_at),
        url: None,
    }
}

/// `<repository>/compare/<good>...<bad>`, as GitHub, GitLab (which redirects) and Gitea have it. By
/// commit where both are known: a tag may have been moved.
fn link(repository: &url::Url, good: &Release, bad: &Release) -> Link {
    let (from, to) = match (&good.commit, &bad.commit) {
        (Some(good), Some(bad)) => (good, bad),
        _ => (&good.tag, &bad.tag),
    };
    let mut url = repository.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty()
            .push("compare")
            .push(&format!("{from}...{to}"));
    }
    Link {
        text: format!("{from}...{to}"),
        url: url.into(),
    }
}

/// The affected hosts, when the incident opened and now.
pub(super) fn hosts(incident: &Incident, view: &View, now: Timestamp) -> Section<Vec<HostLine>> {
    let opened = &incident.opened;
    let Some(lane) = view.lane(&opened.service, &opened.env) else {
        return Section::missing("the catalog does not know the lane");
    };
    let planned = incident.plan.as_ref().map(|plan| &plan.hosts);
    // A plan for everything may name no host.
    let members = planned
        .filter(|hosts| !hosts.is_empty())
        .unwrap_or(&opened.hosts);
    let line = |host: &Host| HostLine {
        host: host.clone(),
        batch: lane
            .membership(host, incident.opened_at)
            .map(|stay| stay.batch),
        before: state(&lane, host, incident.opened_at),
        after: state(&lane, host, now),
    };
    Section::Whole(members.iter().map(line).collect())
}

/// What ran on a host: its own record where an agent wrote one, else its deployment's batch.
fn state(lane: &LaneIndex, host: &Host, at: Timestamp) -> Option<HostState> {
    let stay = lane.membership(host, at)?;
    let told = lane.instance(&stay.deployment.id, &stay.host);
    let of_batch = stay
        .deployment
        .batches
        .iter()
        .find(|batch| batch.n == stay.batch);
    let status = of_batch.map_or(stay.deployment.status, |batch| batch.status);
    Some(HostState {
        release_id: Some(stay.deployment.release_id.clone()),
        status: Some(told.map_or(status, |one| one.status)),
        health: told.map_or(Health::Unknown, |one| one.health_status),
        error: told.and_then(|one| one.error_message.as_deref().map(Into::into)),
    })
}
