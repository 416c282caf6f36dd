//! Why an execution failed, in words for people.

use serde_json::Value;

use super::{Execution, ExecutionStatus, Stage};

/// Longest text handed on, in characters: it ends up in chat messages.
const TEXT_LIMIT: usize = 500;

impl Execution {
    /// Why it did not succeed; `None` while it runs and when it succeeded.
    ///
    /// Where Orca writes the reason depends on the stage: an exception with a list of errors (which
    /// may be empty), the webhook's own error, or, when it never started, only the
    /// cancellation reason.
    pub fn failure(&self) -> Option<String> {
        if !self.status.is_terminal() || self.status.succeeded() {
            return None;
        }
        let told = self.stages.iter().filter_map(stage_failure);
        let mut reasons: Vec<String> = Vec::new();
        for reason in told {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        if reasons.is_empty() {
            reasons.push(self.failure_without_text());
        }
        if let Some(reason) = self
            .cancellation_reason
            .as_deref()
            .filter(|r| !r.is_empty())
            && !reasons.iter().any(|known| known.contains(reason))
        {
            reasons.push(format!("canceled: {reason}"));
        }
        Some(shortened(&reasons.join("; ")))
    }

    /// The deepest stage that halted the execution, or the execution's own words.
    fn failure_without_text(&self) -> String {
        let halted = self.stages.iter().rev().find(|stage| halts(&stage.status));
        match (halted, self.cancellation_reason.as_deref()) {
            (None, Some(reason)) if !reason.is_empty() => reason.to_owned(),
            (Some(stage), _) => format!("stage `{}` ended {}", stage.name, stage.status),
            (None, _) => format!("execution ended {}", self.status),
        }
    }
}

impl Stage {
    /// Why it failed, in the words of whoever noticed; None when it did not, or nobody said.
    pub fn failure(&self) -> Option<String> {
        stage_failure(self).map(|text| shortened(&text))
    }
}

const fn halts(status: &ExecutionStatus) -> bool {
    matches!(
        status,
        ExecutionStatus::Terminal | ExecutionStatus::Stopped | ExecutionStatus::Canceled
    )
}

/// Where a stage's own words can be, best first.
const TEXTS: [&str; 5] = [
    "/exception/details/error",
    "/exception/exceptionType",
    "/webhook/monitor/error",
    "/webhook/error",
    "/error",
];

/// What a failed stage says; `None` when it says nothing, as parents of failed stages do.
fn stage_failure(stage: &Stage) -> Option<String> {
    if !halts(&stage.status) && stage.status != ExecutionStatus::FailedContinue {
        return None;
    }
    let first_text = || {
        TEXTS
            .iter()
            .find_map(|path| text_of(stage.context.pointer(path)?))
    };
    let text = listed_errors(&stage.context).or_else(first_text)?;
    Some(format!("stage `{}`: {text}", stage.name))
}

fn listed_errors(context: &Value) -> Option<String> {
    let errors = context.pointer("/exception/details/errors")?.as_array()?;
    let errors: Vec<String> = errors.iter().filter_map(text_of).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

fn text_of(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Cuts between characters.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_LIMIT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
