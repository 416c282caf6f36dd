//! The listener: accepts, limits, drains.
//!
//! `axum::serve` has no deadline for a header and no limit of connections, so this is our own
//! loop over hyper. At the end it still accepts for a while (load balancers are slow to hear),
//! then every connection finishes what it has begun, and what is left at the last moment is cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::connection::{Listening, Pulse};
use super::routes::{Peer, Streamed};
use super::tls::Tls;
use crate::config::Timing;
use crate::telemetry::Metrics;

/// Pause after an accept that failed: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest header, bytes.
const MAX_HEADER: usize = 64 * 1024;

/// How the listener behaves.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// The longest a header may take to arrive, a TLS handshake included.
    pub header_deadline: Duration,
    /// The longest a connection may idle, or an answer may take to be read.
    pub idle: Duration,
    /// All is finished after the shutdown within this …
    pub drain: Duration,
    /// … of which it still accepts for this.
    pub drain_accept: Duration,
    /// The certificate; None: plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// Counts connections.
    pub metrics: Arc<Metrics>,
}

impl ServerSettings {
    /// The defaults, with the drain's times as configured.
    pub fn new(timing: &Timing, tls: Option<Arc<Tls>>, metrics: Arc<Metrics>) -> Self {
        Self {
            connections: 1_024,
            header_deadline: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            drain: timing.drain,
            drain_accept: timing.drain_accept,
            tls,
            metrics,
        }
    }
}

struct Server {
    router: Router,
    settings: ServerSettings,
    /// No new requests.
    stop: CancellationToken,
    /// Nothing any more.
    cut: CancellationToken,
    connections: TaskTracker,
}

/// Serves until `shutdown`, then drains. Returns when the last connection is gone, at the latest
/// `settings.drain` after the shutdown.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServerSettings,
    shutdown: CancellationToken,
) {
    let server = Arc::new(Server {
        router,
        stop: CancellationToken::new(),
        cut: CancellationToken::new(),
        connections: TaskTracker::new(),
        settings,
    });
    let mut accepting = Box::pin(Arc::clone(&server).accept(listener));
    tokio::select! {
        () = &mut accepting => return,
        () = shutdown.cancelled() => {}
    }
    let began = Instant::now();
    tracing::info!("draining");
    // Ends by its time: accepting never ends of itself.
    let _over = timeout_at(began + server.settings.drain_accept, &mut accepting).await;
    // Closes the listener: who connects now must hear at once that nobody is here.
    drop(accepting);
    server.stop.cancel();
    server.connections.close();
    let all_done = server.connections.wait();
    if timeout_at(began + server.settings.drain, all_done)
        .await
        .is_err()
    {
        let left = server.connections.len();
        tracing::warn!(
            connections = left,
            "connections were cut at the end of the drain"
        );
        server.cut.cancel();
        server.connections.wait().await;
    }
}

impl Server {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.settings.connections));
        // The semaphore is never closed.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let server = Arc::clone(&self);
                    self.connections
                        .spawn(server.connection(stream, peer, slot));
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.settings.metrics.error("web", "accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        slot: OwnedSemaphorePermit,
    ) {
        let open = &self.settings.metrics.connections_open;
        open.inc();
        // Answers are small; waiting for more to send only adds latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection without TCP_NODELAY");
        }
        match &self.settings.tls {
            None => self.http(stream, peer).await,
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.current().await);
                match timeout(self.settings.header_deadline, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.http(stream, peer).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
            }
        }
        open.dec();
        drop(slot);
    }

    async fn http<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pulse = Pulse::start(self.settings.header_deadline, self.settings.idle);
        let service = service_fn(|request: Request<Incoming>| {
            pulse.busy();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let (router, pulse) = (self.router.clone(), Arc::clone(&pulse));
            async move {
                let answer = router.oneshot(request).await;
                pulse.answered();
                answer.map(|answer| paced(answer, &pulse))
            }
        });
        let connection = http1::Builder::new()
            .max_buf_size(MAX_HEADER)
            .header_read_timeout(None)
            .serve_connection(
                TokioIo::new(Listening::new(stream, Arc::clone(&pulse))),
                service,
            );
        tokio::pin!(connection);
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = pulse.overdue() => return,
                () = self.cut.cancelled() => return,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Failures of the connection that was to be accepted, not of ours.
fn is_the_peers(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}
/// A long answer is idle only while no piece of it is taken.
fn paced(answer: Response<Body>, pulse: &Arc<Pulse>) -> Response<Body> {
    if answer.extensions().get::<Streamed>().is_none() {
        return answer;
    }
    let pulse = Arc::clone(pulse);
    answer.map(|body| Body::from_stream(body.into_data_stream().inspect(move |_| pulse.answered())))
}
