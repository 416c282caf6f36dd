//! The alerting rules one vmalert evaluates: `/api/v1/rules?type=alert`.
//!
//! Lenient from 1.79 on. A configured rule list is what makes an expression trustworthy, so what
//! belongs to the expression without standing in it (a group's `params`) is kept, and what can't be
//! repeated from outside (a group's `headers`) is told.

use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use super::client::read;
use super::wire::{Answer, GroupBody, RuleBody, RulesData};
use super::{Login, PromError, RuleList, join};
use crate::config::Vmalert;
use crate::domain::alert::Labels;

/// Longest wait for a rule list.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One group of a rule list.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleGroup {
    /// Its name; alerts carry it as `alertgroup`.
    pub name: String,
    /// The file it was read from.
    pub file: String,
    /// Query parameters its expressions are evaluated with.
    pub params: Vec<(String, String)>,
    /// True when its queries carry headers we are not told (a tenant, for example).
    pub has_headers: bool,
    /// Its alerting rules.
    pub rules: Vec<AlertingRule>,
}

/// One alerting rule.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertingRule {
    /// Alerts carry it as `alertname`.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// Labels of rule and group that are put on its alerts; templates as written.
    pub labels: Labels,
    /// Its `for`.
    pub for_: Duration,
    /// Whether its last evaluation went well; None before the first.
    pub healthy: Option<bool>,
    /// What its last evaluation said.
    pub last_error: Option<String>,
    /// When it was last evaluated, as told.
    pub last_evaluation: Option<String>,
}

/// One configured vmalert.
#[derive(Debug, Clone)]
pub struct RuleSource {
    http: reqwest::Client,
    base: Url,
    login: Login,
    /// Whether it evaluates armed canary rules.
    pub canary: bool,
}

impl RuleSource {
    /// Asks the configured vmalert through `http`.
    pub fn new(http: reqwest::Client, vmalert: &Vmalert) -> Self {
        Self {
            http,
            base: vmalert.url.clone(),
            login: Login {
                basic: vmalert.basic.clone(),
                bearer: None,
            },
            canary: vmalert.canary,
        }
    }
}

/// Its name is its host and port.
#[async_trait]
impl RuleList for RuleSource {
    fn name(&self) -> String {
        let host = self.base.host_str().unwrap_or("?");
        match self.base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    async fn rules(&self) -> Result<Vec<RuleGroup>, PromError> {
        let mut url = join(&self.base, &["api", "v1", "rules"])?;
        url.query_pairs_mut().append_pair("type", "alert");
        let request = self.http.get(url).timeout(TIMEOUT);
        let answer: Answer<RulesData> = read(self.login.apply(request)).await?;
        let data = answer
            .data
            .ok_or_else(|| PromError::BadAnswer("no data".into()))?;
        Ok(data
            .groups
            .unwrap_or_default()
            .into_iter()
            .map(group)
            .collect())
    }
}

fn group(body: GroupBody) -> RuleGroup {
    let labels = body.labels.unwrap_or_default();
    let param = |text: &String| {
        let (name, value) = text.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    RuleGroup {
        name: body.name,
        file: body.file,
        params: body.params.iter().flatten().filter_map(param).collect(),
        has_headers: body.headers.is_some_and(|headers| !headers.is_empty()),
        rules: body
            .rules
            .unwrap_or_default()
            .into_iter()
            // 1.79 does not know the filter, and other datasources speak other languages.
            .filter(|rule| rule.kind.as_deref().unwrap_or("alerting") == "alerting")
            .filter(|rule| {
                matches!(
                    rule.datasource_type.as_deref(),
                    None | Some("" | "prometheus")
                )
            })
            .map(|rule| alerting(rule, &labels))
            .collect(),
    }
}

fn alerting(body: RuleBody, group: &Labels) -> AlertingRule {
    let mut labels = group.clone();
    labels.extend(body.labels.unwrap_or_default());
    AlertingRule {
        name: body.name,
        query: body.query,
        labels,
        for_: Duration::try_from_secs_f64(body.duration).unwrap_or_default(),
        healthy: match body.health.as_str() {
            "ok" => Some(true),
            "err" => Some(false),
            _ => None,
        },
        last_error: body.last_error.filter(|text| !text.is_empty()),
        last_evaluation: body.last_evaluation.filter(|text| !text.is_empty()),
    }
}
