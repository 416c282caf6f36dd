//! What the metrics store says for and against an accusation, gathered once under one deadline.
//!
//! Expressions come from the policy rule or from the rule list of a configured vmalert, never from
//! the alert itself: a forged body can choose which trusted question is asked, not what it says.
//! Everything that can't be told is a hold with words; a dead source, silence and an anomaly stay
//! three things.

mod attribution;
mod history;
mod names;
mod trusted;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::future::Cache;

use super::catalog::View;
use crate::config::{Comparison, Metrics, Recovery, Timing, Vmalert};
use crate::domain::alert::Alert;
use crate::domain::clock::SharedClock;
use crate::domain::context::Context;
use crate::domain::evidence::{Attribution, Check, Evidence, Verify};
use crate::prometheus::{Ask, Client, Options, PromError, RuleGroup, RuleList, RuleSource};

pub(super) use names::{Accused, Names};
pub(super) use trusted::rules_of;
use trusted::{Question, Search};

/// A rule list is asked for again after this.
const RULES_FOR: Duration = Duration::from_secs(10);
/// Different alerts of one accusation that are asked about.
const QUESTIONS_LIMIT: usize = 3;

/// What is to be examined: the open alerts of one deployment under one rule.
#[derive(Debug, Clone, Copy)]
pub struct Accusation<'a> {
    /// The alerts.
    pub alerts: &'a [Alert],
    /// What they accuse, batches and hosts of all of them together.
    pub context: &'a Context,
    /// The policy rule's own expression, when it brings one.
    pub verify: Option<&'a str>,
}

/// The answer of the recovery question, once.
#[derive(Debug, Clone, PartialEq)]
pub enum RecoveryAnswer {
    /// Every series is on the right side of the line; the one nearest to it.
    Good(f64),
    /// One is not; the worst.
    Bad(f64),
    /// No series, or no number: no traffic.
    Empty,
    /// The metrics store can't be asked.
    SourceDown(String),
}

/// Asks the metrics store and the vmalerts. Cheap to clone; clones share the rule lists.
#[derive(Debug, Clone)]
pub struct Prober {
    pub(super) metrics: Option<Arc<dyn Ask>>,
    vmalerts: Arc<[Arc<dyn RuleList>]>,
    /// Rule lists by place in `vmalerts`, so that a storm of alerts asks once.
    rules: Cache<usize, Arc<Vec<RuleGroup>>>,
    clock: SharedClock,
    deadline: Duration,
}

impl Prober {
    /// Asks the configured store and vmalerts through `http`; without a store there is no evidence.
    pub fn new(
        http: &reqwest::Client,
        metrics: Option<&Metrics>,
        vmalerts: &[Vmalert],
        timing: &Timing,
        clock: SharedClock,
    ) -> Self {
        let store = |metrics| -> Arc<dyn Ask> { Arc::new(Client::new(http.clone(), metrics)) };
        let list =
            |vmalert| -> Arc<dyn RuleList> { Arc::new(RuleSource::new(http.clone(), vmalert)) };
        Self::over(
            metrics.map(store),
            vmalerts.iter().map(list).collect(),
            timing,
            clock,
        )
    }

    /// Asks these, whatever they are; without a store there is no evidence.
    pub fn over(
        metrics: Option<Arc<dyn Ask>>,
        vmalerts: Arc<[Arc<dyn RuleList>]>,
        timing: &Timing,
        clock: SharedClock,
    ) -> Self {
        Self {
            metrics,
            vmalerts,
            rules: Cache::builder().time_to_live(RULES_FOR).build(),
            clock,
            deadline: timing.evidence_deadline,
        }
    }

    /// Whether there is a metrics store to ask.
    pub fn has_metrics(&self) -> bool {
        self.metrics.is_some()
    }

    /// Gathers everything about one accusation. Never longer than `evidence_deadline`, and never
    /// an error: what can't be told is part of the answer.
    pub async fn gather(&self, accusation: &Accusation<'_>, view: &View) -> Evidence {
        let at = self.clock.now();
        let gathering = self.gather_at(accusation, view, at);
        if let Ok(evidence) = tokio::time::timeout(self.deadline, gathering).await {
            evidence
        } else {
            let reason = format!("no answer within {:?}", self.deadline);
            unknown(Verify::SourceDown { reason }, at)
        }
    }

