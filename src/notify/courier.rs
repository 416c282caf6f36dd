//! One channel's sending: permit, claim, call, and what its answer means.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::channel::{Class, Notifier, Outgoing, Receipt, SendError};
use super::ledger::{End, EntryKey, Ledger};
use super::limit::Limit;
use super::{Broken, ChannelSetup, Ear};
use crate::domain::clock::SharedClock;
use crate::domain::id::ChannelName;
use crate::domain::notice::Message;
use crate::store::StoreError;

/// Calls of one channel in flight at once.
const WORKERS: usize = 4;
/// Tries under one claim; later ones belong to the next claim.
const TRIES: u32 = 3;
/// Pause before the second try; doubled for the third.
const PAUSE: Duration = Duration::from_millis(500);
/// One sending with all its calls ends before its claim does.
const SEND_DEADLINE: Duration = Duration::from_secs(25);
/// The end of an entry is written again this often while the store is away.
const END_TRIES: u32 = 5;

/// What became of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// The vendor has it.
    Sent,
    /// It never will.
    Refused(String),
    /// Not now.
    Owed(String),
}

/// One channel's sending.
#[derive(Debug)]
pub(super) struct Courier {
    name: ChannelName,
    notifier: Arc<dyn Notifier>,
    limit: Limit,
    workers: Semaphore,
    ledger: Ledger,
    clock: SharedClock,
    ear: Arc<dyn Ear>,
    in_hand: Mutex<HashSet<EntryKey>>,
}

/// Takes an entry out of this replica's hands when its delivery ends, however it ends.
struct InHand<'a>(&'a Courier, Option<&'a EntryKey>);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.1 {
            self.0
                .in_hand
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(key);
        }
    }
}

impl Courier {
    pub(super) fn new(
        name: ChannelName,
        setup: ChannelSetup,
        replicas: u32,
        ledger: Ledger,
        clock: SharedClock,
        ear: Arc<dyn Ear>,
    ) -> Self {
        let limit = Limit::new(setup.per_minute, replicas);
        let workers = Semaphore::new(WORKERS);
        let in_hand = Mutex::default();
        Self {
            name,
            notifier: setup.notifier,
            limit,
            workers,
            ledger,
            clock,
            ear,
            in_hand,
        }
    }

