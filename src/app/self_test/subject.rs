//! The world a self-test alert is about, and its judgement.
//!
//! A service that nobody can configure, with one release in canary and a stable one, read by the
//! real catalog from documents in memory. The alert goes through the real fold, ladder, rules and
//! guards; what comes out is a value. Nothing here can open an incident, write a hold or tell
//! anybody: it has neither the engine nor a channel in hand, and its policy is `shadow`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::act::budget::BudgetView;
use crate::app::core::Core;
use crate::app::judge::{Gather, Judge, Occasion, Sources};
use crate::app::setup::Setup;
use crate::config::policy::load_policy;
use crate::config::{Comparison, Recovery, SELF_TEST_SERVICE, Timing};
use crate::decide::{ActiveExecution, Switches};
use crate::domain::alert::{Alert, AlertGroup};
use crate::domain::clock::{self, SharedClock};
use crate::domain::context::Context;
use crate::domain::decision::{Decision, Verdict};
use crate::domain::deployment::Deployment;
use crate::domain::evidence::{Attribution, Check, Evidence, Measured, Verify};
use crate::domain::id::{DeploymentId, Env, InvalidId, LaneName, ReleaseId, Service};
use crate::domain::lane::LaneState;
use crate::domain::policy::Policy;
use crate::enrich::catalog::{Catalog, View};
use crate::enrich::evidence::{self, RecoveryAnswer};
use crate::ingest::episode::{Entry, EpisodeTiming, Episodes};
use crate::store::{Store, StoreError, chain, keys};

/// Where the synthetic service runs.
pub(super) const ENV: &str = "self-test";
/// Its releases: the stable one and the accused.
const VERSIONS: [&str; 2] = ["1", "2"];
/// The rule that accuses it.
const POLICY: &str = "services: [backstop-self-test]\n\
    rules:\n\
    \x20 - name: a self-test is taken back in thought\n\
    \x20   matchers: ['backstop_self_test=~\".+\"']\n\
    \x20   min_hosts: 1\n\
    \x20   action: rollback\n\
    guards: {mode: shadow, cooldown: 0s}\n";
/// The metrics store is asked this: it takes a store that evaluates, and no data.
const QUESTION: &str = "vector(1)";

/// The release a self-test alert names.
pub(super) fn accused_release() -> String {
    format!("{SELF_TEST_SERVICE}@2")
}

/// Why a self-test alert could not be judged as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// A name of the synthetic world is no id.
    #[error("the world of the self-test can't be made: {0}")]
    Id(#[from] InvalidId),
    /// Its documents can't be kept, not even in memory.
    #[error("the world of the self-test can't be made: {0}")]
    Store(#[from] StoreError),
    /// Its policy can't be read.
    #[error("the policy of the self-test can't be read")]
    Policy,
    /// The alert came to no accusation.
    #[error("the alert accuses nobody")]
    Nobody,
    /// A guard did not let it through.
    #[error("it was judged {verdict}: {why}")]
    Judged {
        /// What came out.
        verdict: &'static str,
        /// Why.
        why: String,
    },
}

/// What a decision must be for the way to count as sound: a rollback, in shadow.
fn sound(decision: &Decision) -> Result<(), Unfit> {
    match decision.verdict {
        Verdict::Rollback(_) if decision.shadow => Ok(()),
        _ => Err(Unfit::Judged {
            verdict: decision.verdict.as_str(),
            why: decision.why(),
        }),
    }
}

/// The world of the self-test: the lane and the metrics store are the real ones, all else is still.
struct Still<'a> {
    core: &'a Core,
    setup: &'a Setup,
}

#[async_trait]
impl Sources for Still<'_> {
    fn now(&self) -> Timestamp {
        self.core.ground.clock.now()
    }

    async fn lane(&self, lane: &LaneName) -> Result<Arc<LaneState>, String> {
        let lane = self.core.lanes.refresh(lane).await;
        lane.map_err(|error| error.to_string())
    }

    /// None: a kill switch must not look like a broken way.
    async fn switches(&self, _: Option<&Service>, _: Option<&Env>) -> Switches {
        Switches::default()
    }

    async fn granted(&self) -> Result<BudgetView, String> {
        Ok(BudgetView::default())
    }

    async fn active(&self, _: &Context) -> Result<Vec<ActiveExecution>, String> {
        Ok(Vec::new())
    }

    async fn deployment(&self, context: &Context) -> Result<Deployment, String> {
        Ok(context.deployment.clone())
    }

    /// Whether the metrics store evaluates; whose fault a synthetic anomaly is needs no asking.
    async fn evidence(&self, _: &evidence::Accusation<'_>, _: &View) -> Evidence {
        let question = Recovery {
            expr: QUESTION.to_owned(),
            op: Comparison::Greater,
            value: 0.0,
            for_: Duration::ZERO,
            within: Duration::ZERO,
        };
        let at = self.now();
        let expr = || QUESTION.to_owned();
        let holds = |from: &str| {
            Verify::Holds(Measured {
                expr: expr(),
                from: from.to_owned(),
                value: 1.0,
                series: 1,
                at,
            })
        };
        let verify = if self.setup.config.metrics.is_none() {
            holds("nobody, for no metrics store is configured")
        } else {
            match self.setup.prober.recovery(&question).await {
                RecoveryAnswer::Good(_) => holds("the self-test"),
                RecoveryAnswer::Bad(_) => Verify::DoesNotHold { expr: expr() },
                RecoveryAnswer::Empty => Verify::NoData { expr: expr() },
                RecoveryAnswer::SourceDown(reason) => Verify::SourceDown { reason },
            }
        };
        let pass = || Check::Pass("a self-test".to_owned());
        Evidence {
            verify,
            attribution: Attribution {
                began_after: pass(),
                others_are_well: pass(),
                still_running: pass(),
            },
            at,
        }
    }
}

