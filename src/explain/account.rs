//! A moment of a service: what happened, or each reason why nothing did.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::presence::Span;
use super::why::why;
use super::{AlertLine, Asked, Code, Explanation, Known, Moment, Reason};
use crate::domain::decision::Verdict;
use crate::domain::record::DecisionRecord;

/// Alerts named in one sentence.
const NAMED: usize = 3;

/// Explains a moment from what is known of it. Times are told in `zone`.
pub fn of_moment(moment: Moment, known: Known, zone: &TimeZone) -> Explanation {
    let account = Account {
        moment: &moment,
        known: &known,
        zone,
    };
    let (mut because, shown) = account.of_decisions();
    because.extend(account.of_incidents());
    because.extend(account.of_silence());
    let mut decisions = known.decisions;
    decisions.retain(|record| shown.contains(&record.id));
    let mut incidents = known.incidents;
    incidents.retain(|one| {
        one.opened_at <= moment.to && one.closed_at.is_none_or(|closed| closed >= moment.from)
    });
    let mut holds = known.holds;
    holds.retain(|hold| {
        let over = hold.ended.as_ref().is_some_and(|end| end.at < moment.from);
        hold.since <= moment.to && !over
    });
    Explanation {
        alerts: known.alerts,
        decisions,
        holds,
        incidents,
        presence: known.presence,
        not_known: known.not_known,
        ..Explanation::new(Asked::Moment(moment), because)
    }
}

/// Why a decision is what it is, with the alerts it is about.
pub fn of_record(record: &DecisionRecord) -> Reason {
    let mut reason = why(&record.decision, &record.accused);
    reason.text = format!("{}: {}", named(record), reason.text);
    reason
}

struct Account<'a> {
    moment: &'a Moment,
    known: &'a Known,
    zone: &'a TimeZone,
}

