//! What a lane's links alone must show, read one by one as they stand and not as they are folded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backstop::domain::clock;
use backstop::domain::id::{ApprovalId, IncidentId, LaneName};
use backstop::domain::lane::{Asked, LaneEntry, LaneEvent, Opened, Origin};
use backstop::domain::policy::Expiry;
use jiff::Timestamp;

use super::world::{self, OFF, SETTLE, World};

/// A question as its links tell of it.
struct Question<'a> {
    asked: &'a Asked,
    at: Timestamp,
    /// Whether it was settled as a yes, and when.
    settled: Option<(bool, Timestamp)>,
    used: bool,
}

/// An incident as its links tell of it.
struct Story<'a> {
    opened: &'a Opened,
    claimed_until: Option<Timestamp>,
    /// Attempts that were written down, with the end of the claim each was made under.
    attempts: BTreeMap<u32, Option<Timestamp>>,
    abandoned: bool,
}

/// One pass over the links of a lane.
pub(super) struct Reading<'a> {
    world: &'a World,
    lane: LaneName,
    questions: BTreeMap<ApprovalId, Question<'a>>,
    /// Deployment and rule of each no that binds.
    bound: BTreeSet<(&'a str, &'a str)>,
    incidents: BTreeMap<IncidentId, Story<'a>>,
    broken: Vec<String>,
}

/// The promises that the links break.
pub(super) fn broken(world: &World, lane: &LaneName, links: &[(u64, LaneEntry)]) -> Vec<String> {
    let mut reading = Reading {
        world,
        lane: lane.clone(),
        questions: BTreeMap::new(),
        bound: BTreeSet::new(),
        incidents: BTreeMap::new(),
        broken: Vec::new(),
    };
    for (seq, entry) in links {
        reading.takes(*seq, entry);
    }
    reading.ends()
}

impl<'a> Reading<'a> {
    fn takes(&mut self, seq: u64, entry: &'a LaneEntry) {
        match &entry.event {
            LaneEvent::Asked(asked) => self.is_asked(seq, entry.at, asked),
            LaneEvent::Approved { approval, .. } => self.is_settled(approval, entry.at, true),
            LaneEvent::Denied { approval, .. } => {
                self.is_settled(approval, entry.at, false);
                let no = self.questions.get(approval).map(|question| question.asked);
                self.bound.extend(no.map(about));
            }
            LaneEvent::Cleared { approval, .. } => {
                let no = self.questions.get(approval).map(|question| question.asked);
                if let Some(no) = no {
                    self.bound.remove(&about(no));
                }
            }
            LaneEvent::Expired { approval } => self.expires(approval, entry.at),
            LaneEvent::Lapsed { approval, .. } => self.is_settled(approval, entry.at, false),
            LaneEvent::Opened(opened) => self.opens(seq, opened),
            event => {
                if let Some(id) = event.incident() {
                    self.goes_on(id, entry);
                }
            }
        }
    }

    fn is_asked(&mut self, seq: u64, at: Timestamp, asked: &'a Asked) {
        let id = ApprovalId::of(&self.lane, seq).expect("an id");
        let open = self.questions.values_mut();
        for old in open.filter(|old| about(old.asked) == about(asked)) {
            // Asked anew: an answer to the old question is none any more.
            old.settled.get_or_insert((false, at));
        }
        let question = Question {
            asked,
            at,
            settled: None,
            used: false,
        };
        self.questions.insert(id, question);
    }

    fn is_settled(&mut self, id: &ApprovalId, at: Timestamp, yes: bool) {
        match self.questions.get_mut(id) {
            Some(question) if question.settled.is_none() => question.settled = Some((yes, at)),
            _ => self
                .broken
                .push(format!("{id} was answered twice, or never asked")),
        }
    }

    fn expires(&mut self, id: &ApprovalId, at: Timestamp) {
        let asked = self.questions.get(id).map(|question| question.asked);
        if asked.is_some_and(|asked| clock::after(at, OFF) < asked.expires) {
            self.broken.push(format!("{id} expired before its time"));
        }
        let yes = asked.is_some_and(|asked| asked.then == Expiry::Rollback);
        self.is_settled(id, at, yes);
    }

    fn opens(&mut self, seq: u64, opened: &'a Opened) {
        let id = IncidentId::of(&self.lane, seq).expect("an id");
        if let Some(why) = self
            .wants_consent(opened)
            .and_then(|()| self.no_consent(opened))
        {
            self.broken.push(format!("{id} was opened, yet {why}"));
        }
        let consent = opened.approval.as_ref();
        if let Some(question) = consent.and_then(|id| self.questions.get_mut(id)) {
            question.used = true;
        }
        let story = Story {
            opened,
            claimed_until: None,
            attempts: BTreeMap::new(),
            abandoned: false,
        };
        self.incidents.insert(id, story);
    }

    fn wants_consent(&self, opened: &Opened) -> Option<()> {
        (self.world.people.is_some() && opened.origin == Origin::Automatic).then_some(())
    }

