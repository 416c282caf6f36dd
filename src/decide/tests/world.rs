//! A world in which everything speaks for taking batch 1 of `shop@2` back to `shop@1`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::*;
use crate::domain::alert::{Alert, AlertStatus, Fingerprint, Labels, Source};
use crate::domain::clock;
use crate::domain::context::{Context, Freshness, Resolution, Rung};
use crate::domain::decision::{Scope, Suspect};
use crate::domain::deployment::{Batch, Deployment, Status, Strategy};
use crate::domain::evidence::{Attribution, Check, Evidence, Measured, Verify};
use crate::domain::freeze::{Freeze, Rollbacks, Window};
use crate::domain::id::{Env, ExecutionId, IncidentId, Service};
use crate::domain::lane::{
    Ending, FinishedExecution, Incident, LaneEntry, LaneEvent, Opened, Origin, Plan, Stage,
};
use crate::domain::policy::Rule;
use crate::domain::policy::{Guards, MatchOp, Matcher, NoData, Policy};
use crate::domain::release::{Mark, Release};

/// Everything a test may change.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub alerts: Vec<(Alert, Timestamp)>,
    pub resolution: Resolution,
    pub policy: Policy,
    pub phase: Result<Phase, String>,
    pub truncated: u64,
    pub received_at: Timestamp,
    pub held_since: Option<Timestamp>,
    pub switches: Switches,
    pub evidence: Option<Evidence>,
    pub open: Option<Incident>,
    pub closed: Vec<Incident>,
    pub approvals: Vec<crate::domain::lane::Approval>,
    pub own: Option<Incident>,
    pub lane_trouble: Option<String>,
    pub active: Result<Vec<ActiveExecution>, String>,
    pub candidates: Result<Vec<Candidate>, String>,
    pub service_grants: Vec<Timestamp>,
    pub overall_grants: Vec<Timestamp>,
    pub budget_trouble: Option<String>,
    pub fleet: Result<Fleet, String>,
    pub suspects: Vec<Suspect>,
    pub settings: Settings,
    pub now: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub release: Release,
    pub deployment: Option<Deployment>,
    pub mark: Option<Mark>,
    pub open_incident: bool,
}

impl Candidate {
    pub(super) fn view(&self) -> StableCandidate<'_> {
        StableCandidate {
            release: &self.release,
            deployment: self.deployment.as_ref(),
            mark: self.mark.as_ref(),
            open_incident: self.open_incident,
        }
    }
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// The moment most tests decide at.
pub(super) const NOW: i64 = 10_000;

pub(super) fn host(n: u32) -> Host {
    Host::new(format!("h{n}")).unwrap()
}

pub(super) fn release_id(version: &str) -> ReleaseId {
    ReleaseId::new(format!("shop@{version}")).unwrap()
}

pub(super) fn release(version: &str) -> Release {
    Release {
        id: release_id(version),
        service: Service::new("shop").unwrap(),
        tag: format!("v{version}"),
        version: version.to_owned(),
        artifact_url: "file:///shop".to_owned(),
        checksum: "0".repeat(64),
        config: None,
        commit: None,
        reversible: true,
        created_at: at(0),
        created_by: "ci".to_owned(),
    }
}

/// A canary of three batches with one host each, of which the first `started` run.
pub(super) fn deployment(id: &str, version: &str, started: u32) -> Deployment {
    let batch = |n: u32| Batch {
        n,
        hosts: vec![host(n)],
        status: Status::Running,
        started_at: (n <= started).then(|| at(NOW - 600 + i64::from(n))),
        finished_at: None,
    };
    Deployment {
        id: DeploymentId::new(id).unwrap(),
        release_id: release_id(version),
        service: Service::new("shop").unwrap(),
        env: Env::new("prod").unwrap(),
        strategy: Strategy::Canary,
        target_hosts: (1..=3).map(host).collect(),
        batches: (1..=3).map(batch).collect(),
        status: Status::Running,
        started_at: Some(at(NOW - 600)),
        finished_at: None,
        soak: Duration::from_mins(15),
        application: "shop".to_owned(),
        pipeline: "deploy-prod".to_owned(),
        is_rollback: false,
    }
}

/// One that ended well at `end`.
pub(super) fn finished(id: &str, version: &str, end: i64) -> Deployment {
    Deployment {
        status: Status::Success,
        started_at: Some(at(end - 60)),
        finished_at: Some(at(end)),
        ..deployment(id, version, 3)
    }
}

pub(super) fn alert(pairs: &[(&str, &str)]) -> Alert {
    let labels: Labels = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Alert {
        fingerprint: Fingerprint::of(&labels),
        status: AlertStatus::Firing,
        labels,
        annotations: Labels::new(),
        starts_at: at(NOW - 100),
        ends_at: None,
        generator_url: None,
        source: Source::Alertmanager,
    }
}

