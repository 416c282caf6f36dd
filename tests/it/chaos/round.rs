//! One round: a canary goes bad, two peers tell two replicas, and at one step a replica is hit.

use std::sync::Arc;
use std::time::Duration;

use backstop::act::lane::LaneStore;
use backstop::domain::clock::SystemClock;
use backstop::domain::lane::{Ending, Incident, LaneEvent, LaneState};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::nodes::Node;
use super::plan::{Blow, Plan, Step, Wire};
use super::senders::until_safe;
use crate::support::eventually::eventually;
use crate::support::gate::TriggerFault;
use crate::support::gateway::{HOSTS, Setting, TestGateway, alert, canary_alert, group, labels};
use crate::support::holding::{Held, Holding};

/// Longer than a claim (4 s), what a call to Gate takes (2 s) and what clocks may differ (500 ms).
const PAUSE: Duration = Duration::from_secs(7);
/// Nothing of a round takes longer, on a machine that is busy with other work.
const PATIENCE: Duration = Duration::from_mins(4);
/// Alerts that no rule acts on, told beside the one that matters.
const BYSTANDERS: usize = 3;

/// What came of a round.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) kills: u32,
    pub(super) pauses: u32,
    /// Executions that were started; one of them was let in.
    pub(super) executions: usize,
    /// Messages that came twice.
    pub(super) doubles: usize,
    /// Webhooks sent until each was answered 200.
    pub(super) sent: u32,
}

struct Round {
    plan: Plan,
    site: TestGateway,
    nodes: Vec<Node>,
    front: Holding,
    lanes: LaneStore,
    outcome: Outcome,
}

/// Plays a round; panics with its story when a promise is broken.
pub(super) async fn play(plan: Plan) -> Outcome {
    let mut round = Round::set_up(plan).await;
    let accused = round.site.deploy_canary().await;
    let first = round.trap(round.plan.step, &accused);
    let second = round
        .plan
        .second
        .map(|(step, blow)| (round.trap(step, &accused), blow));
    round.site.gate.set_weather(round.plan.weather);
    // Nobody looks for an execution that has asked to be let in: that question waits too.
    let asking = (round.plan.step == Step::LookingUp).then(|| {
        round.site.gate.fail_trigger(TriggerFault::DropAfter);
        round.trap(Step::Asking, &accused)
    });
    round.site.metrics.set(&HOSTS[..1], 0.3);
    let sending = tokio::spawn(round.deliveries());
    round.strike(first, second).await;
    drop(asking);
    let incident = round.until_closed().await;
    let sent = round.within("every webhook to be answered 200", sending);
    round.outcome.sent = sent.await.unwrap();
    round.site.metrics.set(&HOSTS[..1], 0.002);
    round.late_copies().await;
    round.judge(&incident).await;
    round.outcome
}

impl Round {
    async fn set_up(plan: Plan) -> Self {
        let site = TestGateway::world(&Setting {
            replicas: 2,
            // A replica that is left alone has all to tell.
            vendor_speed: 10,
            timing: &[
                ("lease", "4s"),
                ("skew", "500ms"),
                ("settle", "1s"),
                ("send_claim", "5s"),
            ],
            ..Setting::default()
        })
        .await;
        let (one, two) = futures::join!(Node::start(&site, 0), Node::start(&site, 1));
        let nodes = vec![one, two];
        let front = Holding::start(nodes.len(), Vec::new()).await;
        site.front_to(front.address());
        let clock = Arc::new(SystemClock);
        let lanes = LaneStore::new(site.store.clone(), clock, "judge".parse().unwrap());
        let round = Self {
            plan,
            site,
            nodes,
            front,
            lanes,
            outcome: Outcome::default(),
        };
        round.prefer(0);
        round
    }

