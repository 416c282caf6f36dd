//! Builds the app, starts it, reloads it and stops it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::Notify as Wake;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::agents::Agents;
use super::core::Core;
use super::gateway::Door;
use super::hearing::Hearing;
use super::holds::Holds;
use super::modes::ModeStore;
use super::picture::Pictures;
use super::presence::Diary;
use super::recorded::LastDecisions;
use super::seams::Seams;
use super::self_test::SelfTests;
use super::setup::{Ground, Setup, SetupError};
use crate::act::engine::{Engine, Parts, Settings};
use crate::act::lane::LaneStore;
use crate::canary::{ArmedStore, Watch};
use crate::chart::Fonts;
use crate::config::load::{self, Secrets};
use crate::config::{Config, WebConfig};
use crate::domain::clock::SharedClock;
use crate::domain::id::ReplicaId;
use crate::enrich::catalog::Catalog;
use crate::ingest::book::EpisodeBook;
use crate::ingest::episode::EpisodeTiming;
use crate::store::Store;
use crate::store::probe::race;
use crate::telemetry::metrics::Metrics;
use crate::web::{self, Access, ServerSettings, Site, SiteSettings, Tls, serve};

/// Keys raced at the start.
const RACED_KEYS: usize = 8;

/// Why the gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] crate::store::OpenError),
    /// The configuration can't be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The configured font can't be used.
    #[error(transparent)]
    Font(#[from] crate::chart::FontError),
    /// The certificate can't be used.
    #[error("the web configuration can't be used: {0}")]
    Tls(String),
}

/// What the command line adds to the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// Read again by a reload.
    pub config_file: Option<PathBuf>,
    /// TLS of the listener.
    pub web_config: WebConfig,
    /// `--web.external-url`, which wins over the file's.
    pub external_url: Option<url::Url>,
    /// Wall time.
    pub clock: SharedClock,
}

/// The gateway, built and not yet running.
#[derive(Debug)]
pub struct App {
    core: Arc<Core>,
    options: Options,
}

/// The gateway, running.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    work: TaskTracker,
    core: Arc<Core>,
    reloader: Reloader,
}

impl App {
    /// Wires everything; nothing is asked of the network yet but the store's race.
    ///
    /// # Errors
    /// When the store, the configuration or the certificate can't be used.
    pub async fn build(mut config: Config, options: Options) -> Result<Self, StartError> {
        if options.external_url.is_some() {
            config.web.external_url.clone_from(&options.external_url);
        }
        let store = crate::store::open(&config.store)?;
        let numbers = Arc::new(Metrics::new());
        let clock = Arc::clone(&options.clock);
        let work = TaskTracker::new();
        let hearing = Arc::new(Hearing::new(Arc::clone(&numbers), work.clone()));
        let ground = Ground {
            store: store.clone(),
            clock: Arc::clone(&clock),
            me: ReplicaId::random(),
            tasks: work,
            ear: Arc::<Hearing>::clone(&hearing),
            limits: Arc::default(),
            slack_waits: Arc::default(),
        };
        let fonts = Fonts::load(config.chart_font.as_deref())?;
        let (timing, budget) = (config.timing.clone(), config.budget);
        let http_timeout = config
            .spinnaker
            .as_ref()
            .map_or(crate::http::TOTAL_TIMEOUT, |spinnaker| spinnaker.timeout);
        let episodes = EpisodeTiming {
            gap: timing.episode_gap,
            remind_after: timing.remind_after,
        };
        let lanes = LaneStore::new(store.clone(), Arc::clone(&clock), ground.me.clone())
            .with_witness(Arc::<Hearing>::clone(&hearing));
        let setup = Setup::new(config, &ground)?;
        let core = Arc::new(Core {
            book: EpisodeBook::new(store.clone(), ground.me.clone(), episodes, timing.skew),
            catalog: Catalog::new(store.clone(), Arc::clone(&clock), &timing),
            lanes: lanes.clone(),
            pictures: Pictures::new(fonts),
            holds: Holds::new(store.clone()),
            agents: Agents::new(&store),
            armed: ArmedStore::new(store.clone()),
            watch: Watch::default(),
            self_tests: SelfTests::new(store.clone()),
            modes: ModeStore::new(store.clone()),
            engine: OnceLock::new(),
            exclusive: AtomicBool::new(false),
            book_read: AtomicBool::new(false),
            started_at: clock.now(),
            last_decisions: LastDecisions::default(),
            diary: Diary::new(clock.now()),
            opening: tokio::sync::Mutex::default(),
            look_at_holds: Wake::new(),
            setup: ArcSwap::from_pointee(setup),
            numbers,
            ground,
        });
        let seams = Seams(Arc::downgrade(&core));
        let engine = Engine::new(Parts {
            lanes,
            clock,
            spinnaker: Arc::new(seams.clone()),
            recheck: Arc::new(seams.clone()),
            planner: Arc::new(seams.clone()),
            probe: Arc::new(seams.clone()),
            escalator: Arc::new(seams.clone()),
            reporter: Arc::new(seams.clone()),
            followups: Arc::new(seams),
            settings: Settings {
                timing,
                budget,
                http_timeout,
            },
        });
        // Both are set here and nowhere else.
        drop(core.engine.set(engine));
        hearing.belongs_to(&core);
        core.race(&store).await;
        let notify = core.setup().notify.clone();
        if let Err(error) = notify.heed_parkings().await {
            tracing::warn!("which channels are parked can't be read: {error}");
        }
        Ok(Self { core, options })
    }

