//! One decision, in one line: what decided it.

use super::{Code, Reason};
use crate::domain::decision::{Decision, Guard, Outcome, Verdict};
use crate::domain::lane::LaneEntry;

/// Rules named where none matched; the decision has all.
const NAMED_RULES: usize = 2;

/// Why a decision is what it is.
pub fn why(decision: &Decision, accused: &str) -> Reason {
    if let Verdict::Rollback(scope) = &decision.verdict {
        return rollback(decision, &scope.to_string());
    }
    let Some(rule) = &decision.rule else {
        return no_rule(decision, accused);
    };
    let Some(deciding) = decision.deciding_guard() else {
        return match decision.verdict {
            Verdict::Hold => Reason::new(
                Code::Held,
                format!("rule `{rule}` asks to wait for a person"),
            ),
            Verdict::Notify | Verdict::Rollback(_) => {
                Reason::new(Code::NotifyOnly, format!("rule `{rule}` only tells people"))
            }
        };
    };
    let code = match (deciding.guard, &deciding.outcome) {
        (Guard::Lane, _) if decision.incident.is_some() => Code::Handled,
        (Guard::KillSwitch | Guard::Mode, _) => Code::Mode,
        (Guard::Context, _) => Code::NoDeployment,
        (_, Outcome::Deny(_)) => Code::Denied,
        (_, Outcome::Hold(_) | Outcome::Pass(_)) => Code::Held,
    };
    let says = match &deciding.outcome {
        Outcome::Deny(_) => "says no",
        Outcome::Hold(_) | Outcome::Pass(_) => "holds",
    };
    let guard = deciding.guard.as_str();
    let mut text = format!("guard {guard} {says}: {}", deciding.outcome.reason());
    if code == Code::NoDeployment && !accused.is_empty() && !text.contains(accused) {
        text = format!("{text} ({accused})");
    }
    Reason::new(code, text)
}

fn rollback(decision: &Decision, scope: &str) -> Reason {
    let words = |name: &str| name.to_owned();
    let from = decision
        .release_id
        .as_ref()
        .map_or(words("?"), ToString::to_string);
    let target = decision
        .target
        .as_ref()
        .map_or(words("?"), ToString::to_string);
    if decision.shadow {
        let text =
            format!("mode shadow only watches: {scope} of {from} would have gone back to {target}");
        return Reason::new(Code::Mode, text);
    }
    let text = format!("rollback decided: {scope} of {from} goes back to {target}");
    let text = match &decision.incident {
        Some(incident) => format!("{text}, incident {incident}"),
        None => text,
    };
    Reason::new(Code::Acted, text)
}

fn no_rule(decision: &Decision, accused: &str) -> Reason {
    if decision.rules.is_empty() {
        let text = match &decision.service {
            Some(service) => {
                format!("no policy speaks about {service}: people are told, nothing else")
            }
            None => "no service could be told, so no policy speaks about it".to_owned(),
        };
        return Reason::new(Code::NoPolicy, text);
    }
    let named: Vec<String> = decision
        .rules
        .iter()
        .take(NAMED_RULES)
        .map(|rule| format!("`{}`: {}", rule.rule, rule.why))
        .collect();
    let mut text = format!(
        "none of {} matches: {}",
        match decision.rules.len() {
            1 => "1 rule".to_owned(),
            n => format!("{n} rules"),
        },
        named.join("; ")
    );
    if decision.deployment.is_none() && !accused.is_empty() {
        text = format!("{text} (no deployment is accused: {accused})");
    }
    Reason::new(Code::NoRule, text)
}

/// An event of a lane: its name, and the most telling of its facts.
pub fn event_words(entry: &LaneEntry) -> (String, String) {
    // By its document, so that events of later versions have words too.
    let event = serde_json::to_value(&entry.event).unwrap_or_default();
    let name = match &event {
        serde_json::Value::Object(fields) => fields.keys().next().cloned(),
        serde_json::Value::String(word) => Some(word.clone()),
        _ => None,
    };
    let detail = ["why", "detail", "status", "execution", "revision", "ending"]
        .iter()
        .find_map(|key| event.pointer(&format!("/{}/{key}", name.as_deref()?)))
        .map(|detail| {
            detail
                .as_str()
                .map_or_else(|| detail.to_string(), str::to_owned)
        });
    (name.unwrap_or_default(), detail.unwrap_or_default())
}
