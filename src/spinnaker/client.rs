//! The calls. One per method; the only call with an effect that matters is [`Gate::trigger`],
//! and it is never repeated here.
//!
//! `GET /applications/{app}/executions/search` is not used: on an Orca with Redis storage it can
//! run for ever and keep a thread of Orca busy until Orca is restarted.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use super::{
    Execution, ExecutionId, ExecutionStatus, GateError, PipelineConfig, TriggerError,
    answer::Answer,
    wire::{ExecutionBody, PipelineConfigBody, Started, TriggerBody, UserAnswer},
};
use crate::http::{
    self, BuildError, CallError, CallErrorKind, Cookies, Settings, TOTAL_TIMEOUT, Tls,
};

/// Where Gate is and how to log in.
#[derive(Debug, Clone)]
pub struct GateSettings {
    /// Base URL; a path prefix is kept.
    pub base_url: Url,
    /// Sent with every call.
    pub login: Login,
    /// Whom the client trusts, and the certificate it shows.
    pub tls: Tls,
    /// From the call to the last byte of the answer.
    pub timeout: Duration,
}

impl GateSettings {
    /// Settings with the usual timeout, and with the platform's roots.
    pub fn new(base_url: Url, login: Login) -> Self {
        Self {
            base_url,
            login,
            tls: Tls::default(),
            timeout: TOTAL_TIMEOUT,
        }
    }
}

/// Ways to log in to Gate.
#[derive(Debug, Clone)]
pub enum Login {
    /// A Gate without login, or one that knows us by our certificate.
    None,
    /// `security.basicform`.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: SecretString,
    },
    /// An `OAuth2` access token.
    Bearer(SecretString),
}

/// What a pipeline is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// De-duplicates while the execution runs, over all of Spinnaker. One per attempt.
    pub correlation_id: String,
    /// Our own id, kept in the execution.
    pub event_id: String,
    /// Shown in Spinnaker as the starter.
    pub user: String,
    /// Pipeline parameters.
    pub parameters: BTreeMap<String, String>,
}

/// A file that a pipeline is started with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Artifact {
    /// Spinnaker's word for what it is: `s3/object`, `http/file`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What pipelines match it by; its address.
    pub name: String,
    /// Where it is fetched from.
    pub reference: String,
    /// The release's version.
    pub version: String,
}

/// A client of one Gate; cheap to clone. Keeps Gate's session cookie, because Gate makes a server
/// session for every call that comes without one.
#[derive(Debug, Clone)]
pub struct Gate {
    settings: GateSettings,
    http: Client,
}

impl Gate {
    /// A client with a connection pool of its own.
    pub fn new(settings: GateSettings) -> Result<Self, BuildError> {
        let http = http::client(&Settings {
            timeout: settings.timeout,
            cookies: Cookies::Keep,
            tls: settings.tls.clone(),
            ..Settings::default()
        })?;
        Ok(Self { settings, http })
    }

    /// Starts a saved pipeline by name and returns the execution Gate names. That can be an older
    /// one, even of another pipeline, when its correlation id is still in use: compare before
    /// adopting.
    pub async fn trigger(
        &self,
        application: &str,
        pipeline: &str,
        trigger: &Trigger,
    ) -> Result<ExecutionId, TriggerError> {
        self.trigger_with(application, pipeline, trigger, &[]).await
    }

    /// The same, with artifacts for the pipeline to take up.
    pub async fn trigger_with(
        &self,
        application: &str,
        pipeline: &str,
        trigger: &Trigger,
        artifacts: &[Artifact],
    ) -> Result<ExecutionId, TriggerError> {
        let url = self
            .url(&["pipelines", application, pipeline])
            .map_err(TriggerError::NotSent)?;
        let request = self.request(Method::POST, url).json(&TriggerBody {
            kind: "manual",
            user: &trigger.user,
            correlation_id: &trigger.correlation_id,
            event_id: &trigger.event_id,
            parameters: &trigger.parameters,
            artifacts,
        });
        let response = request.send().await.map_err(unsent_or_unclear)?;
        let answer = Answer::read(response)
            .await
            .map_err(TriggerError::Unclear)?;
        answer.started(Started::Pipeline)
    }

    /// Reads an execution; `None` when Orca has none of that id.
    pub async fn execution(&self, id: &ExecutionId) -> Result<Option<Execution>, GateError> {
        let url = self.url(&["pipelines", id.as_str()])?;
        let answer = self.call(Method::GET, url).await?;
        if answer.is_orcas_not_found() {
            return Ok(None);
        }
        Ok(Some(answer.json::<ExecutionBody>()?.into()))
    }

    /// Reads an application's saved pipelines; they come from Front50 and are there while Orca is down.
    pub async fn pipeline_configs(
        &self,
        application: &str,
    ) -> Result<Vec<PipelineConfig>, GateError> {
        let url = self.url(&["applications", application, "pipelineConfigs"])?;
        let answer = self.call(Method::GET, url).await?;
        let configs: Vec<PipelineConfigBody> = answer.json()?;
        Ok(configs.into_iter().map(Into::into).collect())
    }

