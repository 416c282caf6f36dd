//! What an agent must not forget: the order in hand, what runs, what it has yet to tell.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::disk::Disk;
use crate::domain::agent::{Order, Record, Step};
use crate::domain::id::{DeploymentId, ReleaseId};

/// Records kept while the gateway is away; of more, the oldest that are no end are dropped.
const MOST_RECORDS: usize = 1_000;
/// Room that is given up when the disk is full, so that going back can be written down.
const RESERVE: usize = 256 * 1024;

/// How far an order is. Each is written before what follows it is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Accepted,
    Downloaded,
    Verified,
    Staged,
    /// `current` may lead to either.
    Switching,
    Switched,
    Restarted,
    GoingBack,
}

/// A release on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Also the name of its folder.
    pub(super) release_id: ReleaseId,
    pub(super) version: String,
}

/// The release that was healthy last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    #[serde(flatten)]
    pub(super) known: Known,
    pub(super) epoch: u64,
    pub(super) deployment_id: DeploymentId,
    pub(super) batch: u32,
    pub(super) from: Timestamp,
    pub(super) healthy: bool,
    /// The release before it.
    pub(super) before: Option<ReleaseId>,
}

/// An order in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) order: Order,
    pub(super) phase: Phase,
    /// What to go back to; None: nothing ran before.
    pub(super) previous: Option<Known>,
    /// How often it was taken up again after the agent had ended.
    pub(super) resumed: u32,
    /// Why it goes back.
    pub(super) error: Option<String>,
    /// When `current` was switched.
    pub(super) from: Option<Timestamp>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The highest epoch taken up; lower ones are not obeyed any more.
    pub(super) obeyed: u64,
    pub(super) running: Option<Running>,
    pub(super) work: Option<Work>,
    pub(super) queue: Vec<Record>,
}

impl State {
    /// Notes what is to be told.
    pub(super) fn tell(&mut self, record: Record) {
        if self.queue.len() >= MOST_RECORDS {
            let is_end = |record: &Record| {
                matches!(record.step, Step::Healthy | Step::Reverted | Step::Failed)
            };
            let oldest = self.queue.iter().position(|record| !is_end(record));
            self.queue.remove(oldest.unwrap_or(0));
        }
        self.queue.push(record);
    }
}

/// The file it is in.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    disk: Disk,
    file: PathBuf,
    reserve: PathBuf,
}

impl Journal {
    pub(super) fn new(disk: Disk, folder: &Path) -> Self {
        Self {
            disk,
            file: folder.join("state.json"),
            reserve: folder.join("reserve"),
        }
    }

    /// What was written last.
    ///
    /// # Errors
    /// When it can't be read: nothing may be done then, for it may say that an order is in hand.
    pub(super) fn load(&self) -> io::Result<State> {
        let text = match fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&text).map_err(io::Error::from)
    }

    /// Writes it. On a full disk the reserve is given up for it.
    pub(super) fn save(&self, state: &State) -> io::Result<()> {
        let text = serde_json::to_vec(state)?;
        match self.disk.write(&self.file, &text) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.reserve.exists() => {
                self.disk.remove(&self.reserve)?;
                self.disk.write(&self.file, &text)
            }
            outcome => outcome,
        }
    }

    /// Makes the reserve, where it is missing.
    pub(super) fn keep_reserve(&self) -> io::Result<()> {
        if self.reserve.exists() {
            return Ok(());
        }
        self.disk.write(&self.reserve, &vec![0; RESERVE])
    }
}
