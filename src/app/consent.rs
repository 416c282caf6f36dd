//! People's consent: asking for it, hearing the answer, and saying what became of it.
//!
//! A hold that nothing but a person's yes keeps from being done asks for one. Whoever looks at
//! the hold next, on any replica, tells what still has to be told: the ledger knows the facts by
//! name, so that each is told once.

use std::time::Duration;

use jiff::Timestamp;

use super::compose::metric;
use super::core::Core;
use super::holds::{Held, OpenHold};
use super::setup::Setup;
use crate::act::approvals::{self, Replied, Reply};
use crate::config::channel::Locale;
use crate::domain::decision::{Code, Consent, Decision, Scope};
use crate::domain::evidence::Verify;
use crate::domain::id::{ApprovalId, ChannelName, LaneName};
use crate::domain::lane::{Approval, Asked, Settled, newest_approval};
use crate::domain::notice::{Happened, Link, Message, Notice, NoticeKind};
use crate::domain::policy::Expiry;
use crate::notify::Delivery;
use crate::store::{StoreError, keys};
use crate::web::api::{AnswerApproval, ApprovalAnswered, ApprovalVerdict, Filter, Page, Refusal};
use crate::web::signed::{Purpose, Signer};

impl Core {
    /// Whether the question a hold waits for was settled since it was judged. One whose time is
    /// over is expired here, by whoever looks first.
    pub(super) async fn question_moved(&self, hold: &OpenHold, now: Timestamp) -> bool {
        let Some(Consent::Asked(id)) = &hold.held.decision.consent else {
            return false;
        };
        match approvals::tend(&self.lanes, id, now).await {
            Ok(open) => !open,
            Err(error) => {
                tracing::warn!(approval.id = %id, "question {id} can't be looked at: {error}");
                false
            }
        }
    }

    /// Brings people and a decision together: asks where that is due, and tells whatever the
    /// question's state has to tell.
    pub(super) async fn consult(
        &self,
        setup: &Setup,
        decision: &Decision,
        thread: &str,
        channels: &[ChannelName],
    ) {
        let asked = self.asked_about(decision, thread, channels).await;
        let approval = match asked {
            Ok(Some(approval)) => approval,
            Ok(None) => return,
            Err(error) => {
                let release = decision.release_id.as_ref().map(AsRef::<str>::as_ref);
                tracing::warn!(release.id = release, "people could not be asked: {error}");
                return;
            }
        };
        self.tell_question(setup, &approval).await;
    }

    /// The newest question about a decision, asked or expired now where that is due.
    async fn asked_about(
        &self,
        decision: &Decision,
        thread: &str,
        channels: &[ChannelName],
    ) -> Result<Option<Approval>, StoreError> {
        let (Some(lane), Some(deployment), Some(rule)) =
            (&decision.lane, &decision.deployment, &decision.rule)
        else {
            return Ok(None);
        };
        if let Some(Consent::Asked(id)) = &decision.consent {
            approvals::tend(&self.lanes, id, self.ground.clock.now()).await?;
        }
        let state = match question(decision, thread, channels) {
            Some(asked) => approvals::ask(&self.lanes, lane, asked).await?,
            None => self.lanes.as_read(lane).await,
        };
        Ok(newest_approval(&state.approvals, deployment, rule).cloned())
    }

    async fn tell_question(&self, setup: &Setup, approval: &Approval) {
        let (kind, subject) = match &approval.outcome {
            Settled::Open => (NoticeKind::ApprovalWanted, "roll back?"),
            Settled::Approved(_) => (NoticeKind::ApprovalSettled, "approved"),
            Settled::Denied(_) => (NoticeKind::ApprovalSettled, "denied"),
            Settled::Expired => match approval.asked.then {
                Expiry::Hold => (NoticeKind::HoldPage, "nobody answered, it stays held"),
                Expiry::Rollback => (NoticeKind::ApprovalSettled, "nobody answered, it is done"),
            },
            Settled::Cleared(_) | Settled::Lapsed(_) | Settled::Replaced(_) => return,
        };
        let fact = format!("{}/{}", approval.id, approval.outcome.as_str());
        for channel in setup.config.audience(&approval.asked.channels) {
            if setup.notify.knows(&channel, [&fact]) {
                continue;
            }
            let mut notice = self.question_notice(setup, approval, kind, subject);
            if approval.is_open() {
                notice.links.splice(0..0, link(setup, approval, &channel));
            }
            let message = Message {
                channel,
                notice,
                covers: [fact.clone()].into(),
            };
            // Written down is enough: a slow vendor holds no rollback up.
            if let Delivery::Lost(why) = setup.notify.tell(message, None, Duration::ZERO).await {
                tracing::warn!(approval.id = %approval.id, "not told yet: {why}");
            }
        }
    }

