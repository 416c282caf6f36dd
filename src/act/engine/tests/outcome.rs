//! Without admission nothing is sent twice; and what ended well is looked at before it is believed.

use super::*;
use crate::act::orders::{CantAsk, Outcome, Waiting};

#[tokio::test(start_paused = true)]
async fn without_admission_what_may_have_been_sent_is_never_sent_again() {
    for failure in [
        TriggerFailure::NotSent("Gate could not connect".into()),
        TriggerFailure::Unclear("no answer".into()),
    ] {
        let site = Site::new(memory());
        site.room.asks_for_no_admission();
        site.spinnaker.answers([failure]);
        let id = opened(&site).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        let incident = site.incident(&id).await;
        assert_eq!((incident.stage, incident.attempt), (Stage::Unknown, 1));
        assert_eq!(site.spinnaker.triggers(), 1);
        assert_eq!(site.room.told(), ["page-not-sent"], "a person decides");
        let given_up = site.engine.abandon(&id, "oncall", "done by hand").await;
        assert_eq!(given_up.unwrap(), Abandonment::Abandoned);
        let incident = site.until_closed().await;
        assert_eq!(incident.ending, Some(Ending::Abandoned));
        assert_eq!(site.spinnaker.triggers(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_admission_an_answer_that_was_lost_is_adopted() {
    let site = Site::new(memory());
    site.room.asks_for_no_admission();
    site.spinnaker.starts_silently();
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::Recovered));
    assert_eq!(site.spinnaker.triggers(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_success_that_did_nothing_is_a_failure() {
    let site = Site::new(memory());
    site.spinnaker
        .did(Ok(Outcome::Nothing("no region was rolled back".into())));
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::RollbackFailed));
    let end = incident.finished.unwrap();
    assert_eq!((end.status.as_str(), end.succeeded), ("SUCCEEDED", false));
    assert_eq!(end.detail, "no region was rolled back");
    assert!(site.room.told().contains(&"page-failed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_the_cluster_contradicts_fails_after_its_view_had_time_to_catch_up() {
    let site = Site::new(memory());
    let contradicts = || Ok(Outcome::Contradicted("v042 is still enabled".into()));
    site.spinnaker.did(contradicts());
    let id = opened(&site).await;
    tokio::time::sleep(site.timing.settle / 2).await;
    assert_eq!(site.incident(&id).await.stage, Stage::Admitted);
    site.spinnaker
        .did(Ok(Outcome::Shown("v041 is enabled".into())));
    let incident = site.until_closed().await;
    assert_eq!(incident.ending, Some(Ending::Recovered));
    assert_eq!(incident.finished.unwrap().detail, "v041 is enabled");

    let site = Site::new(memory());
    site.spinnaker.did(contradicts());
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::RollbackFailed));
    assert_eq!(incident.finished.unwrap().detail, "v042 is still enabled");
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_checked_is_paged_and_left_to_the_recovery_question() {
    for unchecked in [
        Err(CantAsk("Clouddriver is down".into())),
        Ok(Outcome::Silent("stage `Notify` failed".into())),
    ] {
        let site = Site::new(memory());
        site.spinnaker.did(unchecked);
        let incident = ended(&site).await;
        assert_eq!(incident.ending, Some(Ending::Recovered));
        assert!(site.room.told().contains(&"page-unchecked".to_owned()));
        assert!(!incident.finished.unwrap().detail.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_waits_is_paged_once_and_followed() {
    let site = Site::new(memory());
    site.spinnaker.waits(Waiting::Person("paused".into()));
    let id = opened(&site).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(site.room.told().contains(&"page-waits".to_owned()));
    tokio::time::sleep(Duration::from_mins(5)).await;
    let pages = site.room.told();
    let pages = pages.iter().filter(|name| *name == "page-waits");
    assert_eq!(pages.count(), 1);
    assert!(!site.incident(&id).await.has_ended());
    site.spinnaker.waits(Waiting::No);
    assert_eq!(site.until_closed().await.ending, Some(Ending::Recovered));

    let site = Site::new(memory());
    site.spinnaker.waits(Waiting::Turn("NOT_STARTED".into()));
    opened(&site).await;
    tokio::time::sleep(site.timing.stop_deadline / 2).await;
    assert!(!site.room.told().contains(&"page-waits".to_owned()));
    tokio::time::sleep(site.timing.stop_deadline).await;
    assert!(site.room.told().contains(&"page-waits".to_owned()));
}
