//! Which release counts as stable.

use super::super::*;
use super::world::*;
use crate::domain::deployment::Status;
use crate::domain::release::{Mark, MarkKind};

fn candidate(version: &str, end: i64) -> Candidate {
    Candidate {
        release: release(version),
        deployment: Some(finished(&format!("D-{version}"), version, end)),
        mark: None,
        open_incident: false,
    }
}

fn marked(mut candidate: Candidate, kind: MarkKind) -> Candidate {
    candidate.mark = Some(Mark {
        release_id: candidate.release.id.clone(),
        kind,
        reason: "smoke test".to_owned(),
        by: "oncall".to_owned(),
        at: at(NOW - 30),
        incident: None,
    });
    candidate
}

fn target(candidates: &[Candidate]) -> Result<ReleaseId, String> {
    let views: Vec<_> = candidates.iter().map(Candidate::view).collect();
    stable_target(&views, &release_id("5"), at(NOW))
}

/// `shop@1`, long soaked, and one more that is newer.
fn beside(newer: Candidate) -> Result<ReleaseId, String> {
    target(&[candidate("1", NOW - 9000), newer])
}

#[test]
fn the_newest_stable_release_wins_whatever_the_order() {
    let a = candidate("3", NOW - 3000);
    let b = candidate("4", NOW - 2000);
    assert_eq!(target(&[a.clone(), b.clone()]), Ok(release_id("4")));
    assert_eq!(target(&[b, a]), Ok(release_id("4")));
}

#[test]
fn the_accused_release_is_never_the_target() {
    assert_eq!(beside(candidate("5", NOW - 2000)), Ok(release_id("1")));
    let accused = marked(candidate("5", NOW - 2000), MarkKind::Stable);
    assert!(target(&[accused]).is_err());
}

#[test]
fn what_is_not_stable_is_passed_over() {
    let mut failed = candidate("4", NOW - 2000);
    failed.deployment.as_mut().unwrap().status = Status::Failed;
    let mut rolled_back = candidate("4", NOW - 2000);
    rolled_back.deployment.as_mut().unwrap().status = Status::RolledBack;
    let mut running = candidate("4", NOW - 2000);
    running.deployment.as_mut().unwrap().status = Status::Running;
    let mut under_incident = candidate("4", NOW - 2000);
    under_incident.open_incident = true;
    let mut unknown = candidate("4", NOW - 2000);
    unknown.deployment = None;
    for newer in [
        candidate("4", NOW - 899),
        marked(candidate("4", NOW - 2000), MarkKind::Bad),
        failed,
        rolled_back,
        running,
        under_incident,
        unknown,
    ] {
        assert_eq!(beside(newer.clone()), Ok(release_id("1")), "{newer:?}");
    }
}

#[test]
fn a_persons_word_stands_for_soak_and_for_what_spinnaker_forgot() {
    let soaking = marked(candidate("4", NOW - 5), MarkKind::Stable);
    assert_eq!(beside(soaking), Ok(release_id("4")));
    let mut forgotten = marked(candidate("4", 0), MarkKind::Stable);
    forgotten.deployment = None;
    assert_eq!(target(&[forgotten]), Ok(release_id("4")));
    let cleared = marked(candidate("4", NOW - 5), MarkKind::Clear);
    assert_eq!(beside(cleared), Ok(release_id("1")));
}

#[test]
fn the_newest_deployment_of_a_release_speaks_for_it() {
    let mut again = candidate("4", NOW - 100);
    again.deployment.as_mut().unwrap().status = Status::RolledBack;
    let candidates = [
        candidate("4", NOW - 3000),
        again,
        candidate("3", NOW - 4000),
    ];
    assert_eq!(target(&candidates), Ok(release_id("3")));
}

#[test]
fn when_there_is_none_every_reason_is_told() {
    let error = target(&[
        candidate("4", NOW - 600),
        marked(candidate("3", NOW - 3000), MarkKind::Bad),
    ])
    .unwrap_err();
    assert_eq!(
        error,
        "shop@4: soaking for 5m more; shop@3: marked bad by oncall 30s ago (smoke test)"
    );
    let many: Vec<_> = (10..20)
        .map(|n| candidate(&n.to_string(), NOW - n))
        .collect();
    assert!(target(&many).unwrap_err().ends_with("; and 7 more"));
}
