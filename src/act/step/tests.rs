use super::*;
use crate::act::fixtures::{incident, noon, opening, plan};
use crate::domain::decision::Scope;
use crate::domain::lane::FinishedExecution;

fn timing() -> Timing {
    Timing::default()
}

/// An incident opened by `a`.
fn opened() -> Incident {
    incident(opening("checkout", "d1", Scope::Full), [])
}

fn wall(second: u64) -> Timestamp {
    crate::domain::clock::after(noon(), Duration::from_secs(second))
}

fn claimed(by: &str) -> Incident {
    Incident {
        stage: Stage::Claimed {
            owner: by.parse().unwrap(),
            until: wall(60),
        },
        ..opened()
    }
}

fn sent(stage: Stage) -> Incident {
    Incident {
        stage,
        attempt: 1,
        ..opened()
    }
}

fn finished(succeeded: bool) -> Incident {
    Incident {
        finished: Some(FinishedExecution {
            at: wall(10),
            status: "S".into(),
            succeeded,
            detail: "d".into(),
        }),
        execution: Some("E1".parse().unwrap()),
        ..sent(Stage::Finished)
    }
}

/// What `me` does `seconds` after it first saw the newest event.
fn after(incident: &Incident, me: &str, seconds: u64) -> Step {
    with(incident, me, seconds, |_| {})
}

fn with(incident: &Incident, me: &str, seconds: u64, know: impl FnOnce(&mut Local)) -> Step {
    let began = Instant::now();
    let mut local = Local::new(began);
    know(&mut local);
    let now = Now {
        instant: began + Duration::from_secs(seconds),
        wall: wall(seconds),
    };
    let rules = Rules {
        me: &me.parse().unwrap(),
        timing: &timing(),
        http_timeout: Duration::from_secs(10),
    };
    next_step(incident, &local, now, rules)
}

fn told(names: &[&str]) -> impl FnOnce(&mut Local) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    move |local| {
        local.marked = true;
        local.told.extend(names);
    }
}

#[test]
fn the_opener_goes_on_at_once_and_others_after_a_grace() {
    assert_eq!(after(&opened(), "a", 0), Step::Attempt);
    assert_eq!(after(&opened(), "b", 2), Step::Wait(Duration::from_secs(4)));
    assert_eq!(after(&opened(), "b", 6), Step::Attempt);
}

#[test]
fn a_claim_of_another_replica_is_respected_until_it_can_not_be_sending() {
    // Lease 60 s, request 10 s, clocks 30 s apart; counted from the first sight of the claim.
    assert_eq!(
        after(&claimed("b"), "c", 99),
        Step::Wait(Duration::from_secs(1))
    );
    assert_eq!(after(&claimed("b"), "c", 100), Step::Attempt);
    assert_eq!(after(&claimed("a"), "a", 1), Step::Attempt);
}

#[test]
fn absence_is_proof_only_long_after_the_last_possible_send() {
    let looked = |seconds| after(&sent(Stage::Unknown), "b", seconds);
    let look_up = |absence_counts| Step::LookUp { absence_counts };
    assert_eq!(looked(220), look_up(false));
    assert_eq!(looked(221), look_up(true));
    // Whoever sent it knows when that was over.
    let mine = |seconds| {
        with(&sent(Stage::Submitting), "a", seconds, |local| {
            local.sent = Some((1, local.since));
        })
    };
    assert_eq!(mine(120), look_up(false));
    assert_eq!(mine(121), look_up(true));
    let older = with(&sent(Stage::Submitting), "a", 121, |local| {
        local.sent = Some((0, local.since));
    });
    assert_eq!(older, look_up(false));
}

#[test]
fn an_execution_spinnaker_named_is_not_looked_up() {
    let execution: ExecutionId = "E1".parse().unwrap();
    let step = with(&sent(Stage::Submitting), "a", 0, |local| {
        local.named = Some((1, execution.clone()));
    });
    assert_eq!(step, Step::Name(execution));
}

#[test]
fn what_is_held_is_paged_and_ends() {
    let minutes = 60;
    let page = Page::Held("nothing could be sent yet".into());
    assert_eq!(
        after(&opened(), "a", 30 * minutes),
        Step::Tell(Followup::Page(page))
    );
    assert_eq!(
        with(&opened(), "a", 31 * minutes, told(&["page-held"])),
        Step::Attempt
    );
    let end = with(
        &opened(),
        "a",
        360 * minutes,
        told(&["page-held", "page-withdrawn"]),
    );
    assert!(matches!(end, Step::Close(Ending::Withdrawn, _)), "{end:?}");
}

