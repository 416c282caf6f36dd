//! The decision with every reason, and the alerts behind it.

use maud::{Markup, html as markup};

use super::super::record::{AlertRow, Answer, Asked, Judgement, Record};
use super::super::words;
use super::parts::{self, facts, pill, when};
use crate::domain::alert::AlertStatus;

pub(super) fn section(record: &Record) -> Markup {
    let decision = &record.decision;
    parts::section(
        "Decision",
        &markup! {
            (facts(&[
                ("Verdict", markup! { code { (decision.verdict) } " (" (words::scope(&decision.scope)) ")" }),
                ("Asked by", match &decision.asked {
                    Asked::Rules => markup! { "the rules, mode " code { (decision.mode.as_str()) } },
                    Asked::Person { by, .. } => markup! { "a person: " (by) },
                }),
                ("Rule", if let Some(rule) = &decision.rule { markup! { (rule) } } else { markup! { span.soft { "none" } } }),
                ("Phase then", if let Some(phase) = decision.phase { markup! { (words::phase(phase)) } } else { markup! { span.soft { "unknown" } } }),
                ("Decided", when(decision.at)),
            ]))
            @if let Asked::Person { reason, .. } = &decision.asked {
                p { "Reason given: " (reason) }
            }
            (alerts(&record.alerts))
            (evidence(decision))
            (guards(decision))
            (rules(decision))
        },
    )
}

fn tone(answer: Answer) -> &'static str {
    match answer {
        Answer::Pass => "good",
        Answer::Hold => "wait",
        Answer::Deny => "bad",
    }
}

fn alerts(alerts: &[AlertRow]) -> Markup {
    markup! {
        @if !alerts.is_empty() { h3 { "Alerts" } }
        @for alert in alerts {
            p {
                b { (alert.name) } " "
                @match alert.status {
                    AlertStatus::Firing => (pill("bad", "firing")),
                    AlertStatus::Resolved => (pill("good", "resolved")),
                }
                " severity " (alert.severity) ", since " (when(alert.started))
                @if alert.ended.is_some() { ", until " (when(alert.ended)) }
                ", from " (alert.source)
            }
            @if !alert.message.is_empty() { p { (alert.message) } }
            details {
                summary { (words::count(alert.labels.len(), "label", "labels")) }
                pre { @for (name, value) in &alert.labels { (name) "=\"" (value) "\"\n" } "fingerprint " (alert.fingerprint.to_string()) }
            }
        }
    }
}

fn evidence(decision: &Judgement) -> Markup {
    markup! {
        h3 { "Evidence" }
        @if decision.evidence.is_empty() {
            p.soft { "None was recorded with the decision." }
        } @else {
            p.small.soft { "Gathered " (when(decision.evidence_at)) }
            div.scroll { table.stack.verdicts { tbody { @for row in &decision.evidence {
                tr {
                    th { (row.question) }
                    td { (pill(tone(row.answer), row.answer.as_str())) }
                    td {
                        (row.detail)
                        @if let Some(value) = row.value { "; worst value " code { (value.0) } }
                        @if let Some(query) = &row.query { pre { code { (query) } } }
                    }
                }
            } } } }
        }
    }
}

fn guards(decision: &Judgement) -> Markup {
    markup! {
        @if !decision.guards.is_empty() {
            h3 { "Guards" }
            div.scroll { table.stack.verdicts { tbody { @for row in &decision.guards {
                tr {
                    th { (row.guard.as_str()) }
                    td { (pill(tone(row.answer), row.answer.as_str())) }
                    td { (row.why) }
                }
            } } } }
        }
    }
}

fn rules(decision: &Judgement) -> Markup {
    markup! {
        @if !decision.rules.is_empty() {
            details {
                summary { "Rules that were asked (" (decision.rules.len()) ")" }
                div.scroll { table.stack.verdicts { tbody { @for row in &decision.rules {
                    tr {
                        th { (row.rule) }
                        td { @if row.matched { (pill("good", "matched")) } @else { span.soft { "no" } } }
                        td { (row.why) }
                    }
                } } } }
            }
        }
    }
}