    /// Lists executions of saved pipelines, newest first, at most `limit` of **each** pipeline.
    /// An empty `statuses` means all. Stage contexts and outputs are left out by Gate (they make
    /// the list several times larger): read [`Gate::execution`] for them.
    pub async fn executions_of(
        &self,
        pipeline_config_ids: &[&str],
        limit: u32,
        statuses: &[ExecutionStatus],
    ) -> Result<Vec<Execution>, GateError> {
        if pipeline_config_ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut url = self.url(&["executions"])?;
        url.query_pairs_mut()
            .append_pair("pipelineConfigIds", &pipeline_config_ids.join(","))
            .append_pair("limit", &limit.to_string())
            .append_pair("expand", "false");
        self.list::<ExecutionBody>(url, statuses).await
    }

    /// Reads executions by id with everything in them. Ids that Orca does not have, or has no more,
    /// are left out without a word.
    pub async fn executions_by_id(&self, ids: &[&str]) -> Result<Vec<Execution>, GateError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut url = self.url(&["executions"])?;
        url.query_pairs_mut()
            .append_pair("executionIds", &ids.join(","))
            .append_pair("expand", "true");
        self.list::<ExecutionBody>(url, &[]).await
    }

    /// Lists executions of an application with everything in them, newest first, at most `limit`
    /// of **each** pipeline. `pipeline_name` narrows to names that contain it. An empty
    /// `statuses` means all.
    pub async fn application_executions(
        &self,
        application: &str,
        limit: u32,
        statuses: &[ExecutionStatus],
        pipeline_name: Option<&str>,
    ) -> Result<Vec<Execution>, GateError> {
        let mut url = self.url(&["applications", application, "pipelines"])?;
        url.query_pairs_mut()
            .append_pair("limit", &limit.to_string())
            .append_pair("expand", "true");
        if let Some(name) = pipeline_name {
            url.query_pairs_mut()
                .append_pair("pipelineNameFilter", name);
        }
        self.list::<ExecutionBody>(url, statuses).await
    }

    /// Asks for a cancel. It happens later: read until the status is terminal, and judge by
    /// `status` alone. Never send it for a finished execution, which would then carry
    /// `canceled: true` beside `SUCCEEDED`.
    pub async fn cancel(&self, id: &ExecutionId, reason: &str) -> Result<(), GateError> {
        let mut url = self.url(&["pipelines", id.as_str(), "cancel"])?;
        url.query_pairs_mut()
            .append_pair("reason", reason)
            .append_pair("force", "false");
        let answer = self.call(Method::PUT, url).await?;
        if answer.is_orcas_not_found() {
            return Err(GateError::UnknownExecution(id.as_str().to_owned()));
        }
        answer.accepted()?;
        Ok(())
    }

    /// Checks address and login, without an effect. Gate answers 200 with an empty body when the
    /// login is not accepted.
    pub async fn probe(&self) -> Result<(), GateError> {
        let url = self.url(&["auth", "user"])?;
        let answer = self.call(Method::GET, url).await?;
        answer.accepted()?;
        let refused = |detail: &str| {
            let error = CallError::new(CallErrorKind::Auth, detail).with_status(answer.status);
            Err(GateError::Call(error))
        };
        if answer.body.is_empty() {
            return refused("Gate does not accept the login");
        }
        let user: UserAnswer = answer.json()?;
        if user.username.is_empty() && user.email.is_empty() {
            return refused("Gate names no user for this login");
        }
        Ok(())
    }

    pub(super) async fn list<Body: DeserializeOwned + Into<Execution>>(
        &self,
        mut url: Url,
        statuses: &[ExecutionStatus],
    ) -> Result<Vec<Execution>, GateError> {
        if !statuses.is_empty() {
            let words: Vec<&str> = statuses.iter().map(ExecutionStatus::as_str).collect();
            url.query_pairs_mut()
                .append_pair("statuses", &words.join(","));
        }
        let answer = self.call(Method::GET, url).await?;
        let bodies: Vec<Body> = answer.json()?;
        let mut executions: Vec<Execution> = bodies.into_iter().map(Into::into).collect();
        // Gate's order depends on Orca's storage.
        executions.sort_by(|a, b| b.build_time.cmp(&a.build_time).then(b.id.cmp(&a.id)));
        executions.dedup_by(|a, b| a.id == b.id);
        Ok(executions)
    }

    pub(super) async fn call(&self, method: Method, url: Url) -> Result<Answer, CallError> {
        Answer::read(self.request(method, url).send().await?).await
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.settings.login {
            Login::None => request,
            Login::Basic { username, password } => {
                request.basic_auth(username, Some(password.expose_secret()))
            }
            Login::Bearer(token) => request.bearer_auth(token.expose_secret()),
        }
    }

    /// Base URL plus segments, each escaped. Dots are refused: they would climb the path.
    pub(super) fn url(&self, segments: &[&str]) -> Result<Url, CallError> {
        let unusable = |detail: String| CallError::new(CallErrorKind::Client, detail);
        if let Some(name) = segments.iter().find(|s| matches!(**s, "" | "." | "..")) {
            return Err(unusable(format!("name `{name}` cannot be part of a path")));
        }
        let mut url = self.settings.base_url.clone();
        url.path_segments_mut()
            .map_err(|()| unusable("base URL cannot carry a path".to_owned()))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }
}

/// A request that never left is surely without effect; any other failure leaves it open.
pub(super) fn unsent_or_unclear(error: reqwest::Error) -> TriggerError {
    let unsent = error.is_connect() || error.is_builder();
    let error = CallError::from(error);
    if unsent {
        TriggerError::NotSent(error)
    } else {
        TriggerError::Unclear(error)
    }
}
