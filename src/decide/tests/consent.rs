//! The guards that ask what people want.

use std::time::Duration;

use super::super::*;
use super::table::check;
use super::world::*;
use crate::domain::decision::{Code, Consent};
use crate::domain::id::{ApprovalId, IncidentId};
use crate::domain::lane::{self as people, Asked, Settled, Via};
use crate::domain::policy::{Approval, Expiry};

#[test]
fn kill_switch() {
    check(
        Guard::KillSwitch,
        &[
            ("nobody", |_| {}, "pass", "nobody switched it off"),
            (
                "everything",
                |w| w.switches.set = vec![switch(Reach::Everything, Mode::Off)],
                "deny",
                "switched off for everything by oncall: drill",
            ),
            (
                "the environment, whatever else is set",
                |w| {
                    w.switches.set = vec![
                        switch(Reach::Everything, Mode::Enforce),
                        switch(Reach::Env, Mode::Off),
                        switch(Reach::Service, Mode::Approve),
                    ];
                },
                "deny",
                "switched off for the environment",
            ),
            (
                "unreadable",
                |w| w.switches.unreadable = Some("the store is down".into()),
                "hold",
                "can't be read: the store is down",
            ),
            (
                "off where it can be read",
                |w| {
                    w.switches.set = vec![switch(Reach::Service, Mode::Off)];
                    w.switches.unreadable = Some("the store is down".into());
                },
                "deny",
                "switched off for the service",
            ),
        ],
    );
}

#[test]
fn mode() {
    check(
        Guard::Mode,
        &[
            (
                "enforce",
                |_| {},
                "pass",
                "the mode is enforce (enforce by shop.yaml)",
            ),
            (
                "the policy is off",
                |w| w.policy.guards.mode = Mode::Off,
                "deny",
                "the mode is off (off by shop.yaml): nothing automatic is done",
            ),
            (
                "shadow",
                |w| w.switches.set = vec![switch(Reach::Service, Mode::Shadow)],
                "pass",
                "the mode is shadow (enforce by shop.yaml, shadow for the service by oncall: drill)",
            ),
        ],
    );
}

#[test]
fn approval() {
    check(
        Guard::Approval,
        &[
            ("nobody asks", |_| {}, "pass", "neither mode nor rule"),
            (
                "the rule",
                |w| {
                    w.rule().approval = Some(Approval {
                        expires: Duration::from_mins(15),
                        then: Expiry::Hold,
                    });
                },
                "hold",
                "the rule wants a person to agree",
            ),
            (
                "the strictest mode",
                |w| {
                    w.switches.set = vec![
                        switch(Reach::Everything, Mode::Enforce),
                        switch(Reach::Service, Mode::Approve),
                    ];
                },
                "hold",
                "the mode is approve",
            ),
        ],
    );
}

/// A question about the accused deployment, asked a minute ago and settled ten seconds ago.
fn question(w: &World, outcome: Settled) -> people::Approval {
    let decision = World::new().decided();
    let lane = decision.lane.clone().unwrap();
    let open = outcome == Settled::Open;
    people::Approval {
        id: ApprovalId::of(&lane, 3).unwrap(),
        asked: Asked {
            service: decision.service.clone().unwrap(),
            env: decision.env.clone().unwrap(),
            deployment: DeploymentId::new("D2").unwrap(),
            release_id: release_id("2"),
            rule: format!("{}: back", w.policy.file),
            scope: decision.scope.clone().unwrap(),
            hosts: Vec::new(),
            target: release_id("1"),
            decision,
            thread: "t".into(),
            channels: Vec::new(),
            expires: at(NOW + 840),
            then: Expiry::Rollback,
        },
        asked_at: at(NOW - 60),
        outcome,
        settled_at: (!open).then(|| at(NOW - 10)),
        used_by: None,
        events: Vec::new(),
    }
}

fn answer() -> people::Answer {
    people::Answer {
        by: "ada".into(),
        via: Via::Token,
        reason: "seen it".into(),
    }
}

/// Mode `approve`, and a question that stands so.
fn asked(w: &mut World, outcome: Settled) {
    w.policy.guards.mode = Mode::Approve;
    w.approvals = vec![question(w, outcome)];
}

