//! Runs one real program as a child, on a port that the system chose, with its output in a file.
//!
//! A child never outlives its [`Process`]: it is killed on drop, a panic included, and where
//! `setpriv` exists the kernel kills it when the thread that started it ends, so that even a killed
//! test run leaves nobody behind. Hence: start it from a thread that stays (a test's own, or the
//! runtime's), and share no child between tests.

use std::fmt;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::AsyncReadExt as _;

use super::eventually::eventually;
use super::tools;

/// A start on a busy machine may take this long.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// Ports are chosen before the child binds them, so another process may be quicker.
const PORTS_TO_TRY: u32 = 4;

/// How a child shows that it serves.
#[derive(Debug, Clone, Copy)]
pub enum Ready {
    /// A GET of this path is answered with a 2xx.
    Http(&'static str),
    /// Any HTTP answer at all (a server that wants signed requests).
    AnyHttp,
    /// It speaks first, with this.
    Banner(&'static str),
    /// It serves nobody: to run is enough.
    Running,
}

/// Builds the command line for a port; kept, so that the child can be started again.
type Recipe = Arc<dyn Fn(u16) -> Command + Send + Sync>;

/// A running child.
pub struct Process {
    name: &'static str,
    log: PathBuf,
    port: u16,
    ready: Ready,
    recipe: Recipe,
    child: Child,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .field("port", &self.port)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl Process {
    /// Starts `recipe` on a free loopback port and waits until it is ready.
    ///
    /// # Errors
    /// The child ended or stayed silent; its last lines are in the message.
    pub async fn start(
        name: &'static str,
        log: &Path,
        ready: Ready,
        recipe: impl Fn(u16) -> Command + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let recipe: Recipe = Arc::new(recipe);
        let mut last = None;
        for _ in 0..PORTS_TO_TRY {
            match Self::try_port(name, log, ready, &recipe, free_port()?).await? {
                Ok(process) => return Ok(process),
                Err(taken) => last = Some(taken),
            }
        }
        Err(last.context("no port was tried")?)
    }

    /// The same on a port that others have been told already.
    ///
    /// # Errors
    /// As [`start`](Self::start), and when somebody else has taken the port.
    pub async fn start_on(
        port: u16,
        name: &'static str,
        log: &Path,
        ready: Ready,
        recipe: impl Fn(u16) -> Command + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let recipe: Recipe = Arc::new(recipe);
        Self::try_port(name, log, ready, &recipe, port).await?
    }

    /// The inner error is a port that is taken.
    async fn try_port(
        name: &'static str,
        log: &Path,
        ready: Ready,
        recipe: &Recipe,
        port: u16,
    ) -> anyhow::Result<anyhow::Result<Self>> {
        let mut process = Self {
            name,
            log: log.to_owned(),
            port,
            ready,
            recipe: Arc::clone(recipe),
            child: spawn(name, log, recipe, port)?,
        };
        match process.wait_ready().await {
            Ok(()) => Ok(Ok(process)),
            Err(error) if process.tail().contains("address already in use") => Ok(Err(error)),
            Err(error) => Err(error),
        }
    }

    /// The port it listens on; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its loopback address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs (a paused one does).
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended, once it has ended by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten()?.code()
    }

    /// The last lines it wrote.
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(20)..)
            .unwrap_or_default()
            .join("\n")
    }

    /// Whether it has written `words` since its first start.
    pub fn said(&self, words: &str) -> bool {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(words)
    }

    /// Stops it in its tracks (SIGSTOP): connections are accepted by the kernel, nothing answers.
    ///
    /// Returns once every one of its threads has stopped, so that no late answer slips out.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP")?;
        let what = format!("`{}` to stop in its tracks", self.name);
        let pid = self.pid();
        eventually(START_DEADLINE, &what, async || {
            all_stopped(pid).then_some(())
        })
        .await
    }

    /// Lets a paused one go on (SIGCONT).
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// Ends it without notice (SIGKILL), as a crash does. Its port refuses from now on.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("kill")?;
        self.child.wait().context("wait")?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub async fn stop(&mut self, within: Duration) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let name = self.name;
        let started = Instant::now();
        while self.is_running() {
            ensure!(
                started.elapsed() < within,
                "`{name}` still ran {within:?} after SIGTERM"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Starts it again on the same port, killing it first where it runs.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.is_running() {
            self.kill()?;
        }
        self.child = spawn(self.name, &self.log, &self.recipe, self.port)?;
        self.wait_ready().await
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{signal} {}", self.pid()))
            .status()
            .context("run `kill`")?;
        ensure!(
            status.success(),
            "cannot send SIG{signal} to `{}`",
            self.name
        );
        Ok(())
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let client = client()?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("wait for the child")? {
                bail!("`{}` ended with {status}:\n{}", self.name, self.tail());
            }
            if self.answers(&client).await {
                return Ok(());
            }
            if started.elapsed() > START_DEADLINE {
                bail!("`{}` was not ready in time:\n{}", self.name, self.tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn answers(&self, client: &reqwest::Client) -> bool {
        match self.ready {
            Ready::Http(path) => {
                let answer = client.get(format!("{}{path}", self.url())).send().await;
                answer.is_ok_and(|answer| answer.status().is_success())
            }
            Ready::Running => true,
            Ready::AnyHttp => client.get(self.url()).send().await.is_ok(),
            Ready::Banner(banner) => {
                let greeting = async {
                    let mut stream = tokio::net::TcpStream::connect(self.address()).await?;
                    let mut first = vec![0; banner.len()];
                    stream.read_exact(&mut first).await?;
                    std::io::Result::Ok(first)
                };
                let greeting = tokio::time::timeout(Duration::from_secs(2), greeting).await;
                matches!(greeting, Ok(Ok(first)) if first == banner.as_bytes())
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either may fail only because the child has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether the kernel shows every thread as stopped.
fn all_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        // The state is the word after the name, which ends in the last parenthesis.
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_none_or(|state| state.starts_with('T'))
    })
}

/// A client for loopback: no proxy, no patience for a hanging server.
pub fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()
        .context("build a client")
}

/// A port nobody listens on now.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}

fn spawn(name: &str, log: &Path, recipe: &Recipe, port: u16) -> anyhow::Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open `{}`", log.display()))?;
    let errors = log.try_clone().context("share the log file")?;
    let mut command = dying_with_us(&recipe(port));
    if let Some(path) = tools::library_path() {
        command.env("LD_LIBRARY_PATH", path);
    }
    command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("start `{name}`"))
}

/// The same command under `setpriv --pdeathsig`, which replaces itself by it: the pid is the same.
fn dying_with_us(command: &Command) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut wrapped = if setpriv.exists() {
        let mut wrapped = Command::new(setpriv);
        wrapped.args(["--pdeathsig", "KILL", "--"]);
        wrapped.arg(command.get_program());
        wrapped
    } else {
        Command::new(command.get_program())
    };
    wrapped.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
}