    /// Serves on `listener` and starts everything that runs by itself.
    ///
    /// # Errors
    /// When the certificate can't be used.
    pub async fn start(self, listener: TcpListener) -> Result<Running, StartError> {
        let Self { core, options } = self;
        let address = listener
            .local_addr()
            .map_err(|error| StartError::Tls(error.to_string()))?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let site = OnceLock::new();
        let reloader = Reloader(Arc::new(ReloadParts {
            options: options.clone(),
            site,
        }));
        let setup = core.setup().clone();
        let tls = match options.web_config.tls.clone() {
            Some(files) => Some(Arc::new(
                Tls::new(files)
                    .await
                    .map_err(|error| StartError::Tls(error.to_string()))?,
            )),
            None => None,
        };
        let door = Arc::new(Door {
            core: Arc::clone(&core),
            reloader: reloader.clone(),
        });
        let site = Site::new(
            door,
            access(&setup, &options),
            SiteSettings::new(&setup.config.web, &setup.config.timing),
            Arc::clone(&core.numbers),
            Arc::clone(&core.ground.clock),
            core.ground.tasks.clone(),
            stop.clone(),
        );
        drop(reloader.0.site.set(Arc::clone(&site)));
        let settings = ServerSettings::new(&setup.config.timing, tls, Arc::clone(&core.numbers));
        tasks.spawn(serve(listener, web::router(site), settings, stop.clone()));
        core.spawn_keepers(&tasks, &stop, &reloader);
        let work = core.ground.tasks.clone();
        Ok(Running {
            address,
            stop,
            tasks,
            work,
            core,
            reloader,
        })
    }
}

/// Who may do what: tokens of the configuration, users of the web configuration.
fn access(setup: &Setup, options: &Options) -> Access {
    let access = Access::new(&setup.config.web, setup.config.auth.as_ref());
    access.with_users(&options.web_config.basic_auth_users)
}

impl Core {
    /// Finds out whether creating a key is exclusive here; without it nothing automatic is done.
    async fn race(&self, store: &Store) {
        let exclusive = match race(store, RACED_KEYS).await {
            Ok(race) if race.is_exclusive() => true,
            Ok(race) => {
                tracing::error!(
                    "automatic rollback stays off: {} of {} keys of the store were won wrongly, by {} writers in all",
                    race.bad_keys,
                    race.keys,
                    race.winners
                );
                false
            }
            Err(error) => {
                tracing::error!(
                    "automatic rollback stays off until the store can be raced: {error}"
                );
                false
            }
        };
        self.exclusive.store(exclusive, Ordering::Relaxed);
        self.numbers.actions_enabled.set(i64::from(exclusive));
    }

    fn spawn_keepers(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        reloader: &Reloader,
    ) {
        let core = Arc::clone(self);
        let token = stop.clone();
        tasks.spawn(async move { core.keep_book(token).await });
        let (core, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { core.catalog.keep_fresh(token).await });
        let (core, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { core.keep_holds(token).await });
        let (core, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { core.keep_telling(token).await });
        if let Some(engine) = self.engine().cloned() {
            let token = stop.clone();
            tasks.spawn(async move { engine.run(token).await });
        }
        let (core, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { core.keep_watch(token).await });
        let (core, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { core.keep_house(token).await });
        let (core, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { core.keep_presence(token).await });
        let (core, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { core.keep_self_testing(token).await });
        let (core, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { core.keep_armed(token).await });
        let (core, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { core.keep_seen(token).await });
        let (core, token, reloader) = (Arc::clone(self), stop.clone(), reloader.clone());
        tasks.spawn(async move { reloader.keep_reloading(&core, token).await });
    }

