//! Gathers what is known about accusations and lets `decide` judge them.
//!
//! [`Judge`] is the one way from open alerts to decisions. What it asks of the world is
//! [`Sources`]: the gateway's are [`live`], a rehearsal's are written in a file. So a rule test, an
//! explanation and a replay of last month run what the gateway runs.

mod escalation;
mod live;
mod sources;
mod surroundings;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::audience::audience_of;
use crate::act::budget::BudgetView as Granted;
use crate::config::Config;
use crate::decide::{
    self, Accusation, Accused, ActiveExecution, Answer, BudgetView, EvidenceRequest, Facts,
    LaneView, Limit, OpenAlert, Settings, StableCandidate,
};
use crate::domain::alert::{Alert, Fingerprint, Labels};
use crate::domain::context::{Context, Resolution};
use crate::domain::decision::{Decision, Verdict};
use crate::domain::deployment::Deployment;
use crate::domain::evidence::{Attribution, Check, Evidence, Verify};
use crate::domain::id::{ChannelName, DeploymentId};
use crate::domain::lane::{LaneState, Opened, Origin};
use crate::enrich::catalog::View;
use crate::enrich::{evidence, ladder};
use crate::ingest::episode::Open;

pub(crate) use sources::Sources;
use surroundings::surroundings;

/// Alerts kept with an incident.
const MAX_KEPT_ALERTS: usize = 20;

/// Whether the sources are asked at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gather {
    /// Ask them; the answers go into the decision.
    Now(Duration),
    /// The sender can't wait: hold, and ask in the background.
    Later,
}

/// One accusation, judged.
#[derive(Debug, Clone)]
pub(crate) struct Judgement {
    /// The decision.
    pub(crate) decision: Decision,
    /// What is accused, as far as the ladder told.
    pub(crate) resolution: Resolution,
    /// The alerts behind it, as last delivered.
    pub(crate) alerts: Vec<Open>,
    /// Who is told.
    pub(crate) channels: Vec<ChannelName>,
    /// No rule names them: routes do.
    pub(crate) names_nobody: bool,
    /// Whether a rule asks for a rollback here: such a hold is asked again.
    pub(crate) wants_rollback: bool,
}

impl Judgement {
    /// The incident it asks for; None when it asks for none.
    pub(crate) fn opening(&self, thread: &str, channels: &[ChannelName]) -> Option<Opened> {
        let decision = &self.decision;
        let Verdict::Rollback(scope) = &decision.verdict else {
            return None;
        };
        let context = self.resolution.context()?;
        Some(Opened {
            service: context.service.clone(),
            env: context.env.clone(),
            deployment: context.deployment.id.clone(),
            release_id: context.release_id.clone(),
            scope: scope.clone(),
            hosts: decision.hosts.clone(),
            target: decision.target.clone()?,
            origin: Origin::Automatic,
            decision: decision.clone(),
            thread: thread.to_owned(),
            channels: channels.to_vec(),
            alerts: self
                .alerts
                .iter()
                .take(MAX_KEPT_ALERTS)
                .map(|open| Alert::clone(&open.alert))
                .collect(),
            supersedes: None,
            approval: decision.consent_given().cloned(),
        })
    }
}

/// What a judgement is made from, beside the alerts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion {
    /// Alerts that were cut from the delivery.
    pub(crate) truncated: u64,
    /// When the newest delivery came.
    pub(crate) received_at: Timestamp,
    /// Since when a hold stands, when one is asked again.
    pub(crate) held_since: Option<Timestamp>,
    /// Whether to ask the sources.
    pub(crate) gather: Gather,
    /// Whether the lane's open incident is asked about once more: it is not in its own way.
    pub(crate) again: bool,
}

/// What is judged once more, after it was decided or held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Again<'a> {
    /// The accused deployment.
    pub(crate) deployment: Option<&'a DeploymentId>,
    /// What was decided then.
    pub(crate) decision: &'a Decision,
    /// Since when it stands.
    pub(crate) since: Timestamp,
    /// Whether it is asked for the lane's open incident, which is not in its own way.
    pub(crate) own_incident: bool,
}

