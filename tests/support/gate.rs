//! A faithful stand-in for Gate with Orca behind it: `tests/it/gate_contract.rs` holds it against
//! recorded calls of the real ones.
//!
//! It serves HTTP on a free loopback port, runs saved pipelines by itself on tokio's time, really
//! calls the URLs of webhook stages, and keeps Gate's habits that a client must survive: a bad
//! login is a redirect, a dead Orca a 500, a cancel takes effect later and marks finished
//! executions too, correlation ids hold only while an execution runs, `executions/search` never
//! answers. What it does not know is answered with 404 and remembered as unexpected.
//!
//! What goes wrong is asked for: with one trigger by [`TriggerFault`], with every call by
//! [`Weather`].
//!
//! Left out: Echo (v2 triggers, webhooks), Fiat, `limitConcurrent`; of Clouddriver all but the server
//! groups.

mod clouddriver;
mod door;
mod engine;
mod routes;
mod server;
mod spel;
mod task;
mod trigger;
mod webhook;
mod world;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use backstop::{
    http,
    spinnaker::{Gate, GateSettings, Login},
};
use serde_json::{Map, Value};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use clouddriver::Group;
pub use world::{Recorded, Run, World};

/// How a stand-in behaves from its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many times faster than Orca its waits, polls and retries go.
    pub speed: f64,
    /// The one user, for basic auth; also shown as the starter of executions.
    pub username: String,
    /// That user's password.
    pub password: String,
    /// A bearer token that is accepted too.
    pub bearer: Option<String>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            speed: 1.0,
            username: "gateway".to_owned(),
            password: "gate-password".to_owned(),
            bearer: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

/// What goes wrong with one trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerFault {
    /// The connection breaks before anything happens.
    DropBefore,
    /// The execution starts; the connection breaks without an answer.
    DropAfter,
    /// The same, and from then on Gate cannot connect to Orca.
    DropAfterAndGone,
    /// The execution starts; the answer is a 500 that does not say so.
    ErrorAfter,
    /// The execution starts; the answer comes this much later.
    AnswerLate(Duration),
    /// The execution starts this much later, even if the caller is gone by then.
    ActLate(Duration),
    /// Two executions start, as when two calls with one correlation id race in a real Orca.
    Duplicate,
}

/// What is wrong with every call until it is changed again; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Gate takes so long before anything happens; whatever the caller does meanwhile, it happens.
    pub slow: Duration,
    /// So long after it has happened Gate answers.
    pub late: Duration,
    /// Of the triggers that are accepted, the reply of every n-th is never sent; 0 is none, 1 all.
    pub drop_reply_every: u64,
    /// Between Orca's look for a running execution of a correlation id and the start of a new one:
    /// triggers of one id that meet in it all start, as with the real one, which does both without
    /// a lock.
    pub correlation_gap: Duration,
}

/// A stage handed to a hook.
#[derive(Debug, Clone)]
pub struct StageCall {
    /// The execution it runs in.
    pub execution_id: String,
    /// Its application.
    pub application: String,
    /// Its pipeline.
    pub pipeline: String,
    /// Its own name.
    pub name: String,
    /// Its settings, expressions evaluated.
    pub context: Map<String, Value>,
    /// Canceled when the stage should give up.
    pub canceled: CancellationToken,
}

