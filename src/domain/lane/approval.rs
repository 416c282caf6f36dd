//! Approvals: the rollbacks people are asked about before they are done.
//!
//! A question is a link of its lane, so its id binds all it says: scope, hosts, target, until
//! when. It gets one answer, and the append decides which: whoever comes second finds it
//! answered. An answer counts for what was asked and for nothing wider.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Illegal, LaneEntry, LaneEvent, LaneState, Opened, Origin};
use crate::domain::clock;
use crate::domain::decision::{Decision, Scope};
use crate::domain::id::{
    ApprovalId, ChannelName, DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, Service,
};
use crate::domain::policy::Expiry;

/// What people are asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// The accused deployment.
    pub deployment: DeploymentId,
    /// The accused release.
    pub release_id: ReleaseId,
    /// The rule that wants it, `<file>: <name>`.
    pub rule: String,
    /// How much would be taken back.
    pub scope: Scope,
    /// The hosts that concerned when it was asked.
    pub hosts: Vec<Host>,
    /// The release to go back to.
    pub target: ReleaseId,
    /// The decision with its evidence: all that speaks for it.
    pub decision: Decision,
    /// The thread the question belongs to.
    pub thread: String,
    /// Who was asked.
    pub channels: Vec<ChannelName>,
    /// The question stands until then, by its writer's clock.
    #[schemars(with = "String")]
    pub expires: Timestamp,
    /// What happens when nobody answers.
    pub then: Expiry,
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The token's name, or the name typed on the page of a link.
    pub by: String,
    /// How it came.
    pub via: Via,
    /// Why.
    pub reason: String,
}

/// How an answer came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The API, under a token.
    Token,
    /// A signed link: whoever had it.
    Link {
        /// The channel the link was sent to.
        channel: ChannelName,
        /// The address the answer came from, when known.
        from: Option<String>,
    },
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nobody has answered yet.
    Open,
    /// A person said yes.
    Approved(Answer),
    /// A person said no. Binds the deployment and the rule until it is cleared.
    Denied(Answer),
    /// A denial was taken back.
    Cleared(Answer),
    /// Nobody answered in time.
    Expired,
    /// There is nothing left to ask; the words say why.
    Lapsed(String),
    /// Asked again: more, or another target.
    Replaced(ApprovalId),
}

impl Outcome {
    /// Its word in answers and pages.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved(_) => "approved",
            Self::Denied(_) => "denied",
            Self::Cleared(_) => "cleared",
            Self::Expired => "expired",
            Self::Lapsed(_) => "lapsed",
            Self::Replaced(_) => "replaced",
        }
    }
}

/// A question folded from its lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// Its lane and number.
    pub id: ApprovalId,
    /// What was asked.
    pub asked: Asked,
    /// When.
    #[schemars(with = "String")]
    pub asked_at: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
    /// When.
    #[schemars(with = "Option<String>")]
    pub settled_at: Option<Timestamp>,
    /// The incident that was opened on it; it serves no other.
    pub used_by: Option<IncidentId>,
    /// Its events, for the incident's timeline.
    #[serde(skip)]
    pub events: Vec<LaneEntry>,
}

impl Approval {
    fn open(seq: u64, entry: &LaneEntry, asked: &Asked) -> Result<Self, Illegal> {
        let lane = LaneName::of(&asked.service, &asked.env).map_err(|_| Illegal::NoLane)?;
        Ok(Self {
            id: ApprovalId::of(&lane, seq).map_err(|_| Illegal::NoLane)?,
            asked: asked.clone(),
            asked_at: entry.at,
            outcome: Outcome::Open,
            settled_at: None,
            used_by: None,
            events: vec![entry.clone()],
        })
    }

    /// Whether nobody has answered yet.
    pub fn is_open(&self) -> bool {
        self.outcome == Outcome::Open
    }

    /// Whether it speaks of this deployment under this rule.
    pub fn is_about(&self, deployment: &DeploymentId, rule: &str) -> bool {
        self.asked.deployment == *deployment && self.asked.rule == rule
    }

    /// Whether an answer to it covers taking that much back to that release.
    pub fn covers(&self, scope: &Scope, target: &ReleaseId) -> bool {
        self.asked.scope.covers(scope) && self.asked.target == *target
    }

    /// Whether it lets a rollback through: a person said yes, or nobody answered and the rule
    /// takes that for one.
    pub fn consents(&self) -> bool {
        match self.outcome {
            Outcome::Approved(_) => true,
            Outcome::Expired => self.asked.then == Expiry::Rollback,
            _ => false,
        }
    }

    /// Until when a consent may be acted on: as long after it as the question would have stood.
    pub fn good_until(&self) -> Option<Timestamp> {
        let stood: Duration = clock::since(self.asked.expires, self.asked_at);
        self.settled_at.map(|at| clock::after(at, stood))
    }

    /// The person's answer, when one gave it.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Approved(answer) | Outcome::Denied(answer) | Outcome::Cleared(answer) => {
                Some(answer)
            }
            _ => None,
        }
    }

    fn settle(&mut self, entry: &LaneEntry, outcome: Outcome) {
        self.outcome = outcome;
        self.settled_at = Some(entry.at);
        self.events.push(entry.clone());
    }
}

