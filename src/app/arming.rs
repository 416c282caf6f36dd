//! When a batch's canary rules are armed, proven and disarmed.
//!
//! A batch that is announced is armed: its rules are written down, `canary pull` or vmalert itself
//! fetches them, and `armed` is said once every canary vmalert has evaluated them twice. They go
//! when the deployment has soaked, when the batch is taken back, and by a time to live. Nothing
//! here decides about a rollback; a batch that is not armed does not start.

mod serve;
mod tend;

use jiff::Timestamp;

use super::core::Core;
use super::setup::Setup;
use crate::canary::{ArmEvent, Armed, Group, Place, Sight, Subject, proof, render};
use crate::domain::clock;
use crate::domain::id::{DeploymentId, Env, LaneName, ReleaseId, Service};
use crate::prometheus::{RuleGroup, RuleList};
use crate::store::StoreError;
use crate::web::api::{BatchState, BatchStatus, Refusal};

/// A batch as its announcement names it.
#[derive(Debug, Clone)]
pub(super) struct Announced<'a> {
    pub service: &'a Service,
    pub env: &'a Env,
    pub lane: &'a LaneName,
    pub deployment: &'a DeploymentId,
    pub release_id: &'a ReleaseId,
    pub batch: u32,
}

impl Announced<'_> {
    fn place(&self) -> Place {
        Place {
            lane: self.lane.clone(),
            deployment: self.deployment.clone(),
            batch: self.batch,
        }
    }
}

impl Setup {
    /// Whether batches of `service` wait for their rules.
    fn arms(&self, service: &Service) -> bool {
        let service = self.config.services.get(service);
        !self.canaries.is_empty() && service.is_some_and(|service| !service.canary.off)
    }

    /// What every canary vmalert has loaded, asked all at once.
    async fn lists(&self) -> Vec<Listed> {
        let lists = self.canaries.iter().map(|source| async move {
            let list = source.rules().await.map_err(|error| error.to_string());
            (source.name(), list)
        });
        futures::future::join_all(lists).await
    }
}

/// A vmalert's name, and its rules or why it can't be asked.
type Listed = (String, Result<Vec<RuleGroup>, String>);

/// What each vmalert does with a group.
fn sights(armed: &Armed, lists: &[Listed]) -> Vec<(String, Sight)> {
    let sight = |list: &Result<Vec<RuleGroup>, String>| match list {
        Ok(list) => proof::look(&armed.group, armed.since, list),
        Err(why) => Sight::Away(why.clone()),
    };
    let all = lists.iter();
    all.map(|(name, list)| (name.clone(), sight(list)))
        .collect()
}

impl Core {
    /// A batch that was announced, armed: its state with what is known of its rules.
    ///
    /// # Errors
    /// When the store can't be used; Spinnaker then announces the batch again.
    pub(super) async fn armed_state(
        &self,
        setup: &Setup,
        batch: &Announced<'_>,
        state: BatchState,
    ) -> Result<BatchState, Refusal> {
        if state.status != BatchStatus::Running || !setup.arms(batch.service) {
            return Ok(state);
        }
        let outcome = match self.arm(setup, batch).await? {
            // Orca ends a stage whose start is not answered at once: its polls ask the vmalerts.
            Ok(armed) if armed.proven_at.is_none() => Err("the rules were written down".to_owned()),
            Ok(armed) => Ok(armed),
            Err(why) => {
                let Announced {
                    deployment, batch, ..
                } = batch;
                tracing::error!(
                    deployment.id = %deployment,
                    "batch {batch} of `{deployment}` can't be armed: {why}"
                );
                Err(why)
            }
        };
        Ok(self.told(setup, state, outcome))
    }

    /// A batch that is polled: its state with what is known of its rules, seen once more if they
    /// are not proven.
    ///
    /// # Errors
    /// When the store can't be used.
    pub(super) async fn polled_state(
        &self,
        setup: &Setup,
        batch: &Announced<'_>,
        state: BatchState,
    ) -> Result<BatchState, Refusal> {
        if state.status != BatchStatus::Running || !setup.arms(batch.service) {
            return Ok(state);
        }
        let now = self.ground.clock.now();
        let outcome = match self.armed.of(&batch.place()).await? {
            None => {
                let why = self.rules_for(setup, batch).err();
                Err(why.unwrap_or_else(|| "it was announced before rules were armed".to_owned()))
            }
            Some(armed) if armed.proven_at.is_some() => Ok(armed),
            Some(armed) if armed.is_live(now) => {
                let sights = sights(&armed, &setup.lists().await);
                self.prove(&armed, &sights).await?.map(|()| armed)
            }
            Some(armed) => Err(why_ended(&armed)),
        };
        Ok(self.told(setup, state, outcome))
    }

