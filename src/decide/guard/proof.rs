//! Guards that look at the evidence: does the metrics store say so, and is it this release's
//! fault. A dead source, silence and an anomaly are three things; only the last one passes.

use super::super::words::{count, list, span};
use super::{Case, Code, Finding};
use crate::domain::clock;
use crate::domain::evidence::{Check, Evidence, Verify};
use crate::domain::policy::NoData;

/// The metrics store itself says that the condition holds now, for the accused.
pub(super) fn verify(case: &Case<'_>) -> Finding {
    let evidence = match recent(case) {
        Ok(evidence) => evidence,
        Err(finding) => return finding,
    };
    match &evidence.verify {
        Verify::Holds(measured) => Finding::pass(format!(
            "the metrics store says so itself: {} of the accused, worst value {}, asked by {} ({})",
            count(measured.series, "series", "series"),
            measured.value,
            measured.from,
            measured.expr
        )),
        Verify::DoesNotHold { expr } => Finding::hold(
            Code::DoesNotHold,
            format!("the alert says firing, the metrics store says no: {expr}"),
        ),
        Verify::HoldsForOthers { expr, series } => Finding::hold(
            Code::HoldsForOthers,
            format!(
                "it holds for others, not for the accused: {} ({expr})",
                list(series)
            ),
        ),
        Verify::NoData { expr } => Finding::hold(
            Code::NoData,
            match case.rule.on_no_data {
                NoData::Hold | NoData::Rollback => {
                    format!("no sample at all, perhaps no traffic: {expr}")
                }
                NoData::Ignore => {
                    format!("no sample at all, which the rule counts as healthy: {expr}")
                }
            },
        ),
        Verify::SourceDown { reason } => Finding::hold(
            Code::SourceDown,
            format!("the metrics store can't be asked: {reason}"),
        ),
        Verify::NoTrustedExpression { reason } => Finding::hold(
            Code::NoTrustedExpression,
            format!(
                "no trusted expression to ask with ({reason}); `verify:` in the rule gives one"
            ),
        ),
    }
}

/// The accused release is to blame and still runs.
pub(super) fn attribution(case: &Case<'_>) -> Finding {
    let evidence = match recent(case) {
        Ok(evidence) => evidence,
        Err(finding) => return finding,
    };
    let attribution = &evidence.attribution;
    let checks = [
        &attribution.began_after,
        &attribution.others_are_well,
        &attribution.still_running,
    ];
    let denials = words_of(checks, |check| match check {
        Check::Deny(words) => Some(words),
        Check::Pass(_) | Check::Hold(_) => None,
    });
    if !denials.is_empty() {
        return Finding::deny(Code::NotToBlame, denials);
    }
    let doubts = words_of(checks, |check| match check {
        Check::Hold(words) => Some(words),
        Check::Pass(_) | Check::Deny(_) => None,
    });
    if !doubts.is_empty() {
        return Finding::hold(Code::BlameUnclear, doubts);
    }
    Finding::pass(words_of(checks, |check| match check {
        Check::Pass(words) => Some(words),
        Check::Hold(_) | Check::Deny(_) => None,
    }))
}

fn words_of<'a>(checks: [&'a Check; 3], pick: impl Fn(&'a Check) -> Option<&'a String>) -> String {
    let words: Vec<&str> = checks
        .into_iter()
        .filter_map(pick)
        .map(|words| {
            if words.is_empty() {
                "(no reason given)"
            } else {
                words.as_str()
            }
        })
        .collect();
    words.join("; ")
}

/// Evidence that speaks of now.
fn recent<'a>(case: &Case<'a>) -> Result<&'a Evidence, Finding> {
    let Some(evidence) = case.facts.evidence else {
        return Err(Finding::hold(
            Code::NotAsked,
            "the metrics store was not asked yet",
        ));
    };
    let age = clock::since(case.now(), evidence.at);
    let limit = case.settings().max_evidence_age;
    if age > limit {
        return Err(Finding::hold(
            Code::OldEvidence,
            format!(
                "the evidence is {} old, more than {}",
                span(age),
                span(limit)
            ),
        ));
    }
    Ok(evidence)
}
