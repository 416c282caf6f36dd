//! Everything made from the configuration, swapped whole by a reload.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::config::channel::Target;
use crate::config::{Basic, Channel, Config, Spinnaker};
use crate::domain::clock::SharedClock;
use crate::domain::id::{ChannelName, ReplicaId};
use crate::domain::secret::Secret;
use crate::enrich::evidence::Prober;
use crate::http;
use crate::notify::channel::{Notifier, open};
use crate::notify::render::Renderer;
use crate::notify::{ChannelSetup, Ear, Notify, NotifySettings};
use crate::spinnaker::{Gate, GateSettings, Login};

use crate::store::Store;

/// Mail has no vendor's limit; the server's own answers govern it.
const MAIL_PER_MINUTE: u32 = 6_000;
/// About one message a second to a channel, says Slack.
const SLACK_PER_MINUTE: u32 = 60;
/// WeCom and DingTalk bots.
const BOT_PER_MINUTE: u32 = 20;

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
        let channels = channels(&config, &http, &renderer, &ground.clock)?;
        let notify = NotifySettings {
            channels,
            replicas: config.replicas,
            send_claim: config.timing.send_claim,
        };
        let notify = Notify::new(
            notify,
            ground.store.clone(),
            &ground.clock,
            ground.me.clone(),
            ground.tasks.clone(),
            Arc::clone(&ground.ear),
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
        Ok(Self {
            config,
            notify,
            gate,
            prober,
        })
    }
}

/// Gate's client as the configuration describes it.
///
/// # Errors
/// When the HTTP client can't be built.
pub(super) fn gate(settings: &Spinnaker) -> Result<Gate, SetupError> {
    let login = match (&settings.basic, &settings.bearer) {
        (Some(Basic { username, password }), _) => Login::Basic {
            username: username.clone(),
            password: secret(password),
        },
        (None, Some(token)) => Login::Bearer(secret(token)),
        (None, None) => Login::None,
    };
    let mut gate = GateSettings::new(settings.gate.clone(), login);
    gate.timeout = settings.timeout;
    Gate::new(gate).map_err(|error| SetupError::new("Gate's client", error))
}

fn secret(secret: &Secret) -> secrecy::SecretString {
    secrecy::SecretString::from(secret.expose().to_owned())
}

/// The team's templates where it has some, the shipped ones for the rest.
fn renderer(root: &Path) -> Result<Arc<Renderer>, SetupError> {
    let folder = root.join("templates/notify");
    let wrong =
        |error: &dyn std::fmt::Display| SetupError::new(folder.display().to_string(), error);
    let mut own = Vec::new();
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(|error| wrong(&error))?.path();
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                    continue;
                };
                if path
                    .extension()
                    .is_some_and(|extension| extension == "tera")
                    && !name.starts_with('.')
                {
                    own.push((
                        name.to_owned(),
                        std::fs::read_to_string(&path).map_err(|error| wrong(&error))?,
                    ));
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(&error)),
    }
    let renderer = if own.is_empty() {
        Renderer::shipped()
    } else {
        Renderer::with(&own)
    };
    renderer
        .map(Arc::new)
        .map_err(|error| SetupError::new("the message templates", error))
}

fn channels(
    config: &Config,
    http: &reqwest::Client,
    renderer: &Arc<Renderer>,
    clock: &SharedClock,
) -> Result<BTreeMap<ChannelName, ChannelSetup>, SetupError> {
    let mut channels = BTreeMap::new();
    for (name, channel) in &config.channels {
        let notifier: Arc<dyn Notifier> = open(&channel.settings, http, renderer, clock)
            .map_err(|error| SetupError::new(format!("channel `{name}`"), error))?;
        channels.insert(
            name.clone(),
            ChannelSetup {
                notifier,
                per_minute: per_minute(channel),
            },
        );
    }
    Ok(channels)
}

fn per_minute(channel: &Channel) -> u32 {
    channel
        .rate_per_minute
        .unwrap_or(match channel.settings.target {
            Target::Email(_) => MAIL_PER_MINUTE,
            Target::Slack(_) => SLACK_PER_MINUTE,
            Target::WeCom(_) | Target::DingTalk(_) => BOT_PER_MINUTE,
        })
}
