//! What a report says of each kind of incident.

use super::super::*;
use super::scene::{at, failed, first_revision, manual, recovered};

fn missing(record: &Record) -> Vec<(String, String)> {
    record
        .missing
        .iter()
        .map(|gap| (gap.what.to_string(), gap.why.to_string()))
        .collect()
}

#[test]
fn a_recovered_batch_rollback_is_told_in_one_sentence() {
    let record = record(recovered());
    assert_eq!(
        record.summary.as_str(),
        "At 2026-11-22 14:02:05 +00:00, CanaryErrorRatio (critical) fired on checkout/prod for \
         release 1.8.0, batch 2 (9 of 36 hosts, 25 %); batch 2 was rolled back to 1.7.4 in \
         1 min 14 s and the service recovered after 2 min; error ratio 5.86 % → 0.293 %."
    );
    assert_eq!(record.header.standing, Standing::Recovered);
    assert_eq!(missing(&record), []);
}

#[test]
fn clocks_and_laps_come_from_their_own_sources() {
    let record = record(recovered());
    let clocks = record.clocks.named().map(|(_, clock)| clock.at.unwrap());
    assert_eq!(clocks, [45, 125, 135, 136, 140, 214, 334].map(at));
    let laps = record.laps.named().map(|(_, _, lap)| lap.seconds.unwrap());
    assert_eq!(laps, [90.0, 1.0, 4.0, 74.0, 120.0, 289.0]);
    assert_eq!(record.clocks.finished.note.as_str(), "Spinnaker's clock");
}

#[test]
fn impact_counts_every_host_the_bad_release_reached() {
    let impact = record(recovered()).impact;
    assert_eq!((impact.exposed, impact.fleet), (Some(11), Some(36)));
    assert_eq!(impact.in_scope.len(), 9);
    assert_eq!(impact.exposed_since, Some(at(-900)));
}

#[test]
fn the_timeline_merges_all_sources_in_order() {
    let record = record(recovered());
    assert!(record.timeline.is_sorted_by_key(|row| row.at));
    let position = |part: &str| {
        record
            .timeline
            .iter()
            .position(|row| row.text.as_str().contains(part))
            .unwrap_or_else(|| panic!("{part}"))
    };
    let story = [
        "checkout@1.8.0 was published by ci/checkout#4711",
        "deployment execution 01KAZ3DEPLOY (deploy-prod) started",
        "batch 1 started on 2 hosts",
        "batch 2 started on 9 hosts",
        "first bad sample",
        "CanaryErrorRatio started firing",
        "the alert was received",
        "judged the accusation: hold: verify: evidence pending",
        "decided by rule checkout.yaml: bad canary takes its batch back: take batch 2 back to checkout@1.7.4",
        "took the incident in hand",
        "alert told through ops-slack: sent",
        "the hold ended: incident",
        "asking Spinnaker to run checkout/rollback-batch (attempt 1)",
        "Spinnaker accepted attempt 1 as execution 01KAZ4ROLLBACK",
        "rollback execution 01KAZ4ROLLBACK (rollback-batch) started",
        "was admitted",
        "rollback stage \"Roll hosts back\": SUCCEEDED, took 1 min 3 s",
        "rollback execution 01KAZ4ROLLBACK (rollback-batch) ended: SUCCEEDED",
        "was seen to end SUCCEEDED: it did what it was for",
        "recovery: recovered",
        "closed as recovered",
        "recovery told through ops-slack",
    ];
    let positions: Vec<usize> = story.iter().map(|part| position(part)).collect();
    assert!(positions.is_sorted(), "{positions:?}");
}

#[test]
fn the_first_revision_says_what_it_does_not_know_yet() {
    let record = record(first_revision());
    assert_eq!(
        record.summary.as_str(),
        "At 2026-11-22 14:02:05 +00:00, CanaryErrorRatio (critical) fired on checkout/prod for \
         release 1.8.0, batch 2 (9 of 36 hosts, 25 %); Spinnaker accepted the rollback to 1.7.4 \
         within 4 s and is at work; error ratio 5.86 % at the decision."
    );
    let missing = missing(&record);
    for (what, why) in [
        ("Rollback finished", "not yet: the rollback is running"),
        ("Recovered", "not known before the rollback ends"),
        ("Commits", "GitHub did not answer within 2s"),
        ("Rollback log", "the execution has no stage yet"),
        ("Hosts", "the hosts have not changed yet"),
        (
            "Chart of error ratio",
            "not drawn in time; the raw points are in the record",
        ),
    ] {
        assert!(
            missing.contains(&(what.to_owned(), why.to_owned())),
            "{what}: {missing:?}"
        );
    }
    assert!(
        !record.follow_ups[0].done
            && record.follow_ups[0]
                .text
                .as_str()
                .contains("not marked bad")
    );
}