pub(super) fn rule(name: &str, action: Action) -> Rule {
    Rule {
        name: name.to_owned(),
        matchers: vec![Matcher::new("severity", MatchOp::Equal, "critical").unwrap()],
        phases: Vec::new(),
        for_: Duration::from_secs(30),
        min_hosts: 1,
        action,
        verify: None,
        on_no_data: NoData::Hold,
        approval: None,
        escalate: crate::domain::policy::Escalation::Page,
        channels: Vec::new(),
    }
}

pub(super) fn policy(file: &str, glob: &str, rules: Vec<Rule>) -> Policy {
    let mut services = globset::GlobSetBuilder::new();
    services.add(globset::Glob::new(glob).unwrap());
    Policy {
        file: file.to_owned(),
        services: services.build().unwrap(),
        service_globs: vec![glob.to_owned()],
        rules,
        guards: Guards {
            mode: Mode::Enforce,
            cooldown: Duration::from_mins(30),
            min_capacity: None,
            freeze: Vec::new(),
        },
    }
}

pub(super) fn context() -> Context {
    Context {
        service: Service::new("shop").unwrap(),
        env: Env::new("prod").unwrap(),
        release_id: release_id("2"),
        release: Some(release("2")),
        deployment: deployment("D2", "2", 1),
        batches: [1].into(),
        hosts: vec![host(1)],
        rung: Rung::ReleaseLabels,
        freshness: Freshness {
            as_of: at(NOW - 1),
            stale: false,
        },
    }
}

pub(super) fn expr() -> String {
    "errors > 1".to_owned()
}

pub(super) fn evidence(verify: Verify) -> Evidence {
    let fine = |words: &str| Check::Pass(words.to_owned());
    Evidence {
        verify,
        attribution: Attribution {
            began_after: fine("it began after the batch"),
            others_are_well: fine("the other hosts are well"),
            still_running: fine("shop@2 still runs there"),
        },
        at: at(NOW),
    }
}

