//! A gateway's API, as the verbs ask it; each answer has its exit code.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::exit::{Exit, Failure};
use crate::domain::secret::Secret;
use crate::http::{self, CallError, Settings};

/// Most bytes of an answer.
const ANSWER_LIMIT: usize = 10 * 1024 * 1024;

/// Which gateway, and who asks.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct GatewayArgs {
    /// The gateway's address.
    #[arg(
        long,
        value_name = "URL",
        env = "BACKSTOP_GATEWAY",
        default_value = "http://127.0.0.1:9095",
        value_parser = base_url
    )]
    pub gateway: Url,
    /// A file that holds the bearer token; a token is never a flag.
    #[arg(long, value_name = "FILE", env = "BACKSTOP_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The longest wait for one answer.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

pub(super) fn base_url(text: &str) -> Result<Url, String> {
    crate::config::channel::base_url(text).map_err(|error| error.to_string())
}

/// A gateway's client.
#[derive(Debug)]
pub(super) struct Gateway {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

/// A body to send, and how.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// How.
    pub method: Method,
    /// Below the base address.
    pub path: &'a [&'a str],
    /// What; None: nothing.
    pub body: Option<Vec<u8>>,
    /// The Idempotency-Key.
    pub key: Option<&'a str>,
}

/// An answer that was read.
#[derive(Debug)]
pub(super) struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body; null when it was empty or not JSON.
    pub body: Value,
}

/// RFC 9457, as the gateway fills it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    code: String,
    pointer: String,
}

impl Gateway {
    /// A client for these flags.
    ///
    /// # Errors
    /// When the token's file can't be read.
    pub(super) fn new(args: &GatewayArgs) -> anyhow::Result<Self> {
        let token = match &args.token_file {
            None => None,
            Some(path) => {
                let text = String::from_utf8(super::place::read(path)?)
                    .map_err(|_| Failure::usage(format!("`{}` is not text", path.display())))?;
                let text = text.trim();
                if text.is_empty() {
                    let why = format!("the token file `{}` is empty", path.display());
                    return Err(Failure::usage(why).into());
                }
                Some(Secret::new(text))
            }
        };
        let http = http::client(&Settings {
            timeout: args.timeout,
            ..Settings::default()
        })?;
        Ok(Self {
            http,
            base: args.gateway.clone(),
            token,
        })
    }

    /// Its address.
    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Asks for a JSON document.
    ///
    /// # Errors
    /// With the exit code the answer stands for.
    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        let request = Request {
            method: Method::GET,
            path,
            body: None,
            key: None,
        };
        self.ask(request).await.map(|reply| reply.body)
    }

    /// Asks for text.
    ///
    /// # Errors
    /// With the exit code the answer stands for.
    pub(super) async fn text(&self, path: &[&str]) -> Result<String, Failure> {
        let (status, body) = self
            .send_bytes(self.http.get(self.url(path)))
            .await
            .map_err(|error| self.lost(&error))?;
        let unusable = |why| Failure::new(Exit::Unreachable, format!("the gateway's answer {why}"));
        if status == StatusCode::OK {
            return String::from_utf8(body.to_vec()).map_err(|_| unusable("is not text"));
        }
        // Only 200 comes with the whole text.
        if status.is_success() {
            return Err(unusable("holds no text"));
        }
        Err(refusal(&reply(status, &body)))
    }

    /// Asks for a JSON document with a query.
    ///
    /// # Errors
    /// With the exit code the answer stands for.
    pub(super) async fn query(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        let call = self.http.get(url);
        let reply = self.send_call(call).await;
        read(reply.map_err(|error| self.lost(&error))?).map(|reply| reply.body)
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// With the exit code the answer stands for.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: &Value,
        key: Option<&str>,
    ) -> Result<Value, Failure> {
        let request = Request {
            method,
            path,
            body: Some(body.to_string().into_bytes()),
            key,
        };
        self.ask(request).await.map(|reply| reply.body)
    }

    async fn ask(&self, request: Request<'_>) -> Result<Reply, Failure> {
        let reply = self.call(request).await;
        read(reply.map_err(|error| self.lost(&error))?)
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// One call, whatever the answer says.
    ///
    /// # Errors
    /// When no answer came.
    pub(super) async fn call(&self, request: Request<'_>) -> Result<Reply, CallError> {
        let mut call = self.http.request(request.method, self.url(request.path));
        if let Some(key) = request.key {
            call = call.header("idempotency-key", key);
        }
        if let Some(body) = request.body {
            call = call.header("content-type", "application/json").body(body);
        }
        self.send_call(call).await
    }

    async fn send_call(&self, call: reqwest::RequestBuilder) -> Result<Reply, CallError> {
        let (status, body) = self.send_bytes(call).await?;
        Ok(reply(status, &body))
    }

    async fn send_bytes(
        &self,
        mut call: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, Bytes), CallError> {
        if let Some(token) = &self.token {
            call = call.bearer_auth(token.expose());
        }
        let response = call.send().await?;
        let status = response.status();
        let body = http::read_body(response, ANSWER_LIMIT).await?;
        Ok((status, body))
    }

    /// What to say when no answer came.
    pub(super) fn lost(&self, error: &CallError) -> Failure {
        Failure::new(
            Exit::Unreachable,
            format!("the gateway at {} gives no answer: {error}", self.address()),
        )
        .next("is it running there? --gateway or BACKSTOP_GATEWAY names another one")
    }
}

fn reply(status: StatusCode, body: &[u8]) -> Reply {
    Reply {
        status,
        body: serde_json::from_slice(body).unwrap_or(Value::Null),
    }
}

/// A reply, unless it is a refusal.
///
/// # Errors
/// With the exit code the answer stands for.
pub(super) fn read(reply: Reply) -> Result<Reply, Failure> {
    if reply.status.is_success() {
        Ok(reply)
    } else {
        Err(refusal(&reply))
    }
}

/// What the gateway said, with its exit code.
pub(super) fn refusal(reply: &Reply) -> Failure {
    let problem = Problem::deserialize(&reply.body).unwrap_or_default();
    let status = reply.status.as_u16();
    let words = [&problem.detail, &problem.title]
        .into_iter()
        .find(|words| !words.is_empty());
    let mut text = match words {
        Some(words) => words.clone(),
        None => format!("the gateway answered {status}"),
    };
    if !problem.pointer.is_empty() {
        text = format!("{text} (at `{}`)", problem.pointer);
    }
    if !problem.code.is_empty() {
        text = format!("{text} [{}]", problem.code);
    }
    let failure = |exit| Failure::new(exit, text.clone());
    match status {
        401 => failure(Exit::Refused).next("the token is missing or unknown there: --token-file"),
        403 => failure(Exit::Refused).next("the token has not the scope for this"),
        404 => failure(Exit::Findings),
        409 => failure(Exit::Conflict).next("plan again: the world has moved on"),
        422 => failure(Exit::Refused),
        300..=399 => failure(Exit::Usage).next("the address answers with a redirect"),
        500.. => failure(Exit::Unreachable).next("try again; the gateway's log says more"),
        _ => failure(Exit::Usage),
    }
}

/// Reads an answer as a known shape.
///
/// # Errors
/// When it is another one.
pub(super) fn shape<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| {
        let text = format!("the gateway's answer can't be understood: {error}");
        Failure::new(Exit::Unreachable, text)
            .next("are this program and the gateway of one version?")
    })
}
