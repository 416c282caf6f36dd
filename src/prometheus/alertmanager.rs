//! One Alertmanager's API v2: giving it an alert as vmalert does, and asking what became of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Login, join};
use crate::config;
use crate::domain::alert::Labels;
use crate::http::{self, CallError, CallErrorKind};

/// Most characters of a refusal that are repeated.
const REFUSAL_CHARS: usize = 200;

/// An alert as a client posts it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostedAlert {
    /// Its identity.
    pub labels: Labels,
    /// Words for people.
    pub annotations: Labels,
    /// Since when.
    pub starts_at: Timestamp,
    /// Until when we vouch for it.
    pub ends_at: Timestamp,
}

/// An alert as Alertmanager knows it.
#[derive(Debug, Clone, Deserialize)]
pub struct KnownAlert {
    /// Whether it is told.
    pub status: KnownStatus,
    /// Who is told.
    #[serde(default)]
    pub receivers: Vec<Receiver>,
}

/// Whether an alert is told, or why not.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownStatus {
    /// `active`, `suppressed` or `unprocessed`.
    pub state: String,
    /// Silences that cover it.
    #[serde(default)]
    pub silenced_by: Vec<String>,
    /// Alerts that inhibit it.
    #[serde(default)]
    pub inhibited_by: Vec<String>,
}

/// A receiver of a route.
#[derive(Debug, Clone, Deserialize)]
pub struct Receiver {
    /// Its name.
    pub name: String,
}

/// A client of one Alertmanager; cheap to clone.
#[derive(Debug, Clone)]
pub struct Alertmanager {
    http: reqwest::Client,
    base: url::Url,
    login: Login,
}

impl Alertmanager {
    /// Asks the configured Alertmanager through `http`.
    pub fn new(http: reqwest::Client, settings: &config::Alertmanager) -> Self {
        Self {
            http,
            base: settings.url.clone(),
            login: Login {
                basic: settings.basic.clone(),
                bearer: settings.bearer.clone(),
            },
        }
    }

    /// Gives it one alert.
    ///
    /// # Errors
    /// When it can't be reached or does not take it.
    pub async fn post(&self, alert: &PostedAlert) -> Result<(), CallError> {
        let request = self.http.post(self.url()?).json(&[alert]);
        self.send(request).await.map(drop)
    }

    /// What it knows of the alerts with this label.
    ///
    /// # Errors
    /// When it can't be reached or answers something else.
    pub async fn alerts(&self, label: &str, value: &str) -> Result<Vec<KnownAlert>, CallError> {
        let mut url = self.url()?;
        url.query_pairs_mut()
            .append_pair("filter", &format!("{label}={value:?}"));
        let body = self.send(self.http.get(url)).await?;
        http::decode(&body)
    }

    fn url(&self) -> Result<url::Url, CallError> {
        join(&self.base, &["api", "v2", "alerts"])
            .map_err(|error| CallError::new(CallErrorKind::Client, error.to_string()))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<bytes::Bytes, CallError> {
        let answer = self.login.apply(request).send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = http::read_body(answer, http::BODY_LIMIT).await?;
        if status.is_success() {
            return Ok(body);
        }
        let words = String::from_utf8_lossy(&body);
        let words: String = words.trim().chars().take(REFUSAL_CHARS).collect();
        let detail = format!("it answers {}: {words}", status.as_u16());
        Err(CallError::from_status(status, &headers, detail))
    }
}
