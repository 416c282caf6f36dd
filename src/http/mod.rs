//! The only builder of outbound HTTP clients, how their answers are read, and how failures read.
//!
//! Every client made here has a connect and a total timeout, follows no redirect (Gate answers a
//! wrong login with one, and a followed redirect can carry a token to another host), takes no
//! proxy from the environment and verifies TLS, with the platform's roots unless [`Settings::tls`]
//! names others. What an answer *means* is left to the room that asked.
//!
//! `HTTP_PROXY` and its kin are ignored on purpose: a variable set for a package manager would
//! otherwise hand Gate's password to a proxy. A proxy is used only where [`Settings::proxy`] says so.

mod error;
mod tls;

pub use error::{CallError, CallErrorKind, Retry};
pub use tls::{Tls, TlsError};

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Proxy, Response, redirect};
use serde::de::DeserializeOwned;
use url::Url;

/// Time to set up a connection, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time from the call to the last byte of the answer, unless a caller says otherwise.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are kept.
pub const BODY_LIMIT: usize = 10 * 1024 * 1024;
/// Sent with every call.
pub const USER_AGENT: &str = concat!("backstop/", env!("CARGO_PKG_VERSION"));

/// Servers drop idle connections after 20 s and more; leaving first avoids a send into a
/// connection that is being closed, whose outcome nobody knows.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// What may differ between outbound clients.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From the call to the last byte of the answer.
    pub timeout: Duration,
    /// Connection set-up alone.
    pub connect_timeout: Duration,
    /// Keep cookies between calls of this client.
    pub cookies: Cookies,
    /// Send everything through this proxy; `None` connects directly.
    pub proxy: Option<Url>,
    /// Whom it trusts, and which certificate it shows.
    pub tls: Tls,
}

/// Whether a client keeps cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookies {
    /// Kept in memory, as long as the client lives.
    Keep,
    /// Dropped.
    Drop,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: TOTAL_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            cookies: Cookies::Drop,
            proxy: None,
            tls: Tls::default(),
        }
    }
}

/// A client that could not be built.
#[derive(Debug, thiserror::Error)]
#[error("HTTP client cannot be built")]
pub struct BuildError(#[source] reqwest::Error);

/// Builds a client; cheap to clone, meant to be kept for its connection pool.
pub fn client(settings: &Settings) -> Result<Client, BuildError> {
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .timeout(settings.timeout)
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .redirect(redirect::Policy::none())
        .referer(false)
        .cookie_store(settings.cookies == Cookies::Keep)
        .no_proxy();
    let builder = match &settings.proxy {
        Some(url) => builder.proxy(Proxy::all(url.clone()).map_err(redacted)?),
        None => builder,
    };
    settings.tls.apply(builder).build().map_err(redacted)
}

fn redacted(error: reqwest::Error) -> BuildError {
    BuildError(error.without_url())
}

/// Reads an answer's body to its end; one longer than `limit` bytes is an error, not a cut text.
pub async fn read_body(mut response: Response, limit: usize) -> Result<Bytes, CallError> {
    let status = response.status();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(CallError::from)? {
        if body.len() + chunk.len() > limit {
            let detail = format!("answer is longer than {limit} bytes");
            return Err(CallError::new(CallErrorKind::Decode, detail).with_status(status));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Parses a JSON body. The error names the place, never the text: answers can hold tokens.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|error| {
        let problem = match error.classify() {
            serde_json::error::Category::Data => "JSON of an unexpected shape",
            serde_json::error::Category::Eof => "JSON that ends too early",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "not JSON",
        };
        let (line, column) = (error.line(), error.column());
        let detail = format!("answer is {problem} (line {line}, column {column})");
        CallError::new(CallErrorKind::Decode, detail)
    })
}

#[cfg(test)]
mod tests;