impl Account<'_> {
    fn window(&self) -> Span {
        Span {
            from: self.moment.from,
            to: self.moment.to,
        }
    }

    fn fires(&self, alert: &AlertLine) -> bool {
        alert.from <= self.moment.to && alert.until.is_none_or(|until| until >= self.moment.from)
    }

    /// `14:02:30`, with the day where it is another one.
    fn time(&self, at: Timestamp) -> String {
        let (at, asked) = (
            at.to_zoned(self.zone.clone()),
            self.moment.at.to_zoned(self.zone.clone()),
        );
        let same_day = at.date() == asked.date();
        let format = if same_day {
            "%H:%M:%S"
        } else {
            "%m-%d %H:%M:%S"
        };
        at.strftime(format).to_string()
    }

    /// A reason for each decision that was in force, and which decisions those are: of each alert
    /// the last one before the window's end, and all within.
    fn of_decisions(&self) -> (Vec<Reason>, Vec<String>) {
        let mut about: BTreeMap<&str, (&DecisionRecord, Vec<&AlertLine>)> = BTreeMap::new();
        let mut untold = Vec::new();
        for alert in self.known.alerts.iter().filter(|alert| self.fires(alert)) {
            // A decision is written in the moment after the first copy came.
            let of_it = |record: &&DecisionRecord| {
                record.decision.alerts.contains(&alert.fingerprint)
                    && record.decision.at >= alert.from
            };
            match self.known.decisions.iter().find(of_it) {
                Some(record) => {
                    let (_, alerts) = about
                        .entry(record.id.as_str())
                        .or_insert_with(|| (record, Vec::new()));
                    alerts.push(alert);
                }
                None => untold.push(alert),
            }
        }
        let mut shown: Vec<String> = about.keys().map(|id| (*id).to_owned()).collect();
        let within = self.known.decisions.iter().filter(|record| {
            record.decision.at >= self.moment.from && !about.contains_key(record.id.as_str())
        });
        let within: Vec<&DecisionRecord> = within.collect();
        shown.extend(within.iter().map(|record| record.id.clone()));
        let mut reasons: Vec<Reason> = about
            .into_values()
            .map(|(record, alerts)| self.of_decision(record, &names(&alerts)))
            .collect();
        // What was decided and then decided otherwise explains nothing, unless it acted.
        let telling = within.into_iter().filter(|record| {
            matches!(record.decision.verdict, Verdict::Rollback(_)) || reasons.is_empty()
        });
        let telling: Vec<Reason> = telling
            .map(|record| self.of_decision(record, &named(record)))
            .collect();
        reasons.extend(telling);
        if !untold.is_empty() {
            let text = format!(
                "{} fired, and no decision about it is recorded",
                names(&untold)
            );
            reasons.push(Reason::new(Code::NotRecorded, text));
        }
        (reasons, shown)
    }

    fn of_decision(&self, record: &DecisionRecord, alerts: &str) -> Reason {
        let decision = &record.decision;
        let mut reason = why(decision, &record.accused);
        reason.text = format!("{alerts}: {}", reason.text);
        if decision.at < self.moment.from {
            let at = self.time(decision.at);
            reason.text = format!("{} (so since {at}, nothing new after that)", reason.text);
        }
        reason
    }

    fn of_incidents(&self) -> Vec<Reason> {
        let window = self.window();
        let opened = self
            .known
            .incidents
            .iter()
            .filter(|one| window.holds(one.opened_at));
        let told = |id: &str| {
            let decided = self.known.decisions.iter();
            decided
                .filter_map(|record| record.decision.incident.as_ref())
                .any(|incident| incident.as_str() == id)
        };
        opened
            .filter(|one| !told(one.id.as_str()))
            .map(|one| {
                let text = format!(
                    "incident {} was opened at {}: {} of {} goes back to {}",
                    one.id,
                    self.time(one.opened_at),
                    one.scope,
                    one.release_id,
                    one.target
                );
                Reason::new(Code::Acted, text)
            })
            .collect()
    }

    /// What speaks for "no alert came", and what else may have kept one away.
    fn of_silence(&self) -> Vec<Reason> {
        let mut reasons = self.of_gaps();
        let service = &self.moment.service;
        if self.known.alerts.iter().any(|alert| self.fires(alert)) {
            return reasons;
        }
        let Some(presence) = &self.known.presence else {
            let text = format!(
                "no alert of {service} is recorded, and whether anybody was there to take one is not known"
            );
            reasons.push(Reason::new(Code::NotKnown, text));
            return reasons;
        };
        let refused: Vec<String> = presence
            .answers
            .iter()
            .filter(|(answer, _)| !answer.ends_with(" 200"))
            .map(|(answer, n)| format!("{answer} ({n} times)"))
            .collect();
        if !refused.is_empty() {
            let text = format!(
                "no alert of {service} was taken in, and deliveries were refused at the door: {}",
                refused.join(", ")
            );
            reasons.push(Reason::new(Code::Refused, text));
        }
        for step in &presence.dropped {
            let text = format!("{}: {}", self.time(step.at), step.what);
            reasons.push(Reason::new(Code::LeftOut, text));
        }
        if !self.known.strangers.is_empty() {
            let all: Vec<&AlertLine> = self.known.strangers.iter().collect();
            let text = format!(
                "no alert of {service} came; {} fired and belongs to no known service",
                names(&all)
            );
            reasons.push(Reason::new(Code::OtherAlerts, text));
        }
        reasons.push(Reason::new(Code::NoAlert, self.no_alert(presence)));
        reasons
    }

    fn no_alert(&self, presence: &super::Presence) -> String {
        let service = &self.moment.service;
        let env = self.moment.env.as_ref();
        let place = env.map_or_else(String::new, |env| format!(" in {env}"));
        let taken: u64 = presence
            .answers
            .iter()
            .filter(|(answer, _)| answer.ends_with(" 200"))
            .map(|(_, n)| n)
            .sum();
        let there = match (presence.gaps.is_empty(), presence.replicas) {
            (true, 1) => "1 replica was there".to_owned(),
            (true, n) => format!("{n} replicas were there"),
            (false, _) => "as far as anybody was there".to_owned(),
        };
        let mut text = format!(
            "no alert of {service}{place} fired ({there}, {taken} deliveries of any alerts taken in)"
        );
        let before = self
            .known
            .alerts
            .iter()
            .rev()
            .find(|alert| alert.until.is_some_and(|until| until < self.moment.from));
        if let Some((alert, until)) = before.and_then(|alert| Some((alert, alert.until?))) {
            text = format!(
                "{text}; the last one before was {} until {}",
                alert.name,
                self.time(until)
            );
        }
        if let Some(alert) = self
            .known
            .alerts
            .iter()
            .find(|alert| alert.from > self.moment.to)
        {
            text = format!(
                "{text}; the next one was {} at {}",
                alert.name,
                self.time(alert.from)
            );
        }
        text
    }

    fn of_gaps(&self) -> Vec<Reason> {
        let presence = self.known.presence.iter();
        presence
            .flat_map(|presence| &presence.gaps)
            .map(|gap| {
                let text = format!(
                    "no replica gave a sign of life from {} to {}",
                    self.time(gap.from),
                    self.time(gap.to)
                );
                Reason::new(Code::NobodyUp, text)
            })
            .collect()
    }
}

/// `CanaryErrors on h1, h2 and 3 more`.
fn names(alerts: &[&AlertLine]) -> String {
    let names = alerts
        .iter()
        .map(|alert| (alert.name.as_str(), alert.instance.as_deref()));
    listed(names.collect(), alerts.len())
}

fn named(record: &DecisionRecord) -> String {
    let names = record
        .named
        .iter()
        .map(|alert| (alert.name.as_str(), alert.instance.as_deref()));
    listed(names.collect(), record.decision.alerts.len())
}

fn listed(names: Vec<(&str, Option<&str>)>, all: usize) -> String {
    let words: Vec<String> = names
        .into_iter()
        .take(NAMED)
        .map(|(name, instance)| match instance {
            Some(instance) => format!("{name} on {instance}"),
            None => name.to_owned(),
        })
        .collect();
    match (words.len(), all.saturating_sub(words.len())) {
        (0, all) => format!("{all} alerts"),
        (_, 0) => words.join(", "),
        (_, more) => format!("{} and {more} more", words.join(", ")),
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