    /// Tails the other replicas' episodes, ends what nobody vouches for, and races the store again
    /// while that has not succeeded.
    async fn keep_book(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let now = self.ground.clock.now();
            match self.book.refresh(now).await {
                Ok(_) => {
                    self.numbers.store_up.set(1);
                    self.book_read.store(true, Ordering::Relaxed);
                }
                Err(error) => {
                    self.numbers.store_up.set(0);
                    tracing::warn!("episodes of other replicas can't be read: {error}");
                }
            }
            for expiry in self.book.sweep(now).await {
                self.tell_expiry(expiry).await;
            }
            if !self.is_exclusive() {
                self.race(&self.ground.store).await;
            }
            let every = self.setup().config.timing.sweep;
            if stop
                .run_until_cancelled(tokio::time::sleep(every))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// Delivers what is owed, through whichever channels are configured now.
    async fn keep_telling(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let setup = self.setup().clone();
            if let Err(error) = setup.notify.sweep_once().await {
                tracing::warn!("what is owed can't be read: {error}");
            }
            let every = setup.config.timing.outbox;
            if stop
                .run_until_cancelled(tokio::time::sleep(every))
                .await
                .is_none()
            {
                return;
            }
        }
    }
}

impl Running {
    /// Reads the configuration again.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays.
    pub async fn reload(&self) -> Result<(), String> {
        self.reloader.reload(&self.core).await
    }

    /// Stops: no new work is taken, what is in hand is finished within the configured time.
    pub async fn stop(self) {
        let setup = self.core.setup().clone();
        let drain = setup.config.timing.drain;
        self.stop.cancel();
        setup.notify.retire();
        self.tasks.close();
        self.work.close();
        let all = async {
            self.tasks.wait().await;
            self.work.wait().await;
        };
        if tokio::time::timeout(drain, all).await.is_err() {
            tracing::warn!("stopped with work in hand: the store has it, another replica goes on");
        }
    }
}

#[derive(Debug)]
struct ReloadParts {
    options: Options,
    site: OnceLock<Arc<Site>>,
}

/// Reads the configuration again when asked, and when its files change.
#[derive(Debug, Clone)]
pub(super) struct Reloader(Arc<ReloadParts>);

impl Reloader {
    /// Reads, checks and swaps; a broken file keeps the old set.
    pub(super) async fn reload(&self, core: &Core) -> Result<(), String> {
        let result = self.swap(core).await;
        core.numbers
            .config_last_reload_successful
            .set(i64::from(result.is_ok()));
        match &result {
            Ok(()) => {
                core.numbers
                    .config_last_reload_success_timestamp_seconds
                    .set(core.ground.clock.now().as_second());
                tracing::info!("the configuration was read again");
            }
            Err(why) => {
                tracing::error!("the configuration was not taken over, the old one stays: {why}");
            }
        }
        result
    }

    async fn swap(&self, core: &Core) -> Result<(), String> {
        let options = &self.0.options;
        let file = options.config_file.clone();
        let read =
            tokio::task::spawn_blocking(move || load::load(file.as_deref(), Secrets::Read)).await;
        let problems = |problems: Vec<crate::config::problem::Problem>| {
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        };
        let mut config = read.map_err(|error| error.to_string())?.map_err(problems)?;
        if options.external_url.is_some() {
            config.web.external_url.clone_from(&options.external_url);
        }
        if config.store.url != core.setup().config.store.url {
            return Err("`store.url` can't change while running".to_owned());
        }
        let setup = Setup::new(config, &core.ground).map_err(|error| error.to_string())?;
        if let Some(site) = self.0.site.get() {
            site.set_access(access(&setup, options));
        }
        if let Some(engine) = core.engine() {
            let http_timeout = setup
                .config
                .spinnaker
                .as_ref()
                .map_or(crate::http::TOTAL_TIMEOUT, |spinnaker| spinnaker.timeout);
            engine.set(Settings {
                timing: setup.config.timing.clone(),
                budget: setup.config.budget,
                http_timeout,
            });
        }
        let old = core.setup.swap(Arc::new(setup));
        old.notify.retire();
        Ok(())
    }

    /// Looks at the files' digest again and again.
    async fn keep_reloading(&self, core: &Core, stop: CancellationToken) {
        core.numbers.config_last_reload_successful.set(1);
        let mut refused = None;
        loop {
            let every = core.setup().config.timing.reload_poll;
            if stop
                .run_until_cancelled(tokio::time::sleep(every))
                .await
                .is_none()
            {
                return;
            }
            let file = self.0.options.config_file.clone();
            let digest = tokio::task::spawn_blocking(move || load::digest(file.as_deref())).await;
            let Ok(Ok(digest)) = digest else { continue };
            let changed = digest != core.setup().config.digest && refused.as_ref() != Some(&digest);
            if changed && self.reload(core).await.is_err() {
                // Said once; said again when the file changes again.
                refused = Some(digest);
            }
        }
    }
}
