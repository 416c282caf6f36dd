//! Incidents of a test: those it begins with, and those its own decisions open.
//!
//! They are events in a lane like any other, legal or refused. What Spinnaker would make of one is
//! written down: when it ends, and how.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::documents::{Stop, later, service_of};
use super::given::{RawDeployment, RawIncident};
use super::world::World;
use crate::act::budget::Grant;
use crate::act::engine::{self, OpenOutcome};
use crate::domain::clock::Clock as _;
use crate::domain::decision::{Decision, Scope, Verdict};
use crate::domain::id::{ExecutionId, Host, IncidentId, LaneName, ReleaseId};
use crate::domain::lane::{Ending, LaneEvent, Opened, Origin, Plan};
use crate::domain::policy::Mode;
use crate::domain::release::{Mark, MarkKind};
use crate::store::keys;

/// How long a rollback takes when the test does not say.
const TAKES: Duration = Duration::from_mins(1);

/// Something that happens in a lane at its time.
#[derive(Debug, Clone)]
pub(super) enum LaneStep {
    /// An incident that the test begins with opens.
    Open {
        opened: Box<Opened>,
        /// When and how it ends; None: it goes on.
        end: Option<(Timestamp, Ending)>,
    },
    /// An incident ends.
    End {
        incident: IncidentId,
        opened: Box<Opened>,
        ending: Ending,
    },
    /// A grant of the budget.
    Grant(Grant),
}

/// Everything a test begins with, by time.
pub(super) fn steps(world: &World) -> Result<Vec<(Timestamp, LaneStep)>, String> {
    let start = world.start;
    let mut steps = Vec::new();
    for incident in &world.given.incidents {
        let opened = declared(world, incident)?;
        let ending = incident.ending.clone().unwrap_or(Ending::Recovered);
        let end = incident.closed.map(|closed| (closed.after(start), ending));
        let open = LaneStep::Open {
            opened: Box::new(opened),
            end,
        };
        steps.push((incident.opened.after(start), open));
    }
    for (n, grant) in (1..).zip(&world.given.grants) {
        let nowhere = LaneName::new(format!("{}@(elsewhere)", grant.service))
            .or_else(|_| LaneName::new("elsewhere"));
        let incident = nowhere.and_then(|lane| IncidentId::of(&lane, n));
        let at = grant.at.after(start);
        let grant = Grant {
            incident: incident.map_err(|error| error.to_string())?,
            service: grant.service.clone(),
            escalation: false,
            at,
        };
        steps.push((at, LaneStep::Grant(grant)));
    }
    Ok(steps)
}

fn declared(world: &World, raw: &RawIncident) -> Result<Opened, String> {
    let id = &raw.deployment.value;
    let mut all = world.given.deployments.iter();
    let deployment = all.find(|one| one.id.value == *id);
    let deployment = deployment.ok_or_else(|| format!("there is no deployment `{id}`"))?;
    let service = service_of(deployment).ok_or_else(|| format!("`{id}` is of no service"))?;
    let target = match &raw.target {
        Some(target) => target.clone(),
        None => ReleaseId::of(&service, "the-one-before").map_err(|error| error.to_string())?,
    };
    let scope = raw.scope.0.clone();
    let hosts = hosts_of(deployment, &scope);
    let release_id = deployment.release.value.clone();
    let lane = LaneName::of(&service, &deployment.env).map_err(|error| error.to_string())?;
    let decision = Decision {
        at: raw.opened.after(world.start),
        verdict: Verdict::Rollback(scope.clone()),
        shadow: false,
        mode: Mode::Enforce,
        rule: None,
        rules: Vec::new(),
        guards: Vec::new(),
        service: Some(service.clone()),
        env: Some(deployment.env.clone()),
        lane: Some(lane),
        deployment: Some(id.clone()),
        release_id: Some(release_id.clone()),
        phase: None,
        scope: Some(scope.clone()),
        hosts: hosts.clone(),
        target: Some(target.clone()),
        alerts: BTreeSet::new(),
        evidence: None,
        recheck_at: None,
        incident: None,
        consent: None,
        escalates: None,
        suspects: Vec::new(),
    };
    Ok(Opened {
        service,
        env: deployment.env.clone(),
        deployment: id.clone(),
        release_id,
        scope,
        hosts,
        target,
        origin: Origin::Automatic,
        decision,
        thread: "this test".to_owned(),
        channels: Vec::new(),
        alerts: Vec::new(),
        supersedes: None,
        approval: None,
    })
}