impl Core {
    /// Judges one self-test alert; Ok when a rollback in shadow came out.
    pub(super) async fn judge_self_test(
        &self,
        setup: &Setup,
        group: &AlertGroup,
        alert: &Alert,
    ) -> Result<(), Unfit> {
        let mut config = setup.config.clone();
        config.policies = vec![policy()?];
        let timing = &config.timing;
        let view = view(&self.ground.clock, timing).await?;
        let mut fold = Episodes::new(EpisodeTiming {
            gap: timing.episode_gap,
            remind_after: timing.remind_after,
        });
        let Some(Entry::Open(open)) = fold.see(0, alert, self.ground.clock.now()).1 else {
            return Err(Unfit::Nobody);
        };
        let occasion = Occasion {
            truncated: group.truncated,
            received_at: group.received_at,
            held_since: None,
            gather: Gather::Now(timing.evidence_deadline),
            again: false,
        };
        let still = Still { core: self, setup };
        let judge = Judge {
            config: &config,
            sources: &still,
        };
        let resolved = judge.resolve(&view, vec![open]);
        let focus = [alert.fingerprint].into();
        let judgements = judge.judge(&view, &resolved, &focus, occasion).await;
        let judgement = judgements.first().ok_or(Unfit::Nobody)?;
        sound(&judgement.decision)
    }
}

fn policy() -> Result<Policy, Unfit> {
    load_policy("the self-test's own policy", POLICY).map_err(|_| Unfit::Policy)
}

fn service() -> Result<Service, InvalidId> {
    Service::new(SELF_TEST_SERVICE)
}

/// The catalog over the synthetic documents.
async fn view(clock: &SharedClock, timing: &Timing) -> Result<View, Unfit> {
    let store = Store::in_memory();
    let now = clock.now();
    let (service, env) = (service()?, Env::new(ENV)?);
    let [stable, canary] = VERSIONS;
    let hours = |n: u64| json!(clock::before(now, Duration::from_hours(n)));
    for (version, age) in [(stable, 48), (canary, 2)] {
        let id = ReleaseId::of(&service, version)?;
        let release = json!({"id": id, "service": service, "tag": version, "version": version,
            "artifact_url": "https://self-test.invalid/binary", "checksum": "0".repeat(64),
            "config": null, "commit": null, "reversible": true, "created_at": hours(age),
            "created_by": "self-test"});
        store
            .create(&keys::release(&service, &id), &release)
            .await?;
    }
    let batch = |n: u32, status: &str, at: Value| {
        json!({"n": n, "hosts": [format!("self-test-{n}")], "status": status, "started_at": at,
            "finished_at": null})
    };
    for (version, status, batches, age) in [
        (
            stable,
            "success",
            vec![
                batch(1, "success", hours(48)),
                batch(2, "success", hours(48)),
            ],
            48,
        ),
        (
            canary,
            "running",
            vec![
                batch(1, "running", hours(1)),
                batch(2, "pending", Value::Null),
            ],
            1,
        ),
    ] {
        let id = DeploymentId::new(format!("self-test-{version}"))?;
        let finished = if status == "success" {
            hours(age)
        } else {
            Value::Null
        };
        let deployment = json!({"id": id, "release_id": ReleaseId::of(&service, version)?,
            "service": service, "env": env, "strategy": "canary",
            "target_hosts": ["self-test-1", "self-test-2"], "batches": batches, "status": status,
            "started_at": hours(age), "finished_at": finished, "soak": "1m",
            "application": "self-test", "pipeline": "self-test", "is_rollback": false});
        chain::append(
            &store,
            &keys::deployment(&service, &env, &id),
            1,
            &deployment,
        )
        .await?;
    }
    let catalog = Catalog::new(store, Arc::clone(clock), timing);
    catalog.refresh().await?;
    Ok(catalog.view())
}
