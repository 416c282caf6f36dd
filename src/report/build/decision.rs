//! The decision with every reason.

use super::super::record::{Answer, Asked, EvidenceRow, GuardRow, Judgement, RuleRow};
use super::super::text::{Number, Text};
use super::super::words::known;
use crate::domain::decision::Outcome;
use crate::domain::evidence::{Check, Evidence, Verify};
use crate::domain::lane::{Incident, Origin};

pub(super) fn judgement(incident: &Incident) -> Judgement {
    let opened = &incident.opened;
    let decision = &opened.decision;
    Judgement {
        at: known(decision.at),
        asked: match &opened.origin {
            Origin::Automatic => Asked::Rules,
            Origin::Manual { by, reason, .. } => Asked::Person {
                by: by.as_str().into(),
                reason: reason.as_str().into(),
            },
        },
        verdict: decision.verdict.as_str().to_owned(),
        why: match &opened.origin {
            Origin::Automatic => decision.why().into(),
            Origin::Manual { reason, .. } => reason.as_str().into(),
        },
        mode: decision.mode,
        phase: decision.phase,
        scope: opened.scope.clone(),
        rule: decision.rule.as_deref().map(Text::from),
        rules: decision
            .rules
            .iter()
            .map(|verdict| RuleRow {
                rule: verdict.rule.as_str().into(),
                matched: verdict.matched,
                why: verdict.why.as_str().into(),
            })
            .collect(),
        guards: decision
            .guards
            .iter()
            .map(|verdict| GuardRow {
                guard: verdict.guard,
                answer: answer(&verdict.outcome),
                why: verdict.outcome.reason().into(),
            })
            .collect(),
        evidence_at: decision
            .evidence
            .as_ref()
            .and_then(|evidence| known(evidence.at)),
        evidence: decision.evidence.as_ref().map_or_else(Vec::new, evidence),
    }
}

fn answer(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Pass(_) => Answer::Pass,
        Outcome::Hold(_) => Answer::Hold,
        Outcome::Deny(_) => Answer::Deny,
    }
}

fn evidence(evidence: &Evidence) -> Vec<EvidenceRow> {
    let attribution = &evidence.attribution;
    vec![
        verify(&evidence.verify),
        check("Did it begin after the batch?", &attribution.began_after),
        check("Are others well?", &attribution.others_are_well),
        check(
            "Does the accused release still run there?",
            &attribution.still_running,
        ),
    ]
}

fn check(question: &str, check: &Check) -> EvidenceRow {
    let (answer, detail) = match check {
        Check::Pass(why) => (Answer::Pass, why),
        Check::Hold(why) => (Answer::Hold, why),
        Check::Deny(why) => (Answer::Deny, why),
    };
    row(question, answer, detail, None, None)
}

fn verify(verify: &Verify) -> EvidenceRow {
    let question = "Does the metrics store itself say so?";
    match verify {
        Verify::Holds(measured) => row(
            question,
            Answer::Pass,
            &format!(
                "it holds in {} series of the accused (expression from {})",
                measured.series, measured.from
            ),
            Some(&measured.expr),
            Some(measured.value),
        ),
        Verify::DoesNotHold { expr } => {
            row(question, Answer::Deny, "it does not hold", Some(expr), None)
        }
        Verify::HoldsForOthers { expr, series } => row(
            question,
            Answer::Deny,
            &format!("it holds for others only: {}", series.join(", ")),
            Some(expr),
            None,
        ),
        Verify::NoData { expr } => row(
            question,
            Answer::Hold,
            "no sample at all, perhaps no traffic",
            Some(expr),
            None,
        ),
        Verify::SourceDown { reason } => row(
            question,
            Answer::Hold,
            &format!("it can't be asked: {reason}"),
            None,
            None,
        ),
        Verify::NoTrustedExpression { reason } => row(
            question,
            Answer::Hold,
            &format!("no trusted expression for this alert: {reason}"),
            None,
            None,
        ),
    }
}

fn row(
    question: &str,
    answer: Answer,
    detail: &str,
    query: Option<&String>,
    value: Option<f64>,
) -> EvidenceRow {
    EvidenceRow {
        question: question.into(),
        answer,
        detail: detail.into(),
        query: query.map(|expr| expr.as_str().into()),
        value: value.map(Number),
    }
}
