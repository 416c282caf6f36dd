//! The agent's own address: metrics and a sign of life, to whoever may connect.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::Agent;

/// Connections at once; a scrape takes one.
const MOST: usize = 16;
/// Time for a request's header.
const HEADER: Duration = Duration::from_secs(5);
/// Time for a whole connection.
const WHOLE: Duration = Duration::from_secs(15);

type Body = axum::body::Body;

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, agent: &Agent) {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST => match accepted {
                Ok((socket, _)) => {
                    let answers = service_fn(move |request| async move {
                        Ok::<_, Infallible>(answer(&request, agent))
                    });
                    let mut server = http1::Builder::new();
                    server.timer(TokioTimer::new()).header_read_timeout(HEADER).keep_alive(false);
                    let connection = server.serve_connection(TokioIo::new(socket), answers);
                    connections.push(timeout(WHOLE, connection));
                }
                Err(error) => {
                    tracing::warn!("a connection can't be taken: {error}");
                    sleep(Duration::from_secs(1)).await;
                }
            },
            Some(ended) = connections.next(), if !connections.is_empty() => {
                if let Ok(Err(error)) = ended {
                    tracing::debug!("a connection broke: {error}");
                }
            }
        }
    }
}

fn answer(request: &Request<Incoming>, agent: &Agent) -> Response<Body> {
    let is_get = request.method() == Method::GET;
    let (status, text) = match request.uri().path() {
        "/metrics" if is_get => (StatusCode::OK, agent.metrics()),
        "/-/healthy" if is_get => (StatusCode::OK, "backstop agent is alive\n".to_owned()),
        "/metrics" | "/-/healthy" => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, "/metrics\n".to_owned()),
    };
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
