//! What all routes share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::api::{Gateway, Refusal};
use super::error::ApiError;
use crate::config::{Timing, Web};
use crate::domain::clock::SharedClock;
use crate::telemetry::Metrics;

/// Bodies held at once, all together, KiB.
const BYTES_IN_FLIGHT_KIB: usize = 48 * 1024;
/// Added to a deadline before the sender is answered for the gateway.
const GRACE: Duration = Duration::from_millis(250);
/// The longest anything but a delivery may take.
const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// Wrong tokens a minute and address before answers are slowed down.
const FREE_GUESSES: u32 = 10;
/// Addresses remembered for that.
const MAX_ADDRESSES: usize = 10_000;

/// Limits and deadlines of requests.
#[derive(Debug, Clone)]
pub struct SiteSettings {
    /// Largest body, bytes.
    pub body_limit: usize,
    /// The longest a body may take to arrive.
    pub body_deadline: Duration,
    /// The longest an Alertmanager waits.
    pub webhook_deadline: Duration,
    /// The longest a vmalert waits.
    pub vmalert_deadline: Duration,
    /// How late a guess at a token is answered once there were many.
    pub guess_delay: Duration,
}

impl SiteSettings {
    /// As configured.
    pub fn new(web: &Web, timing: &Timing) -> Self {
        Self {
            body_limit: web.body_limit,
            body_deadline: Duration::from_secs(15),
            webhook_deadline: timing.webhook_deadline,
            vmalert_deadline: timing.vmalert_deadline,
            guess_delay: Duration::from_secs(1),
        }
    }
}

/// Everything behind the routes.
pub struct Site {
    pub(super) gateway: Arc<dyn Gateway>,
    pub(super) access: ArcSwap<Access>,
    pub(super) settings: SiteSettings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: SharedClock,
    pub(super) shutdown: CancellationToken,
    pub(super) in_flight: Arc<Semaphore>,
    tasks: TaskTracker,
    guesses: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Site {
    /// `tasks` is where work goes that outlives its request: wait for it before the end.
    /// `shutdown` turns readiness off.
    pub fn new(
        gateway: Arc<dyn Gateway>,
        access: Access,
        settings: SiteSettings,
        metrics: Arc<Metrics>,
        clock: SharedClock,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            gateway,
            access: ArcSwap::from_pointee(access),
            settings,
            metrics,
            clock,
            shutdown,
            in_flight: Arc::new(Semaphore::new(BYTES_IN_FLIGHT_KIB)),
            tasks,
            guesses: Mutex::default(),
        })
    }

    /// Puts new tokens, names and keys in force (a reload).
    pub fn set_access(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    /// Runs a call on a task of its own, so that a sender that hangs up cancels nothing, and
    /// waits for it at most for the usual time.
    pub(super) async fn call<T, F, W>(&self, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<dyn Gateway>) -> W,
        W: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        self.call_until(Instant::now() + CALL_DEADLINE, work).await
    }

    /// The same, until `deadline` and a little.
    pub(super) async fn call_until<T, F, W>(
        &self,
        deadline: Instant,
        work: F,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<dyn Gateway>) -> W,
        W: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        let task = self.tasks.spawn(work(Arc::clone(&self.gateway)));
        match tokio::time::timeout_at(deadline + GRACE, task).await {
            Ok(Ok(outcome)) => outcome.map_err(ApiError::from),
            Ok(Err(panicked)) => {
                self.metrics.panic();
                Err(ApiError::internal(panicked))
            }
            Err(_) => Err(ApiError::unavailable(
                "deadline",
                "it was not done in time; it goes on, but nothing is promised",
                Duration::from_secs(5),
            )),
        }
    }

    /// Slows a guesser down: waits when this address showed many wrong tokens lately.
    pub(super) async fn guessed(&self, from: Option<IpAddr>) {
        let Some(from) = from else { return };
        let many = {
            let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
            if guesses.len() >= MAX_ADDRESSES {
                guesses.clear();
            }
            let now = Instant::now();
            let entry = guesses.entry(from).or_insert((now, 0));
            if now - entry.0 > Duration::from_mins(1) {
                *entry = (now, 0);
            }
            entry.1 += 1;
            entry.1 > FREE_GUESSES
        };
        if many {
            tokio::time::sleep(self.settings.guess_delay).await;
        }
    }
}
