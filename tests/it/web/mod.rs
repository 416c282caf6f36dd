//! The web room over real sockets, with a gateway that answers from memory.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where its assumption does"
)]

mod approve;
mod gateway;
mod limits;
mod pages;
mod routes;
mod scopes;
mod shutdown;
mod tls;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backstop::config::{AccessScope, Auth, Timing, Token, Web};
use backstop::domain::clock::SystemClock;
use backstop::domain::secret::Secret;
use backstop::telemetry::Metrics;
use backstop::web::{self, Access, ServerSettings, Site, SiteSettings, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use gateway::Fake;

/// Nothing in these tests may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A served site.
struct Served {
    address: SocketAddr,
    gateway: Arc<Fake>,
    site: Arc<Site>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

/// What a test changes.
struct Wishes {
    auth: Option<Auth>,
    body_limit: usize,
    site: fn(&mut SiteSettings),
    server: fn(&mut ServerSettings),
    tls: Option<Tls>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            auth: None,
            body_limit: 16 * 1024 * 1024,
            site: |_| {},
            server: |_| {},
            tls: None,
        }
    }
}

fn tokens() -> Auth {
    let token = |name: &str, scopes: &[AccessScope]| Token {
        host: (scopes == [AccessScope::Agent]).then(|| "vm-17".parse().unwrap()),
        name: name.to_owned(),
        secrets: vec![Secret::new(format!("secret-{name}"))],
        scopes: scopes.to_vec(),
    };
    Auth {
        signing_key: Some(Secret::new("signing")),
        tokens: vec![
            token("ingest", &[AccessScope::Ingest]),
            token("read", &[AccessScope::Read]),
            token("deploy", &[AccessScope::Deploy]),
            token("agent", &[AccessScope::Agent]),
            token("rollback", &[AccessScope::Rollback]),
            token("admin", &[AccessScope::Admin]),
        ],
    }
}

async fn serve(wishes: Wishes) -> Served {
    let gateway = Arc::new(Fake::default());
    let metrics = Arc::new(Metrics::new());
    let web = Web {
        external_url: None,
        allowed_hosts: vec!["gateway.test".to_owned()],
        body_limit: wishes.body_limit,
    };
    let timing = Timing::default();
    let mut settings = SiteSettings::new(&web, &timing);
    (wishes.site)(&mut settings);
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let site = Site::new(
        Arc::clone(&gateway) as Arc<dyn web::Gateway>,
        Access::new(&web, wishes.auth.as_ref()),
        settings,
        Arc::clone(&metrics),
        Arc::new(SystemClock),
        tasks.clone(),
        shutdown.clone(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = ServerSettings::new(&timing, wishes.tls.map(Arc::new), Arc::clone(&metrics));
    (wishes.server)(&mut server);
    let server = tokio::spawn(web::serve(
        listener,
        web::router(Arc::clone(&site)),
        server,
        shutdown.clone(),
    ));
    Served {
        address,
        gateway,
        site,
        metrics,
        tasks,
        shutdown,
        server,
    }
}

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes and reads until the other side closes.
    async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        // A refusal may come, and the connection go, before all is sent.
        let _refused_early = stream.write_all(request).await;
        read_answer(&mut stream).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            request.push_str("host: localhost\r\n");
        }
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        write!(request, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        self.raw(request.as_bytes()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body)
            .await
    }

    async fn finish(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.server)
            .await
            .unwrap()
            .unwrap();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait())
            .await
            .unwrap();
    }
}

async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let read = read.expect("the connection stays open");
    assert!(read.is_ok() || !bytes.is_empty(), "no answer: {read:?}");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status in {text:?}")),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A drain that does not hold a test up.
fn short_drain(settings: &mut ServerSettings) {
    settings.drain_accept = Duration::from_millis(50);
    settings.drain = Duration::from_secs(10);
}