#[test]
fn what_people_said() {
    check(
        Guard::Approval,
        &[
            (
                "open",
                |w| asked(w, Settled::Open),
                "hold",
                "people are asked until",
            ),
            (
                "yes",
                |w| asked(w, Settled::Approved(answer())),
                "pass",
                "ada agreed (`shop@prod-3`): seen it",
            ),
            (
                "no, in any mode",
                |w| {
                    asked(w, Settled::Denied(answer()));
                    w.policy.guards.mode = Mode::Enforce;
                },
                "deny",
                "ada said no (`shop@prod-3`): seen it",
            ),
            (
                "the no is taken back",
                |w| asked(w, Settled::Cleared(answer())),
                "hold",
                "`shop@prod-3` cleared",
            ),
            (
                "a yes to less",
                |w| {
                    asked(w, Settled::Approved(answer()));
                    w.rule().action = Action::RollbackFull;
                },
                "hold",
                "covers less",
            ),
            (
                "a yes to another target",
                |w| {
                    asked(w, Settled::Approved(answer()));
                    w.approvals[0].asked.target = release_id("0");
                },
                "hold",
                "another release",
            ),
            (
                "a yes of long ago",
                |w| {
                    asked(w, Settled::Approved(answer()));
                    w.approvals[0].settled_at = Some(at(NOW - 901));
                },
                "hold",
                "too long ago",
            ),
            (
                "a yes that was used",
                |w| {
                    asked(w, Settled::Approved(answer()));
                    w.approvals[0].used_by = Some(IncidentId::new("shop@prod-5").unwrap());
                },
                "hold",
                "has served an incident",
            ),
            (
                "a yes to another rule",
                |w| {
                    asked(w, Settled::Approved(answer()));
                    w.approvals[0].asked.rule = "shop.yaml: other".into();
                },
                "hold",
                "a person must agree",
            ),
        ],
    );
}

#[test]
fn what_silence_says() {
    check(
        Guard::Approval,
        &[
            (
                "the rule takes it for a yes",
                |w| {
                    asked(w, Settled::Expired);
                    w.policy.guards.mode = Mode::Enforce;
                    w.rule().approval = Some(Approval {
                        expires: Duration::from_mins(15),
                        then: Expiry::Rollback,
                    });
                },
                "pass",
                "which the rule takes for a yes",
            ),
            (
                "never in mode approve",
                |w| asked(w, Settled::Expired),
                "hold",
                "in time: a person must act",
            ),
            (
                "held since: still silence",
                |w| {
                    asked(w, Settled::Expired);
                    w.held_since = Some(at(NOW - 100));
                },
                "hold",
                "in time: a person must act",
            ),
            (
                "a later accusation is asked about anew",
                |w| {
                    asked(w, Settled::Expired);
                    w.held_since = Some(at(NOW - 5));
                },
                "hold",
                "an earlier accusation",
            ),
        ],
    );
}

#[test]
fn people_are_asked_only_when_nothing_else_speaks_against_it() {
    let approve = |w: &mut World| w.policy.guards.mode = Mode::Approve;
    let asks = World::new().with(approve).decided();
    assert_eq!(
        asks.consent,
        Some(Consent::Ask {
            until: at(NOW + 900),
            then: Expiry::Hold
        })
    );
    let held = World::new().with(approve);
    let held = held.with(|w| w.active = Err("502".into())).decided();
    assert_eq!(held.consent, None);
    let open = World::new().with(|w| asked(w, Settled::Open)).decided();
    assert!(matches!(open.consent, Some(Consent::Asked(_))));
    let given = World::new().with(|w| asked(w, Settled::Approved(answer())));
    let given = given.decided();
    assert_eq!(given.verdict.as_str(), "rollback_batch");
    assert!(matches!(given.consent, Some(Consent::Given(_))));
    let denied = World::new().with(|w| asked(w, Settled::Denied(answer())));
    let denied = denied.decided();
    assert_eq!(denied.verdict, Verdict::Notify);
    assert!(denied.is_denied());
}

#[test]
fn in_shadow_it_is_said_and_not_done() {
    let decision = World::new()
        .with(|w| w.policy.guards.mode = Mode::Shadow)
        .decided();
    assert_eq!(decision.verdict.as_str(), "rollback_batch");
    assert!(decision.shadow);
    assert_eq!(decision.mode, Mode::Shadow);
    let held = World::new()
        .with(|w| {
            w.policy.guards.mode = Mode::Shadow;
            w.lane_trouble = Some("gone".into());
        })
        .decided();
    assert_eq!(held.verdict, Verdict::Hold);
    assert!(!held.shadow);
}

#[test]
fn while_a_switch_can_not_be_read_nothing_counts_as_enforced() {
    let decision = World::new()
        .with(|w| w.switches.unreadable = Some("down".into()))
        .decided();
    assert_eq!(decision.mode, Mode::Approve);
    let first = decision.first_obstacle().unwrap();
    assert_eq!(
        (first.guard, first.code),
        (Guard::KillSwitch, Code::Unreadable)
    );
}