    /// `arming` with the reason, or `armed` while the rules are evaluated; `running` afterwards.
    /// Rules that were proven and are evaluated no more are `arming` again until they are.
    fn told(&self, setup: &Setup, state: BatchState, outcome: Result<Armed, String>) -> BatchState {
        let now = self.ground.clock.now();
        let (status, progress) = match outcome {
            Err(why) => (BatchStatus::Arming, format!("not armed: {why}")),
            Ok(armed) if armed.is_live(now) && self.watch.lapse(&armed).is_some() => {
                let (since, why) = self.watch.lapse(&armed).unwrap_or_default();
                (BatchStatus::Arming, unwatched(since, &why))
            }
            Ok(armed) if armed.is_live(now) => {
                let rules = armed.group.rules.len();
                let names: Vec<String> = setup.canaries.iter().map(RuleList::name).collect();
                let text = format!("{rules} rules are evaluated by {}", names.join(", "));
                (BatchStatus::Armed, text)
            }
            Ok(_) => return state,
        };
        BatchState {
            status,
            progress,
            ..state
        }
    }

    /// Arms the rules of a batch, unless they are.
    ///
    /// # Errors
    /// When the store can't be used, or, in words, why no rules could be made.
    async fn arm(
        &self,
        setup: &Setup,
        batch: &Announced<'_>,
    ) -> Result<Result<Armed, String>, StoreError> {
        let place = batch.place();
        let now = self.ground.clock.now();
        if let Some(armed) = self.armed.of(&place).await?
            && armed.is_live(now)
        {
            return Ok(Ok(armed));
        }
        let group = match self.rules_for(setup, batch) {
            Ok(group) => group,
            Err(why) => return Ok(Err(why)),
        };
        let event = ArmEvent::Armed {
            release_id: batch.release_id.clone(),
            group: Box::new(group),
            until: clock::after(now, setup.config.canary.ttl),
        };
        let wanted = |armed: Option<&Armed>| {
            let live = armed.is_some_and(|armed| armed.is_live(now));
            (!live).then(|| event.clone())
        };
        let armed = self.armed.append_with(&place, now, wanted).await?;
        Ok(armed.ok_or_else(|| "the rules were not written".to_owned()))
    }

    fn rules_for(&self, setup: &Setup, batch: &Announced<'_>) -> Result<Group, String> {
        let view = self.catalog.view();
        let stable = view.stable(batch.service, batch.env).into_iter();
        let mut stable = stable.map(|stable| stable.release_id);
        let stable = stable.find(|id| id != batch.release_id);
        let subject = Subject {
            service: batch.service,
            env: batch.env,
            deployment: batch.deployment,
            release_id: batch.release_id,
            batch: batch.batch,
            stable: stable.as_ref(),
        };
        let group = render(&setup.config, &subject).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            problems.join("; ")
        })?;
        if group.rules.is_empty() {
            return Err("the service has no canary rules".to_owned());
        }
        Ok(group)
    }

    /// Takes in one look at the vmalerts; Ok when the proof stands, now or since another look.
    async fn prove(
        &self,
        armed: &Armed,
        sights: &[(String, Sight)],
    ) -> Result<Result<(), String>, StoreError> {
        let by = match self.watch.judge(armed, sights) {
            Ok(by) => by,
            Err(why) => return Ok(Err(why)),
        };
        let now = self.ground.clock.now();
        let took = clock::since(now, armed.since);
        let wanted = |current: Option<&Armed>| {
            let same = current.is_some_and(|current| {
                current.seq == armed.seq && current.proven_at.is_none() && current.is_live(now)
            });
            same.then(|| ArmEvent::Proven { by: by.clone() })
        };
        let current = self.armed.append_with(&armed.place, now, wanted).await?;
        if current.is_some_and(|current| current.proven_at == Some(now)) {
            tracing::info!(
                deployment.id = %armed.place.deployment,
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "the canary rules of batch {} of `{}` are evaluated",
                armed.place.batch, armed.place.deployment
            );
        }
        Ok(Ok(()))
    }

    /// Takes the rules of a batch that never started away.
    ///
    /// # Errors
    /// When the store can't be used.
    pub(super) async fn disarm_unproven(
        &self,
        deployment: &DeploymentId,
        batch: u32,
    ) -> Result<(), Refusal> {
        let Some((lane, _)) = self.lane_of(deployment).await? else {
            return Ok(());
        };
        let place = Place {
            lane,
            deployment: deployment.clone(),
            batch,
        };
        let now = self.ground.clock.now();
        let wanted = |current: Option<&Armed>| {
            let unproven = current?.proven_at.is_none() && current?.is_live(now);
            unproven.then(|| ArmEvent::Disarmed {
                why: "Spinnaker gave the batch up".to_owned(),
            })
        };
        self.armed.append_with(&place, now, wanted).await?;
        Ok(())
    }
}

fn unwatched(since: Timestamp, why: &str) -> String {
    format!("not evaluated since {since:.0}: {why}")
}

fn why_ended(armed: &Armed) -> String {
    match &armed.disarmed {
        Some((_, why)) => format!("disarmed: {why}"),
        None => "their time was over before they were proven".to_owned(),
    }
}
