//! One host's agent: desired release in, records out.
//!
//! It obeys the highest epoch only, never goes down but for a rollback, never runs what it can't
//! verify, and keeps what runs while the gateway is away. All it must not forget is in a journal
//! ([`journal`]); an order is one walk through phases ([`work`]) that may be broken off anywhere.

mod disk;
mod gateway;
mod journal;
mod metrics;
mod serve;
mod service;
mod tree;
mod unpack;
mod work;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::disk::Disk;
use self::gateway::{Gateway, GatewayError};
use self::journal::{Journal, State};
use self::service::Managed;
use self::tree::{RootLock, Tree};
use crate::config::agent::AgentConfig;
use crate::domain::agent::{Order, Record, Step};
use crate::domain::clock::SharedClock;
use crate::http::BuildError;

pub use disk::{Seam, Unbroken};

/// Until the gateway says how often to ask.
const FIRST_POLL: Duration = Duration::from_secs(10);
/// Records told at once.
const TOLD_AT_ONCE: usize = 50;
/// Between looks at what runs, in intervals of the health check.
const LOOK_EVERY: u32 = 5;

/// An agent that can't start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its folder can't be used.
    #[error("`{root}` can't be used: {source}")]
    Root {
        /// Which.
        root: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The HTTP client can't be built.
    #[error(transparent)]
    Client(#[from] BuildError),
}

/// An agent; one per root.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    clock: SharedClock,
    seam: Arc<dyn Seam>,
    tree: Tree,
    journal: Journal,
    gateway: Gateway,
    managed: Managed,
    state: Mutex<State>,
    /// What the gateway wanted last.
    newest: watch::Sender<Option<Order>>,
    /// Something is to be told.
    told: Notify,
    poll_ms: AtomicU64,
    last_poll: Mutex<Option<Timestamp>>,
    reverts: AtomicU64,
    failures: AtomicU64,
    _lock: RootLock,
}

impl Agent {
    /// Takes its folder for itself and reads what it left there.
    ///
    /// # Errors
    /// When the folder can't be used, or another agent has it.
    pub fn new(
        config: AgentConfig,
        clock: SharedClock,
        seam: Arc<dyn Seam>,
    ) -> Result<Self, AgentError> {
        let disk = Disk(Arc::clone(&seam));
        let tree = Tree::new(disk.clone(), &config.root);
        let unusable = |source| AgentError::Root {
            root: config.root.display().to_string(),
            source,
        };
        tree.prepare().map_err(unusable)?;
        let lock = tree.lock().map_err(unusable)?;
        let journal = Journal::new(disk, &tree.own());
        let state = journal.load().map_err(unusable)?;
        let gateway = Gateway::new(&config)?;
        let managed = Managed {
            restart: config.restart.clone(),
            health: config.health.clone(),
            root: tree.root().to_owned(),
            log: tree.own().join("service.log"),
            http: gateway.http().clone(),
        };
        Ok(Self {
            config,
            clock,
            seam,
            tree,
            journal,
            gateway,
            managed,
            state: Mutex::new(state),
            newest: watch::Sender::new(None),
            told: Notify::new(),
            poll_ms: AtomicU64::new(u64::try_from(FIRST_POLL.as_millis()).unwrap_or(u64::MAX)),
            last_poll: Mutex::default(),
            reverts: AtomicU64::default(),
            failures: AtomicU64::default(),
            _lock: lock,
        })
    }