    /// Why an incident that needs a person's yes has none.
    fn no_consent(&self, opened: &Opened) -> Option<String> {
        let rule = opened.decision.rule.as_deref().unwrap_or_default();
        if self.bound.contains(&(opened.deployment.as_str(), rule)) {
            return Some("a person's no binds it".into());
        }
        let Some(id) = &opened.approval else {
            return Some("it names no consent".into());
        };
        match self.questions.get(id) {
            None => Some(format!("{id} was never asked")),
            Some(question) if !matches!(question.settled, Some((true, _))) => {
                Some(format!("nobody agreed to {id}"))
            }
            Some(question) if question.used => Some(format!("{id} had served another")),
            Some(question)
                if !question.asked.scope.covers(&opened.scope)
                    || question.asked.target != opened.target
                    || about(question.asked) != (opened.deployment.as_str(), rule) =>
            {
                Some(format!("{id} is about something else"))
            }
            Some(_) => None,
        }
    }

    fn goes_on(&mut self, id: &IncidentId, entry: &LaneEntry) {
        let Some(story) = self.incidents.get_mut(id) else {
            self.broken.push(format!("{id} was never opened"));
            return;
        };
        match &entry.event {
            LaneEvent::Claimed { until, .. } => story.claimed_until = Some(*until),
            LaneEvent::Abandoned { .. } => story.abandoned = true,
            LaneEvent::Admitted { execution, .. } if story.abandoned => {
                let late = format!("{execution} was let in after {id} was given up");
                self.broken.push(late);
            }
            LaneEvent::Submitting { attempt, plan, .. } => {
                story.attempts.insert(*attempt, story.claimed_until);
                let opened = story.opened;
                let consent = opened
                    .approval
                    .as_ref()
                    .and_then(|id| self.questions.get(id));
                let stands = consent.is_some_and(|question| {
                    question.asked.scope.covers(&plan.scope)
                        && question.asked.target == plan.target
                        && question.is_good_at(entry.at)
                });
                if self.wants_consent(opened).is_some() && !stands {
                    let late = format!("{id} was sent on a consent that does not stand");
                    self.broken.push(late);
                }
            }
            LaneEvent::Voided { attempt, why, .. } if why.contains("no execution of it") => {
                self.is_absent(id, *attempt);
            }
            _ => {}
        }
    }

    /// What shows up while it may still settle is found, and never taken for absent.
    fn is_absent(&mut self, id: &IncidentId, attempt: u32) {
        let sent = self.world.sent();
        let sent = sent
            .iter()
            .filter(|sent| sent.incident == *id && sent.attempt == attempt);
        let Some(sent) = sent.map(|sent| sent.at).min() else {
            return;
        };
        let correlation = format!("bs-{id}-{attempt}");
        let runs = self.world.runs();
        let came = runs.iter().filter(|run| run.correlation == correlation);
        if came
            .map(|run| run.built)
            .min()
            .is_some_and(|built| built < sent + SETTLE)
        {
            let early = format!("attempt {attempt} of {id} came, and was taken for absent");
            self.broken.push(early);
        }
    }

    fn ends(mut self) -> Vec<String> {
        for (id, question) in &self.questions {
            if question.settled.is_none() {
                self.broken.push(format!("{id} was never settled"));
            }
        }
        self.sent_under_a_lease();
        self.broken
    }

    /// Each request was written down first and left under a claim; without admission there was
    /// one at most.
    fn sent_under_a_lease(&mut self) {
        let mut requests: BTreeMap<&IncidentId, u32> = BTreeMap::new();
        let all = self.world.sent();
        for sent in &all {
            let Some(story) = self.incidents.get(&sent.incident) else {
                continue;
            };
            *requests.entry(&sent.incident).or_default() += 1;
            let at = world::at(sent.at.duration_since(self.world.began));
            let until = story.attempts.get(&sent.attempt).copied().flatten();
            if until.is_none_or(|until| clock::after(until, OFF) < at) {
                let (attempt, id) = (sent.attempt, &sent.incident);
                let late = format!("attempt {attempt} of {id} was sent without a claim");
                self.broken.push(late);
            }
        }
        if self.world.admission {
            return;
        }
        for (id, count) in requests.into_iter().filter(|(_, count)| *count > 1) {
            self.broken
                .push(format!("{id} was sent {count} times without admission"));
        }
        for (id, story) in &self.incidents {
            if story.attempts.len() > 1 {
                self.broken
                    .push(format!("{id} was tried again without admission"));
            }
        }
    }
}

impl Question<'_> {
    /// A yes is good for as long after it as the question would have stood.
    fn is_good_at(&self, at: Timestamp) -> bool {
        let stood: Duration = clock::since(self.asked.expires, self.at);
        matches!(self.settled, Some((true, settled)) if at <= clock::after(settled, stood))
    }
}

fn about(asked: &Asked) -> (&str, &str) {
    (asked.deployment.as_str(), asked.rule.as_str())
}