    fn question_notice(
        &self,
        setup: &Setup,
        approval: &Approval,
        kind: NoticeKind,
        subject: &str,
    ) -> Notice {
        let asked = &approval.asked;
        let held = Held {
            since: approval.asked_at,
            decision: asked.decision.clone(),
            thread: asked.thread.clone(),
            channels: Vec::new(),
            episodes: std::collections::BTreeSet::new(),
            pending: false,
        };
        let mut notice = self.hold_notice(setup, &held, subject);
        notice.kind = kind;
        notice.phase = asked.decision.phase;
        notice.hosts.clone_from(&asked.hosts);
        if let Scope::Batch(batches) = &asked.scope {
            notice.batches.clone_from(batches);
        }
        let evidence = asked.decision.evidence.as_ref();
        if let Some(Verify::Holds(measured)) = evidence.map(|evidence| &evidence.verify) {
            notice.metric = Some(metric(&measured.expr, None, Some(measured.value)));
        }
        if let Some(told) = &mut notice.decision {
            if !approval.is_open() {
                told.why = settled(approval);
                told.code = Code::Unstated;
            }
            told.target = Some(asked.target.clone());
            told.scope = Some(asked.scope.to_string());
        }
        notice.happened = approval.is_open().then(|| Happened::Asked {
            question: approval.id.to_string(),
            until: asked.expires,
            then_done: asked.then == Expiry::Rollback,
        });
        notice
    }

    /// A hold that ends leaves nothing to ask.
    pub(super) async fn lapse_question(
        &self,
        hold: &OpenHold,
        why: &str,
    ) -> Result<(), StoreError> {
        let decision = &hold.held.decision;
        let (Some(lane), Some(deployment), Some(rule)) =
            (&decision.lane, &decision.deployment, &decision.rule)
        else {
            return Ok(());
        };
        let state = self.lanes.refresh(lane).await?;
        let open = newest_approval(&state.approvals, deployment, rule).filter(|one| one.is_open());
        if let Some(open) = open {
            let lapse = Reply::Lapse(why.to_owned());
            approvals::reply(&self.lanes, &open.id, &lapse, self.ground.clock.now()).await?;
        }
        Ok(())
    }

    /// A person's answer.
    ///
    /// # Errors
    /// When there is no such question, it was settled otherwise, or the store is away.
    pub(super) async fn answer_approval(
        &self,
        request: AnswerApproval,
    ) -> Result<ApprovalAnswered, Refusal> {
        let now = self.ground.clock.now();
        let AnswerApproval {
            id,
            verdict,
            answer,
        } = request;
        approvals::tend(&self.lanes, &id, now).await?;
        let reply = match verdict {
            ApprovalVerdict::Approve => Reply::Approve(answer),
            ApprovalVerdict::Deny => Reply::Deny(answer),
            ApprovalVerdict::Clear => Reply::Clear(answer),
        };
        let (approval, recorded) = match approvals::reply(&self.lanes, &id, &reply, now).await? {
            Replied::NotAsked => return Err(missing(&id)),
            Replied::Recorded(approval) => (approval, true),
            Replied::Settled(approval) => (approval, false),
        };
        if !recorded && !says(verdict, &approval.outcome) {
            return Err(Refusal::Conflict {
                code: "approval_settled",
                reason: format!("`{id}` is {}", settled(&approval)),
            });
        }
        if recorded {
            let asked = &approval.asked;
            tracing::info!(approval.id = %id, service = %asked.service, "question {id} is {}", settled(&approval));
            if let Some(lane) = id.lane() {
                let hold = keys::hold(&lane, &asked.deployment, &asked.rule);
                if verdict == ApprovalVerdict::Clear {
                    // What was denied is judged once more, if its alerts still stand.
                    self.holds.reopen(&hold, now).await?;
                }
                self.holds.ask_again_by(&hold, Some(now));
                self.look_at_holds.notify_one();
            }
        }
        Ok(ApprovalAnswered {
            approval: *approval,
            recorded,
        })
    }