#[test]
fn after_the_last_attempt_a_person_is_called() {
    let spent = Incident {
        attempt: MAX_ATTEMPTS,
        ..opened()
    };
    let page = after(&spent, "a", 0);
    assert!(matches!(page, Step::Tell(Followup::Page(Page::NotSent(_)))));
    let end = with(&spent, "a", 0, told(&["page-not-sent"]));
    assert!(matches!(end, Step::Close(Ending::RollbackFailed, _)));
}

#[test]
fn an_end_is_marked_and_told_before_anything_else() {
    let mut known: Vec<&str> = vec!["started-1"];
    let step = |known: &[&str]| with(&finished(true), "a", 0, told(known));
    let first = with(&finished(true), "a", 0, |local| {
        local.told.insert("started-1".into());
    });
    assert_eq!(first, Step::MarkBad);
    assert_eq!(step(&known), Step::Tell(Followup::Finished));
    known.push("finished");
    assert_eq!(step(&known), Step::AskRecovery);
    let failed = with(&finished(false), "a", 0, told(&known));
    assert!(matches!(
        failed,
        Step::Tell(Followup::Page(Page::Failed(_)))
    ));
}

#[test]
fn an_escalated_incident_still_tells_its_end() {
    let superseded = Incident {
        stage: Stage::Closed,
        ending: Some(Ending::Superseded),
        ..finished(true)
    };
    let step = with(&superseded, "a", 0, told(&["started-1"]));
    assert_eq!(step, Step::Tell(Followup::Finished));
    let all = ["started-1", "finished"];
    assert_eq!(with(&superseded, "a", 0, told(&all)), Step::Done);
    let over = Incident {
        ending: Some(Ending::Recovered),
        ..superseded
    };
    assert_eq!(after(&over, "z", 0), Step::Done);
}

#[test]
fn an_abandoned_incident_closes_unless_hosts_may_be_changing() {
    let given_up = |incident: Incident| Incident {
        abandoned: Some(("oncall".into(), "w".into())),
        ..incident
    };
    for incident in [opened(), claimed("a"), sent(Stage::Unknown)] {
        let step = after(&given_up(incident), "a", 0);
        assert!(
            matches!(step, Step::Close(Ending::Abandoned, _)),
            "{step:?}"
        );
    }
    // A task that is on its way would be refused by nobody.
    let mut sending = given_up(sent(Stage::Submitting));
    let closes = |incident: &Incident| matches!(after(incident, "a", 0), Step::Close(..));
    sending.plan = Some(plan(&sending.opened, true));
    assert!(closes(&sending), "its execution will be refused");
    sending.plan = Some(plan(&sending.opened, false));
    assert!(!closes(&sending));
    let running = given_up(Incident {
        execution: Some("E1".parse().unwrap()),
        ..sent(Stage::Admitted)
    });
    let step = with(&running, "a", 0, told(&["started-1"]));
    assert_eq!(step, Step::Follow("E1".parse().unwrap()));
}

#[test]
fn a_long_run_is_paged_once_and_followed_on() {
    let running = Incident {
        execution: Some("E1".parse().unwrap()),
        submitted_at: Some(wall(0)),
        ..sent(Stage::Admitted)
    };
    let known = ["started-1"];
    let step = with(&running, "a", 1800, told(&known));
    let paged = matches!(step, Step::Tell(Followup::Page(Page::StillRunning(_))));
    assert!(paged, "{step:?}");
    let known = ["started-1", "page-still-running"];
    let step = with(&running, "a", 1800, told(&known));
    assert_eq!(step, Step::Follow("E1".parse().unwrap()));
}

#[test]
fn news_start_the_count_anew_and_reports_are_no_news() {
    let began = Instant::now();
    let later = began + Duration::from_secs(50);
    let mut local = Local::new(began);
    let mut incident = opened();
    local.observe(&incident, later);
    assert_eq!(local.since, later);
    local.not_before = Some(later);
    let mut entry = incident.events[0].clone();
    entry.by = "z".parse().unwrap();
    entry.event = LaneEvent::Reported {
        incident: incident.id.clone(),
        revision: 1,
    };
    incident.events.push(entry);
    local.observe(&incident, later + Duration::from_secs(9));
    assert_eq!((local.since, local.not_before), (later, Some(later)));
    // Whoever writes one takes nothing over.
    assert_eq!(incident.newest_by(), Some(&"a".parse().unwrap()));
}