#[test]
fn a_failed_rollback_calls_for_a_person() {
    let record = record(failed());
    assert!(
        record.summary.as_str().contains(
            "the rollback to 1.7.4 FAILED after 1 min (TERMINAL: stage \"Roll hosts back\": 3 of 9 \
             hosts unreachable over SSH): a person must act"
        ),
        "{}",
        record.summary
    );
    assert_eq!(record.header.standing, Standing::RollbackFailed);
    assert!(
        record.follow_ups[0]
            .text
            .as_str()
            .starts_with("A person must act now")
    );
    assert_eq!(
        record.clocks.recovered.note.as_str(),
        "not asked: the rollback failed"
    );
    assert!(!record.impact.over);
}

#[test]
fn a_manual_rollback_names_its_person_and_reason() {
    let record = record(manual());
    assert_eq!(
        record.summary.as_str(),
        "At 2026-11-22 14:02:16 +00:00, dana asked to take release 1.8.0 back on checkout/prod, \
         the whole deployment (9 of 36 hosts, 25 %) (\"support sees double charges\"); the whole \
         deployment was rolled back to 1.7.4 in 1 min 14 s; nothing could say whether it helped."
    );
    assert_eq!(record.clocks.received.note.as_str(), "none: a person asked");
    assert!(!missing(&record).iter().any(|(what, _)| what == "Evidence"));
}

#[test]
fn zero_times_and_lost_documents_are_unknown() {
    let mut input = recovered();
    input.alerts[0].starts_at = "0001-01-01T00:00:00Z".parse().unwrap();
    input.alerts[0].ends_at = Some("0001-01-01T00:00:00Z".parse().unwrap());
    input.from = None;
    input.target.as_mut().unwrap().commit = None;
    input.deployment = None;
    let record = record(input);
    assert_eq!(record.clocks.alert_started.at, None);
    assert_eq!(record.impact.fleet, None);
    for page in [html(&record), markdown(&record)] {
        assert!(!page.contains("0001-01-01") && !page.contains("1970-01-01"));
        assert!(page.contains("unknown"));
    }
    let missing = missing(&record);
    assert!(
        missing
            .iter()
            .any(|(what, _)| what == "Release checkout@1.8.0"),
        "{missing:?}"
    );
    assert!(
        missing.iter().any(|(what, _)| what == "Impact"),
        "{missing:?}"
    );
}

#[test]
fn clocks_that_disagree_give_no_negative_lap() {
    let mut input = recovered();
    input.received_at = Some(at(138));
    let record = record(input);
    assert_eq!(record.laps.decide.seconds, None);
    assert_eq!(
        record.laps.decide.why.unwrap().as_str(),
        "the clocks put its end 2 s before its start"
    );
}

#[test]
fn secrets_in_logs_reach_neither_record_nor_pages() {
    let record = record(recovered());
    let json = serde_json::to_string(&record).unwrap();
    for text in [json, html(&record), markdown(&record)] {
        assert!(!text.contains("8f2a9c"));
        assert!(text.contains("Authorization"));
    }
}

#[test]
fn a_metric_that_must_not_fall_is_judged_from_below() {
    let mut input = recovered();
    if let Section::Whole(metrics) = &mut input.metrics {
        metrics[0].threshold = Some(Threshold {
            value: Number(0.01),
            bad: Side::Below,
        });
    }
    let record = record(input);
    // Low values are bad now, so the first sample since the release arrived is the first bad one.
    assert_eq!(record.clocks.first_bad_sample.at, Some(at(-600)));
    assert!(
        record.summary.as_str().contains("error ratio 4.1"),
        "{}",
        record.summary
    );
}