fn hosts_of(deployment: &RawDeployment, scope: &Scope) -> Vec<Host> {
    let batches = (1..).zip(&deployment.batches);
    batches
        .filter(|(n, _)| match scope {
            Scope::Full => true,
            Scope::Batch(numbers) => numbers.contains(n),
        })
        .flat_map(|(_, batch)| batch.hosts.clone())
        .collect()
}

impl World {
    /// Does one step now. What follows from it later is answered.
    pub(super) async fn take(
        &mut self,
        step: LaneStep,
    ) -> Result<Vec<(Timestamp, LaneStep)>, String> {
        match step {
            LaneStep::Grant(grant) => {
                let written = self.append(&keys::budget(), &grant).await;
                written
                    .map(|()| Vec::new())
                    .map_err(|error| error.to_string())
            }
            LaneStep::Open { opened, end } => match self.open(*opened, end).await? {
                Ok((_, later)) => Ok(later),
                Err(why) => Err(format!("an incident of `given` can't be opened: {why}")),
            },
            LaneStep::End {
                incident,
                opened,
                ending,
            } => {
                self.end(&incident, *opened, &ending).await?;
                Ok(Vec::new())
            }
        }
    }

    /// How and when a rollback that is opened now ends.
    pub(super) fn usual_end(&self) -> (Timestamp, Ending) {
        let spec = self.given.rollbacks.as_ref();
        let take = spec.and_then(|spec| spec.take).map_or(TAKES, |take| take.0);
        let ending = spec.and_then(|spec| spec.ending.clone());
        (
            later(self.clock.now(), take),
            ending.unwrap_or(Ending::Recovered),
        )
    }

    /// Opens an incident, and sends it as far as Spinnaker lets it in. The inner error says why the
    /// lane does not take it.
    pub(super) async fn open(
        &mut self,
        opened: Opened,
        end: Option<(Timestamp, Ending)>,
    ) -> Result<Result<(IncidentId, Vec<(Timestamp, LaneStep)>), String>, String> {
        let id = match engine::open(&self.lanes, opened.clone()).await {
            OpenOutcome::Opened(id) => id,
            OpenOutcome::Merged(id) => return Ok(Ok((id, Vec::new()))),
            OpenOutcome::Refused(why) => return Ok(Err(why)),
            OpenOutcome::Unknown => return Err("the lane can't be written".to_owned()),
        };
        let now = self.clock.now();
        let stop = Stop {
            at: now,
            taken_back: None,
        };
        self.stopped
            .entry(opened.deployment.clone())
            .or_insert(stop);
        let sent = !matches!(end, Some((_, Ending::Withdrawn | Ending::Abandoned)));
        if sent {
            self.send(&id, &opened).await?;
        }
        let end = end.map(|(at, ending)| {
            let step = LaneStep::End {
                incident: id.clone(),
                opened: Box::new(opened),
                ending,
            };
            (at, step)
        });
        Ok(Ok((id, end.into_iter().collect())))
    }