/// An open alert and what it accuses.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// The alert.
    pub(crate) open: Open,
    /// The ladder's answer.
    pub(crate) resolution: Resolution,
}

/// What evidence is asked about.
#[derive(Clone, Copy)]
struct Asked<'a> {
    accusation: &'a Accusation<'a>,
    context: &'a Context,
    request: &'a EvidenceRequest,
}

/// What was asked of the world about one accusation; each may have failed in words.
struct World {
    lane: Result<std::sync::Arc<LaneState>, String>,
    active: Result<Vec<ActiveExecution>, String>,
    granted: Result<Granted, String>,
    switches: decide::Switches,
    evidence: Option<Evidence>,
}

/// Judges by one configuration, asking one set of sources.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    /// Policies, services, times and limits.
    pub(crate) config: &'a Config,
    /// The world.
    pub(crate) sources: &'a dyn Sources,
}

impl Judge<'_> {
    /// Every open alert with what it accuses.
    pub(crate) fn resolve(&self, view: &View, open: Vec<Open>) -> Vec<Resolved> {
        let resolve = |open: Open| {
            let resolution = ladder::resolve(&open.alert, view, &self.config.services);
            Resolved { open, resolution }
        };
        open.into_iter().map(resolve).collect()
    }

    /// What is held, or about to be sent, judged once more with fresh evidence: every accusation
    /// of the same deployment that wants a rollback, that of the same rule first. Another phase
    /// brings another rule for the same alerts.
    pub(crate) async fn ask_again(
        &self,
        view: &View,
        resolved: &[Resolved],
        asked: Again<'_>,
    ) -> Vec<Judgement> {
        let about = |one: &&Resolved| {
            let context = one.resolution.context();
            context.is_some_and(|context| Some(&context.deployment.id) == asked.deployment)
        };
        let focus = resolved.iter().filter(about);
        let focus = focus.map(|one| one.open.alert.fingerprint).collect();
        let occasion = Occasion {
            truncated: 0,
            received_at: asked.decision.at,
            held_since: Some(asked.since),
            gather: Gather::Now(self.config.timing.evidence_deadline),
            again: asked.own_incident,
        };
        let judgements = self.judge(view, resolved, &focus, occasion).await;
        let wanting = judgements
            .into_iter()
            .filter(|judgement| judgement.wants_rollback);
        let (same_rule, others): (Vec<_>, Vec<_>) =
            wanting.partition(|judgement| judgement.decision.rule == asked.decision.rule);
        same_rule.into_iter().chain(others).collect()
    }

    /// Judges the accusations that `focus` has a part in.
    pub(crate) async fn judge(
        &self,
        view: &View,
        resolved: &[Resolved],
        focus: &BTreeSet<Fingerprint>,
        occasion: Occasion,
    ) -> Vec<Judgement> {
        let now = self.sources.now();
        let accused = accused(resolved);
        let accusations = decide::accuse(&accused, &self.config.policies, |context| {
            Ok(context.deployment.phase(now))
        });
        let mut judgements = Vec::new();
        for accusation in accusations {
            if accusation
                .alerts
                .iter()
                .any(|open| focus.contains(&open.alert.fingerprint))
            {
                judgements.push(self.judge_one(view, resolved, &accusation, occasion).await);
            }
        }
        judgements
    }

    async fn judge_one(
        &self,
        view: &View,
        resolved: &[Resolved],
        accusation: &Accusation<'_>,
        occasion: Occasion,
    ) -> Judgement {
        let context = accusation.resolution.context();
        let mut world = self.ask_store(accusation).await;
        let decision = match self.with_facts(view, accusation, &world, occasion, decide::decide) {
            Answer::Decided(decision) => *decision,
            Answer::NeedsEvidence(request) => match (occasion.gather, context) {
                (Gather::Now(deadline), Some(context)) => {
                    let evidence = Asked {
                        accusation,
                        context,
                        request: &request,
                    };
                    let live = self.ask_sources(view, evidence, &mut world, deadline).await;
                    self.decide_again(view, resolved, accusation, &world, occasion, &live)
                }
                (Gather::Later, _) | (_, None) => {
                    world.evidence = Some(pending(self.sources.now()));
                    self.with_facts(view, accusation, &world, occasion, decide::decide_as_is)
                }
            },
        };
        let alerts = accusation
            .alerts
            .iter()
            .map(|open| open.alert.fingerprint)
            .collect::<BTreeSet<_>>();
        let rule = accusation.rule;
        Judgement {
            decision,
            resolution: accusation.resolution.clone(),
            alerts: resolved
                .iter()
                .filter(|one| alerts.contains(&one.open.alert.fingerprint))
                .map(|one| one.open.clone())
                .collect(),
            channels: audience_of(
                self.config,
                rule,
                &accusation.resolution,
                accusation.alerts.iter().map(|open| open.alert),
                &Labels::new(),
            ),
            names_nobody: rule.is_none_or(|rule| rule.channels.is_empty()),
            wants_rollback: rule.is_some_and(|rule| rule.action.is_rollback()),
        }
    }

    /// What needs no more than the store: modes and the lane.
    async fn ask_store(&self, accusation: &Accusation<'_>) -> World {
        let resolution = &accusation.resolution;
        let lane = match resolution.context().map(Context::lane) {
            Some(Ok(lane)) => self.sources.lane(&lane).await,
            Some(Err(error)) => Err(error.to_string()),
            None => Err("no deployment is accused".to_owned()),
        };
        let switches = self
            .sources
            .switches(resolution.service(), resolution.env());
        World {
            lane,
            active: Err("not asked yet".to_owned()),
            granted: Err("not asked yet".to_owned()),
            switches: switches.await,
            evidence: None,
        }
    }

    /// What only the sources can say, all at once and within the deadline. Answers the accused
    /// deployment as Spinnaker sees it now.
    async fn ask_sources(
        &self,
        view: &View,
        asked: Asked<'_>,
        world: &mut World,
        deadline: Duration,
    ) -> Result<Deployment, String> {
        let Asked {
            accusation,
            context,
            request,
        } = asked;
        let late = || "no answer in time".to_owned();
        let alerts: Vec<Alert> = accusation
            .alerts
            .iter()
            .map(|open| open.alert.clone())
            .collect();
        let accused = evidence::Accusation {
            alerts: &alerts,
            context,
            verify: request.verify.as_deref(),
        };
        let sources = self.sources;
        let active = tokio::time::timeout(deadline, sources.active(context));
        let deployment = tokio::time::timeout(deadline, sources.deployment(context));
        let evidence = tokio::time::timeout(deadline, sources.evidence(&accused, view));
        let granted = sources.granted();
        let (active, deployment, evidence, granted) =
            tokio::join!(active, deployment, evidence, granted);
        world.active = active.unwrap_or_else(|_| Err(late()));
        world.granted = granted;
        world.evidence =
            Some(evidence.unwrap_or_else(|_| unreachable_sources(self.sources.now(), &late())));
        deployment.unwrap_or_else(|_| Err(late()))
    }

    /// Judges again with what Spinnaker says of the deployment now: phase, batches and hosts.
    fn decide_again(
        &self,
        view: &View,
        resolved: &[Resolved],
        accusation: &Accusation<'_>,
        world: &World,
        occasion: Occasion,
        live: &Result<Deployment, String>,
    ) -> Decision {
        let now = self.sources.now();
        let members: BTreeSet<Fingerprint> = accusation
            .alerts
            .iter()
            .map(|open| open.alert.fingerprint)
            .collect();
        let renewed: Vec<Resolved> = resolved
            .iter()
            .filter(|one| members.contains(&one.open.alert.fingerprint))
            .cloned()
            .map(|mut one| {
                if let (Resolution::Found(context), Ok(live)) = (&mut one.resolution, live) {
                    context.deployment = live.clone();
                }
                one
            })
            .collect();
        let phase = |context: &Context| {
            live.as_ref()
                .map(|_| context.deployment.phase(now))
                .map_err(Clone::clone)
        };
        let accused = accused(&renewed);
        let again = decide::accuse(&accused, &self.config.policies, phase);
        // Another phase can mean another rule; the alerts stay together, so one accusation comes out.
        let again = again.first().unwrap_or(accusation);
        self.with_facts(view, again, world, occasion, decide::decide_as_is)
    }

    /// Calls `judge` with everything that is known.
    fn with_facts<T>(
        &self,
        view: &View,
        accusation: &Accusation<'_>,
        world: &World,
        occasion: Occasion,
        judge: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
        let candidates = accusation
            .resolution
            .context()
            .map(|context| candidates(view, context, world));
        let candidates = match (&candidates, &world.lane) {
            (Some(_), Err(why)) => Err(why.as_str()),
            (Some(candidates), Ok(_)) => Ok(candidates.as_slice()),
            (None, _) => Err("no deployment is accused"),
        };
        let service = accusation.resolution.service();
        // What is asked about once more is not in its own way.
        let own = world.lane.as_ref().ok().and_then(|lane| lane.open.as_ref());
        let own = own.filter(|_| occasion.again).map(|incident| &incident.id);
        let grants = world.granted.as_ref().map(|granted| {
            let others = granted
                .grants
                .iter()
                .filter(|grant| Some(&grant.incident) != own);
            let mine = others
                .clone()
                .filter(|grant| Some(&grant.service) == service && !grant.escalation);
            let mine: Vec<Timestamp> = mine.map(|grant| grant.at).collect();
            (mine, others.map(|grant| grant.at).collect::<Vec<_>>())
        });
        let (fleet, suspects) = surroundings(view, accusation, self.sources.now());
        let budget = &self.config.budget;
        let limit = |rate: crate::config::Rate| Limit {
            count: rate.count as usize,
            window: rate.per,
        };
        let settings = Settings {
            max_payload_age: self.config.timing.max_payload_age,
            max_hold: self.config.timing.hold_end,
            clock_skew: self.config.timing.skew,
            recheck: self.config.timing.sweep.max(Duration::from_secs(1)),
            ..Settings::default()
        };
        judge(&Facts {
            accusation,
            truncated: occasion.truncated,
            received_at: occasion.received_at,
            held_since: occasion.held_since,
            switches: &world.switches,
            evidence: world.evidence.as_ref(),
            lane: world
                .lane
                .as_ref()
                .map(|lane| LaneView {
                    open: lane.open.as_ref().filter(|_| !occasion.again),
                    closed: &lane.closed,
                    approvals: &lane.approvals,
                    own: lane.open.as_ref().filter(|_| occasion.again),
                })
                .map_err(String::as_str),
            active: world.active.as_deref().map_err(String::as_str),
            candidates,
            budget: match &grants {
                Ok((mine, overall)) => Ok(BudgetView {
                    service_grants: mine,
                    overall_grants: overall,
                    per_service: limit(budget.per_service),
                    overall: limit(budget.overall),
                }),
                Err(why) => Err(why.as_str()),
            },
            fleet: fleet.as_ref().map_err(|why| *why),
            suspects: &suspects,
            settings: &settings,
            now: self.sources.now(),
        })
    }
}

