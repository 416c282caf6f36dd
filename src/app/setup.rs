//! Everything made from the configuration, swapped whole by a reload.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::canary;
use crate::config::channel::Target;
use crate::config::problem::listed;
use crate::config::{Basic, Channel, Config, Spinnaker, templates};
use crate::domain::clock::SharedClock;
use crate::domain::id::{ChannelName, ReplicaId};
use crate::domain::notice::Link;
use crate::domain::secret::Secret;
use crate::enrich::evidence::Prober;
use crate::http;
use crate::notify::channel::slack::Waits;
use crate::notify::channel::{Notifier, open};
use crate::notify::render::Renderer;
use crate::notify::{ChannelSetup, Ear, Limits, Notify, NotifySettings};
use crate::prometheus::{Alertmanager, RuleSource};
use crate::spinnaker::{Gate, GateSettings, Login};

use crate::store::{ArtifactPlace, Store, keys};

/// One request to the place of artifacts, its last byte included.
const ARTIFACT_TIMEOUT: Duration = Duration::from_mins(10);
/// Mail has no vendor's limit; the server's own answers govern it.
const MAIL_PER_MINUTE: u32 = 6_000;
/// About one message a second to a channel, says Slack.
const SLACK_PER_MINUTE: u32 = 60;
/// WeCom and DingTalk bots.
const BOT_PER_MINUTE: u32 = 20;
/// A generic webhook: the operator's own endpoint, which answers 429 when it wants less.
const WEBHOOK_PER_MINUTE: u32 = 6_000;

/// Why a configuration that was read well can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct SetupError {
    what: String,
    why: String,
}