    pub(super) async fn find_approval(&self, id: &ApprovalId) -> Result<Approval, Refusal> {
        let lane = id.lane().ok_or_else(|| missing(id))?;
        let state = self.lanes.refresh(&lane).await?;
        state.approval(id).cloned().ok_or_else(|| missing(id))
    }

    pub(super) async fn list_approvals(&self, filter: &Filter) -> Result<Page<Approval>, Refusal> {
        let mut found = Vec::new();
        for name in self.ground.store.folders("lanes").await? {
            let Ok(lane) = LaneName::new(name) else {
                continue;
            };
            let state = self.lanes.refresh(&lane).await?;
            let fits = |approval: &&Approval| {
                let asked = &approval.asked;
                let (service, env) = (&filter.service, &filter.env);
                let (release, deployment) = (&filter.release_id, &filter.deployment_id);
                service.as_ref().is_none_or(|one| *one == asked.service)
                    && env.as_ref().is_none_or(|one| *one == asked.env)
                    && release.as_ref().is_none_or(|one| *one == asked.release_id)
                    && deployment
                        .as_ref()
                        .is_none_or(|one| *one == asked.deployment)
            };
            found.extend(state.approvals.iter().filter(fits).cloned());
        }
        found.sort_by(|a, b| b.asked_at.cmp(&a.asked_at).then_with(|| a.id.cmp(&b.id)));
        Ok(self.page(&self.catalog.view(), filter, found))
    }
}

/// What a decision wants people to be asked, if anything.
fn question(decision: &Decision, thread: &str, channels: &[ChannelName]) -> Option<Asked> {
    let Some(Consent::Ask { until, then }) = decision.consent else {
        return None;
    };
    Some(Asked {
        service: decision.service.clone()?,
        env: decision.env.clone()?,
        deployment: decision.deployment.clone()?,
        release_id: decision.release_id.clone()?,
        rule: decision.rule.clone()?,
        scope: decision.scope.clone()?,
        hosts: decision.hosts.clone(),
        target: decision.target.clone()?,
        decision: decision.clone(),
        thread: thread.to_owned(),
        channels: channels.to_vec(),
        expires: until,
        then,
    })
}

/// The way to the page, where links can be signed and lead somewhere.
fn link(setup: &Setup, approval: &Approval, channel: &ChannelName) -> Option<Link> {
    let base = setup.config.web.external_url.as_ref()?;
    let key = setup.config.auth.as_ref()?.signing_key.as_ref()?;
    let name = format!("{}~{channel}", approval.id);
    let signed = Signer::new(key.clone()).sign(Purpose::Approve, &name, approval.asked.expires);
    let channel = setup.config.channels.get(channel);
    let lang = match channel.map(|channel| channel.settings.locale) {
        Some(Locale::ZhCn) => "?lang=zh-CN",
        Some(Locale::En) | None => "",
    };
    Some(Link {
        text: Link::APPROVE.to_owned(),
        url: format!(
            "{}/approve/{signed}{lang}",
            base.as_str().trim_end_matches('/')
        ),
    })
}

fn settled(approval: &Approval) -> String {
    let word = approval.outcome.as_str();
    match approval.answer() {
        Some(answer) => format!("{word} by {}: {}", answer.by, answer.reason),
        None => word.to_owned(),
    }
}

/// Whether a question stands as `verdict` wants it.
fn says(verdict: ApprovalVerdict, outcome: &Settled) -> bool {
    matches!(
        (verdict, outcome),
        (ApprovalVerdict::Approve, Settled::Approved(_))
            | (ApprovalVerdict::Deny, Settled::Denied(_))
            | (ApprovalVerdict::Clear, Settled::Cleared(_))
    )
}

fn missing(id: &ApprovalId) -> Refusal {
    Refusal::Missing(format!("question `{id}`"))
}
