//! What an alert accuses: the answer of the resolution ladder.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::deployment::Deployment;
use super::id::{Env, Host, LaneName, ReleaseId, Service};
use super::release::Release;

/// Which rung of the ladder answered; a lower one is surer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// 1: `release_id` and `batch` labels.
    ReleaseLabels,
    /// 2: namespace and pod, or pod-template-hash.
    Pod,
    /// 3: server group, or cluster and sequence.
    ServerGroup,
    /// 4: version or image, with service and env.
    Version,
    /// 5: the host, by who ran there when the anomaly began.
    Host,
    /// 6: the only active deployment of service and env.
    ActiveDeployment,
}

impl Rung {
    /// What told it, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::ReleaseLabels => "its release label",
            Self::Pod => "its pod",
            Self::ServerGroup => "its server group",
            Self::Version => "its version",
            Self::Host => "who ran on the host",
            Self::ActiveDeployment => "the only active deployment",
        }
    }
}

/// An alert joined with the release, batches and hosts it accuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Context {
    /// Whose.
    pub service: Service,
    /// Where.
    pub env: Env,
    /// The accused release.
    pub release_id: ReleaseId,
    /// Its document, when one was published.
    pub release: Option<Release>,
    /// The accused deployment.
    pub deployment: Deployment,
    /// The accused batches; empty when none could be told.
    pub batches: BTreeSet<u32>,
    /// The accused hosts.
    pub hosts: Vec<Host>,
    /// How it was found.
    pub rung: Rung,
    /// How old the catalog's answer is.
    pub freshness: Freshness,
}

impl Context {
    /// The lane its deployment runs in.
    ///
    /// # Errors
    /// When service and env are too long together.
    pub fn lane(&self) -> Result<LaneName, super::id::InvalidId> {
        LaneName::of(&self.service, &self.env)
    }
}

/// When the catalog last agreed with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Freshness {
    /// Its last successful read of the store.
    #[schemars(with = "String")]
    pub as_of: Timestamp,
    /// Too old to act on.
    pub stale: bool,
}

/// What the ladder answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// One deployment fits.
    Found(Box<Context>),
    /// More than one does: tell people, never act.
    Ambiguous {
        /// The service, when the alert names one.
        service: Option<Service>,
        /// The environment, when the alert names one.
        env: Option<Env>,
        /// What fits, in words.
        candidates: Vec<String>,
    },
    /// None does, or the catalog can't be read.
    Unavailable {
        /// The service, when the alert names one.
        service: Option<Service>,
        /// The environment, when the alert names one.
        env: Option<Env>,
        /// Why, in words.
        reason: String,
    },
}

impl Resolution {
    /// The context, when exactly one deployment fits.
    pub fn context(&self) -> Option<&Context> {
        match self {
            Self::Found(context) => Some(context),
            Self::Ambiguous { .. } | Self::Unavailable { .. } => None,
        }
    }

    /// The service it is about, as far as known.
    pub fn service(&self) -> Option<&Service> {
        match self {
            Self::Found(context) => Some(&context.service),
            Self::Ambiguous { service, .. } | Self::Unavailable { service, .. } => service.as_ref(),
        }
    }

    /// What was found, or why nothing: for people.
    pub fn words(&self) -> String {
        match self {
            Self::Found(context) => {
                let batches: Vec<String> = context.batches.iter().map(u32::to_string).collect();
                let batches = match batches.as_slice() {
                    [] => String::new(),
                    [one] => format!(", batch {one}"),
                    many => format!(", batches {}", many.join("+")),
                };
                format!(
                    "{} in deployment {}{batches}, by {}",
                    context.release_id,
                    context.deployment.id,
                    context.rung.words()
                )
            }
            Self::Ambiguous { candidates, .. } => {
                format!("more than one release fits: {}", candidates.join(", "))
            }
            Self::Unavailable { reason, .. } => reason.clone(),
        }
    }

    /// The environment it is about, as far as known.
    pub fn env(&self) -> Option<&Env> {
        match self {
            Self::Found(context) => Some(&context.env),
            Self::Ambiguous { env, .. } | Self::Unavailable { env, .. } => env.as_ref(),
        }
    }
}