    async fn send(&self, id: &IncidentId, opened: &Opened) -> Result<(), String> {
        let execution = execution_of(id)?;
        let plan = Plan {
            application: opened.service.to_string(),
            pipeline: format!("rollback-{}", opened.scope.kind()),
            scope: opened.scope.clone(),
            hosts: opened.hosts.clone(),
            from: opened.release_id.clone(),
            target: opened.target.clone(),
            parameters: std::collections::BTreeMap::new(),
            admission: true,
            task: None,
        };
        let incident = id.clone();
        self.event(LaneEvent::Claimed {
            incident: incident.clone(),
            owner: self.lanes.me().clone(),
            until: later(self.clock.now(), self.config.timing.lease),
        })
        .await?;
        let grant = Grant {
            incident: incident.clone(),
            service: opened.service.clone(),
            escalation: opened.supersedes.is_some(),
            at: self.clock.now(),
        };
        let granted = self.append(&keys::budget(), &grant).await;
        granted.map_err(|error| error.to_string())?;
        self.event(LaneEvent::Submitting {
            incident: incident.clone(),
            attempt: 1,
            plan,
        })
        .await?;
        self.event(LaneEvent::Submitted {
            incident: incident.clone(),
            attempt: 1,
            execution: execution.clone(),
        })
        .await?;
        self.event(LaneEvent::Admitted {
            incident,
            attempt: 1,
            execution,
        })
        .await
    }

    async fn end(
        &mut self,
        id: &IncidentId,
        opened: Opened,
        ending: &Ending,
    ) -> Result<(), String> {
        let incident = id.clone();
        let why = "as this test says".to_owned();
        let ran = matches!(
            ending,
            Ending::Recovered | Ending::Unverified | Ending::StillBad | Ending::RollbackFailed
        );
        let succeeded = ran && *ending != Ending::RollbackFailed;
        if ran {
            self.event(LaneEvent::Finished {
                incident: incident.clone(),
                execution: execution_of(id)?,
                status: if succeeded { "SUCCEEDED" } else { "TERMINAL" }.to_owned(),
                succeeded,
                detail: why.clone(),
            })
            .await?;
        }
        if succeeded {
            self.taken_back(&opened).await?;
            self.event(LaneEvent::Recovery {
                incident: incident.clone(),
                ending: ending.clone(),
                detail: why.clone(),
            })
            .await?;
        }
        if *ending == Ending::Abandoned {
            self.event(LaneEvent::Abandoned {
                incident: incident.clone(),
                by: "this test".to_owned(),
                why: why.clone(),
            })
            .await?;
        }
        let ending = ending.clone();
        self.event(LaneEvent::Closed {
            incident,
            ending,
            why,
        })
        .await
    }

    /// The release is marked bad, and a deployment with no host left counts as rolled back.
    async fn taken_back(&mut self, opened: &Opened) -> Result<(), String> {
        let now = self.clock.now();
        let mark = Mark {
            release_id: opened.release_id.clone(),
            kind: MarkKind::Bad,
            reason: "rolled back".to_owned(),
            by: "backstop".to_owned(),
            at: now,
            incident: None,
        };
        let marked = self.append(&keys::marks(&opened.release_id), &mark).await;
        marked.map_err(|error| error.to_string())?;
        let mut all = self.given.deployments.iter();
        let deployment = all.find(|one| one.id.value == opened.deployment);
        let started = deployment.map_or(0, |one| {
            let begun = one.batches.iter().filter_map(|batch| batch.started);
            begun.filter(|at| at.after(self.start) <= now).count()
        });
        let whole = match &opened.scope {
            Scope::Full => true,
            Scope::Batch(numbers) => numbers.len() >= started,
        };
        if let Some(stop) = self.stopped.get_mut(&opened.deployment).filter(|_| whole) {
            stop.taken_back = Some(now);
        }
        Ok(())
    }

    async fn event(&self, event: LaneEvent) -> Result<(), String> {
        let word = event.as_str();
        let lane = event.incident().and_then(IncidentId::parts);
        let (lane, _) = lane.ok_or("an event without an incident")?;
        let appended = self.lanes.append_with(&lane, |_| Some(event.clone())).await;
        match appended {
            Ok(appended) if appended.is_won() => Ok(()),
            Ok(_) => Err(format!("`{word}` is not legal in lane `{lane}` there")),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn execution_of(id: &IncidentId) -> Result<ExecutionId, String> {
    ExecutionId::new(format!("rollback-{id}")).map_err(|error| error.to_string())
}