    /// Takes an entry in this replica's hands; false when it is there already.
    pub(super) fn take(&self, key: &EntryKey) -> bool {
        self.in_hand
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone())
    }

    /// Sends one message: waits for the vendor's limit, claims the entry, calls, writes the end.
    ///
    /// Without a `key` the message stands in no ledger: it is tried all the same, and remembered
    /// by this replica when it went out. Whoever waits hears its fate through `told`, before the
    /// end is on disk: the vendor has the message by then, and an end lost in a crash costs the
    /// same one double as a crash right after the vendor's answer.
    pub(super) async fn deliver(
        &self,
        (key, claim): (Option<&EntryKey>, u32),
        message: &Message,
        chart: Option<Bytes>,
        root: Option<Receipt>,
        told: Option<oneshot::Sender<Fate>>,
    ) {
        if let Some(key) = key {
            self.take(key);
        }
        let _in_hand = InHand(self, key);
        let called = self.send((key, claim), message, chart, root).await;
        let (fate, end) = self.judge(called);
        if key.is_none() && end.is_some() {
            self.ledger.remember(message).await;
        }
        if let Some(told) = told {
            // Whoever asked may have lost patience.
            drop(told.send(fate));
        }
        if let (Some(key), Some(end)) = (key, end) {
            self.write_end(key, &end).await;
        }
    }

    async fn send(
        &self,
        (key, claim): (Option<&EntryKey>, u32),
        message: &Message,
        chart: Option<Bytes>,
        root: Option<Receipt>,
    ) -> Called {
        let message_id = match key {
            Some(key) => key.message_id(),
            None => uuid::Uuid::now_v7().simple().to_string(),
        };
        let resume = match key {
            Some(key) => self.ledger.progress(key, claim).await,
            None => None,
        };
        let outgoing = Outgoing {
            notice: &message.notice,
            message_id: &message_id,
            chart_png: chart.as_deref(),
            thread: root.as_ref(),
            resume: resume.as_ref(),
        };
        let Ok(_worker) = self.workers.acquire().await else {
            return Called::Owed("shutting down".to_owned());
        };
        self.limit.permit(self.notifier.parts(&outgoing)).await;
        if let Some(key) = key {
            match self.ledger.claim(key, claim).await {
                Ok(true) => {}
                Ok(false) => return Called::Owed("another replica is sending it".to_owned()),
                Err(error) => {
                    self.ear.store_trouble("claiming a message", &error);
                    return Called::Owed(error.to_string());
                }
            }
        }
        let mut progress = None;
        let called =
            match tokio::time::timeout(SEND_DEADLINE, self.call(outgoing, &mut progress)).await {
                Ok(called) => called,
                Err(_) => Called::Owed("the channel did not answer in time".to_owned()),
            };
        if let (Called::Owed(_), Some(key), Some(progress)) = (&called, key, &progress)
            && let Err(error) = self.ledger.write_progress(key, claim, progress).await
        {
            self.ear
                .store_trouble("writing which parts were sent", &error);
        }
        called
    }

    /// Calls the vendor, again after failures that pass.
    ///
    /// `progress` holds what got through so far: it is not sent again.
    async fn call(&self, outgoing: Outgoing<'_>, progress: &mut Option<Receipt>) -> Called {
        let mut pause = PAUSE;
        let mut maybe_twice = false;
        for attempt in 1..=TRIES {
            let resume = progress.clone();
            let outgoing = Outgoing {
                resume: resume.as_ref().or(outgoing.resume),
                ..outgoing
            };
            let error = match self.notifier.send(&outgoing).await {
                Ok(receipt) => {
                    self.ear.attempt(&self.name, self.notifier.kind(), "sent");
                    return Called::Sent {
                        receipt,
                        maybe_twice,
                    };
                }
                Err(error) => error,
            };
            self.ear
                .attempt(&self.name, self.notifier.kind(), class_name(error.class));
            if let Some(partial) = &error.partial {
                *progress = Some(Receipt::clone(partial));
            }
            match error.class {
                Class::Permanent => return Called::Refused(error),
                Class::Wait(by) => {
                    self.limit.park(by).await;
                    return Called::Owed(error.to_string());
                }
                // Bots have no idempotency: an answer that got lost is asked for once more.
                Class::MaybeSent if maybe_twice => return Called::Owed(error.to_string()),
                Class::MaybeSent => maybe_twice = true,
                Class::Retry if attempt == TRIES => return Called::Owed(error.to_string()),
                Class::Retry => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Called::Owed("the channel did not take it".to_owned())
    }

    /// What the vendor's answers mean for whoever waits, and what is written down of it.
    fn judge(&self, called: Called) -> (Fate, Option<End>) {
        let at = self.clock.now();
        match called {
            Called::Owed(why) => (Fate::Owed(why), None),
            Called::Sent {
                receipt,
                maybe_twice,
            } => {
                let end = End::Sent {
                    at,
                    receipt,
                    maybe_twice,
                };
                (Fate::Sent, Some(end))
            }
            Called::Refused(error) => {
                let SendError { code, detail, .. } = error;
                let why = format!("{code}: {detail}");
                tracing::error!(channel.name = %self.name, code, detail, "channel `{}` refuses a message for good", self.name);
                self.ear.broken(Broken {
                    channel: self.name.clone(),
                    code: code.clone(),
                    detail: detail.clone(),
                });
                (Fate::Refused(why), Some(End::Failed { at, code, detail }))
            }
        }
    }

    /// A lost end means one more message after the claim: worth several tries.
    async fn write_end(&self, key: &EntryKey, end: &End) {
        let mut last: Option<StoreError> = None;
        for attempt in 1..=END_TRIES {
            match self.ledger.end(key, end).await {
                Ok(()) => return,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(PAUSE * attempt).await;
        }
        if let Some(error) = last {
            self.ear
                .store_trouble("writing that a message was sent", &error);
        }
    }
}

/// The class of a failure, as metrics name it.
fn class_name(class: Class) -> &'static str {
    match class {
        Class::Retry => "retry",
        Class::Wait(_) => "wait",
        Class::Permanent => "permanent",
        Class::MaybeSent => "maybe_sent",
    }
}

/// What the vendor's answers came to.
enum Called {
    Sent { receipt: Receipt, maybe_twice: bool },
    Refused(SendError),
    Owed(String),
}
