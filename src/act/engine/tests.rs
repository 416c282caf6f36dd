mod consent;
mod escalation;
mod fakes;
mod outcome;
mod reports;

use std::time::Duration;

use object_store::memory::InMemory;

use self::fakes::*;
use super::*;
use crate::act::orders::TriggerFailure;
use crate::act::seams::{Answer, Objection};
use crate::domain::decision::Scope;
use crate::domain::lane::{Ending, Incident, Stage};
use crate::store::liar::{Liar, each_lie};

fn memory() -> Arc<InMemory> {
    Arc::new(InMemory::new())
}

async fn opened(site: &Site) -> IncidentId {
    match site.engine.open(wish("d1", Scope::Full)).await {
        OpenOutcome::Opened(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn ended(site: &Site) -> Incident {
    opened(site).await;
    site.until_closed().await
}

#[tokio::test(start_paused = true)]
async fn an_incident_goes_from_opening_to_recovery_and_tells_each_step_once() {
    let site = Site::new(memory());
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::Recovered));
    let words = incident.events.iter().map(|entry| entry.event.as_str());
    // Reports are written beside all this.
    let (reported, words): (Vec<_>, Vec<_>) = words.partition(|word| *word == "reported");
    assert_eq!(
        words,
        [
            "opened",
            "claimed",
            "submitting",
            "submitted",
            "admitted",
            "finished",
            "recovery",
            "closed"
        ]
    );
    assert_eq!((reported.len(), incident.revision), (3, 3));
    let reports = site.room.told_reports();
    assert_eq!(reports, ["report-1", "report-2", "report-3"]);
    let mut told = site.room.told();
    told.retain(|name| !reports.contains(name));
    assert_eq!(told, ["started-1", "finished", "recovery"]);
    assert_eq!(site.spinnaker.triggers(), 1);
    assert!(site.store().list("open").await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deployment_in_flight_is_canceled_and_waited_for_first() {
    let site = Site::new(memory());
    site.spinnaker.deploys("d1");
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::Recovered));
    assert_eq!(site.spinnaker.canceled(), ["d1"]);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_does_not_stop_holds_the_rollback_and_pages() {
    let site = Site::new(memory());
    site.spinnaker.deploys("d1");
    site.spinnaker.ignores_cancels();
    let id = opened(&site).await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(site.incident(&id).await.stage, Stage::Opened);
    assert_eq!(site.room.told(), ["page-cant-stop"]);
    assert_eq!(site.spinnaker.triggers(), 0);
    assert_eq!(site.spinnaker.canceled(), ["d1"; 2], "once for each try");
    // It does not hang there for ever.
    let incident = site.until_closed().await;
    assert_eq!(incident.ending, Some(Ending::Withdrawn));
    assert_eq!(
        site.room.told(),
        ["page-cant-stop", "page-held", "page-withdrawn"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_says_no_before_sending_withdraws() {
    let site = Site::new(memory());
    site.room.objects(Objection::Never("well again".into()));
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::Withdrawn));
    assert_eq!(site.spinnaker.triggers(), 0);
    assert_eq!(site.room.told(), ["page-withdrawn"]);
}

#[tokio::test(start_paused = true)]
async fn what_spinnaker_refuses_ends_failed_and_paged() {
    let site = Site::new(memory());
    site.spinnaker
        .answers([TriggerFailure::Refused("pipeline is disabled".into())]);
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::RollbackFailed));
    assert_eq!(incident.attempt, 1);
    assert_eq!(site.room.told(), ["page-not-sent"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_surely_not_sent_is_sent_again_under_the_same_ids() {
    let site = Site::new(memory());
    let not_sent = || TriggerFailure::NotSent("no connection".into());
    site.spinnaker.answers([not_sent(), not_sent()]);
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::Recovered));
    assert_eq!((incident.attempt, site.spinnaker.triggers()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_looked_up_and_adopted() {
    let site = Site::new(memory());
    site.spinnaker.starts_silently();
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::Recovered));
    let words: Vec<_> = incident
        .events
        .iter()
        .map(|entry| entry.event.as_str())
        .collect();
    assert_eq!(words[2..5], ["submitting", "unknown", "submitted"]);
    assert_eq!(site.spinnaker.triggers(), 1);
}

#[tokio::test(start_paused = true)]
async fn not_found_counts_only_after_settling() {
    let site = Site::new(memory());
    site.spinnaker
        .answers([TriggerFailure::Unclear("no answer".into())]);
    let id = opened(&site).await;
    tokio::time::sleep(site.timing.settle).await;
    assert_eq!(site.incident(&id).await.stage, Stage::Unknown);
    let incident = site.until_closed().await;
    assert_eq!(incident.attempt, 2);
    assert_eq!(incident.ending, Some(Ending::Recovered));
}

#[tokio::test(start_paused = true)]
async fn while_spinnaker_can_not_be_asked_it_stays_unknown_and_people_hear_it_once() {
    let site = Site::new(memory());
    site.spinnaker
        .answers([TriggerFailure::Unclear("no answer".into())]);
    let id = opened(&site).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    site.spinnaker.goes_down();
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(site.incident(&id).await.stage, Stage::Unknown);
    assert_eq!(site.room.told(), ["page-unknown"]);
    site.spinnaker.comes_back();
    assert_eq!(site.until_closed().await.attempt, 2);
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_ends_before_it_was_let_in_is_voided_and_tried_again() {
    let site = Site::new(memory());
    site.spinnaker.dies_before_asking(1);
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::Recovered));
    assert_eq!(incident.attempt, 2);
    let site = Site::new(memory());
    site.spinnaker.dies_before_asking(9);
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::RollbackFailed));
    assert_eq!(site.spinnaker.triggers(), 3);
    assert!(site.room.told().contains(&"page-not-sent".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_execution_is_a_persons_business() {
    let site = Site::new(memory());
    site.spinnaker.fails();
    let incident = ended(&site).await;
    assert_eq!(incident.ending, Some(Ending::RollbackFailed));
    assert_eq!(site.spinnaker.triggers(), 1);
    assert!(site.room.told().contains(&"page-failed".to_owned()));
    let again = site.engine.open(wish("d1", Scope::Full)).await;
    assert!(matches!(again, OpenOutcome::Refused(why) if why.contains("person")));
}

#[tokio::test(start_paused = true)]
async fn what_stays_bad_or_silent_is_paged() {
    for (answer, ending) in [
        (Answer::Bad("7 %".into()), Ending::StillBad),
        (Answer::Empty("no samples".into()), Ending::Unverified),
        (Answer::SourceDown("timeout".into()), Ending::Unverified),
    ] {
        let site = Site::new(memory());
        site.room.measures(answer);
        assert_eq!(ended(&site).await.ending, Some(ending));
        assert!(site.room.told().contains(&"page-not-recovered".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_release_is_marked_bad_once() {
    use crate::domain::release::{Mark, MarkKind};
    let site = Site::new(memory());
    let incident = ended(&site).await;
    let prefix = keys::marks(&incident.opened.release_id);
    crate::act::marks::mark_bad(&site.store(), site.clock.as_ref(), &incident)
        .await
        .unwrap();
    let marks = chain::read_from::<Mark>(&site.store(), &prefix, 1)
        .await
        .unwrap();
    assert_eq!(marks.len(), 1);
    assert_eq!(marks[0].1.kind, MarkKind::Bad);
    assert_eq!(marks[0].1.incident, Some(incident.id));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_budget_nothing_is_sent() {
    let site = Site::new(memory());
    ended(&site).await;
    let OpenOutcome::Opened(second) = site.engine.open(wish("d2", Scope::Full)).await else {
        panic!("not opened");
    };
    site.until_closed().await;
    let incident = site.incident(&second).await;
    assert_eq!(incident.ending, Some(Ending::Withdrawn));
    assert_eq!(site.spinnaker.triggers(), 1);
    // A person is not bound by it.
    site.engine.open(by_hand("d3", "k")).await;
    site.until_closed().await;
    assert_eq!(site.spinnaker.triggers(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_is_covered_is_merged_and_a_manual_one_repeats_by_its_key() {
    let site = Site::stopped(memory());
    let id = opened(&site).await;
    let merged = OpenOutcome::Merged(id.clone());
    assert_eq!(site.engine.open(wish("d1", Scope::Full)).await, merged);
    let narrower = wish("d1", Scope::Batch([1].into()));
    assert_eq!(site.engine.open(narrower).await, merged);
    let other = site.engine.open(wish("d2", Scope::Full)).await;
    assert!(matches!(other, OpenOutcome::Refused(why) if why.contains("not over")));
    let site = Site::new(memory());
    let OpenOutcome::Opened(id) = site.engine.open(by_hand("d1", "k")).await else {
        panic!("not opened");
    };
    site.until_closed().await;
    assert_eq!(
        site.engine.open(by_hand("d1", "k")).await,
        OpenOutcome::Merged(id)
    );
    let again = site.engine.open(by_hand("d1", "other")).await;
    assert!(matches!(again, OpenOutcome::Opened(_)), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn batches_hear_whether_they_may_start() {
    let site = Site::stopped(memory());
    let post = |n| BatchPost {
        lane: lane(),
        deployment: "d1".parse().unwrap(),
        release_id: "checkout@2".parse().unwrap(),
        n,
        of: None,
        hosts: Vec::new(),
    };
    let started = site.engine.batch_started(post(1)).await.unwrap();
    assert_eq!(started, BatchOutcome::Started { epoch: 1 });
    let again = site.engine.batch_started(post(1)).await.unwrap();
    assert_eq!(again, BatchOutcome::AlreadyStarted);
    opened(&site).await;
    let refused = site.engine.batch_started(post(2)).await.unwrap();
    assert!(matches!(refused, BatchOutcome::Refused(why) if why.contains("stopped")));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_incident_admits_nothing_and_ends() {
    let site = Site::new(memory());
    site.spinnaker
        .answers([TriggerFailure::Unclear("no answer".into())]);
    let id = opened(&site).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let engine = &site.engine;
    let given_up = engine.abandon(&id, "oncall", "by hand").await.unwrap();
    assert_eq!(given_up, Abandonment::Abandoned);
    let late = "E9".parse().unwrap();
    let admission = engine.admit(&id, 1, &late).await.unwrap();
    assert!(matches!(admission, Admission::Refused(_)));
    assert_eq!(site.until_closed().await.ending, Some(Ending::Abandoned));
    let over = engine.abandon(&id, "oncall", "again").await.unwrap();
    assert_eq!(over, Abandonment::NotOpen);
}

#[tokio::test(start_paused = true)]
async fn with_the_store_gone_nothing_is_opened_or_let_in() {
    let store = Dying::new(memory(), Some(0), When::Before);
    let site = Site::stopped(store);
    let open = tokio::time::timeout(
        Duration::from_mins(1),
        site.engine.open(wish("d1", Scope::Full)),
    );
    assert!(!matches!(open.await, Ok(OpenOutcome::Opened(_))));
    assert_eq!(site.spinnaker.triggers(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_step_at_hand_and_no_longer() {
    let site = Site::stopped(memory());
    site.spinnaker.deploys("d1");
    site.spinnaker.ignores_cancels();
    let token = tokio_util::sync::CancellationToken::new();
    let (engine, run) = (site.engine.clone(), token.clone());
    let running = tokio::spawn(async move { engine.run(run).await });
    let id = opened(&site).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    token.cancel();
    let began = tokio::time::Instant::now();
    running.await.unwrap();
    let took = began.elapsed().as_secs();
    assert!(
        (40..60).contains(&took),
        "the wait for the cancel ends first: {took} s"
    );
    assert_eq!(site.incident(&id).await.stage, Stage::Opened);
}

/// Kills the replica at every append of the lane in turn, before and after it lands, on a real
/// directory; the next replica finishes the incident.
#[tokio::test(start_paused = true)]
async fn wherever_a_replica_dies_another_one_finishes() {
    for when in [When::Before, When::After] {
        let mut died = 0;
        for appends in 1.. {
            let directory = tempfile::tempdir().unwrap();
            let files = object_store::local::LocalFileSystem::new_with_prefix(directory.path());
            let files: Arc<dyn object_store::ObjectStore> = Arc::new(files.unwrap());
            let dying = Dying::new(Arc::clone(&files), Some(appends), when);
            let first = Site::new(dying.clone());
            let open = first.engine.open(wish("d1", Scope::Full));
            let survived = tokio::time::timeout(Duration::from_secs(200), async {
                open.await;
                first.until_closed().await;
            });
            let survived = survived.await.is_ok();
            assert_eq!(survived, !dying.is_dead());
            let second = first.takes_over(files);
            second.engine.open(wish("d1", Scope::Full)).await;
            let incident = second.until_closed().await;
            assert_eq!(
                incident.ending,
                Some(Ending::Recovered),
                "{when:?} {appends}"
            );
            assert_eq!(second.spinnaker.admitted(), 1, "{when:?} {appends}");
            assert_eq!(second.spinnaker.rolled_back(), 1, "{when:?} {appends}");
            let told = second.room.told();
            for name in ["finished", "recovery", "report-3"] {
                assert!(
                    told.iter().any(|told| told == name),
                    "{when:?} {appends}: {told:?}"
                );
            }
            if survived {
                break;
            }
            died += 1;
        }
        assert_eq!(died, 11, "one death for each event");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lies_once_costs_neither_a_second_rollback_nor_the_end() {
    each_lie(|liar| async move {
        let site = Site::new(Arc::<Liar>::clone(&liar));
        let incident = ended(&site).await;
        assert_eq!(incident.ending, Some(Ending::Recovered));
        assert_eq!(incident.attempt, 1);
        assert_eq!(
            (site.spinnaker.triggers(), site.spinnaker.rolled_back()),
            (1, 1)
        );
        let lane = site.engine.lanes().refresh(&lane()).await.unwrap();
        assert_eq!((lane.skipped, lane.closed.len()), (0, 1));
    })
    .await;
}
