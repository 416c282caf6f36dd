//! Why something was decided, or why nothing happened: from records to words.
//!
//! Pure: `app` reads what the store recorded, this puts it in the order in which it answers the
//! question, and into words for a terminal. The invariant: what is not known is said to be not
//! known. "No alert came" is claimed only for time in which somebody was there to take one.

mod account;
mod page;
mod presence;
mod text;
mod why;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use account::{of_moment, of_record};
pub use page::Page;
pub use presence::{Span, gaps};
pub use text::text;
pub use why::{event_words, why};

use crate::domain::alert::{Fingerprint, Source};
use crate::domain::id::{DeploymentId, Env, IncidentId, ReleaseId, Service};
use crate::domain::record::DecisionRecord;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// What happened to a service around a moment.
    Moment(Moment),
    /// What a body of alerts would come to now.
    Body {
        /// The door it was read for.
        source: Source,
        /// When it was judged.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// Why an incident was opened, and what came of it.
    Incident(IncidentId),
}

/// A moment of a service, with the time around it that is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// Whose.
    pub service: Service,
    /// Where; None: everywhere.
    pub env: Option<Env>,
    /// The moment.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// From here …
    #[schemars(with = "String")]
    pub from: Timestamp,
    /// … to here, at most to the present.
    #[schemars(with = "String")]
    pub to: Timestamp,
    /// The IANA time zone that times are told in.
    pub time_zone: String,
}

/// The answer, for programs. One kind of reason a line.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A rollback was decided.
    Acted,
    /// An incident that was open already takes care of it.
    Handled,
    /// A guard said no.
    Denied,
    /// Something is waited for.
    Held,
    /// The mode allows no action.
    Mode,
    /// No single deployment could be accused.
    NoDeployment,
    /// Rules speak about the service; none matched.
    NoRule,
    /// No policy speaks about the service.
    NoPolicy,
    /// The rule that matched only tells people.
    NotifyOnly,
    /// Alerts fired, and no decision about them is kept.
    NotRecorded,
    /// An alert is over: an end never triggers.
    Resolved,
    /// No replica gave a sign of life.
    NobodyUp,
    /// Deliveries were refused at the door.
    Refused,
    /// Alerts came that could not be used, or too late.
    LeftOut,
    /// Alerts of no known service came.
    OtherAlerts,
    /// No alert of the service fired.
    NoAlert,
    /// It can't be told.
    NotKnown,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// For programs.
    pub code: Code,
    /// For people.
    pub text: String,
}

impl Reason {
    /// A reason in words.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// An alert and its life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertLine {
    /// Identity.
    pub fingerprint: Fingerprint,
    /// `alertname`.
    pub name: String,
    /// Label `severity`.
    pub severity: String,
    /// Label `instance`.
    pub instance: Option<String>,
    /// Which door it came through.
    pub source: Source,
    /// When the first copy came.
    #[schemars(with = "String")]
    pub from: Timestamp,
    /// When it was over, or until when somebody vouched for it; None: it fires.
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// `firing`, `resolved`, `expired`, or `unseen`: no end was written down.
    pub end: String,
}

/// What became of a decision that waited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldLine {
    /// The accused deployment.
    pub deployment: DeploymentId,
    /// The rule.
    pub rule: String,
    /// Since when it stood.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Each reason it waited for, from when on; asked again all the time in between.
    pub steps: Vec<Step>,
    /// When people were paged.
    #[schemars(with = "Option<String>")]
    pub paged_at: Option<Timestamp>,
    /// When and why it ended; None: it stands.
    pub ended: Option<Step>,
}

/// Something at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What.
    pub what: String,
}

/// An incident in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentLine {
    /// Which.
    pub id: IncidentId,
    /// When it opened.
    #[schemars(with = "String")]
    pub opened_at: Timestamp,
    /// When it closed.
    #[schemars(with = "Option<String>")]
    pub closed_at: Option<Timestamp>,
    /// `full`, or `batch 1`.
    pub scope: String,
    /// The accused release.
    pub release_id: ReleaseId,
    /// The one to go back to.
    pub target: ReleaseId,
    /// How it stands, or ended.
    pub state: String,
}

/// Who was there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Presence {
    /// Replicas that gave a sign of life in the time that is looked at.
    pub replicas: usize,
    /// Time in which none did.
    pub gaps: Vec<Span>,
    /// How senders of alerts were answered: `webhook 200` and how often. By the minute, so a little
    /// of before and after is in it.
    pub answers: BTreeMap<String, u64>,
    /// Alerts that came and led to nothing: bad ones and late copies. The first few.
    pub dropped: Vec<Step>,
}

/// Everything that is known about a moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// Alerts of the service, earliest first: of the window, the last one before, the first after.
    pub alerts: Vec<AlertLine>,
    /// Alerts that fired in the window and belong to no known service.
    pub strangers: Vec<AlertLine>,
    /// Decisions about the service up to the window's end, newest first.
    pub decisions: Vec<DecisionRecord>,
    /// Holds behind them.
    pub holds: Vec<HoldLine>,
    /// Incidents of the service.
    pub incidents: Vec<IncidentLine>,
    /// Who was there; None: not known.
    pub presence: Option<Presence>,
    /// What could not be read, or is kept no more.
    pub not_known: Vec<String>,
}

impl Explanation {
    /// An answer made of `because`, which needs at least one reason to say anything.
    pub fn new(asked: Asked, mut because: Vec<Reason>) -> Self {
        because.sort_by_key(|reason| reason.code);
        because.dedup();
        let answer = match because.first() {
            None => "Nothing is known of it.".to_owned(),
            Some(first) if first.code == Code::Acted => capital(&first.text),
            Some(first) => format!("Nothing was taken back: {}.", first.text),
        };
        Self {
            asked,
            answer,
            because,
            alerts: Vec::new(),
            decisions: Vec::new(),
            holds: Vec::new(),
            incidents: Vec::new(),
            events: Vec::new(),
            presence: None,
            not_known: Vec::new(),
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    let mut text: String = first.into_iter().flatten().chain(chars).collect();
    text.push('.');
    text
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// What was asked.
    pub asked: Asked,
    /// One sentence.
    pub answer: String,
    /// Every reason, the weightiest first.
    pub because: Vec<Reason>,
    /// The alerts.
    pub alerts: Vec<AlertLine>,
    /// The decisions with every rule and guard, newest first.
    pub decisions: Vec<DecisionRecord>,
    /// What waited.
    pub holds: Vec<HoldLine>,
    /// Incidents.
    pub incidents: Vec<IncidentLine>,
    /// What happened in the incident that was asked about.
    #[serde(default)]
    pub events: Vec<Step>,
    /// Who was there.
    pub presence: Option<Presence>,
    /// What is not known, and so may be missing above.
    pub not_known: Vec<String>,
}
