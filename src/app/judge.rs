//! Gathers what is known about accusations and lets `decide` judge them.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::core::Core;
use super::live;
use super::setup::Setup;
use crate::act::budget::BudgetView as Granted;
use crate::decide::{
    self, Accusation, Accused, ActiveExecution, Answer, BudgetView, EvidenceRequest, Facts,
    LaneView, Limit, OpenAlert, Settings, StableCandidate,
};
use crate::domain::alert::{Alert, Fingerprint};
use crate::domain::context::{Context, Resolution};
use crate::domain::decision::Decision;
use crate::domain::deployment::Deployment;
use crate::domain::evidence::{Attribution, Check, Evidence, Verify};
use crate::domain::id::ChannelName;
use crate::domain::lane::LaneState;
use crate::enrich::catalog::View;
use crate::enrich::{evidence, ladder};
use crate::ingest::episode::Open;

/// Whether the sources are asked at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gather {
    /// Ask them; the answers go into the decision.
    Now(Duration),
    /// The sender can't wait: hold, and ask in the background.
    Later,
}

/// One accusation, judged.
#[derive(Debug, Clone)]
pub(super) struct Judgement {
    /// The decision.
    pub(super) decision: Decision,
    /// What is accused, as far as the ladder told.
    pub(super) resolution: Resolution,
    /// The alerts behind it, as last delivered.
    pub(super) alerts: Vec<Open>,
    /// Who is told.
    pub(super) channels: Vec<ChannelName>,
    /// Whether a rule asks for a rollback here: such a hold is asked again.
    pub(super) wants_rollback: bool,
}

/// What a judgement is made from, beside the alerts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion {
    /// Alerts that were cut from the delivery.
    pub(super) truncated: u64,
    /// When the newest delivery came.
    pub(super) received_at: Timestamp,
    /// Since when a hold stands, when one is asked again.
    pub(super) held_since: Option<Timestamp>,
    /// Whether to ask the sources.
    pub(super) gather: Gather,
    /// Whether the lane's open incident is asked about once more: it is not in its own way.
    pub(super) again: bool,
}

/// An open alert and what it accuses.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    /// The alert.
    pub(super) open: Open,
    /// The ladder's answer.
    pub(super) resolution: Resolution,
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
    modes: Result<decide::Modes, String>,
    evidence: Option<Evidence>,
}

impl Core {
    /// Every open alert with what it accuses.
    pub(super) fn resolve(setup: &Setup, view: &View, open: Vec<Open>) -> Vec<Resolved> {
        let resolve = |open: Open| {
            let resolution = ladder::resolve(&open.alert, view, &setup.config.services);
            Resolved { open, resolution }
        };
        open.into_iter().map(resolve).collect()
    }

    /// Judges the accusations that `focus` has a part in.
    pub(super) async fn judge(
        &self,
        setup: &Setup,
        view: &View,
        resolved: &[Resolved],
        focus: &BTreeSet<Fingerprint>,
        occasion: Occasion,
    ) -> Vec<Judgement> {
        let now = self.ground.clock.now();
        let accused = accused(resolved);
        let accusations = decide::accuse(&accused, &setup.config.policies, |context| {
            Ok(context.deployment.phase(now))
        });
        let mut judgements = Vec::new();
        for accusation in accusations {
            if accusation
                .alerts
                .iter()
                .any(|open| focus.contains(&open.alert.fingerprint))
            {
                judgements.push(
                    self.judge_one(setup, view, resolved, &accusation, occasion)
                        .await,
                );
            }
        }
        judgements
    }

