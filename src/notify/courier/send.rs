//! Sending what the pump took, and what the vendor's answer means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::job::Form;
use super::{Courier, Fate, Job};
use crate::domain::notice::{Message, Notice};
use crate::notify::breaker::backoff;
use crate::notify::channel::{Class, Outgoing, Receipt, SendError};
use crate::notify::digest;
use crate::notify::ledger::{End, EntryKey};
use crate::notify::limit::Slots;

/// The first pause after a failure; doubled by every further one.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// A thread's first message is looked up within this time.
const ROOT_DEADLINE: Duration = Duration::from_secs(1);
/// Claims and ends of a digest's messages that are written at once.
const AT_ONCE: usize = 16;

impl Courier {
    /// One sending with all its calls ends before its claim does, whoever's it is; `began` is when
    /// the first claim was looked at.
    fn deadline(&self, began: Instant) -> Instant {
        began + self.means.claim * 5 / 6
    }

    pub(super) async fn send_one(self: Arc<Self>, mut job: Job, slots: Slots) {
        let root = self.root(&job).await;
        let chart = self.chart(&job).await;
        let began = Instant::now();
        if let Err(why) = self.claim(&mut job).await {
            slots.give_back();
            self.breaker().unused();
            self.not_ours(job, why).await;
            return;
        }
        let message_id = job
            .key
            .as_ref()
            .map_or_else(random_id, EntryKey::message_id);
        let outgoing = Outgoing {
            notice: &job.message.notice,
            message_id: &message_id,
            chart_png: chart.as_deref(),
            thread: root.as_ref(),
            resume: job.progress.as_ref(),
            at_most: slots.calls(),
            plain: job.form == Form::Plain,
        };
        let sent = self.call(outgoing, began).await;
        drop(slots);
        match sent {
            Ok(receipt) => self.sent(job, receipt).await,
            Err(error) => self.failed(job, error).await,
        }
    }

