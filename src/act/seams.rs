//! What the engine needs from other rooms; `app` gives it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::lane::{Incident, LaneEntry, Opened, Plan};

/// A no, and whether it may become a yes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// Not now: asked again, until the incident has been held for too long.
    #[error("not now: {0}")]
    NotNow(String),
    /// No: the incident is withdrawn.
    #[error("no: {0}")]
    Never(String),
}

/// Hears of each event of an incident that this replica won: of all replicas exactly one does, or
/// none when it dies, or can't tell that it won, in between.
pub trait Witness: Send + Sync + fmt::Debug {
    /// `entry` stands, and `incident` is as it is with it.
    fn appended(&self, incident: &Incident, entry: &LaneEntry);
}

/// Asks the guards again, right before anything is sent.
#[async_trait]
pub trait Recheck: Send + Sync + fmt::Debug {
    /// Whether this incident may be sent now.
    async fn recheck(&self, incident: &Incident) -> Result<(), Objection>;
}

/// Computes scope, hosts, target and parameters anew; what it returns is final.
#[async_trait]
pub trait Planner: Send + Sync + fmt::Debug {
    /// The plan of an attempt.
    async fn plan(&self, incident: &Incident, attempt: u32) -> Result<Plan, Objection>;
}

/// Says what follows a batch's rollback that did not help.
#[async_trait]
pub trait Escalator: Send + Sync + fmt::Debug {
    /// What is to take over from `incident`, which has ended and is still bad. None: nothing, people are
    /// paged. [`Objection::NotNow`] while a guard holds it or people are asked.
    async fn escalation(&self, incident: &Incident) -> Result<Option<Opened>, Objection>;
}

/// The answer to the recovery question, with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Well.
    Good(String),
    /// Not well.
    Bad(String),
    /// No sample at all.
    Empty(String),
    /// The metrics store can't be asked.
    SourceDown(String),
}

/// How long the recovery question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// How long it must stay good.
    pub for_: Duration,
    /// How long that may take from the execution's end on.
    pub within: Duration,
}

/// Asks whether the rolled-back hosts and the service are well.
#[async_trait]
pub trait RecoveryProbe: Send + Sync + fmt::Debug {
    /// The service's question; None when it has none, and the incident ends unverified.
    fn question(&self, incident: &Incident) -> Option<Question>;

    /// Asks it once.
    async fn ask(&self, incident: &Incident) -> Answer;
}

/// Writes report revisions.
#[async_trait]
pub trait Reporter: Send + Sync + fmt::Debug {
    /// Puts a revision into the store; writing it again changes nothing that matters.
    async fn write(&self, incident: &Incident, revision: u32) -> Result<(), String>;
}

/// Why people are paged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The accused execution does not stop, so nothing can be sent.
    CantStop(String),
    /// Spinnaker can't be asked, or lacks the pipeline.
    Spinnaker(String),
    /// Nobody can tell whether Spinnaker has it.
    Unknown(String),
    /// The guards have held it for long.
    Held(String),
    /// A guard or the budget withdrew it.
    Withdrawn(String),
    /// Spinnaker refuses it, or every attempt came to nothing.
    NotSent(String),
    /// The execution runs unusually long.
    StillRunning(String),
    /// The execution goes no further by itself.
    Waits(String),
    /// The execution ended well, and nobody can tell whether it did anything.
    Unchecked(String),
    /// The execution failed.
    Failed(String),
    /// Rolled back, and still bad, or nobody can tell.
    NotRecovered(String),
}

impl Page {
    /// Its name, which with the incident makes it one page.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CantStop(_) => "cant-stop",
            Self::Spinnaker(_) => "spinnaker",
            Self::Unknown(_) => "unknown",
            Self::Held(_) => "held",
            Self::Withdrawn(_) => "withdrawn",
            Self::NotSent(_) => "not-sent",
            Self::StillRunning(_) => "still-running",
            Self::Waits(_) => "waits",
            Self::Unchecked(_) => "unchecked",
            Self::Failed(_) => "failed",
            Self::NotRecovered(_) => "not-recovered",
        }
    }

    /// Its words.
    pub fn why(&self) -> &str {
        match self {
            Self::CantStop(why)
            | Self::Spinnaker(why)
            | Self::Unknown(why)
            | Self::Held(why)
            | Self::Withdrawn(why)
            | Self::NotSent(why)
            | Self::StillRunning(why)
            | Self::Waits(why)
            | Self::Unchecked(why)
            | Self::Failed(why)
            | Self::NotRecovered(why) => why,
        }
    }
}

/// Something people hear about an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followup {
    /// Spinnaker has the rollback.
    Started {
        /// Which attempt.
        attempt: u32,
    },
    /// Its execution ended.
    Finished,
    /// The recovery question was answered.
    Recovery,
    /// A revision of the report is in the store.
    Report {
        /// Which.
        revision: u32,
    },
    /// Somebody must look.
    Page(Page),
}

impl Followup {
    /// Its name: unique in the incident, the same on every replica.
    pub fn name(&self) -> String {
        match self {
            Self::Started { attempt } => format!("started-{attempt}"),
            Self::Finished => "finished".into(),
            Self::Recovery => "recovery".into(),
            Self::Report { revision } => format!("report-{revision}"),
            Self::Page(page) => format!("page-{}", page.name()),
        }
    }
}

/// Hears every change of an incident. Any replica may tell it the same again after a crash:
/// incident and [`Followup::name`] together say that it is the same.
#[async_trait]
pub trait Followups: Send + Sync + fmt::Debug {
    /// Takes one in, for good.
    async fn tell(&self, incident: &Incident, followup: &Followup) -> Result<(), String>;
}