    async fn judge_one(
        &self,
        setup: &Setup,
        view: &View,
        resolved: &[Resolved],
        accusation: &Accusation<'_>,
        occasion: Occasion,
    ) -> Judgement {
        let context = accusation.resolution.context();
        let mut world = self.ask_store(setup, accusation).await;
        let decision =
            match self.with_facts(setup, view, accusation, &world, occasion, decide::decide) {
                Answer::Decided(decision) => *decision,
                Answer::NeedsEvidence(request) => match (occasion.gather, context) {
                    (Gather::Now(deadline), Some(context)) => {
                        let evidence = Asked {
                            accusation,
                            context,
                            request: &request,
                        };
                        let live = self
                            .ask_sources(setup, view, evidence, &mut world, deadline)
                            .await;
                        self.decide_again(
                            setup, view, resolved, accusation, &world, occasion, &live,
                        )
                    }
                    (Gather::Later, _) | (_, None) => {
                        world.evidence = Some(pending(self.ground.clock.now()));
                        self.with_facts(
                            setup,
                            view,
                            accusation,
                            &world,
                            occasion,
                            decide::decide_as_is,
                        )
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
            channels: Self::audience(setup, rule.map_or(&[][..], |rule| &rule.channels)),
            wants_rollback: rule.is_some_and(|rule| rule.action.is_rollback()),
        }
    }

    /// What needs no more than the store: modes and the lane.
    async fn ask_store(&self, setup: &Setup, accusation: &Accusation<'_>) -> World {
        let resolution = &accusation.resolution;
        let lane = match resolution.context().map(Context::lane) {
            Some(Ok(lane)) => self
                .lanes
                .refresh(&lane)
                .await
                .map_err(|error| error.to_string()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("no deployment is accused".to_owned()),
        };
        World {
            lane,
            active: Err("not asked yet".to_owned()),
            granted: Err("not asked yet".to_owned()),
            modes: self
                .modes_of(setup, resolution.service(), resolution.env())
                .await,
            evidence: None,
        }
    }

    /// What only the sources can say, all at once and within the deadline. Answers the accused
    /// deployment as Spinnaker sees it now.
    async fn ask_sources(
        &self,
        setup: &Setup,
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
        let active = tokio::time::timeout(
            deadline,
            live::active(setup, &context.service, &context.env),
        );
        let deployment = tokio::time::timeout(
            deadline,
            live::deployment(setup, &context.service, &context.env, &context.deployment),
        );
        let evidence = tokio::time::timeout(deadline, setup.prober.gather(&accused, view));
        let granted = async {
            match self.engine() {
                Some(engine) => engine.budget().await.map_err(|error| error.to_string()),
                None => Err("still starting".to_owned()),
            }
        };
        let (active, deployment, evidence, granted) =
            tokio::join!(active, deployment, evidence, granted);
        world.active = active.unwrap_or_else(|_| Err(late()));
        world.granted = granted;
        world.evidence = Some(
            evidence.unwrap_or_else(|_| unreachable_sources(self.ground.clock.now(), &late())),
        );
        deployment.unwrap_or_else(|_| Err(late()))
    }

    /// Judges again with what Spinnaker says of the deployment now: phase, batches and hosts.
    #[expect(clippy::too_many_arguments, reason = "each is one thing that is known")]
    fn decide_again(
        &self,
        setup: &Setup,
        view: &View,
        resolved: &[Resolved],
        accusation: &Accusation<'_>,
        world: &World,
        occasion: Occasion,
        live: &Result<Deployment, String>,
    ) -> Decision {
        let now = self.ground.clock.now();
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
        let again = decide::accuse(&accused, &setup.config.policies, phase);
        // Another phase can mean another rule; the alerts stay together, so one accusation comes out.
        let again = again.first().unwrap_or(accusation);
        self.with_facts(setup, view, again, world, occasion, decide::decide_as_is)
    }

    /// Calls `judge` with everything that is known.
    fn with_facts<T>(
        &self,
        setup: &Setup,
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
        let grants = world.granted.as_ref().map(|granted| {
            let mine = granted
                .grants
                .iter()
                .filter(|grant| Some(&grant.service) == service && !grant.escalation);
            let overall: Vec<Timestamp> = granted.grants.iter().map(|grant| grant.at).collect();
            (mine.map(|grant| grant.at).collect::<Vec<_>>(), overall)
        });
        let budget = &setup.config.budget;
        let limit = |rate: crate::config::Rate| Limit {
            count: rate.count as usize,
            window: rate.per,
        };
        let settings = Settings {
            max_payload_age: setup.config.timing.max_payload_age,
            max_hold: setup.config.timing.hold_end,
            clock_skew: setup.config.timing.skew,
            recheck: setup.config.timing.sweep.max(Duration::from_secs(1)),
            ..Settings::default()
        };
        judge(&Facts {
            accusation,
            truncated: occasion.truncated,
            received_at: occasion.received_at,
            held_since: occasion.held_since,
            modes: world.modes.as_ref().copied().map_err(String::as_str),
            evidence: world.evidence.as_ref(),
            lane: world
                .lane
                .as_ref()
                .map(|lane| LaneView {
                    open: lane.open.as_ref().filter(|_| !occasion.again),
                    closed: &lane.closed,
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
            settings: &settings,
            now: self.ground.clock.now(),
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
