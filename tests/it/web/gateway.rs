//! A gateway that answers from memory and reads alerts as the real one does.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backstop::domain::agent::{Polled, Record};
use backstop::domain::clock::{Clock as _, SystemClock};
use backstop::domain::decision::{Decision, Scope, Verdict};
use backstop::domain::deployment::Instance;
use backstop::domain::id::{
    ApprovalId, DeploymentId, Env, Host, IncidentId, LaneName, ReleaseId, Service,
};
use backstop::domain::lane::{Approval, Asked, Incident, Opened, Origin, Settled, Stage};
use backstop::domain::policy::{Expiry, Mode};
use backstop::domain::record::DecisionRecord;
use backstop::domain::release::Release;
use backstop::explain::{self, Code, Explanation, Reason};
use backstop::ingest;
use backstop::web::api::{
    Abandon, Accepted, Admit, Admitted, AgentAsk, AlertDelivery, AlertRecord, AnswerApproval,
    ApplyRollback, ApprovalAnswered, ApprovalVerdict, ArtifactStream, BatchState, BatchStatus,
    DeploymentState, Explain, Filter, Gateway, InstancesRecorded, ModeSwitch, Page,
    RecordInstances, Recorded, Refusal, ReleaseRecord, ReportFormat, RollbackOpened, RollbackPlan,
    RollbackRequest, SetMode, StartBatch, TargetGroup,
};
use bytes::Bytes;
use tokio::sync::Notify;

/// What a hostile release, host or commit may be called.
pub(super) const EVIL: &str = "<script>alert(1)</script>\"'&<img src=x onerror=y>";

#[derive(Default)]
pub(super) struct Fake {
    /// Calls that began.
    pub(super) begun: AtomicUsize,
    /// Calls that ended.
    pub(super) done: AtomicUsize,
    /// How long a delivery takes.
    pub(super) slow: Mutex<Duration>,
    /// Set: deliveries wait for it.
    pub(super) hold: Mutex<Option<std::sync::Arc<Notify>>>,
    /// Every other delivery panics.
    pub(super) panics: std::sync::atomic::AtomicBool,
    pub(super) applied: Mutex<Vec<ApplyRollback>>,
    pub(super) batches: Mutex<Vec<StartBatch>>,
    pub(super) filters: Mutex<Vec<Filter>>,
    pub(super) alerts: Mutex<Vec<backstop::domain::alert::AlertGroup>>,
    pub(super) callers: Mutex<Vec<String>>,
    /// Answers to the one question, in the order they came.
    pub(super) answers: Mutex<Vec<AnswerApproval>>,
    pub(super) abandoned: Mutex<Vec<Abandon>>,
}

fn page<T>(items: Vec<T>) -> Page<T> {
    Page {
        items,
        as_of: SystemClock.now(),
        stale: false,
        more: false,
        next: None,
    }
}

impl Fake {
    fn filter<T>(&self, filter: Filter) -> Page<T> {
        self.filters.lock().unwrap().push(filter);
        page(Vec::new())
    }
}

