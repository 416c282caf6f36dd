//! How an outbound call fails: a class for the metric, what to do next, and a text without secrets.

use std::{error::Error as StdError, io, time::Duration};

use reqwest::{
    StatusCode,
    header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use rustls::AlertDescription as Alert;

/// Why a call failed; its [`as_str`](CallErrorKind::as_str) is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallErrorKind {
    /// The other side does not accept who we are.
    Auth,
    /// Too many calls.
    RateLimited,
    /// Any other 4xx: the call itself is wrong.
    Client,
    /// 5xx.
    Server,
    /// No answer in time.
    Timeout,
    /// No connection, or a broken one.
    Network,
    /// A good status whose body says no.
    RefusedByBody,
    /// An answer that cannot be understood.
    Decode,
}

impl CallErrorKind {
    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::RateLimited => "rate_limited",
            Self::Client => "client",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::RefusedByBody => "refused_by_body",
            Self::Decode => "decode",
        }
    }

    /// What a status says on its own. A redirect counts as `Auth`: none is followed, and the
    /// systems asked here redirect only to a login page.
    pub const fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            300..=399 | 401 | 403 | 407 => Self::Auth,
            429 => Self::RateLimited,
            408 => Self::Timeout,
            400..=499 => Self::Client,
            500..=599 => Self::Server,
            _ => Self::Decode,
        }
    }

    const fn retry(self) -> Retry {
        match self {
            Self::RateLimited | Self::Server | Self::Timeout | Self::Network => Retry::Backoff,
            Self::Auth | Self::Client | Self::RefusedByBody | Self::Decode => Retry::Never,
        }
    }
}

/// Whether the same call can succeed later. Says nothing about whether repeating it is *safe*:
/// that is for the caller, who knows if the call has effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// Later, with the caller's own back-off.
    Backoff,
    /// Not before this has passed; the other side asked for it.
    After(Duration),
}

/// A failed call. No URL and no body text of the other side gets in by itself.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct CallError {
    /// The class, for metrics and for a first decision.
    pub kind: CallErrorKind,
    /// Whether it can succeed later.
    pub retry: Retry,
    /// HTTP status, when an answer came.
    pub status: Option<u16>,
    /// One line for people, without secrets.
    pub detail: String,
    /// What lies beneath, with its URL taken off.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl CallError {
    /// A failure of a class with its usual [`Retry`].
    pub fn new(kind: CallErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            retry: kind.retry(),
            status: None,
            detail: detail.into(),
            source: None,
        }
    }

    /// A failure told by status and headers; `Retry-After` is honoured on 429 and 503.
    pub fn from_status(status: StatusCode, headers: &HeaderMap, detail: impl Into<String>) -> Self {
        let mut error = Self::new(CallErrorKind::of_status(status), detail).with_status(status);
        if matches!(status.as_u16(), 429 | 503)
            && let Some(wait) = retry_after(headers)
        {
            error.retry = Retry::After(wait);
        }
        error
    }

    /// Remembers the HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status.as_u16());
        self
    }

    /// Replaces the advice, where the caller knows better.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        if let Some((kind, detail)) = tls_error(&error).map(of_tls) {
            return Self {
                source: Some(Box::new(error.without_url())),
                ..Self::new(kind, detail)
            };
        }
        let (kind, detail) = if error.is_connect() && error.is_timeout() {
            (CallErrorKind::Timeout, "no connection in time")
        } else if error.is_connect() {
            (CallErrorKind::Network, "cannot connect")
        } else if error.is_timeout() {
            (CallErrorKind::Timeout, "no answer in time")
        } else if error.is_builder() {
            (CallErrorKind::Client, "request cannot be built")
        } else if error.is_decode() {
            (CallErrorKind::Decode, "answer cannot be decoded")
        } else {
            (CallErrorKind::Network, "connection broke")
        };
        Self {
            source: Some(Box::new(error.without_url())),
            ..Self::new(kind, detail)
        }
    }
}

/// What TLS itself complains about, somewhere beneath.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // Its `source` steps over the error that it carries.
        let carried = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}

/// A server that wants another certificate of ours says so in an alert, in TLS 1.3 only after we
/// think that the connection stands.
fn of_tls(error: &rustls::Error) -> (CallErrorKind, String) {
    match error {
        rustls::Error::AlertReceived(Alert::CertificateRequired) => (
            CallErrorKind::Auth,
            "the other side wants a client certificate".to_owned(),
        ),
        rustls::Error::AlertReceived(
            alert @ (Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied),
        ) => (
            CallErrorKind::Auth,
            format!("the other side refuses our client certificate ({alert:?})"),
        ),
        rustls::Error::InvalidCertificate(_) => (
            CallErrorKind::Network,
            format!("the other side's certificate is not trusted ({error})"),
        ),
        other => (CallErrorKind::Network, format!("TLS fails ({other})")),
    }
}

/// Seconds, or a date that is read against the answer's own `Date`, so that no clock of ours counts.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    if let Some(seconds) = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
    {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(value)?;
    let now = http_date(headers.get(DATE)?)?;
    Some(Duration::from_secs(
        u64::try_from(until - now).unwrap_or_default(),
    ))
}

fn http_date(value: &HeaderValue) -> Option<i64> {
    let date = jiff::fmt::rfc2822::parse(value.to_str().ok()?).ok()?;
    Some(date.timestamp().as_second())
}