fn accused(resolved: &[Resolved]) -> Vec<Accused<'_>> {
    resolved
        .iter()
        .map(|one| Accused {
            open: OpenAlert {
                alert: &one.open.alert,
                since: one.open.began,
            },
            resolution: &one.resolution,
        })
        .collect()
}

/// Releases of the accused lane that might be gone back to.
fn candidates<'a>(view: &'a View, context: &Context, world: &World) -> Vec<StableCandidate<'a>> {
    let open = world.lane.as_ref().ok().and_then(|lane| lane.open.as_ref());
    view.candidates(&context.service, &context.env)
        .into_iter()
        .map(|(release, deployment, mark)| StableCandidate {
            release,
            deployment,
            mark,
            open_incident: deployment
                .zip(open)
                .is_some_and(|(deployment, incident)| incident.opened.deployment == deployment.id),
        })
        .collect()
}

/// Evidence that nobody has gathered yet: it holds.
fn pending(at: Timestamp) -> Evidence {
    unreachable_sources(at, "evidence pending")
}

fn unreachable_sources(at: Timestamp, why: &str) -> Evidence {
    let hold = || Check::Hold(why.to_owned());
    Evidence {
        verify: Verify::SourceDown {
            reason: why.to_owned(),
        },
        attribution: Attribution {
            began_after: hold(),
            others_are_well: hold(),
            still_running: hold(),
        },
        at,
    }
}
