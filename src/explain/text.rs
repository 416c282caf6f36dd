//! An explanation for a terminal: the answer first, then what it rests on.

use jiff::tz::TimeZone;

use super::page::Page;
use super::{AlertLine, Asked, Explanation, HoldLine, Presence};
use crate::domain::decision::Decision;
use crate::domain::moment::shown;
use crate::domain::record::{Cause, DecisionRecord};

/// Decisions shown with every rule and guard; the rest in a line each.
const IN_FULL: usize = 5;
/// Lines of one list.
const MAX_LINES: usize = 20;

/// The whole explanation as lines, times in `zone`.
pub fn text(explanation: &Explanation, zone: &TimeZone) -> String {
    let mut page = Page::new(zone);
    page.head(&explanation.asked);
    page.line("");
    page.line(&explanation.answer);
    for reason in explanation.because.iter().skip(1) {
        page.line(&format!("  also: {}", reason.text));
    }
    page.alerts(&explanation.alerts);
    page.decisions(&explanation.decisions);
    page.holds(&explanation.holds);
    page.incidents(explanation);
    if let Some(presence) = &explanation.presence {
        page.presence(presence);
    }
    if !explanation.not_known.is_empty() {
        page.line("\nNot known");
        for line in &explanation.not_known {
            page.line(&format!("  {line}"));
        }
    }
    page.into_text()
}

impl Page<'_> {
    fn head(&mut self, asked: &Asked) {
        let line = match asked {
            Asked::Moment(moment) => {
                let env = moment.env.as_ref();
                let place = env.map_or_else(String::new, |env| format!(" in {env}"));
                format!(
                    "{}{place} at {} (looked at: {} to {})",
                    moment.service,
                    shown(moment.at, self.zone()),
                    self.time(moment.from),
                    self.time(moment.to)
                )
            }
            Asked::Body { at, .. } => format!(
                "this body, judged at {}; nothing was told, written or done",
                shown(*at, self.zone())
            ),
            Asked::Incident(id) => format!("incident {id}"),
        };
        self.line(&line);
    }

    fn alerts(&mut self, alerts: &[AlertLine]) {
        if alerts.is_empty() {
            return;
        }
        self.line("\nAlerts");
        for alert in alerts.iter().take(MAX_LINES) {
            let until = match alert.until {
                Some(until) => format!("to {} {}", self.time(until), alert.end),
                None => alert.end.clone(),
            };
            let line = format!(
                "  {} {until}  {} {} {}",
                self.time(alert.from),
                alert.name,
                alert.severity,
                alert.instance.as_deref().unwrap_or("")
            );
            self.line(line.trim_end());
        }
        self.rest(alerts.len());
    }

    fn rest(&mut self, all: usize) {
        if let Some(more @ 1..) = all.checked_sub(MAX_LINES) {
            self.line(&format!("  … and {more} more; --output json has all"));
        }
    }

    fn decisions(&mut self, decisions: &[DecisionRecord]) {
        if decisions.is_empty() {
            return;
        }
        self.line("\nDecisions, newest first");
        for (index, record) in decisions.iter().enumerate().take(MAX_LINES) {
            self.decision(record);
            if index < IN_FULL {
                self.reasons(&record.decision);
            }
        }
        self.rest(decisions.len());
    }

    fn decision(&mut self, record: &DecisionRecord) {
        let decision = &record.decision;
        let shadow = if decision.shadow { " (shadow)" } else { "" };
        let by = match (record.cause, &record.by) {
            (Some(Cause::Recheck), Some(by)) => format!(" (asked again by replica {by})"),
            (_, Some(by)) => format!(" (by replica {by})"),
            (_, None) => String::new(),
        };
        let at = self.time(decision.at);
        self.line(&format!(
            "  {at} {}{shadow}: {}{by}",
            decision.verdict.as_str(),
            decision.why()
        ));
        if !record.accused.is_empty() {
            self.line(&format!("    accused  {}", record.accused));
        }
    }

    fn reasons(&mut self, decision: &Decision) {
        for rule in &decision.rules {
            let mark = if rule.matched { "->" } else { "  " };
            self.line(&format!("  {mark} rule  {}: {}", rule.rule, rule.why));
        }
        if decision.rules.is_empty() {
            self.line("     rule  no policy was asked");
        }
        let deciding = decision.deciding_guard().map(|deciding| deciding.guard);
        for verdict in &decision.guards {
            let mark = if Some(verdict.guard) == deciding {
                "->"
            } else {
                "  "
            };
            self.line(&format!(
                "  {mark} guard {:<5} {:<12} {}",
                verdict.outcome.as_str(),
                verdict.guard.as_str(),
                verdict.outcome.reason()
            ));
        }
    }

    fn holds(&mut self, holds: &[HoldLine]) {
        for hold in holds.iter().take(MAX_LINES) {
            let since = self.time(hold.since);
            self.line(&format!(
                "\nHeld since {since}: rule {}, deployment {}; asked again all the while",
                hold.rule, hold.deployment
            ));
            for step in &hold.steps {
                let at = self.time(step.at);
                self.line(&format!("  {at} {}", step.what));
            }
            if let Some(paged) = hold.paged_at {
                let at = self.time(paged);
                self.line(&format!("  {at} people were paged"));
            }
            match &hold.ended {
                Some(end) => {
                    let at = self.time(end.at);
                    self.line(&format!("  {at} ended: {}", end.what));
                }
                None => self.line("  it stands"),
            }
        }
    }

    fn incidents(&mut self, explanation: &Explanation) {
        if !explanation.incidents.is_empty() {
            self.line("\nIncidents");
        }
        for one in &explanation.incidents {
            let closed = match one.closed_at {
                Some(closed) => format!(" to {}", self.time(closed)),
                None => String::new(),
            };
            let opened = self.time(one.opened_at);
            self.line(&format!(
                "  {opened}{closed}  {}  {} of {} -> {}: {}",
                one.id, one.scope, one.release_id, one.target, one.state
            ));
        }
        for event in &explanation.events {
            let at = self.time(event.at);
            self.line(&format!("    {at} {}", event.what));
        }
    }

    fn presence(&mut self, presence: &Presence) {
        self.line("\nThe gateway");
        let replicas = match presence.replicas {
            1 => "1 replica".to_owned(),
            n => format!("{n} replicas"),
        };
        let gaps = if presence.gaps.is_empty() {
            ", somebody was there all the time"
        } else {
            ""
        };
        self.line(&format!("  {replicas} gave signs of life{gaps}"));
        for gap in &presence.gaps {
            let (from, to) = (self.time(gap.from), self.time(gap.to));
            self.line(&format!("  nobody from {from} to {to}"));
        }
        let answers: Vec<String> = presence
            .answers
            .iter()
            .map(|(answer, n)| format!("{answer}: {n}"))
            .collect();
        let answers = if answers.is_empty() {
            "none".to_owned()
        } else {
            answers.join(", ")
        };
        self.line(&format!("  deliveries answered: {answers}"));
    }
}