#[async_trait::async_trait]
impl Gateway for Fake {
    async fn alerts(&self, delivery: AlertDelivery) -> Result<Accepted, Refusal> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.load(Ordering::SeqCst), "as the test wants");
        self.callers
            .lock()
            .unwrap()
            .push(delivery.caller.name.clone());
        let hold = self.hold.lock().unwrap().clone();
        if let Some(hold) = hold {
            hold.notified().await;
        }
        let slow = *self.slow.lock().unwrap();
        tokio::time::sleep(slow).await;
        let read = ingest::read(delivery.source, &delivery.body, delivery.received_at);
        self.done.fetch_add(1, Ordering::SeqCst);
        let read = read.map_err(|rejection| Refusal::Invalid {
            code: rejection.code,
            pointer: rejection.pointer,
            reason: rejection.reason,
        })?;
        self.alerts.lock().unwrap().extend(read.groups);
        Ok(Accepted {
            delivered: 1,
            ignored: read.ignored_count,
            ignored_because: read.ignored.iter().map(ToString::to_string).collect(),
            ..Accepted::default()
        })
    }

    async fn start_batch(&self, request: StartBatch) -> Result<BatchState, Refusal> {
        if request.deployment.as_str() == "STOPPED" {
            return Err(Refusal::Conflict {
                code: "stopped",
                reason: "its deployment was stopped by checkout@prod-7".to_owned(),
            });
        }
        let state = BatchState {
            status: BatchStatus::Arming,
            progress: "0 of 2 canary rules are evaluated".to_owned(),
            deployment_id: request.deployment.clone(),
            batch: request.n,
            release_id: request.facts.release_id.clone(),
            incident_id: None,
        };
        self.batches.lock().unwrap().push(request);
        Ok(state)
    }

    async fn batch(&self, deployment: DeploymentId, n: u32) -> Result<BatchState, Refusal> {
        if deployment.as_str() == "UNKNOWN" {
            return Err(Refusal::Missing("such batch".to_owned()));
        }
        Ok(BatchState {
            status: BatchStatus::Armed,
            progress: "watched".to_owned(),
            deployment_id: deployment,
            batch: n,
            release_id: ReleaseId::new("checkout@1.8.0").unwrap(),
            incident_id: None,
        })
    }

    async fn record_instances(
        &self,
        request: RecordInstances,
    ) -> Result<InstancesRecorded, Refusal> {
        let recorded = request.facts.instances.len();
        Ok(InstancesRecorded { recorded })
    }

    async fn cancel_batch(&self, deployment: DeploymentId, n: u32) -> Result<BatchState, Refusal> {
        let mut state = self.batch(deployment, n).await?;
        state.status = BatchStatus::Canceled;
        Ok(state)
    }

    async fn hosts_back(&self, asked: Admit) -> Result<BatchState, Refusal> {
        let deployment = DeploymentId::new(asked.execution.as_str()).unwrap();
        self.batch(deployment, 1).await
    }

    async fn hosts_back_state(&self, _: IncidentId, _: u32) -> Result<BatchState, Refusal> {
        Err(Refusal::Missing("such rollback".to_owned()))
    }

    async fn agent_desired(&self, _: AgentAsk) -> Result<Polled, Refusal> {
        Ok(Polled {
            poll: Duration::from_secs(10),
            desired: None,
        })
    }

    async fn agent_records(&self, _: AgentAsk, records: Vec<Record>) -> Result<Recorded, Refusal> {
        let accepted = records.len();
        Ok(Recorded { accepted })
    }

    async fn agent_artifact(
        &self,
        _: Host,
        _: ReleaseId,
        what: String,
    ) -> Result<ArtifactStream, Refusal> {
        Err(Refusal::Missing(what))
    }

    async fn admit(&self, request: Admit) -> Result<Admitted, Refusal> {
        if request.execution.as_str() == "OTHER" {
            return Err(Refusal::Conflict {
                code: "not_admitted",
                reason: "another execution was let in".to_owned(),
            });
        }
        Ok(Admitted {
            status: "admitted".to_owned(),
            incident_id: request.incident,
            attempt: request.attempt,
            execution_id: request.execution,
        })
    }

    async fn plan_rollback(&self, request: RollbackRequest) -> Result<RollbackPlan, Refusal> {
        Ok(RollbackPlan {
            deployment_id: DeploymentId::new("D1").unwrap(),
            hosts: vec![Host::new("web-1").unwrap()],
            current: ReleaseId::new("checkout@1.8.0").unwrap(),
            target: ReleaseId::new("checkout@1.7.0").unwrap(),
            pipeline: "rollback-full".to_owned(),
            guards: Vec::new(),
            allowed: true,
            service: request.service,
            env: request.env,
            scope: request.scope,
        })
    }

    async fn apply_rollback(&self, request: ApplyRollback) -> Result<RollbackOpened, Refusal> {
        if request.expect.current.as_str() != "checkout@1.8.0" {
            return Err(Refusal::Conflict {
                code: "expectation",
                reason: "checkout@1.8.0 runs now".to_owned(),
            });
        }
        if request.request.env.as_str() == "frozen" {
            return Err(Refusal::Denied {
                code: "kill_switch",
                reason: "the kill switch is on".to_owned(),
            });
        }
        let mut applied = self.applied.lock().unwrap();
        let created = !applied.iter().any(|before| before.key == request.key);
        applied.push(request);
        Ok(RollbackOpened {
            incident_id: IncidentId::new("checkout@prod-7").unwrap(),
            created,
        })
    }

    async fn answer_approval(&self, request: AnswerApproval) -> Result<ApprovalAnswered, Refusal> {
        let mut answers = self.answers.lock().unwrap();
        if request.id != approval(None).id {
            return Err(Refusal::Missing("such question".to_owned()));
        }
        if let Some(first) = answers.first() {
            if first.verdict != request.verdict {
                return Err(Refusal::Conflict {
                    code: "approval_settled",
                    reason: "it was answered".to_owned(),
                });
            }
            return Ok(ApprovalAnswered {
                approval: approval(Some(first)),
                recorded: false,
            });
        }
        let answered = approval(Some(&request));
        answers.push(request);
        Ok(ApprovalAnswered {
            approval: answered,
            recorded: true,
        })
    }

    async fn abandon(&self, request: Abandon) -> Result<Incident, Refusal> {
        let incident = self.incident(request.incident.clone()).await?;
        self.abandoned.lock().unwrap().push(request);
        Ok(incident)
    }

    async fn approvals(&self, filter: Filter) -> Result<Page<Approval>, Refusal> {
        Ok(self.filter(filter))
    }

    async fn approval(&self, id: ApprovalId) -> Result<Approval, Refusal> {
        let found = approval(self.answers.lock().unwrap().first());
        if id != found.id {
            return Err(Refusal::Missing("such question".to_owned()));
        }
        Ok(found)
    }

    async fn releases(&self, filter: Filter) -> Result<Page<ReleaseRecord>, Refusal> {
        self.filters.lock().unwrap().push(filter);
        let release = Release {
            id: ReleaseId::new("checkout@1.8.0").unwrap(),
            service: "checkout".parse().unwrap(),
            tag: "v1.8.0".to_owned(),
            version: "1.8.0".to_owned(),
            artifact_url: EVIL.to_owned(),
            checksum: String::new(),
            config: None,
            commit: Some(EVIL.to_owned()),
            reversible: true,
            created_at: SystemClock.now(),
            created_by: EVIL.to_owned(),
        };
        Ok(page(vec![ReleaseRecord {
            release,
            mark: None,
            source: None,
        }]))
    }

    async fn deployments(&self, filter: Filter) -> Result<Page<DeploymentState>, Refusal> {
        Ok(self.filter(filter))
    }

    async fn instances(&self, filter: Filter) -> Result<Page<Instance>, Refusal> {
        Ok(self.filter(filter))
    }

    async fn alert_records(&self, filter: Filter) -> Result<Page<AlertRecord>, Refusal> {
        Ok(self.filter(filter))
    }

    async fn incidents(&self, filter: Filter) -> Result<Page<Incident>, Refusal> {
        self.filters.lock().unwrap().push(filter);
        Ok(page(vec![incident()]))
    }

    async fn decisions(&self, filter: Filter) -> Result<Page<DecisionRecord>, Refusal> {
        Ok(self.filter(filter))
    }

    async fn explain(&self, asked: Explain) -> Result<Explanation, Refusal> {
        let (asked, text) = match asked {
            Explain::Moment(moment, _) => (explain::Asked::Moment(moment), EVIL.to_owned()),
            Explain::Incident(id) => (explain::Asked::Incident(id), EVIL.to_owned()),
            Explain::Body(source, body) => {
                let at = SystemClock.now();
                let text = format!("{} bytes", body.len());
                (explain::Asked::Body { source, at }, text)
            }
        };
        let because = vec![Reason::new(Code::NoRule, text)];
        Ok(Explanation::new(asked, because))
    }

    async fn canary_rules(&self) -> Result<String, Refusal> {
        Ok("groups: []\n".to_owned())
    }

    async fn targets(&self, _: Option<Service>, _: Option<Env>, port: u16) -> Vec<TargetGroup> {
        vec![TargetGroup {
            targets: vec![format!("h1:{port}")],
            labels: BTreeMap::new(),
        }]
    }

    async fn info_series(&self) -> String {
        String::new()
    }

    async fn incident(&self, id: IncidentId) -> Result<Incident, Refusal> {
        let incident = incident();
        if id != incident.id {
            return Err(Refusal::Missing("such incident".to_owned()));
        }
        Ok(incident)
    }

    async fn report(&self, _: IncidentId, format: ReportFormat) -> Result<Bytes, Refusal> {
        Ok(Bytes::from(format!("{format:?}")))
    }

    async fn chart(&self, id: String) -> Result<Bytes, Refusal> {
        Ok(Bytes::from(format!("PNG of {id}")))
    }

    async fn modes(&self) -> Result<Vec<ModeSwitch>, Refusal> {
        Ok(Vec::new())
    }

    async fn set_mode(&self, change: SetMode) -> Result<Vec<ModeSwitch>, Refusal> {
        Ok(vec![ModeSwitch {
            service: change.service,
            env: change.env,
            mode: change.mode.unwrap_or(Mode::Off),
            by: change.caller.name,
            reason: change.reason,
            at: SystemClock.now(),
        }])
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    async fn reload(&self) -> Result<(), String> {
        Err("backstop.yaml:3:7: unknown key `servces`".to_owned())
    }

    async fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

/// The one question there is, as it stands after `answered`.
fn approval(answered: Option<&AnswerApproval>) -> Approval {
    let Opened {
        service,
        env,
        deployment,
        release_id,
        scope,
        hosts,
        target,
        decision,
        thread,
        channels,
        ..
    } = incident().opened;
    let now = SystemClock.now();
    Approval {
        id: ApprovalId::new("checkout@prod-3").unwrap(),
        asked: Asked {
            service,
            env,
            deployment,
            release_id,
            rule: EVIL.to_owned(),
            scope,
            hosts,
            target,
            decision,
            thread,
            channels,
            expires: backstop::domain::clock::after(now, Duration::from_mins(10)),
            then: Expiry::Hold,
        },
        asked_at: now,
        outcome: match answered {
            None => Settled::Open,
            Some(AnswerApproval {
                verdict: ApprovalVerdict::Approve,
                answer,
                ..
            }) => Settled::Approved(answer.clone()),
            Some(AnswerApproval { answer, .. }) => Settled::Denied(answer.clone()),
        },
        settled_at: answered.map(|_| now),
        used_by: None,
        events: Vec::new(),
    }
}

fn incident() -> Incident {
    let release = ReleaseId::new("checkout@1.8.0").unwrap();
    let deployment = DeploymentId::new("D1").unwrap();
    let at = SystemClock.now();
    let decision = Decision {
        at,
        verdict: Verdict::Rollback(Scope::Full),
        shadow: false,
        mode: Mode::Enforce,
        rule: Some(EVIL.to_owned()),
        rules: Vec::new(),
        guards: vec![backstop::domain::decision::GuardVerdict {
            guard: backstop::domain::decision::Guard::Verify,
            outcome: backstop::domain::decision::Outcome::Pass(EVIL.to_owned()),
            code: backstop::domain::decision::Code::Ok,
        }],
        service: None,
        env: None,
        lane: None,
        deployment: None,
        release_id: None,
        phase: None,
        scope: None,
        hosts: Vec::new(),
        target: None,
        alerts: std::collections::BTreeSet::new(),
        evidence: None,
        recheck_at: None,
        incident: None,
        consent: None,
        suspects: Vec::new(),
        escalates: None,
    };
    Incident {
        id: IncidentId::new("checkout@prod-7").unwrap(),
        lane: LaneName::new("checkout@prod").unwrap(),
        opened: Opened {
            service: "checkout".parse().unwrap(),
            env: "prod".parse().unwrap(),
            deployment,
            release_id: release.clone(),
            scope: Scope::Full,
            hosts: vec![Host::new("web-1").unwrap()],
            target: ReleaseId::new("checkout@1.7.0").unwrap(),
            origin: Origin::Automatic,
            decision,
            thread: EVIL.to_owned(),
            channels: Vec::new(),
            alerts: Vec::new(),
            supersedes: None,
            approval: None,
        },
        opened_at: at,
        stage: Stage::Submitting,
        attempt: 1,
        plan: None,
        submitting_at: None,
        execution: None,
        submitted_at: None,
        admitted: None,
        admitted_seq: None,
        finished: None,
        recovery: None,
        revision: 0,
        abandoned: None,
        ending: None,
        closed_at: None,
        events: vec![backstop::domain::lane::LaneEntry {
            at,
            by: backstop::domain::id::ReplicaId::random(),
            event: backstop::domain::lane::LaneEvent::Unknown {
                incident: IncidentId::new("checkout@prod-7").unwrap(),
                attempt: 1,
                why: EVIL.to_owned(),
            },
        }],
    }
}