    async fn gather_at(&self, accusation: &Accusation<'_>, view: &View, at: Timestamp) -> Evidence {
        let Some(metrics) = &self.metrics else {
            let reason = "no metrics store is configured".to_owned();
            return unknown(Verify::SourceDown { reason }, at);
        };
        let questions = match self.questions(accusation).await {
            Search::Found(questions) => questions,
            Search::Nothing(reason) => {
                return unknown(Verify::NoTrustedExpression { reason }, at);
            }
            Search::Down(reason) => return unknown(Verify::SourceDown { reason }, at),
        };
        let accused = Accused::new(accusation.context, view);
        let asked = questions.iter().take(QUESTIONS_LIMIT).map(|question| {
            let accused = &accused;
            async move {
                let (verify, history) = tokio::join!(
                    verify::ask_all(&**metrics, question, accused, at),
                    history::read(&**metrics, question, accused, at),
                );
                (verify, history)
            }
        });
        let answers = futures::future::join_all(asked).await;
        // One condition that holds is enough; otherwise the answer that leaves most open counts.
        let best = answers
            .into_iter()
            .min_by_key(|(verify, _)| openness(verify));
        let Some((verify, history)) = best else {
            let reason = "no alert names a rule".to_owned();
            return unknown(Verify::NoTrustedExpression { reason }, at);
        };
        let attribution = attribution::judge(&accused, view, history, &verify, at);
        Evidence {
            verify,
            attribution,
            at,
        }
    }

    async fn questions(&self, accusation: &Accusation<'_>) -> Search {
        if let Some(expr) = accusation.verify {
            return Search::Found(vec![Question::of_policy(expr)]);
        }
        if self.vmalerts.is_empty() {
            return Search::Nothing(
                "no vmalert is configured and the rule has no `verify`".to_owned(),
            );
        }
        trusted::search(accusation, &self.rule_lists().await)
    }

    /// The rule lists of all vmalerts, at most a few seconds old.
    pub(super) async fn rule_lists(&self) -> Vec<trusted::RuleList> {
        let lists = self
            .vmalerts
            .iter()
            .enumerate()
            .map(|(place, source)| async move {
                let fetch = async { source.rules().await.map(Arc::new) };
                let rules = self.rules.try_get_with(place, fetch).await;
                (
                    source.name(),
                    rules.map_err(|error: Arc<PromError>| error.to_string()),
                )
            });
        futures::future::join_all(lists).await
    }

    /// The vmalerts that can't be asked for their rules, each with the reason.
    pub async fn unreachable_rule_lists(&self) -> Vec<String> {
        let lists = self.rule_lists().await.into_iter();
        let down = lists.filter_map(|(name, rules)| Some(format!("{name}: {}", rules.err()?)));
        down.collect()
    }

    /// Asks the recovery question once; how long it must hold is for the caller to sample.
    pub async fn recovery(&self, question: &Recovery) -> RecoveryAnswer {
        let Some(metrics) = &self.metrics else {
            return RecoveryAnswer::SourceDown("no metrics store is configured".into());
        };
        let options = Options {
            timeout: Some(self.deadline),
            ..Options::default()
        };
        let samples = match metrics.instant(&question.expr, None, &options).await {
            Ok(samples) => samples,
            Err(error) => return RecoveryAnswer::SourceDown(error.to_string()),
        };
        let values = samples.iter().map(|sample| sample.value);
        let values = values.filter(|value| !value.is_nan());
        // The worst is the one farthest on the wrong side.
        let worst = match question.op {
            Comparison::Less | Comparison::LessOrEqual => values.reduce(f64::max),
            Comparison::Greater | Comparison::GreaterOrEqual => values.reduce(f64::min),
        };
        match worst {
            None => RecoveryAnswer::Empty,
            Some(value) if question.op.holds(value, question.value) => RecoveryAnswer::Good(value),
            Some(value) => RecoveryAnswer::Bad(value),
        }
    }
}

/// The order in which answers to several questions count.
fn openness(verify: &Verify) -> u8 {
    match verify {
        Verify::Holds(_) => 0,
        Verify::SourceDown { .. } => 1,
        Verify::HoldsForOthers { .. } => 2,
        Verify::NoData { .. } => 3,
        Verify::DoesNotHold { .. } => 4,
        Verify::NoTrustedExpression { .. } => 5,
    }
}

/// Evidence where nothing could be asked.
fn unknown(verify: Verify, at: Timestamp) -> Evidence {
    let check = || Check::Hold("not asked: the condition itself could not be verified".into());
    Evidence {
        verify,
        attribution: Attribution {
            began_after: check(),
            others_are_well: check(),
            still_running: check(),
        },
        at,
    }
}

#[cfg(test)]
mod tests;
