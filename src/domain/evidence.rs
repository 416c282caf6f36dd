//! What the metrics store and the catalog say for and against an accusation.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer to "does the condition hold now, for the accused?". Only `Holds` may lead to an
/// action; a dead source, silence and an anomaly are three things.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Verify {
    /// The metrics store says so itself.
    Holds(Measured),
    /// It answers, and the condition does not hold.
    DoesNotHold {
        /// What was asked.
        expr: String,
    },
    /// The condition holds for others, not for the accused release or its hosts.
    HoldsForOthers {
        /// What was asked.
        expr: String,
        /// Labels of what it holds for, as text.
        series: Vec<String>,
    },
    /// No sample at all: no traffic.
    NoData {
        /// What was asked.
        expr: String,
    },
    /// The metrics store can't be asked, or answered in part.
    SourceDown {
        /// Why, in words.
        reason: String,
    },
    /// No configured rule list, armed rule or policy names an expression for this alert.
    NoTrustedExpression {
        /// Where was looked.
        reason: String,
    },
}

/// A condition and what it measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// The trusted expression.
    pub expr: String,
    /// Where it comes from: `policy`, `armed rule`, or a configured vmalert.
    pub from: String,
    /// The worst value now.
    pub value: f64,
    /// How many series name the accused.
    pub series: usize,
    /// When it was asked.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// One answer of a check, with the words a person reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Speaks for acting.
    Pass(String),
    /// Not known yet, or the source is down.
    Hold(String),
    /// Speaks against it.
    Deny(String),
}

/// Why the accused release, and not something else, is to blame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attribution {
    /// The anomaly began after the batch did.
    pub began_after: Check,
    /// Hosts without the release are not equally bad; at 100 %, the hour before was not.
    pub others_are_well: Check,
    /// The accused release still runs there.
    pub still_running: Check,
}

/// Everything gathered for one accusation at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The condition, asked again.
    pub verify: Verify,
    /// Whose fault it is.
    pub attribution: Attribution,
    /// When it was gathered.
    #[schemars(with = "String")]
    pub at: Timestamp,
}