impl SetupError {
    fn new(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

/// Everything made from one configuration.
#[derive(Debug)]
pub(super) struct Setup {
    /// What it was made from.
    pub config: Config,
    /// The channels.
    pub notify: Notify,
    /// Spinnaker, when configured.
    pub gate: Option<Gate>,
    /// The vmalerts that evaluate canary rules.
    pub canaries: Vec<RuleSource>,
    /// Where agents fetch releases from.
    pub artifacts: Option<ArtifactPlace>,
    /// Where the self-test's alert goes.
    pub alertmanager: Option<Alertmanager>,
    /// Asks the metrics store and the trusted rule lists.
    pub prober: Prober,
}

/// What outlives a reload and every setup needs.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    /// Documents.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Who we are.
    pub me: ReplicaId,
    /// Where sending tasks run.
    pub tasks: TaskTracker,
    /// Who hears what `notify` goes through.
    pub ear: Arc<dyn Ear>,
    /// The vendors' windows.
    pub limits: Arc<Limits>,
    /// What Slack told to wait.
    pub slack_waits: Arc<Waits>,
}

impl Setup {
    /// Makes everything a configuration asks for.
    ///
    /// # Errors
    /// When a client can't be built or a template is broken.
    pub(super) fn new(config: Config, ground: &Ground) -> Result<Self, SetupError> {
        let settings = http::Settings::default();
        let http =
            http::client(&settings).map_err(|error| SetupError::new("the HTTP client", error))?;
        let renderer = renderer(&config.root)?;
        let channels = channels(&config, &http, &renderer, ground)?;
        let notify = NotifySettings {
            channels,
            replicas: config.replicas,
            send_claim: config.timing.send_claim,
            list: list(&config),
            limits: Arc::clone(&ground.limits),
        };
        let notify = Notify::new(
            notify,
            ground.store.clone(),
            &ground.clock,
            ground.me.clone(),
            &ground.tasks,
            &ground.ear,
        );
        let gate = config.spinnaker.as_ref().map(gate).transpose()?;
        let clock = Arc::clone(&ground.clock);
        let prober = Prober::new(
            &http,
            config.metrics.as_ref(),
            &config.vmalert,
            &config.timing,
            clock,
        );
        let problems = canary::render::check(&config, "backstop.yaml");
        if !problems.is_empty() {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Err(SetupError::new("the canary rules", problems.join("\n")));
        }
        let canaries = config.vmalert.iter().filter(|vmalert| vmalert.canary);
        let canaries = canaries.map(|vmalert| RuleSource::new(http.clone(), vmalert));
        let canaries = canaries.collect();
        let alertmanager = config
            .self_test
            .as_ref()
            .map(|test| Alertmanager::new(http.clone(), &test.alertmanager));
        let artifacts = config.artifacts.as_deref();
        let artifacts = artifacts.map(|place| ArtifactPlace::open(place, ARTIFACT_TIMEOUT));
        let artifacts = artifacts
            .transpose()
            .map_err(|error| SetupError::new("`artifacts.url`", error))?;
        Ok(Self {
            config,
            notify,
            gate,
            canaries,
            artifacts,
            alertmanager,
            prober,
        })
    }
}

/// Gate's client as the configuration describes it.
///
/// # Errors
/// When the HTTP client can't be built.
pub(super) fn gate(settings: &Spinnaker) -> Result<Gate, SetupError> {
    Gate::new(gate_settings(settings)).map_err(|error| SetupError::new("Gate's client", error))
}

/// Where Gate is and how to log in, as the configuration says.
pub(crate) fn gate_settings(settings: &Spinnaker) -> GateSettings {
    let login = match (&settings.basic, &settings.bearer) {
        (Some(Basic { username, password }), _) => Login::Basic {
            username: username.clone(),
            password: secret(password),
        },
        (None, Some(token)) => Login::Bearer(secret(token)),
        (None, None) => Login::None,
    };
    GateSettings {
        base_url: settings.gate.clone(),
        login,
        tls: settings.tls.clone(),
        timeout: settings.timeout,
    }
}

fn secret(secret: &Secret) -> secrecy::SecretString {
    secrecy::SecretString::from(secret.expose().to_owned())
}

/// The team's templates where it has some, the shipped ones for the rest.
fn renderer(root: &Path) -> Result<Arc<Renderer>, SetupError> {
    let wrong = |error: &dyn std::fmt::Display| SetupError::new(templates::FOLDER, error);
    let own = templates::read(root).map_err(|problems| wrong(&listed(&problems)))?;
    Renderer::with(&own)
        .map(Arc::new)
        .map_err(|error| wrong(&error))
}

fn channels(
    config: &Config,
    http: &reqwest::Client,
    renderer: &Arc<Renderer>,
    ground: &Ground,
) -> Result<BTreeMap<ChannelName, ChannelSetup>, SetupError> {
    let owners = Arc::new(config.owners());
    let mut channels = BTreeMap::new();
    for (name, channel) in &config.channels {
        let settings = &channel.settings;
        let notifier: Arc<dyn Notifier> = open(
            settings,
            http,
            renderer,
            &ground.clock,
            &ground.slack_waits,
            &owners,
        )
        .map_err(|error| SetupError::new(format!("channel `{name}`"), error))?;
        channels.insert(
            name.clone(),
            ChannelSetup {
                notifier,
                target: target(name, &settings.target),
                calls: per_minute(channel),
                window: Duration::from_mins(1),
            },
        );
    }
    Ok(channels)
}

/// Who counts our calls: the bot or channel behind an address and a secret. Mail servers count for
/// themselves.
fn target(name: &ChannelName, target: &Target) -> String {
    match target {
        Target::Email(_) => keys::hashed(&format!("email {name}")),
        Target::Slack(slack) => {
            let token = slack.token.expose();
            keys::hashed(&format!(
                "slack {} {token} {}",
                slack.api_url, slack.channel
            ))
        }
        Target::WeCom(bot) => keys::hashed(&format!("wecom {} {}", bot.base_url, bot.key.expose())),
        Target::DingTalk(robot) => {
            let token = robot.token.expose();
            keys::hashed(&format!("dingtalk {} {token}", robot.base_url))
        }
        Target::Webhook(hook) => keys::hashed(&format!("webhook {}", hook.url)),
    }
}

/// The start page, which lists what fires.
fn list(config: &Config) -> Option<Link> {
    config.web.external_url.as_ref().map(|base| Link {
        text: "Backstop".to_owned(),
        url: base.to_string(),
    })
}

fn per_minute(channel: &Channel) -> u32 {
    channel
        .rate_per_minute
        .unwrap_or(match channel.settings.target {
            Target::Email(_) => MAIL_PER_MINUTE,
            Target::Slack(_) => SLACK_PER_MINUTE,
            Target::WeCom(_) | Target::DingTalk(_) => BOT_PER_MINUTE,
            Target::Webhook(_) => WEBHOOK_PER_MINUTE,
        })
}