    pub(super) async fn send_merged(self: Arc<Self>, jobs: Vec<Job>, named: usize, slots: Slots) {
        let began = Instant::now();
        let claimed: Vec<_> = stream::iter(jobs)
            .map(async |mut job| {
                let claimed = self.claim(&mut job).await;
                (job, claimed)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut jobs = Vec::with_capacity(claimed.len());
        for (job, claimed) in claimed {
            match claimed {
                Ok(()) => jobs.push(job),
                Err(why) => self.not_ours(job, why).await,
            }
        }
        let messages: Vec<&Message> = jobs.iter().map(|job| &job.message).collect();
        let Some(notice) = digest::of(&messages, named, self.means.list.as_ref()) else {
            slots.give_back();
            self.breaker().unused();
            return;
        };
        let sent = self.call_merged(&notice, slots, began).await;
        match sent {
            Ok(mut receipt) => {
                receipt.merged = jobs.len() as u64;
                let ends = jobs.into_iter().map(|job| self.sent(job, receipt.clone()));
                stream::iter(ends)
                    .buffer_unordered(AT_ONCE)
                    .collect::<()>()
                    .await;
            }
            Err(error) => {
                for job in jobs {
                    self.failed_merged(job, &error).await;
                }
            }
        }
    }

    async fn call_merged(
        &self,
        notice: &Notice,
        slots: Slots,
        began: Instant,
    ) -> Result<Receipt, SendError> {
        let message_id = random_id();
        let outgoing = Outgoing {
            at_most: slots.calls(),
            ..Outgoing::of(notice, &message_id)
        };
        self.call(outgoing, began).await
    }

    async fn call(&self, outgoing: Outgoing<'_>, began: Instant) -> Result<Receipt, SendError> {
        let means = &self.means;
        let sending = tokio::time::timeout_at(self.deadline(began), means.notifier.send(&outgoing));
        let sent = if began.elapsed() > means.claim / 2 {
            // A slow store used the claims' time up before anything was sent.
            Err(SendError::outdated())
        } else {
            sending.await.unwrap_or_else(|_| Err(SendError::late()))
        };
        let outcome = sent
            .as_ref()
            .map_or_else(|error| error.class.as_str(), |_| "sent");
        means
            .ear
            .attempt(&means.name, means.notifier.kind(), outcome);
        match &sent {
            Ok(receipt) => {
                self.breaker().answered();
                for (code, detail) in receipt.refused_recipients() {
                    self.broken(code, &detail, None);
                }
            }
            Err(error) => self.heed(error).await,
        }
        sent
    }

    /// Makes sure that nobody else sends the entry now.
    ///
    /// An entry is its writer's first claim: for a sixth of a claim's time, sending ends before
    /// anybody else may begin. Later on a claim is created like any other, and whoever gets it looks
    /// whether the message has not gone out meanwhile.
    async fn claim(&self, job: &mut Job) -> Result<(), Unclaimed> {
        let ledger = &self.means.ledger;
        if let Some(receipt) = ledger.sent_alone(&job.message).await {
            return Err(Unclaimed::Sent(receipt));
        }
        let Some(key) = &job.key else { return Ok(()) };
        if job.is_fresh(self.means.claim / 6) {
            return Ok(());
        }
        match ledger.claim(key, job.claims + 1).await {
            Ok(true) => job.claims += 1,
            Ok(false) => return Err(Unclaimed::Others),
            Err(error) => {
                self.means.ear.store_trouble("claiming a message", &error);
                return Err(Unclaimed::Unknown(error.to_string()));
            }
        }
        match ledger.has_ended(key).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(Unclaimed::Others),
            Err(error) => Err(Unclaimed::Unknown(error.to_string())),
        }
    }

    async fn not_ours(self: &Arc<Self>, mut job: Job, why: Unclaimed) {
        match why {
            Unclaimed::Sent(receipt) => {
                job.answer(Fate::Sent);
                self.end(job, self.sent_now(receipt, false)).await;
            }
            Unclaimed::Others => {
                job.answer(Fate::Owed("another replica is sending it".to_owned()));
                self.release(&job);
            }
            Unclaimed::Unknown(why) => {
                job.answer(Fate::Owed(why));
                self.again(job, PAUSE * 4);
            }
        }
    }

    /// What a follow-up answers to. Better a message outside its thread than a late one.
    async fn root(&self, job: &Job) -> Option<Receipt> {
        if job.first {
            return None;
        }
        let message = &job.message;
        let root = self
            .means
            .ledger
            .root(&message.channel, &message.notice.thread);
        tokio::time::timeout(ROOT_DEADLINE, root)
            .await
            .ok()
            .flatten()
    }

    /// The chart's bytes, which a message that waited has no longer at hand.
    async fn chart(&self, job: &Job) -> Option<Bytes> {
        match (&job.chart, &job.message.notice.chart) {
            (None, Some(chart)) if job.key.is_some() => self.means.ledger.chart(&chart.id).await,
            (chart, _) => chart.clone(),
        }
    }

    async fn sent(&self, mut job: Job, receipt: Receipt) {
        if job.key.is_none() {
            self.means.ledger.remember(&job.message, &receipt).await;
        }
        // Before the end is on disk: the vendor has the message by now, and an end that is lost in
        // a crash costs the same one double as a crash right after the vendor's answer.
        job.answer(Fate::Sent);
        self.means.ear.sent(&job.message);
        let end = self.sent_now(receipt, job.maybe_twice);
        self.end(job, end).await;
    }

    fn sent_now(&self, receipt: Receipt, maybe_twice: bool) -> End {
        End::Sent {
            at: self.means.clock.now(),
            receipt,
            maybe_twice,
        }
    }

    async fn failed(self: &Arc<Self>, mut job: Job, error: SendError) {
        if let Some(progress) = &error.partial {
            job.progress = Some(Receipt::clone(progress));
            self.keep_progress(&job).await;
        }
        match error.class {
            Class::More => self.again(job, Duration::ZERO),
            Class::Wait(_) | Class::Broken => {
                job.answer(Fate::Owed(error.to_string()));
                self.again(job, Duration::ZERO);
            }
            Class::Retry => self.later(job, PAUSE),
            // Bots have no idempotency: asked once more soon, then ever more rarely.
            Class::MaybeSent => {
                let first = if job.maybe_twice {
                    self.means.claim
                } else {
                    PAUSE
                };
                job.maybe_twice = true;
                self.later(job, first);
            }
            // What a vendor refuses in full it may take in plain words.
            Class::Permanent if job.form != Form::Plain => {
                job.form = Form::Plain;
                self.again(job, Duration::ZERO);
            }
            Class::Permanent => {
                self.broken(&error.code, &error.detail, error.fix);
                job.answer(Fate::Refused(error.to_string()));
                let SendError { code, detail, .. } = error;
                let at = self.means.clock.now();
                self.end(job, End::Failed { at, code, detail }).await;
            }
        }
    }

    /// A digest that is refused says nothing about its messages: each goes alone.
    async fn failed_merged(self: &Arc<Self>, mut job: Job, error: &SendError) {
        if error.class == Class::Permanent {
            job.form = Form::Alone;
            return self.again(job, Duration::ZERO);
        }
        let error = SendError {
            partial: None,
            ..error.clone()
        };
        self.failed(job, error).await;
    }

    /// Tries again after a pause that doubles with every failure.
    fn later(self: &Arc<Self>, mut job: Job, first: Duration) {
        let pause = backoff(first, LONGEST_PAUSE, job.failures);
        job.failures = job.failures.saturating_add(1);
        self.again(job, pause);
    }

    fn again(self: &Arc<Self>, mut job: Job, pause: Duration) {
        job.put_off(pause);
        self.push_back(job);
    }

    async fn keep_progress(&self, job: &Job) {
        let (Some(key), Some(progress)) = (&job.key, &job.progress) else {
            return;
        };
        let ledger = &self.means.ledger;
        if let Err(error) = ledger.write_progress(key, job.claims, progress).await {
            self.means
                .ear
                .store_trouble("writing which parts were sent", &error);
        }
    }

    async fn end(&self, job: Job, end: End) {
        if let Some(key) = &job.key
            && let Err(error) = self.means.ledger.end(key, &end).await
        {
            self.means
                .ear
                .store_trouble("writing that a message was sent", &error);
        }
        self.release(&job);
    }
}

/// Why a message may not be sent now.
enum Unclaimed {
    /// The vendor has it from this replica, which could not write that down.
    Sent(Receipt),
    /// Somebody else has it.
    Others,
    /// The store can't tell.
    Unknown(String),
}

fn random_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