pub(super) fn holds() -> Verify {
    Verify::Holds(Measured {
        expr: expr(),
        from: "armed rule".to_owned(),
        value: 0.25,
        series: 1,
        at: at(NOW),
    })
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            alerts: vec![(
                alert(&[("alertname", "CanaryErrors"), ("severity", "critical")]),
                at(NOW - 60),
            )],
            resolution: Resolution::Found(Box::new(context())),
            policy: policy("shop.yaml", "shop", vec![rule("back", Action::Rollback)]),
            phase: Ok(Phase::Canary),
            truncated: 0,
            received_at: at(NOW - 2),
            held_since: None,
            switches: Switches::default(),
            evidence: Some(evidence(holds())),
            open: None,
            closed: Vec::new(),
            approvals: Vec::new(),
            own: None,
            lane_trouble: None,
            active: Ok(vec![ActiveExecution::of_pipeline("D2", "deploy-prod")]),
            candidates: Ok(vec![Candidate {
                release: release("1"),
                deployment: Some(finished("D1", "1", NOW - 5000)),
                mark: None,
                open_incident: false,
            }]),
            service_grants: Vec::new(),
            overall_grants: Vec::new(),
            budget_trouble: None,
            fleet: Ok(Fleet {
                hosts: (1..=3).map(host).collect(),
                unwell: BTreeSet::new(),
            }),
            suspects: Vec::new(),
            settings: Settings::default(),
            now: at(NOW),
        }
    }

    /// Changes the context.
    pub(super) fn with_context(mut self, change: impl FnOnce(&mut Context)) -> Self {
        if let Resolution::Found(context) = &mut self.resolution {
            change(context);
        }
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn rule(&mut self) -> &mut Rule {
        &mut self.policy.rules[0]
    }

    pub(super) fn candidate(&mut self) -> &mut Candidate {
        &mut self.candidates.as_mut().unwrap()[0]
    }

    pub(super) fn answer(&self) -> Answer {
        self.answer_with(|_| {})
    }

    /// The answer after something happened between accusing and deciding.
    pub(super) fn answer_with(&self, change: impl FnOnce(&mut Accusation<'_>)) -> Answer {
        self.told(change, decide)
    }

    /// The decision by the guards that `asked` names.
    pub(super) fn decided_by(&self, asked: impl Fn(Guard) -> bool) -> Decision {
        self.told(|_| {}, |facts| decide_by(facts, asked))
    }

    fn told<T>(
        &self,
        change: impl FnOnce(&mut Accusation<'_>),
        judge: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
        let open: Vec<Accused<'_>> = self
            .alerts
            .iter()
            .map(|(alert, since)| Accused {
                open: OpenAlert {
                    alert,
                    since: *since,
                },
                resolution: &self.resolution,
            })
            .collect();
        let policies = std::slice::from_ref(&self.policy);
        let mut accusation = accuse(&open, policies, |_| self.phase.clone()).remove(0);
        change(&mut accusation);
        let candidates = self
            .candidates
            .as_ref()
            .map(|all| all.iter().map(Candidate::view).collect::<Vec<_>>());
        judge(&Facts {
            accusation: &accusation,
            truncated: self.truncated,
            received_at: self.received_at,
            held_since: self.held_since,
            switches: &self.switches,
            evidence: self.evidence.as_ref(),
            lane: match &self.lane_trouble {
                Some(reason) => Err(reason),
                None => Ok(LaneView {
                    open: self.open.as_ref(),
                    closed: &self.closed,
                    approvals: &self.approvals,
                    own: self.own.as_ref(),
                }),
            },
            active: self.active.as_deref().map_err(String::as_str),
            candidates: match &candidates {
                Ok(candidates) => Ok(candidates),
                Err(reason) => Err(reason),
            },
            budget: match &self.budget_trouble {
                Some(reason) => Err(reason),
                None => Ok(BudgetView {
                    service_grants: &self.service_grants,
                    overall_grants: &self.overall_grants,
                    ..BudgetView::DEFAULT
                }),
            },
            fleet: self.fleet.as_ref().map_err(String::as_str),
            suspects: &self.suspects,
            settings: &self.settings,
            now: self.now,
        })
    }

    pub(super) fn decided(&self) -> Decision {
        match self.answer() {
            Answer::Decided(decision) => *decision,
            Answer::NeedsEvidence(request) => panic!("wants evidence: {request:?}"),
        }
    }
}

/// A freeze window that is open now.
pub(super) fn frozen(rollbacks: Rollbacks) -> Freeze {
    Freeze {
        name: "double eleven".to_owned(),
        window: Window::Dated {
            from: at(NOW - 100),
            to: at(NOW + 100),
        },
        zone: jiff::tz::TimeZone::UTC,
        rollbacks,
    }
}

/// A mode above the policy's.
pub(super) fn switch(reach: Reach, mode: Mode) -> Switch {
    Switch {
        reach,
        mode,
        words: "by oncall: drill".to_owned(),
    }
}

/// An incident about deployment `id` that takes `scope` back; closed 60 s ago when `ending` is
/// given, and admitted by Spinnaker unless it was withdrawn.
pub(super) fn incident(id: &str, scope: Scope, ending: Option<Ending>) -> Incident {
    let decision = World::new().decided();
    let lane = decision.lane.clone().unwrap();
    let admitted = ending != Some(Ending::Withdrawn);
    Incident {
        id: IncidentId::of(&lane, 7).unwrap(),
        lane,
        opened: Opened {
            service: Service::new("shop").unwrap(),
            env: Env::new("prod").unwrap(),
            deployment: DeploymentId::new(id).unwrap(),
            release_id: release_id("2"),
            scope,
            hosts: Vec::new(),
            target: release_id("1"),
            origin: Origin::Automatic,
            decision,
            thread: "group".to_owned(),
            channels: Vec::new(),
            alerts: Vec::new(),
            supersedes: None,
            approval: None,
        },
        opened_at: at(NOW - 200),
        stage: if ending.is_some() {
            Stage::Closed
        } else {
            Stage::Submitted
        },
        attempt: 1,
        plan: None,
        submitting_at: None,
        execution: None,
        submitted_at: None,
        admitted: admitted.then(|| ExecutionId::new("E1").unwrap()),
        admitted_seq: None,
        finished: None,
        recovery: None,
        revision: 0,
        closed_at: ending
            .as_ref()
            .map(|_| clock::before(at(NOW), Duration::from_mins(1))),
        ending,
        abandoned: None,
        events: Vec::new(),
    }
}

/// An incident's rollback as a task, which nothing admits: it ended, or was lost without a trace.
pub(super) fn by_task(mut incident: Incident, ended: bool) -> Incident {
    let opened = &incident.opened;
    incident.plan = Some(Plan {
        application: "shop".to_owned(),
        pipeline: "rollbackServerGroup".to_owned(),
        scope: opened.scope.clone(),
        hosts: Vec::new(),
        from: opened.release_id.clone(),
        target: opened.target.clone(),
        parameters: BTreeMap::new(),
        admission: false,
        task: None,
    });
    incident.admitted = None;
    if ended {
        incident.finished = Some(FinishedExecution {
            at: at(NOW - 90),
            status: "SUCCEEDED".to_owned(),
            succeeded: true,
            detail: String::new(),
        });
    } else {
        incident.events.push(LaneEntry {
            at: at(NOW - 90),
            by: "replica".parse().unwrap(),
            event: LaneEvent::Unknown {
                incident: incident.id.clone(),
                attempt: 1,
                why: "no answer".to_owned(),
            },
        });
    }
    incident
}
