//! A message in hand.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::notice::Message;
use crate::notify::channel::Receipt;
use crate::notify::ledger::EntryKey;

/// What became of a message, for whoever waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::notify) enum Fate {
    /// The vendor has it.
    Sent,
    /// It never will.
    Refused(String),
    /// Not now.
    Owed(String),
}

/// How a message may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is, or in a digest.
    Full,
    /// As it is: a digest it stood in was refused.
    Alone,
    /// In words only: the vendor refused its full form.
    Plain,
}

/// A message in hand.
#[derive(Debug)]
pub(in crate::notify) struct Job {
    /// Where it stands in the ledger; None: nowhere, the store is away.
    pub(in crate::notify) key: Option<EntryKey>,
    pub(in crate::notify) message: Message,
    pub(in crate::notify) chart: Option<Bytes>,
    /// Nothing of its thread was told before, so there is nothing to follow up.
    pub(super) first: bool,
    /// The newest claim on the entry; 0: none but its writer's own.
    pub(in crate::notify) claims: u32,
    /// When this replica wrote the entry, until it has tried to send it.
    written: Option<Instant>,
    /// What got through so far.
    pub(in crate::notify) progress: Option<Receipt>,
    /// When a message that stands in no ledger is given up: its sender still has it.
    pub(super) until: Option<Instant>,
    /// Sendings that failed.
    pub(super) failures: u32,
    /// An answer was lost: the vendor may have it.
    pub(super) maybe_twice: bool,
    pub(super) form: Form,
    pub(super) not_before: Instant,
    told: Option<oneshot::Sender<Fate>>,
}

impl Job {
    /// An entry of the ledger that nobody sends.
    pub(in crate::notify) fn owed(key: EntryKey, claims: u32, message: Message) -> Self {
        Self {
            key: Some(key),
            message,
            chart: None,
            first: false,
            claims,
            written: None,
            progress: None,
            until: None,
            failures: 0,
            maybe_twice: false,
            form: Form::Full,
            not_before: Instant::now(),
            told: None,
        }
    }

    /// A message that was written into the ledger at `written`.
    /// `first`: nothing of its thread was told before.
    pub(in crate::notify) fn fresh(
        key: EntryKey,
        written: Instant,
        message: Message,
        first: bool,
    ) -> Self {
        Self {
            written: Some(written),
            first,
            ..Self::owed(key, 0, message)
        }
    }

    /// A message that could not be written down and is given up after `patience`.
    pub(in crate::notify) fn alone(message: Message, patience: Duration) -> Self {
        let nowhere = EntryKey {
            chain: String::new(),
            seq: 0,
        };
        Self {
            key: None,
            until: Some(Instant::now() + patience),
            ..Self::owed(nowhere, 0, message)
        }
    }

    /// Who hears what becomes of it.
    pub(in crate::notify) fn tell(&mut self) -> oneshot::Receiver<Fate> {
        let (told, fate) = oneshot::channel();
        self.told = Some(told);
        fate
    }

    /// Tells whoever waits, once.
    pub(super) fn answer(&mut self, fate: Fate) {
        if let Some(told) = self.told.take() {
            // Whoever asked may have lost patience.
            drop(told.send(fate));
        }
    }

    /// Whether its writer, and nobody else, may send it without a claim: for so short a time after
    /// it was written that the sending ends before anybody else may begin.
    pub(super) fn is_fresh(&self, within: Duration) -> bool {
        self.claims == 0 && self.written.is_some_and(|at| at.elapsed() < within)
    }

    /// It is tried again after `pause`.
    pub(super) fn put_off(&mut self, pause: Duration) {
        self.written = None;
        self.not_before = Instant::now() + pause;
    }

    /// Whether part of it is out.
    pub(super) fn is_begun(&self) -> bool {
        self.progress
            .as_ref()
            .is_some_and(|progress| progress.parts > 0)
    }
}
