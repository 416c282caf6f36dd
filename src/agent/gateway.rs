//! The gateway, as an agent asks it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, header};
use serde_json::json;
use url::Url;

use super::disk::Seam;
use crate::config::agent::{AgentConfig, AgentGateway};
use crate::domain::agent::{Fetch, Polled, Record};
use crate::domain::id::{Env, Service};
use crate::http::{self, BODY_LIMIT, CallError, Settings};

/// A gateway that can't be asked now, or does not take something.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    /// Come again.
    #[error("the gateway can't be asked: {0}")]
    Away(String),
    /// It will never be taken.
    #[error("the gateway refuses it: {0}")]
    Refused(String),
}

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum DownloadError {
    /// Worth another try.
    #[error("the download failed: {0}")]
    Away(String),
    /// Not worth one.
    #[error("{0}")]
    Refused(String),
    /// The disk does not take it.
    #[error("the download can't be written: {0}")]
    Disk(#[from] io::Error),
}

#[derive(Debug, Clone)]
pub(super) struct Gateway {
    http: Client,
    settings: AgentGateway,
    service: Service,
    env: Env,
}

impl Gateway {
    pub(super) fn new(config: &AgentConfig) -> Result<Self, http::BuildError> {
        let settings = Settings {
            timeout: config.gateway.timeout,
            tls: config.gateway.tls.clone(),
            ..Settings::default()
        };
        Ok(Self {
            http: http::client(&settings)?,
            settings: config.gateway.clone(),
            service: config.service.clone(),
            env: config.env.clone(),
        })
    }

    /// The client, for health checks.
    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    /// What this host is to run, with the answer's tag; None: what `known` tags is still it.
    pub(super) async fn desired(
        &self,
        known: Option<&str>,
    ) -> Result<Option<(Polled, Option<String>)>, GatewayError> {
        let query = [
            ("service", self.service.as_str()),
            ("env", self.env.as_str()),
        ];
        let mut request = self.to(self.http.get(self.at("api/v1/agent/desired")));
        if let Some(tag) = known {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let response = request.query(&query).send().await;
        let response = response.map_err(|error| GatewayError::Away(told(error)))?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let tag = response.headers().get(header::ETAG);
        let tag = tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = answer(response).await?;
        let polled = http::decode(&body);
        let polled = polled.map_err(|error| GatewayError::Away(error.to_string()))?;
        Ok(Some((polled, tag)))
    }

    /// Tells records, in order.
    pub(super) async fn tell(&self, records: &[Record]) -> Result<(), GatewayError> {
        let body = json!({"service": self.service, "env": self.env, "records": records});
        let request = self.to(self.http.post(self.at("api/v1/agent/records")));
        let response = request.json(&body).send().await;
        let response = response.map_err(|error| GatewayError::Away(told(error)))?;
        answer(response).await.map(drop)
    }

    /// Fetches a file; all of it is on disk afterwards.
    pub(super) async fn download(
        &self,
        fetch: &Fetch,
        to: &Path,
        max_bytes: u64,
        timeout: Duration,
        seam: &dyn Seam,
    ) -> Result<(), DownloadError> {
        let away = |error: reqwest::Error| DownloadError::Away(told(error));
        // A path is the gateway's own; anything else never sees our token.
        let request = if fetch.url.starts_with('/') {
            self.to(self.http.get(self.at(fetch.url.trim_start_matches('/'))))
        } else {
            let refused = |error| DownloadError::Refused(format!("its address: {error}"));
            self.http.get(fetch.url.parse::<Url>().map_err(refused)?)
        };
        let mut response = request.timeout(timeout).send().await.map_err(away)?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(DownloadError::Away(format!("answered {status}")));
        }
        if !status.is_success() {
            return Err(DownloadError::Refused(format!(
                "the download was answered {status}"
            )));
        }
        seam.before("write the download")?;
        let mut file = create(to)?;
        let mut left = max_bytes;
        while let Some(piece) = response.chunk().await.map_err(away)? {
            let size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            left = left.checked_sub(size).ok_or_else(|| {
                DownloadError::Refused(format!("the artifact is larger than {max_bytes} bytes"))
            })?;
            file.write_all(&piece)?;
        }
        seam.before("sync the download")?;
        Ok(file.sync_all()?)
    }

    /// The address of ours that the gateway sees.
    pub(super) fn own_address(&self) -> Option<IpAddr> {
        let host = self.settings.url.host_str()?;
        let port = self.settings.url.port_or_known_default()?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // Nothing is sent: the kernel only picks the way.
        let socket = ["0.0.0.0:0", "[::]:0"].iter().find_map(|any| {
            let socket = UdpSocket::bind(any).ok()?;
            socket.connect((host, port)).ok()?;
            Some(socket)
        })?;
        Some(socket.local_addr().ok()?.ip())
    }

    fn at(&self, path: &str) -> String {
        let base = self.settings.url.as_str().trim_end_matches('/');
        format!("{base}/{path}")
    }

    fn to(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.settings.token.expose())
    }
}

fn create(to: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(to)
}

fn told(error: reqwest::Error) -> String {
    CallError::from(error).to_string()
}

async fn answer(response: reqwest::Response) -> Result<bytes::Bytes, GatewayError> {
    let status = response.status();
    let body = http::read_body(response, BODY_LIMIT).await;
    if status.is_success() {
        return body.map_err(|error| GatewayError::Away(error.to_string()));
    }
    let detail = body.ok().and_then(|body| {
        let problem: serde_json::Value = serde_json::from_slice(&body).ok()?;
        Some(problem.get("detail")?.as_str()?.to_owned())
    });
    let text = format!(
        "{status}: {}",
        detail.unwrap_or_else(|| "no reason given".to_owned())
    );
    let for_good = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::PAYLOAD_TOO_LARGE
    );
    Err(if for_good {
        GatewayError::Refused(text)
    } else {
        GatewayError::Away(text)
    })
}