/// The newest question about a deployment under a rule: older ones count no more.
pub fn newest<'a>(
    approvals: &'a [Approval],
    deployment: &DeploymentId,
    rule: &str,
) -> Option<&'a Approval> {
    let mut all = approvals.iter().rev();
    all.find(|approval| approval.is_about(deployment, rule))
}

impl LaneState {
    /// A question of this lane.
    pub fn approval(&self, id: &ApprovalId) -> Option<&Approval> {
        self.approvals.iter().find(|approval| approval.id == *id)
    }

    pub(super) fn check_asked(&self, asked: &Asked) -> Result<(), Illegal> {
        LaneName::of(&asked.service, &asked.env).map_err(|_| Illegal::NoLane)?;
        match newest(&self.approvals, &asked.deployment, &asked.rule) {
            Some(old) if old.is_open() && old.covers(&asked.scope, &asked.target) => {
                Err(Illegal::Asked(old.id.clone()))
            }
            Some(old) if matches!(old.outcome, Outcome::Denied(_)) => {
                Err(Illegal::Denied(old.id.clone()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_settled(&self, id: &ApprovalId, event: &LaneEvent) -> Result<(), Illegal> {
        let approval = self
            .approval(id)
            .ok_or_else(|| Illegal::NotAsked(id.clone()))?;
        let fits = match event {
            LaneEvent::Cleared { .. } => matches!(approval.outcome, Outcome::Denied(_)),
            _ => approval.is_open(),
        };
        if fits {
            return Ok(());
        }
        Err(Illegal::Settled {
            approval: id.clone(),
            outcome: approval.outcome.as_str(),
        })
    }

    /// An incident opens only on the consent it names, and never against a denial that binds it.
    pub(super) fn check_consent(&self, opened: &Opened) -> Result<(), Illegal> {
        if let Some(id) = &opened.approval {
            let consent = self.approval(id).filter(|approval| {
                approval.consents()
                    && approval.used_by.is_none()
                    && approval.asked.deployment == opened.deployment
                    && approval.covers(&opened.scope, &opened.target)
            });
            if consent.is_none() {
                return Err(Illegal::NoConsent(id.clone()));
            }
        }
        let (Origin::Automatic, Some(rule)) = (&opened.origin, &opened.decision.rule) else {
            return Ok(());
        };
        match newest(&self.approvals, &opened.deployment, rule) {
            Some(no) if matches!(no.outcome, Outcome::Denied(_)) => {
                Err(Illegal::Denied(no.id.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the consent an incident was opened on, if it needed one, lets that much be sent now:
    /// a yes covers what was asked, and for a limited time.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn lets_send(
        &self,
        opened: &Opened,
        scope: &Scope,
        target: &ReleaseId,
        now: Timestamp,
    ) -> Result<(), String> {
        let Some(id) = &opened.approval else {
            return Ok(());
        };
        match self.approval(id).filter(|approval| approval.consents()) {
            None => Err(format!("`{id}` is no consent")),
            Some(consent) if !consent.covers(scope, target) => {
                Err(format!("`{id}` covers less, or another release"))
            }
            Some(consent) if consent.good_until().is_none_or(|until| until < now) => {
                Err(format!("`{id}` was given too long ago"))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn ask(
        &mut self,
        seq: u64,
        entry: &LaneEntry,
        asked: &Asked,
    ) -> Result<(), Illegal> {
        let approval = Approval::open(seq, entry, asked)?;
        let open = self.approvals.iter_mut().rev();
        let mut open = open.filter(|old| old.is_about(&asked.deployment, &asked.rule));
        if let Some(old) = open.next().filter(|old| old.is_open()) {
            old.settle(entry, Outcome::Replaced(approval.id.clone()));
        }
        self.approvals.push(approval);
        Ok(())
    }

    pub(super) fn settle(&mut self, entry: &LaneEntry) {
        let (id, outcome) = match &entry.event {
            LaneEvent::Approved { approval, answer } => {
                (approval, Outcome::Approved(answer.clone()))
            }
            LaneEvent::Denied { approval, answer } => (approval, Outcome::Denied(answer.clone())),
            LaneEvent::Cleared { approval, answer } => (approval, Outcome::Cleared(answer.clone())),
            LaneEvent::Expired { approval } => (approval, Outcome::Expired),
            LaneEvent::Lapsed { approval, why } => (approval, Outcome::Lapsed(why.clone())),
            _ => return,
        };
        let asked = self
            .approvals
            .iter_mut()
            .find(|approval| approval.id == *id);
        if let Some(approval) = asked {
            approval.settle(entry, outcome);
        }
    }

    /// Takes a consent for an incident; its events, which that incident's timeline begins with.
    pub(super) fn use_consent(&mut self, opened: &Opened, by: &IncidentId) -> Vec<LaneEntry> {
        let used = self
            .approvals
            .iter_mut()
            .find(|approval| Some(&approval.id) == opened.approval.as_ref());
        used.map_or_else(Vec::new, |approval| {
            approval.used_by = Some(by.clone());
            approval.events.clone()
        })
    }
}
