//! The words of the episode book: an episode's identity, its two states, what a copy means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::alert::{Alert, Fingerprint};
use crate::domain::clock;

/// An episode nobody vouches for with a lease (Alertmanager's) is forgotten this long after its
/// last copy.
pub const FORGET_AFTER: Duration = Duration::from_hours(24);

/// Times the fold is told.
#[derive(Debug, Clone, Copy)]
pub struct EpisodeTiming {
    /// How long after a copy a later start is still the same episode.
    pub gap: Duration,
    /// When a firing alert is told again.
    pub remind_after: Duration,
}

/// One life of one alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EpisodeId {
    /// Whose.
    pub fingerprint: Fingerprint,
    /// `startsAt` of its first copy.
    pub start: Timestamp,
    /// How often it came back under the same start after its lease had run out.
    pub life: u32,
}

impl fmt::Display for EpisodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.fingerprint, self.start)?;
        match self.life {
            0 => Ok(()),
            life => write!(f, ".{life}"),
        }
    }
}

/// What a copy of an alert means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A new episode.
    Started,
    /// The same again.
    Still,
    /// The same again, and people should hear it again.
    Reminded,
    /// It is over now.
    Ended,
    /// It was over already; a sender says so again.
    EndedAgain,
    /// A late copy of something that is over, or an end of something unknown.
    Stale,
}

impl Class {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Still => "still",
            Self::Reminded => "reminded",
            Self::Ended => "ended",
            Self::EndedAgain => "ended_again",
            Self::Stale => "stale",
        }
    }
}

/// One copy, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its place in the group.
    pub index: usize,
    /// What it means.
    pub class: Class,
    /// Of which episode.
    pub episode: EpisodeId,
    /// The name of what people should know from it: `<fp>@<start>/firing/<n>` or
    /// `<fp>@<start>/resolved/0`. The ledger knows whether they do. None: nothing to tell.
    pub fact: Option<String>,
}

/// An episode that is not over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Which.
    pub id: EpisodeId,
    /// When any replica first saw it; reminders count from here.
    pub began: Timestamp,
    /// The latest `startsAt` of its copies.
    pub latest_start: Timestamp,
    /// Until when a sender vouches for it.
    pub lease: Option<Timestamp>,
    /// Whether a sender vouches for it until it says otherwise.
    pub open_ended: bool,
    /// When the last copy came.
    pub last_copy: Timestamp,
    /// The group it was first delivered in: later copies, whoever sends them, are told there.
    #[serde(default)]
    pub thread: String,
    /// The last copy.
    pub alert: Arc<Alert>,
}

impl Open {
    /// Until when somebody vouches for it, if nothing more comes.
    pub(super) fn vouched_until(&self, gap: Duration) -> Timestamp {
        if self.open_ended {
            return clock::after(self.last_copy, FORGET_AFTER);
        }
        let gap = clock::after(self.last_copy, gap);
        self.lease.map_or(gap, |lease| lease.max(gap))
    }

    /// How often people should have heard of it again by now.
    pub(super) fn reminder(&self, now: Timestamp, every: Duration) -> u64 {
        clock::since(now, self.began).as_secs() / every.as_secs().max(1)
    }
}

/// An episode that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Over {
    /// Which.
    pub id: EpisodeId,
    /// The latest `startsAt` of its copies.
    pub latest_start: Timestamp,
    /// When.
    pub at: Timestamp,
    /// Whether it ran out instead of being ended by a sender.
    pub expired: bool,
    /// Whether it was ever seen firing.
    pub known: bool,
}

/// What one replica tells the others of an episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// It goes on.
    Open(Open),
    /// It is over.
    Over(Over),
}