    /// Spinnaker reaches replica `first` as long as it takes connections.
    fn prefer(&self, first: usize) {
        let mut behind: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.process.address())
            .collect();
        behind.swap(0, first);
        self.front.set_behind(behind);
    }

    fn trap(&self, step: Step, accused: &str) -> oneshot::Receiver<Held> {
        let wires: Vec<&Holding> = match step.wire() {
            Wire::Front => vec![&self.front],
            Wire::Gate => self.nodes.iter().map(|node| &node.gate).collect(),
            Wire::Metrics => self.nodes.iter().map(|node| &node.metrics).collect(),
            Wire::Slack => self.nodes.iter().map(|node| &node.slack).collect(),
        };
        Holding::trap(wires, step.side(), step.matches(accused))
    }

    /// Both peers tell the same, each twice, and some alerts beside it.
    fn deliveries(&self) -> impl Future<Output = u32> + Send + use<> {
        let urls: Vec<String> = self.nodes.iter().map(|node| node.process.url()).collect();
        let here = [urls[0].clone(), urls[1].clone()];
        let there = [urls[1].clone(), urls[0].clone()];
        let body = canary_alert();
        let mut all = Vec::new();
        for replicas in [&here, &there, &here, &there] {
            all.push(until_safe(replicas.clone(), body.clone()));
        }
        for n in 0..BYSTANDERS {
            let replicas = if n.is_multiple_of(2) { &there } else { &here };
            all.push(until_safe(replicas.clone(), bystander(n)));
        }
        async move { join_all(all).await.into_iter().sum() }
    }

    async fn strike(
        &mut self,
        first: oneshot::Receiver<Held>,
        second: Option<(oneshot::Receiver<Held>, Blow)>,
    ) {
        let step = self.plan.step;
        let held = self.within(&format!("{step:?}"), first).await.unwrap();
        self.hit(held, self.plan.blow).await;
        if let Some((second, blow)) = second {
            // Not every rollback comes to every step.
            if let Ok(Ok(held)) = timeout(Duration::from_secs(15), second).await {
                self.hit(held, blow).await;
            }
        }
    }

    /// Hits the replica whose request is held, and lets that go on.
    async fn hit(&mut self, held: Held, blow: Blow) {
        let ours = |node: &Node| held.to == Some(node.process.address());
        let victim = self.nodes.iter().position(ours).unwrap_or(held.at);
        // Spinnaker's next question goes to the other one, or to the one that was hit.
        self.prefer(if self.plan.number.is_multiple_of(2) {
            1 - victim
        } else {
            victim
        });
        match blow {
            Blow::Kill => {
                self.outcome.kills += 1;
                self.nodes[victim].process.kill().unwrap();
                if self.plan.late {
                    self.until_the_other_went_on().await;
                }
                held.let_go();
                if self.plan.restart {
                    self.nodes[victim].process.restart().await.unwrap();
                }
            }
            Blow::Pause => {
                self.outcome.pauses += 1;
                self.nodes[victim].process.pause().await.unwrap();
                tokio::time::sleep(PAUSE).await;
                if self.plan.late {
                    self.until_the_other_went_on().await;
                }
                held.let_go();
                self.nodes[victim].process.resume().unwrap();
            }
        }
    }

    /// The other replica has given the held attempt up, or needs nothing of it.
    async fn until_the_other_went_on(&self) {
        if !matches!(self.plan.step, Step::Sending | Step::Asking) {
            return;
        }
        let went_on = |lane: &LaneState| {
            let all = lane.closed.iter().chain(&lane.open);
            let mut events = all.flat_map(|incident| &incident.events);
            let gone_on = |event: &LaneEvent| {
                matches!(event, LaneEvent::Voided { .. } | LaneEvent::Admitted { .. })
            };
            events.any(|entry| gone_on(&entry.event)).then_some(())
        };
        self.until("the other replica to go on", went_on).await;
    }

    async fn until<T>(&self, what: &str, probe: impl Fn(&LaneState) -> Option<T>) -> T {
        let lane = "checkout@prod".parse().unwrap();
        let found = eventually(PATIENCE, what, || async {
            // A disk may take longer than the store waits, on a machine that is busy.
            let state = self.lanes.refresh(&lane).await.ok()?;
            probe(&state)
        });
        match found.await {
            Ok(found) => found,
            Err(error) => self.broken(&error.to_string()).await,
        }
    }

    async fn within<T>(&self, what: &str, something: impl Future<Output = T>) -> T {
        match timeout(PATIENCE, something).await {
            Ok(done) => done,
            Err(_) => self.broken(&format!("waited in vain for {what}")).await,
        }
    }

    async fn until_closed(&self) -> Incident {
        let closed = |lane: &LaneState| match (&lane.open, lane.closed.as_slice()) {
            (None, [incident]) if incident.revision >= incident.due_revision() => {
                Some(incident.clone())
            }
            _ => None,
        };
        let what = "the one incident to close, and its report";
        self.until(what, closed).await
    }

    /// Copies that come long after: both peers once more, then the end of the alert.
    async fn late_copies(&mut self) {
        let sent = self.within("the late copies", self.deliveries()).await;
        let resolved = group(&[alert(&labels(HOSTS[0], &[]), false)]);
        let urls = [self.nodes[0].process.url(), self.nodes[1].process.url()];
        self.outcome.sent += sent + self.within("the end", until_safe(urls, resolved)).await;
    }

    async fn judge(&mut self, incident: &Incident) {
        let mut wrong = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                wrong.push(what);
            }
        };
        let touched = self.site.touched();
        check(touched.len() == 1, format!("not one rollback: {touched:?}"));
        let let_in = incident.admitted.as_ref().map(ToString::to_string);
        check(
            touched.first().map(|touch| &touch.execution) == let_in.as_ref(),
            format!("{let_in:?} was let in, {touched:?} touched hosts"),
        );
        check(
            incident.ending == Some(Ending::Recovered),
            format!("it ended {:?}", incident.ending),
        );
        let lane = self.until("the lane", |lane| Some(lane.clone())).await;
        check(
            lane.skipped == 0,
            format!("{} links without effect", lane.skipped),
        );
        check(
            lane.closed.len() == 1 && lane.open.is_none(),
            "a second incident".into(),
        );
        let budget = self.site.store.list("budget").await.unwrap();
        check(budget.len() == 1, format!("grants: {budget:?}"));
        for revision in 1..=3 {
            let folder = format!("reports/{}/{revision}", incident.id);
            let files = self.site.store.list(&folder).await.unwrap();
            check(files.len() >= 3, format!("revision {revision}: {files:?}"));
        }
        let nonsense = self.site.gate.unexpected();
        check(nonsense.is_empty(), format!("Gate was asked {nonsense:?}"));
        if !wrong.is_empty() {
            self.broken(&format!("{wrong:#?}")).await;
        }
        self.everything_was_told().await;
        self.outcome.executions = self.site.rollbacks().len();
    }

    /// Whatever was answered 200 stands in every channel, at worst once more for each blow while
    /// the store is there.
    async fn everything_was_told(&mut self) {
        let mut words: Vec<String> = (0..BYSTANDERS).map(bystanders_word).collect();
        words.push("RECOVERY".into());
        words.push(crate::support::prometheus::ALERT.into());
        for word in words {
            let told = eventually(PATIENCE, &word, || async {
                let counts = self.site.messages_with(&word);
                let all = counts.values().all(|count| *count >= 1);
                all.then_some(counts)
            });
            match told.await {
                Ok(counts) if word.starts_with("bystander") => {
                    let blows = self.outcome.kills + self.outcome.pauses;
                    let most = counts.values().max().copied().unwrap_or_default();
                    if most > 1 + blows as usize && !self.was_without_its_store() {
                        self.broken(&format!("{word} was told too often: {counts:?}"))
                            .await;
                    }
                    self.outcome.doubles += counts.values().map(|count| count - 1).sum::<usize>();
                }
                Ok(_) => {}
                Err(error) => {
                    let messages = self.site.messages();
                    self.broken(&format!("{error}: {messages:#?}")).await;
                }
            }
        }
    }

    /// A starved disk counts as a store that is away: then each replica remembers for itself.
    fn was_without_its_store(&self) -> bool {
        let trouble = |node: &Node| node.process.said("the store can't be");
        self.nodes.iter().any(trouble)
    }

    /// Everything that is known of the round, and the end of it.
    async fn broken(&self, why: &str) -> ! {
        let lane = "checkout@prod".parse().unwrap();
        let lane = self.lanes.refresh(&lane).await;
        let lane = lane.map(|lane| {
            let all = lane.closed.iter().chain(&lane.open);
            let events = all.flat_map(|incident| &incident.events);
            let words = events.map(|entry| {
                format!(
                    "{} {} {}",
                    entry.at,
                    entry.by,
                    json!(entry.event)
                        .to_string()
                        .chars()
                        .take(200)
                        .collect::<String>()
                )
            });
            words.collect::<Vec<_>>()
        });
        let executions: Vec<Value> = self.site.rollbacks();
        let tails: Vec<String> = self.nodes.iter().map(|node| node.process.tail()).collect();
        panic!(
            "BACKSTOP_CHAOS_ROUND={}: {why}\n{:?}\nlane: {lane:#?}\nexecutions: {:#}\n{}",
            self.plan.number,
            self.plan,
            json!(executions),
            tails.join("\n---\n")
        )
    }
}

fn bystanders_word(n: usize) -> String {
    format!("bystander{n}")
}

fn bystander(n: usize) -> Value {
    let word = bystanders_word(n);
    let more = [
        ("path", word.as_str()),
        ("severity", "warning"),
        ("batch", "2"),
    ];
    let mut body = group(&[alert(&labels("h2", &more), true)]);
    body["groupKey"] = json!(format!("{{}}:{{path=\"{word}\"}}"));
    body["alerts"][0]["annotations"]["summary"] = json!(word);
    body
}