    /// Works until `stop`, and tells its metrics on `listener`.
    pub async fn run(&self, listener: TcpListener, stop: CancellationToken) {
        if let Err(error) = self.resume() {
            tracing::error!("that an order is taken up again can't be written down: {error}");
        }
        let all = async {
            tokio::join!(
                Box::pin(self.keep_polling()),
                Box::pin(self.keep_working()),
                Box::pin(self.keep_telling()),
                Box::pin(self.keep_looking()),
                Box::pin(serve::serve(listener, self)),
            )
        };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = all => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The epoch of an order newer than `epoch`.
    fn newer_than(&self, epoch: u64) -> Option<u64> {
        let newest = self.newest.borrow();
        let newest = newest.as_ref().map(|order| order.desired.epoch);
        newest.filter(|newest| *newest > epoch)
    }

    /// A fifth more or less, so that hosts do not ask in step.
    fn pause_between_polls(&self) -> Duration {
        let poll = self.poll_ms.load(Ordering::Relaxed);
        let spread = uuid::Uuid::new_v4().as_u128() % 401;
        let permille = 800 + u64::try_from(spread).unwrap_or(200);
        Duration::from_millis(poll.saturating_mul(permille) / 1_000)
    }

    async fn keep_polling(&self) {
        let mut tag: Option<String> = None;
        let mut complained = String::new();
        loop {
            match self.gateway.desired(tag.as_deref()).await {
                Ok(answer) => {
                    let now = Some(self.now());
                    *self
                        .last_poll
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = now;
                    complained.clear();
                    match answer {
                        Some((polled, new)) => {
                            let poll = u64::try_from(polled.poll.as_millis()).unwrap_or(u64::MAX);
                            self.poll_ms.store(poll, Ordering::Relaxed);
                            tag = new;
                            self.newest.send_replace(polled.desired);
                        }
                        // An order that could not be written down is tried again.
                        None => self.newest.send_modify(|_| {}),
                    }
                }
                Err(GatewayError::Away(why) | GatewayError::Refused(why)) => {
                    // Said once; said again when it is another trouble.
                    if why != complained {
                        tracing::warn!("what runs goes on: the gateway can't be asked: {why}");
                        complained = why;
                    }
                }
            }
            sleep(self.pause_between_polls()).await;
        }
    }

    async fn keep_working(&self) {
        let mut newest = self.newest.subscribe();
        loop {
            if self.state().work.is_none() {
                let order = newest.borrow_and_update().clone();
                if let Some(order) = order {
                    self.accept(order);
                }
            }
            if self.state().work.is_some() {
                self.carry_out().await;
            } else if newest.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells what is queued, in order; while the gateway is away it waits.
    async fn keep_telling(&self) {
        let mut at_once = TOLD_AT_ONCE;
        loop {
            let records: Vec<Record> = self.state().queue.iter().take(at_once).cloned().collect();
            if records.is_empty() {
                self.told.notified().await;
                continue;
            }
            match self.gateway.tell(&records).await {
                Ok(()) => {
                    self.forget(&records);
                    at_once = TOLD_AT_ONCE;
                }
                Err(GatewayError::Refused(why)) if records.len() == 1 => {
                    tracing::error!("a record is dropped: {why}");
                    self.forget(&records);
                }
                // One of them is; the others are not to suffer for it.
                Err(GatewayError::Refused(_)) => at_once = 1,
                Err(GatewayError::Away(why)) => {
                    tracing::debug!("{} records wait: {why}", records.len());
                    sleep(self.pause_between_polls()).await;
                }
            }
        }
    }

    fn forget(&self, told: &[Record]) {
        let mut state = self.state();
        state
            .queue
            .retain(|one| !told.iter().any(|told| told.id == one.id));
        if let Err(error) = self.journal.save(&state) {
            // Told again after the next start; the gateway knows them by their ids.
            tracing::warn!("what was told can't be written down: {error}");
        }
    }

    /// Looks at what runs, and tells when it is not well any more, or again.
    async fn keep_looking(&self) {
        let mut failures = 0;
        loop {
            sleep(self.managed.health.interval * LOOK_EVERY).await;
            let running = {
                let state = self.state();
                state.running.clone().filter(|_| state.work.is_none())
            };
            let Some(running) = running else {
                failures = 0;
                continue;
            };
            let looked = self.managed.look(&running.known).await;
            failures = if looked.is_ok() { 0 } else { failures + 1 };
            let healthy = match &looked {
                Ok(()) => true,
                Err(_) if failures >= self.managed.health.retries => false,
                Err(_) => continue,
            };
            if healthy != running.healthy {
                self.note_health(healthy, running.epoch, looked.err());
            }
        }
    }

    fn note_health(&self, healthy: bool, epoch: u64, error: Option<String>) {
        let mut state = self.state();
        let Some(running) = state.running.as_mut().filter(|one| one.epoch == epoch) else {
            return;
        };
        running.healthy = healthy;
        let record = Record {
            id: uuid::Uuid::now_v7().simple().to_string(),
            epoch,
            step: if healthy {
                Step::Healthy
            } else {
                Step::Unhealthy
            },
            at: self.now(),
            ip: self.gateway.own_address(),
            error,
            from: Some(running.from),
            to: None,
        };
        state.tell(record);
        if let Err(error) = self.journal.save(&state) {
            tracing::warn!("the service's health can't be written down: {error}");
        }
        drop(state);
        self.told.notify_one();
    }

    fn count(&self, step: Step) {
        let counter = match step {
            Step::Reverted => &self.reverts,
            _ => &self.failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