impl StageCall {
    /// A setting as text; empty when absent or of another type.
    pub fn text(&self, key: &str) -> &str {
        self.context.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// A setting as a list of texts: a JSON array or a comma-joined text.
    pub fn list(&self, key: &str) -> Vec<String> {
        match self.context.get(key) {
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            Some(Value::String(text)) => text
                .split(',')
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// What a hook returns: outputs, or why the stage failed.
pub type StageResult = Result<Map<String, Value>, String>;
type Hook =
    Arc<dyn Fn(StageCall) -> Pin<Box<dyn Future<Output = StageResult> + Send>> + Send + Sync>;

/// What handlers and the engine share.
#[derive(Clone)]
struct Shared {
    world: Arc<Mutex<World>>,
    hooks: Arc<Mutex<HashMap<String, Hook>>>,
    tasks: Arc<Mutex<JoinSet<()>>>,
    revision: watch::Sender<u64>,
    options: Arc<Options>,
    http: reqwest::Client,
    started: (i64, Instant),
}

impl Shared {
    /// Changes the world and wakes whoever waits for a change.
    fn update<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.world.lock().unwrap());
        self.revision.send_modify(|revision| *revision += 1);
        result
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap().spawn(task);
    }

    /// Epoch milliseconds on tokio's clock.
    fn now(&self) -> i64 {
        self.started.0 + i64::try_from(self.started.1.elapsed().as_millis()).unwrap()
    }

    fn scaled(&self, duration: Duration) -> Duration {
        duration.div_f64(self.options.speed)
    }

    /// Returns what `probe` finds, as soon as it finds it.
    async fn when<T>(&self, mut probe: impl FnMut(&World) -> Option<T>) -> T {
        let mut revision = self.revision.subscribe();
        loop {
            revision.borrow_and_update();
            if let Some(found) = probe(&self.world.lock().unwrap()) {
                return found;
            }
            revision
                .changed()
                .await
                .expect("the sender lives in `self`");
        }
    }
}

/// A running stand-in. Dropping it ends its server and its executions.
pub struct GateStandIn {
    shared: Shared,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

impl fmt::Debug for GateStandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateStandIn")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl GateStandIn {
    /// Starts one at real speed.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts one whose waits go `speed` times faster.
    pub async fn fast(speed: f64) -> Self {
        Self::with(Options {
            speed,
            ..Options::default()
        })
        .await
    }

    /// Starts one.
    pub async fn with(options: Options) -> Self {
        let listener = TcpListener::bind(options.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "the stand-in is a program of its own"
        )]
        let epoch = jiff::Timestamp::now().as_millisecond();
        let shared = Shared {
            world: Arc::default(),
            hooks: Arc::default(),
            tasks: Arc::default(),
            revision: watch::Sender::new(0),
            options: Arc::new(options),
            // Orca's own client settings.
            http: http::client(&http::Settings {
                timeout: Duration::from_secs(20),
                connect_timeout: Duration::from_secs(15),
                ..http::Settings::default()
            })
            .unwrap(),
            started: (epoch, Instant::now()),
        };
        let mut stand_in = Self {
            shared,
            address,
            server: None,
        };
        stand_in.serve(listener);
        stand_in
    }

    /// Base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client that is let in.
    pub fn client(&self) -> Gate {
        let login = Login::Basic {
            username: self.shared.options.username.clone(),
            password: self.shared.options.password.clone().into(),
        };
        Gate::new(GateSettings::new(self.url().parse().unwrap(), login)).unwrap()
    }

    /// Saves a pipeline (`application`, `name`, `stages`, ..) and returns its id.
    pub fn save(&self, pipeline: Value) -> String {
        self.shared.update(|world| world.save(pipeline)).unwrap()
    }

    /// Gives stages of a type an effect. Without one, a type that is not built in ends `TERMINAL`.
    pub fn on_stage<F, R>(&self, kind: &str, hook: F)
    where
        F: Fn(StageCall) -> R + Send + Sync + 'static,
        R: Future<Output = StageResult> + Send + 'static,
    {
        let hook: Hook = Arc::new(move |call| Box::pin(hook(call)));
        self.shared
            .hooks
            .lock()
            .unwrap()
            .insert(kind.to_owned(), hook);
    }

    /// Looks at the world, or changes it. Do not hold it over an await.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    /// Adds a fault; each trigger uses up one, in the order of adding.
    pub fn fail_trigger(&self, fault: TriggerFault) {
        self.world().faults.push_back(fault);
    }

    /// Sets what is wrong with every call from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.world().weather = weather;
    }

    /// While set, every call that needs Orca is answered as by a Gate that cannot connect to it.
    /// Executions that run go on.
    pub fn set_orca_down(&self, down: bool) {
        self.world().orca_down = down;
    }

    /// Puts a server group there.
    pub fn add_group(&self, group: Group) {
        self.world().groups.push(group);
    }

    /// While set, Clouddriver can't be reached.
    pub fn set_clouddriver_down(&self, down: bool) {
        self.world().clouddriver_down = down;
    }

    /// While set, Clouddriver shows the server groups as they are now, whatever happens to them.
    pub fn set_clouddriver_lagging(&self, lagging: bool) {
        let mut world = self.world();
        world.cached_groups = lagging.then(|| world.groups.clone());
    }

    /// Starts a saved pipeline from inside, as a person would; returns the execution's id.
    pub fn run(&self, application: &str, pipeline: &str, trigger: Value) -> String {
        let wanted = trigger::Wanted::Pipeline(application.to_owned(), pipeline.to_owned());
        engine::submit(&self.shared, &wanted, trigger).unwrap()
    }

    /// An execution as Gate shows it.
    pub fn execution(&self, id: &str) -> Option<Value> {
        self.world().run(id).map(|run| run.document(true))
    }

    /// All executions, oldest first.
    pub fn executions(&self) -> Vec<Value> {
        self.world().runs().map(|run| run.document(true)).collect()
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.world().requests.clone()
    }

    /// Requests that no Gate would understand, or that no client should make.
    pub fn unexpected(&self) -> Vec<Recorded> {
        self.world().unexpected.clone()
    }

    /// Waits until `probe` finds something; panics after `deadline`, showing all executions.
    pub async fn when<T>(&self, deadline: Duration, probe: impl FnMut(&World) -> Option<T>) -> T {
        let found = tokio::time::timeout(deadline, self.shared.when(probe)).await;
        found.unwrap_or_else(|_| panic!("not within {deadline:?}: {:#?}", self.executions()))
    }

    /// Waits until an execution has ended and returns it.
    pub async fn ended(&self, id: &str, deadline: Duration) -> Value {
        let ended = |world: &World| {
            let run = world.run(id)?;
            run.has_ended().then(|| run.document(true))
        };
        self.when(deadline, ended).await
    }

    /// Closes the port and every connection: Gate itself is gone, the world stays.
    pub async fn stop_listening(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let aborted = server.await;
            assert!(
                aborted.is_err_and(|error| error.is_cancelled()),
                "the server ended by itself"
            );
        }
    }

    /// Opens the same port again.
    pub async fn listen_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = routes::router(self.shared.clone());
        self.server = Some(tokio::spawn(server::serve(listener, router)));
    }
}

impl Drop for GateStandIn {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
        if let Ok(mut tasks) = self.shared.tasks.lock() {
            tasks.abort_all();
        }
    }
}
