//! From a batch to everything, when the batch did not help.

use super::*;
use crate::domain::lane::Opened;

/// Takes over from the first incident of the lane.
fn everything() -> Opened {
    Opened {
        supersedes: Some("checkout@prod-1".parse().unwrap()),
        ..wish("d1", Scope::Full)
    }
}

async fn batch_that_did_not_help(site: &Site) -> IncidentId {
    site.room.measures(Answer::Bad("7 %".into()));
    match site.engine.open(wish("d1", Scope::Batch([1].into()))).await {
        OpenOutcome::Opened(id) => id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_rule_wants_takes_over_outside_the_services_budget_and_once() {
    let site = Site::new(memory());
    site.room.escalates(Ok(Some(everything())));
    let batch = batch_that_did_not_help(&site).await;
    let full = site.until_closed().await;
    assert_eq!(full.opened.supersedes, Some(batch.clone()));
    assert_eq!(full.scope(), &Scope::Full);
    // Still bad, and there is nothing wider: people are paged.
    assert_eq!(full.ending, Some(Ending::StillBad));
    let batch = site.incident(&batch).await;
    assert_eq!(batch.ending, Some(Ending::Superseded));
    assert_eq!(site.spinnaker.triggers(), 2);
    let pages = site.room.told();
    let pages = pages.iter().filter(|told| *told == "page-not-recovered");
    assert_eq!(pages.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_the_rule_or_a_guard_says_no_people_are_paged_and_it_ends_still_bad() {
    let never = Objection::Never("mode: off now".into());
    for answer in [Ok(None), Err(never)] {
        let site = Site::new(memory());
        site.room.escalates(answer);
        batch_that_did_not_help(&site).await;
        let incident = site.until_closed().await;
        assert_eq!(incident.ending, Some(Ending::StillBad));
        assert!(site.room.told().contains(&"page-not-recovered".to_owned()));
        assert_eq!(site.spinnaker.triggers(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_holds_is_paged_at_once_and_asked_until_it_lets_it_through() {
    let site = Site::new(memory());
    site.room
        .escalates(Err(Objection::NotNow("approval: people are asked".into())));
    let batch = batch_that_did_not_help(&site).await;
    let paged = async {
        while !site.room.told().contains(&"page-not-recovered".to_owned()) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(10), paged)
        .await
        .unwrap();
    assert!(!site.incident(&batch).await.is_closed());
    site.room.escalates(Ok(Some(everything())));
    let full = site.until_closed().await;
    assert_eq!(full.opened.supersedes, Some(batch));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_for_too_long_ends_still_bad() {
    let site = Site::new(memory());
    site.room
        .escalates(Err(Objection::NotNow("the phase can't be told".into())));
    batch_that_did_not_help(&site).await;
    let incident = site.until_closed().await;
    assert_eq!(incident.ending, Some(Ending::StillBad));
    assert_eq!(site.spinnaker.triggers(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_silence_a_full_rollback_or_a_persons_own() {
    let all = |site: &Site| site.room.escalates(Ok(Some(everything())));
    let site = Site::new(memory());
    all(&site);
    site.room.measures(Answer::Empty("no samples".into()));
    site.engine.open(wish("d1", Scope::Batch([1].into()))).await;
    assert_eq!(site.until_closed().await.ending, Some(Ending::Unverified));
    assert_eq!(site.spinnaker.triggers(), 1);

    let site = Site::new(memory());
    all(&site);
    site.room.measures(Answer::Bad("7 %".into()));
    assert_eq!(ended(&site).await.ending, Some(Ending::StillBad));
    assert_eq!(site.spinnaker.triggers(), 1);

    let site = Site::new(memory());
    all(&site);
    site.room.measures(Answer::Bad("7 %".into()));
    let manual = Opened {
        scope: Scope::Batch([1].into()),
        ..by_hand("d1", "k")
    };
    site.engine.open(manual).await;
    assert_eq!(site.until_closed().await.ending, Some(Ending::StillBad));
    assert_eq!(site.spinnaker.triggers(), 1);
}
