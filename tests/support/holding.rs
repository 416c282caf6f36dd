//! A proxy that holds a chosen request, or its reply, until it is let go: so a process is hit
//! exactly at one of its steps, without a hook inside it.
//!
//! What reached the proxy arrives, even when its sender is dead by then; a connection that breaks
//! behind it is broken in front of it too.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The largest body that passes.
const LARGEST: usize = 16 << 20;

/// Where a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before it is passed on: nobody behind the proxy has seen it.
    Request,
    /// After it was answered: whoever asked has not heard.
    Reply,
}

/// A request, as a trap looks at it.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query and body, as text.
    pub rest: String,
}

/// A request that is held; it goes on when this is let go or dropped.
#[derive(Debug)]
pub struct Held {
    /// The proxy that holds it.
    pub at: usize,
    /// Who it is for, or who answered it.
    pub to: Option<SocketAddr>,
    go_on: oneshot::Sender<()>,
}

impl Held {
    /// Lets it go on.
    pub fn let_go(self) {
        drop(self.go_on);
    }
}

type Matches = Box<dyn Fn(&Asked) -> bool + Send + Sync>;

/// Catches one request, at whichever of its proxies it comes first.
struct Trap {
    side: Side,
    matches: Matches,
    caught: Mutex<Option<oneshot::Sender<Held>>>,
}

/// The proxy; it ends when this is dropped.
pub struct Holding {
    address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    number: usize,
    behind: Mutex<Vec<SocketAddr>>,
    traps: Mutex<Vec<Arc<Trap>>>,
    client: reqwest::Client,
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Holding").field(&self.address).finish()
    }
}

impl Holding {
    /// Listens before `behind`, the first of which that takes connections gets each request.
    pub async fn start(number: usize, behind: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        let inner = Arc::new(Inner {
            number,
            behind: Mutex::new(behind),
            traps: Mutex::default(),
            client,
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&inner)));
        Self {
            address,
            inner,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Who is behind it from now on, in order of preference.
    pub fn set_behind(&self, behind: Vec<SocketAddr>) {
        *lock(&self.inner.behind) = behind;
    }

    /// Sets one trap at all of `proxies`.
    pub fn trap<'a>(
        proxies: impl IntoIterator<Item = &'a Self>,
        side: Side,
        matches: impl Fn(&Asked) -> bool + Send + Sync + 'static,
    ) -> oneshot::Receiver<Held> {
        let (caught, held) = oneshot::channel();
        let trap = Arc::new(Trap {
            side,
            matches: Box::new(matches),
            caught: Mutex::new(Some(caught)),
        });
        for proxy in proxies {
            lock(&proxy.inner.traps).push(Arc::clone(&trap));
        }
        held
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    while let Ok((stream, _)) = listener.accept().await {
        let inner = Arc::clone(&inner);
        let service = service_fn(move |request| carry(Arc::clone(&inner), request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // An error is a client that went away, or a connection broken on purpose.
        tokio::spawn(async { drop(connection.await) });
    }
}

async fn carry(inner: Arc<Inner>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    // On a task of its own: it goes on when whoever asked has gone.
    let passed = tokio::spawn(async move { inner.pass(request).await });
    passed.await.map_err(io::Error::other)?
}

impl Inner {
    async fn pass(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), LARGEST).await;
        let body = body.map_err(io::Error::other)?;
        let asked = Asked {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            rest: format!(
                "{}\n{}",
                parts.uri.query().unwrap_or_default(),
                String::from_utf8_lossy(&body)
            ),
        };
        let first = lock(&self.behind).first().copied();
        self.hold(Side::Request, &asked, first).await;
        let behind = lock(&self.behind).clone();
        for address in behind {
            let place = parts
                .uri
                .path_and_query()
                .map_or("/", |place| place.as_str());
            let mut headers = parts.headers.clone();
            for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
                headers.remove(name);
            }
            let sent = self
                .client
                .request(parts.method.clone(), format!("http://{address}{place}"))
                .headers(headers)
                .body(body.clone())
                .send()
                .await;
            match sent {
                Ok(answer) => {
                    let answer = whole(answer).await?;
                    self.hold(Side::Reply, &asked, Some(address)).await;
                    return Ok(answer);
                }
                Err(error) if error.is_connect() => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Err(io::Error::other("nobody is there"))
    }

    /// Waits where a trap says so.
    async fn hold(&self, side: Side, asked: &Asked, to: Option<SocketAddr>) {
        let traps = lock(&self.traps).clone();
        for trap in traps.iter().filter(|trap| trap.side == side) {
            if !(trap.matches)(asked) {
                continue;
            }
            let Some(caught) = lock(&trap.caught).take() else {
                continue;
            };
            let (go_on, held) = oneshot::channel();
            let at = self.number;
            // Where nobody waits for it any more, it goes on at once.
            if caught.send(Held { at, to, go_on }).is_ok() {
                // An error is one that was dropped.
                drop(held.await);
            }
        }
    }
}

async fn whole(answer: reqwest::Response) -> io::Result<Response<Body>> {
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if *name != header::TRANSFER_ENCODING && *name != header::CONNECTION {
            response = response.header(name, value);
        }
    }
    let bytes: Bytes = answer.bytes().await.map_err(io::Error::other)?;
    response.body(Body::from(bytes)).map_err(io::Error::other)
}
