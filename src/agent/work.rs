//! One order, from its acceptance to its end: healthy, gone back, or given up.
//!
//! Each phase is in the journal before the next begins, so that the agent may end at any instant.
//! Before `current` is switched nothing of what runs has changed; afterwards either the release
//! proves healthy or the one before is put back.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};

use super::Agent;
use super::gateway::{DownloadError, GatewayError};
use super::journal::{Known, Phase, Running, Work};
use super::unpack::{self, Limits, UnpackError};
use crate::config::agent::ArtifactKind;
use crate::domain::agent::{Fetch, Order, Reason, Record, Step};

/// Tries of a download.
const TRIES: u32 = 5;
/// Pause after the first failed one; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// An order that ended the agent so often is gone back from.
const MOST_RESUMED: u32 = 3;

/// Why an order is not carried on.
#[derive(Debug)]
enum Halt {
    /// It failed; the release before is put back if this one was switched to.
    Failed(String),
    /// A newer order is there.
    Superseded(u64),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<UnpackError> for Halt {
    fn from(error: UnpackError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Agent {
    /// Takes up an order, if it may be obeyed.
    pub(super) fn accept(&self, order: Order) {
        let epoch = order.desired.epoch;
        let linked = self.tree.linked();
        let mut state = self.state();
        if epoch <= state.obeyed || state.work.is_some() {
            return;
        }
        let known = |running: &Running| running.known.clone();
        let linked_known = linked.ok().flatten().map(|id| Known {
            version: id.version().to_owned(),
            release_id: id,
        });
        // What was healthy last, unless somebody else has switched since.
        let previous = match (&state.running, linked_known) {
            (Some(running), Some(linked)) if running.known.release_id != linked.release_id => {
                let half_done = self.tree.release(&running.known.release_id).is_dir();
                Some(if half_done { known(running) } else { linked })
            }
            (_, linked) => linked,
        };
        let mut next = state.clone();
        next.obeyed = epoch;
        next.work = Some(Work {
            order,
            phase: Phase::Accepted,
            previous,
            resumed: 0,
            error: None,
            from: None,
        });
        if let Err(error) = self.journal.save(&next) {
            tracing::error!("order {epoch} can't be written down, so it waits: {error}");
            return;
        }
        *state = next;
    }

    /// Carries out the order in hand, to its end.
    pub(super) async fn carry_out(&self) {
        let Some(mut work) = self.state().work.clone() else {
            return;
        };
        let epoch = work.order.desired.epoch;
        let release = work.order.desired.release_id.clone();
        tracing::info!("order {epoch}: `{release}` from {:?} on", work.phase);
        let outcome = match work.error.clone() {
            Some(error) => Err(Halt::Failed(error)),
            None => self.forward(&mut work).await,
        };
        match outcome {
            Ok(()) => {
                tracing::info!("order {epoch}: `{release}` is healthy");
                self.tidy();
            }
            Err(Halt::Superseded(newer)) => {
                // The newer order decides what is switched to next; what was healthy last is known.
                self.end(
                    &work,
                    Step::Failed,
                    Some(format!("overtaken by order {newer}")),
                );
            }
            Err(Halt::Failed(error)) => self.fail(work, error).await,
        }
    }

    async fn forward(&self, work: &mut Work) -> Result<(), Halt> {
        loop {
            if let Some(newer) = self.newer_than(work.order.desired.epoch) {
                return Err(Halt::Superseded(newer));
            }
            match work.phase {
                Phase::Accepted => self.begin(work).await?,
                Phase::Downloaded => self.verify(work).await?,
                Phase::Verified => self.unpack(work).await?,
                Phase::Staged => self.ready(work).await?,
                Phase::Switching => {
                    self.tree.switch(&work.order.desired.release_id)?;
                    work.from.get_or_insert_with(|| self.now());
                    self.reached(work, Phase::Switched, Step::Switched)?;
                }
                Phase::Switched => {
                    let what = known(&work.order);
                    let started = self.managed.start(&what, &*self.seam).await;
                    started.map_err(Halt::Failed)?;
                    self.reached(work, Phase::Restarted, Step::Restarted)?;
                }
                Phase::Restarted => {
                    self.prove(work).await?;
                    return self.commit(work);
                }
                Phase::GoingBack => {
                    return Err(Halt::Failed(work.error.clone().unwrap_or_default()));
                }
            }
        }
    }

    /// Decides how to come by the release, and fetches it where it is not here.
    async fn begin(&self, work: &mut Work) -> Result<(), Halt> {
        not_down(work)?;
        let linked = self.tree.linked()?;
        let id = &work.order.desired.release_id;
        let (artifact, config) = (&work.order.artifact, &work.order.config);
        let config = config.as_ref().map(|fetch| fetch.checksum.clone());
        let (tree, checksum, release) = (self.tree.clone(), artifact.checksum.clone(), id.clone());
        let whole = blocking(move || {
            Ok::<_, io::Error>(tree.is_whole(&release, &checksum, config.as_deref()))
        });
        if whole.await? {
            let runs = self
                .state()
                .running
                .as_ref()
                .is_some_and(|one| one.known.release_id == *id);
            if runs && linked.as_ref() == Some(id) {
                // It runs already: only its health is asked.
                work.from = self.state().running.as_ref().map(|one| one.from);
                work.phase = Phase::Restarted;
                return Ok(());
            }
            return self.reached(work, Phase::Staged, Step::Staged);
        }
        if linked.as_ref() == Some(id)
            && work
                .previous
                .as_ref()
                .is_some_and(|one| one.release_id == *id)
        {
            // What runs can't be told to be the release: it is fetched anew beside it.
            work.previous = None;
        }
        self.fetch(work).await?;
        self.reached(work, Phase::Downloaded, Step::Downloaded)
    }

    async fn fetch(&self, work: &mut Work) -> Result<(), Halt> {
        let limits = &self.config.artifact;
        for (what, size) in [("artifact", limits.max_bytes), ("config", limits.max_bytes)] {
            let mut tries = 0;
            loop {
                let wanted = match what {
                    "artifact" => Some(&work.order.artifact),
                    _ => work.order.config.as_ref(),
                };
                let Some(fetch) = wanted else { break };
                let to = self.tree.incoming(what);
                let loading = self
                    .gateway
                    .download(fetch, &to, size, limits.timeout, &*self.seam);
                let error = match loading.await {
                    Ok(()) => break,
                    Err(DownloadError::Away(error)) => error,
                    Err(error) => error.to_string(),
                };
                tries += 1;
                if tries >= TRIES {
                    return Err(Halt::Failed(error));
                }
                tracing::warn!("order {}: {error}; tried again", work.order.desired.epoch);
                self.pause(PAUSE * 2_u32.pow(tries - 1), work).await?;
                // Signed addresses end, and what is wanted may have changed.
                work.order = self.still_wanted(&work.order).await?;
            }
        }
        Ok(())
    }

    async fn verify(&self, work: &mut Work) -> Result<(), Halt> {
        let config = work.order.config.as_ref();
        let files = [("artifact", Some(&work.order.artifact)), ("config", config)];
        for (what, fetch) in files {
            let Some(Fetch { checksum, .. }) = fetch else {
                continue;
            };
            let file = self.tree.incoming(what);
            let found = blocking(move || unpack::checksum(&file)).await?;
            if found != *checksum {
                return Err(Halt::Failed(format!(
                    "the {what}'s SHA-256 is `{found}`, not `{checksum}`: it was not unpacked"
                )));
            }
        }
        self.reached(work, Phase::Verified, Step::Verified)
    }

    async fn unpack(&self, work: &mut Work) -> Result<(), Halt> {
        let staging = self.tree.fresh_staging()?;
        let artifact = self.tree.incoming("artifact");
        let limits = Limits {
            bytes: self.config.artifact.max_unpacked_bytes,
            files: self.config.artifact.max_files,
        };
        let name = work.order.artifact.name.as_str();
        let is_tar = match self.config.artifact.kind {
            ArtifactKind::TarGz => true,
            ArtifactKind::Binary => false,
            ArtifactKind::Auto => [".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end)),
        };
        let (to, seam, service) = (staging, self.seam.clone(), self.config.service.clone());
        let config = work.order.config.as_ref().map(|fetch| fetch.name.clone());
        let config_file = self.tree.incoming("config");
        let (id, tree) = (work.order.desired.release_id.clone(), self.tree.clone());
        let checksum = work.order.artifact.checksum.clone();
        let config_sum = work
            .order
            .config
            .as_ref()
            .map(|fetch| fetch.checksum.clone());
        let done = blocking(move || {
            if is_tar {
                unpack::tar_gz(&artifact, &to, limits, &*seam)?;
            } else {
                unpack::one_file(&artifact, &to, service.as_str(), 0o755, &*seam)?;
            }
            if let Some(name) = config {
                let fits = crate::domain::id::is_id(&name);
                let name = if fits { name.as_str() } else { "config" };
                unpack::one_file(&config_file, &to, name, 0o644, &*seam)?;
            }
            Ok::<_, UnpackError>(tree.stage(&id, &checksum, config_sum.as_deref())?)
        });
        done.await?;
        self.reached(work, Phase::Staged, Step::Staged)
    }

    /// The last moment to hear that it is not wanted any more.
    async fn ready(&self, work: &mut Work) -> Result<(), Halt> {
        work.order = self.still_wanted(&work.order).await?;
        self.tree.linked()?;
        if let Some(previous) = &work.previous {
            self.tree.prepare_way_back(&previous.release_id)?;
        }
        self.journal.keep_reserve()?;
        work.phase = Phase::Switching;
        self.keep(work)?;
        Ok(())
    }

    /// The order as the gateway tells it now. While it can't be asked nothing is begun.
    async fn still_wanted(&self, order: &Order) -> Result<Order, Halt> {
        let epoch = order.desired.epoch;
        loop {
            let error = match self.gateway.desired(None).await {
                Ok(Some((polled, _))) => {
                    let Some(found) = polled.desired else {
                        return Err(Halt::Failed("it is not wanted any more".to_owned()));
                    };
                    return match found.desired.epoch.cmp(&epoch) {
                        std::cmp::Ordering::Equal => Ok(found),
                        std::cmp::Ordering::Greater => Err(self.hear(found)),
                        std::cmp::Ordering::Less => {
                            Err(Halt::Failed("it is not wanted any more".to_owned()))
                        }
                    };
                }
                Ok(None) => "an answer without an order".to_owned(),
                Err(GatewayError::Away(error) | GatewayError::Refused(error)) => error,
            };
            tracing::warn!("order {epoch} waits: {error}");
            let pause = self.pause_between_polls();
            self.wait(pause, epoch).await?;
        }
    }

    fn hear(&self, order: Order) -> Halt {
        let epoch = order.desired.epoch;
        self.newest.send_replace(Some(order));
        Halt::Superseded(epoch)
    }

    async fn pause(&self, pause: Duration, work: &Work) -> Result<(), Halt> {
        self.wait(pause, work.order.desired.epoch).await
    }

    /// Waits, unless a newer order comes.
    async fn wait(&self, pause: Duration, epoch: u64) -> Result<(), Halt> {
        let mut newest = self.newest.subscribe();
        let newer = newest.wait_for(|order| {
            order
                .as_ref()
                .is_some_and(|order| order.desired.epoch > epoch)
        });
        let heard = match timeout(pause, newer).await {
            Err(_) => return Ok(()),
            Ok(order) => order.ok().map(|order| {
                let order = order.as_ref();
                order.map_or(epoch, |order| order.desired.epoch)
            }),
        };
        if let Some(newer) = heard {
            return Err(Halt::Superseded(newer));
        }
        sleep(pause).await;
        Ok(())
    }

    /// Healthy for long enough, or why not.
    async fn prove(&self, work: &Work) -> Result<(), Halt> {
        let what = known(&work.order);
        let health = &self.managed.health;
        let begun = Instant::now();
        let crashes = self.managed.crashes().await;
        let mut healthy_since = None;
        let mut failures = 0;
        let mut last = "it was not asked".to_owned();
        while begun.elapsed() <= health.within {
            match self.managed.look(&what).await {
                Ok(()) => {
                    failures = 0;
                    let since = *healthy_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= health.healthy_for {
                        return Ok(());
                    }
                }
                Err(why) => {
                    healthy_since = None;
                    if begun.elapsed() > health.start_period {
                        failures += 1;
                    }
                    last = why;
                }
            }
            if failures >= health.retries {
                return Err(Halt::Failed(format!("not healthy: {last}")));
            }
            let again = self.managed.crashes().await;
            if let (Some(before), Some(now)) = (crashes, again)
                && now > before
            {
                let text = format!(
                    "not healthy: systemd had to start it {} times",
                    now - before
                );
                return Err(Halt::Failed(text));
            }
            self.wait(health.interval, work.order.desired.epoch).await?;
        }
        let within = health.within;
        Err(Halt::Failed(format!(
            "not healthy within {within:?}: {last}"
        )))
    }

    /// It is what runs from now on.
    fn commit(&self, work: &Work) -> Result<(), Halt> {
        let from = work.from.unwrap_or_else(|| self.now());
        let desired = &work.order.desired;
        let mut state = self.state();
        let mut next = state.clone();
        let before = work.previous.as_ref().map(|one| one.release_id.clone());
        let before = before.filter(|id| *id != desired.release_id);
        let kept = state
            .running
            .as_ref()
            .and_then(|running| running.before.clone());
        next.running = Some(Running {
            known: known(&work.order),
            epoch: desired.epoch,
            deployment_id: desired.deployment_id.clone(),
            batch: desired.batch,
            from,
            healthy: true,
            before: before.or(kept),
        });
        next.work = None;
        next.tell(self.record(work, Step::Healthy, None, Some(from), None));
        self.journal.save(&next)?;
        *state = next;
        drop(state);
        self.told.notify_one();
        Ok(())
    }

    /// Ends an order that failed: goes back where it had switched.
    async fn fail(&self, mut work: Work, error: String) {
        let epoch = work.order.desired.epoch;
        tracing::error!(
            "order {epoch}: `{}`: {error}",
            work.order.desired.release_id
        );
        let linked = self.tree.linked().ok().flatten();
        let is_previous = linked.as_ref() == work.previous.as_ref().map(|one| &one.release_id);
        let touched =
            work.phase >= Phase::Switching && !(work.phase == Phase::Switching && is_previous);
        let resumed_back = work.phase == Phase::GoingBack;
        // The release that runs was only asked about, never replaced.
        let only_asked = work.phase == Phase::Restarted
            && work
                .previous
                .as_ref()
                .is_some_and(|one| one.release_id == work.order.desired.release_id);
        if only_asked || !(touched || resumed_back) {
            self.end(&work, Step::Failed, Some(error));
            return;
        }
        work.phase = Phase::GoingBack;
        work.error = Some(error.clone());
        // On a disk that takes nothing it is gone back from all the same.
        if let Err(unwritten) = self.keep(&work) {
            tracing::error!("order {epoch}: going back can't be written down: {unwritten}");
        }
        match self.back(&work).await {
            Ok(()) => self.end(&work, Step::Reverted, Some(error)),
            Err(why) => self.end(
                &work,
                Step::Failed,
                Some(format!("{error}; and going back: {why}")),
            ),
        }
    }

    async fn back(&self, work: &Work) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        let Some(previous) = &work.previous else {
            self.tree.unlink().map_err(told)?;
            self.managed.stop(&known(&work.order)).await?;
            return Err("no release ran before, so none runs now".to_owned());
        };
        self.tree.go_back(&previous.release_id).map_err(told)?;
        self.managed.start(previous, &*self.seam).await?;
        let health = &self.managed.health;
        let begun = Instant::now();
        loop {
            let Err(why) = self.managed.look(previous).await else {
                return Ok(());
            };
            if begun.elapsed() > health.start_period + health.interval * health.retries {
                return Err(format!(
                    "`{}` is not healthy either: {why}",
                    previous.release_id
                ));
            }
            sleep(health.interval).await;
        }
    }

    /// The order is over; what was healthy last runs.
    fn end(&self, work: &Work, step: Step, error: Option<String>) {
        let to = work.from.map(|_| self.now());
        let record = self.record(work, step, error, work.from, to);
        {
            let mut state = self.state();
            state.work = None;
            state.tell(record);
            if let Err(error) = self.journal.save(&state) {
                tracing::error!("the end of an order can't be written down: {error}");
            }
        }
        self.count(step);
        self.told.notify_one();
        self.tidy();
    }

    /// Notes a phase and tells its step.
    fn reached(&self, work: &mut Work, phase: Phase, step: Step) -> Result<(), Halt> {
        work.phase = phase;
        let record = self.record(work, step, None, work.from, None);
        let mut state = self.state();
        let mut next = state.clone();
        next.work = Some(work.clone());
        next.tell(record);
        self.journal.save(&next)?;
        *state = next;
        drop(state);
        self.told.notify_one();
        Ok(())
    }

    fn keep(&self, work: &Work) -> io::Result<()> {
        let mut state = self.state();
        state.work = Some(work.clone());
        self.journal.save(&state)
    }

    /// After a start: counts, and gives up what has ended the agent again and again.
    pub(super) fn resume(&self) -> io::Result<()> {
        let mut state = self.state();
        let Some(work) = &mut state.work else {
            return Ok(());
        };
        work.resumed += 1;
        if work.resumed > MOST_RESUMED && work.phase != Phase::GoingBack {
            work.error = Some(format!(
                "the agent ended {} times over it",
                work.resumed - 1
            ));
        }
        // A file that was on its way is fetched anew.
        if work.phase < Phase::Staged {
            work.phase = Phase::Accepted;
        }
        self.journal.save(&state)
    }

    fn record(
        &self,
        work: &Work,
        step: Step,
        error: Option<String>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Record {
        Record {
            id: uuid::Uuid::now_v7().simple().to_string(),
            epoch: work.order.desired.epoch,
            step,
            at: self.now(),
            ip: self.gateway.own_address(),
            error,
            from,
            to,
        }
    }

    fn tidy(&self) {
        let state = self.state();
        let running = state.running.as_ref();
        let mut needed: Vec<_> = running
            .map(|one| &one.known.release_id)
            .into_iter()
            .collect();
        needed.extend(running.and_then(|one| one.before.as_ref()));
        if let Err(error) = self.tree.prune(self.config.keep, &needed) {
            tracing::warn!("old releases can't be removed: {error}");
        }
        if let Err(error) = self.journal.keep_reserve() {
            tracing::warn!("no room can be kept back on the disk: {error}");
        }
    }
}

pub(super) fn known(order: &Order) -> Known {
    Known {
        release_id: order.desired.release_id.clone(),
        version: order.version.clone(),
    }
}

/// Only a rollback goes down. What is no semantic version can't be compared, and may be run.
fn not_down(work: &Work) -> Result<(), Halt> {
    let Some(previous) = &work.previous else {
        return Ok(());
    };
    if work.order.desired.reason == Reason::Rollback {
        return Ok(());
    }
    let parse = |text: &str| semver::Version::parse(text).ok();
    match (parse(&work.order.version), parse(&previous.version)) {
        (Some(new), Some(old)) if new.cmp_precedence(&old).is_lt() => Err(Halt::Failed(format!(
            "`{new}` is lower than `{old}`, which runs: only a rollback goes down"
        ))),
        _ => Ok(()),
    }
}

async fn blocking<T: Send + 'static, E: Into<Halt> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Halt> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(error) => Err(Halt::Failed(error.to_string())),
    }
}
