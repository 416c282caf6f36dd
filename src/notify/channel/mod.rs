//! The channels in their own wire protocols.
//!
//! A notifier words one notice, sends it in as many calls as it takes and tells what became of
//! each. It keeps no queue, limit or ledger: whoever calls it waits for the limiter's permits and
//! writes the receipt down. Success is what the vendor's body says, never the HTTP status.

pub mod call;
pub mod dingtalk;
pub mod email;
pub mod slack;
pub mod webhook;
pub mod wecom;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::render::view::{View, calls_people};
use super::render::{ChartPlace, RenderError, Renderer, Voice};
use crate::config::channel::{Channel, Target};
use crate::config::route::{Owners, traits};
use crate::domain::clock::SharedClock;
use crate::domain::notice::Notice;
use crate::domain::policy::Matcher;

/// One message on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// What it says.
    pub notice: &'a Notice,
    /// Its ledger entry's id: the mail's Message-ID, Slack's metadata.
    pub message_id: &'a str,
    /// The chart's bytes, when they are there in time.
    pub chart_png: Option<&'a [u8]>,
    /// The receipt of the thread's first message, for follow-ups.
    pub thread: Option<&'a Receipt>,
    /// What an earlier attempt at this very message got through ([`SendError::partial`]): it is
    /// not sent again.
    pub resume: Option<&'a Receipt>,
    /// Calls against the vendor's limit that may be made now; what is left is [`Class::More`].
    pub at_most: u32,
    /// In words only: the vendor refused links, pictures or markup of it.
    pub plain: bool,
}

impl<'a> Outgoing<'a> {
    /// A message in full, outside any thread and without a picture.
    pub fn of(notice: &'a Notice, message_id: &'a str) -> Self {
        Self {
            notice,
            message_id,
            chart_png: None,
            thread: None,
            resume: None,
            at_most: u32::MAX,
            plain: false,
        }
    }

    /// Parts an earlier attempt delivered.
    fn done(&self) -> u32 {
        self.resume.map_or(0, |receipt| receipt.parts)
    }

    /// How many of `all` calls an earlier attempt has left.
    fn left(&self, all: usize) -> u32 {
        u32::try_from(all)
            .unwrap_or(u32::MAX)
            .saturating_sub(self.done())
    }

    /// Those of all `parts` that no earlier attempt delivered.
    fn rest<'p, T>(&self, parts: &'p [T]) -> &'p [T] {
        let done = usize::try_from(self.done()).unwrap_or(usize::MAX);
        parts.get(done..).unwrap_or_default()
    }

    /// Whether one more call may be made, after `receipt`'s.
    fn may_go_on(&self, receipt: &Receipt) -> Result<(), SendError> {
        if receipt.parts.saturating_sub(self.done()) < self.at_most {
            return Ok(());
        }
        let more = SendError::new(Class::More, "more", "the rest waits for the limit");
        Err(more.after(receipt.clone()))
    }
}

/// What a vendor accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// Calls that were accepted, in order: text parts first, a picture last. For mail: recipients.
    pub parts: u32,
    /// Size of the chart the vendor took; None when the message went without.
    pub chart_bytes: Option<u64>,
    /// What the message went without, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Messages that went out in this one, a digest; 0 for any other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merged: u64,
    /// The vendor's side of it.
    pub proof: Proof,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Receipt {
    /// Recipients of a mail that others got and they did not: the server's code and words.
    pub(super) fn refused_recipients(&self) -> Vec<(&str, String)> {
        let Proof::Email { recipients, .. } = &self.proof else {
            return Vec::new();
        };
        let refused = recipients.iter().filter_map(|one| match &one.outcome {
            Delivery::Refused { code, text } => {
                Some((code.as_str(), format!("recipient {}: {text}", one.address)))
            }
            Delivery::Accepted => None,
        });
        refused.collect()
    }
}

/// What a follow-up needs to find the message again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Slack.
    Slack {
        /// The channel's id, as Slack answered it.
        channel: String,
        /// The first part's timestamp, its name within the channel.
        ts: String,
        /// The chart's file, when one was uploaded.
        file: Option<String>,
        /// Whether it tells of the alerts themselves, and so is rewritten to their newest state.
        #[serde(default)]
        shows_state: bool,
    },
    /// Mail.
    Email {
        /// Our Message-ID, without angle brackets.
        message_id: String,
        /// The thread's first Message-ID that was really sent.
        root: String,
        /// The thread's subject.
        subject: String,
        /// What became of each recipient.
        recipients: Vec<Recipient>,
    },
    /// A generic webhook.
    Webhook {
        /// The `webhook-id` of each part.
        ids: Vec<String>,
    },
    /// WeCom and DingTalk give no name for a message: the words it can be recognised by.
    Bot {
        /// As printed at the message's end.
        reference: String,
    },
}

/// What became of one recipient of a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recipient {
    /// Whose.
    pub address: String,
    /// What the server said.
    pub outcome: Delivery,
}

/// A mail server's answer about one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It took the mail.
    Accepted,
    /// It will not, for good.
    Refused {
        /// SMTP code.
        code: String,
        /// The server's words.
        text: String,
    },
}

/// What a caller can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again with backoff.
    Retry,
    /// A limit: nothing to this target for that long.
    Wait(Duration),
    /// This message is refused, whoever asks: it may pass in plain words, else people hear of it
    /// through another channel.
    Permanent,
    /// The target is refused, whatever the message: the messages stay owed, and people hear of it
    /// through another channel.
    Broken,
    /// The request was written and no answer read. The vendor can't tell a retry from a second
    /// message, so there are few.
    MaybeSent,
    /// No failure: the calls that were allowed are made, and more is to be sent.
    More,
}

impl Class {
    /// As metrics name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Wait(_) => "wait",
            Self::Permanent => "permanent",
            Self::Broken => "broken",
            Self::MaybeSent => "maybe_sent",
            Self::More => "more",
        }
    }
}

/// A message, or the rest of one, that did not get through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct SendError {
    /// What to do.
    pub class: Class,
    /// The vendor's code, or ours (`timeout`, `connect`, `http_502`, `bad_answer`, …): a metric label.
    pub code: String,
    /// In words; holds no secret and no URL.
    pub detail: String,
    /// What a person does about it, where the vendor's answer tells.
    pub fix: Option<&'static str>,
    /// What got through before.
    pub partial: Option<Box<Receipt>>,
}

impl SendError {
    fn new(class: Class, code: impl Into<String>, detail: impl AsRef<str>) -> Self {
        let detail = super::render::value::line(detail.as_ref());
        Self {
            class,
            code: code.into(),
            detail: super::render::value::shorten(&detail, 300),
            fix: None,
            partial: None,
        }
    }

    fn fixed_by(mut self, fix: Option<&'static str>) -> Self {
        self.fix = fix;
        self
    }

    /// All calls together took longer than a claim allows.
    pub(super) fn late() -> Self {
        Self::new(
            Class::MaybeSent,
            "deadline",
            "the channel did not answer in time",
        )
    }

    /// The claim is too old to begin under it.
    pub(super) fn outdated() -> Self {
        Self::new(Class::Retry, "claim", "claiming took too long")
    }

    /// Adds what got through before, if anything did.
    fn after(mut self, receipt: Receipt) -> Self {
        if receipt.parts > 0 {
            self.partial = Some(Box::new(receipt));
        }
        self
    }
}

impl From<RenderError> for SendError {
    fn from(error: RenderError) -> Self {
        // The shipped templates fail only where the machine leaves them no time: no message is lost
        // over that.
        Self::new(Class::Retry, "render", error.to_string())
    }
}

/// The body of one call, as it would go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Exactly what is sent.
    pub text: String,
    /// How a reader sees it, roughly: a fragment of HTML, or for mail a whole page.
    pub page: String,
}

impl Body {
    /// As the HTTP client serialises it.
    fn json(body: &serde_json::Value, page: String) -> Self {
        Self {
            text: body.to_string(),
            page,
        }
    }
}

/// What a probe found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The credentials work; as whom.
    Works(String),
    /// Only a message would tell.
    CannotTell,
}

/// One channel.
#[async_trait]
pub trait Notifier: Debug + Send + Sync {
    /// `email`, `slack`, `wecom`, `dingtalk` or `webhook`.
    fn kind(&self) -> &'static str;

    /// How many calls against the vendor's limit [`Self::send`] will make: split parts and the
    /// picture; for mail, recipients. Parts done by an earlier attempt are not counted.
    fn parts(&self, message: &Outgoing<'_>) -> u32;

    /// The bodies [`Self::send`] would make, to the byte; they hold no secrets.
    ///
    /// # Errors
    /// When the notice can't be worded.
    fn preview(&self, message: &Outgoing<'_>) -> Result<Vec<Body>, SendError>;

    /// Sends it.
    ///
    /// # Errors
    /// With what to do about it, and what got through nevertheless.
    async fn send(&self, message: &Outgoing<'_>) -> Result<Receipt, SendError>;

    /// Asks the vendor whether the credentials work, without a message.
    ///
    /// # Errors
    /// When they don't, or nobody answers.
    async fn probe(&self) -> Result<Probe, SendError>;
}

/// What every channel words its messages with.
#[derive(Debug, Clone)]
pub struct Wording {
    /// The templates.
    pub renderer: Arc<Renderer>,
    /// Language and time.
    pub voice: Voice,
    /// Who is called when.
    pub calls: Calls,
}

/// When a channel's people are called.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// All must hold, beside that something burns or waits.
    pub when: Vec<Matcher>,
    /// Owners of services, as the matchers see them.
    pub owners: Arc<Owners>,
}

impl Calls {
    /// Whether a message calls them.
    fn anybody(&self, notice: &Notice) -> bool {
        let (service, env) = (notice.service.as_ref(), notice.env.as_ref());
        let owner = service.and_then(|service| self.owners.get(service));
        let owner = owner.map(String::as_str);
        let traits = traits(&notice.severity, service, env, owner, &notice.route_labels);
        calls_people(notice) && self.when.iter().all(|matcher| matcher.matches(&traits))
    }
}

impl Wording {
    fn view(&self, notice: &Notice, chart: &ChartPlace, hosts: usize) -> View {
        View::of(notice, &self.voice, chart, hosts)
    }
}

/// Hosts a chat message names before it counts.
const CHAT_HOSTS: usize = 20;

/// Where the chart of a message will be in a channel that carries its bytes.
fn chart_place(message: &Outgoing<'_>) -> ChartPlace {
    match (message.chart_png, &message.notice.chart) {
        (Some(_), _) => ChartPlace::Beside,
        (None, Some(_)) => ChartPlace::Late,
        (None, None) => ChartPlace::Nowhere,
    }
}

/// The notifier of a configured channel. `http` must follow no redirects and have timeouts.
///
/// # Errors
/// When a mail server's TLS settings can't be used.
pub fn open(
    channel: &Channel,
    http: &reqwest::Client,
    renderer: &Arc<Renderer>,
    clock: &SharedClock,
    waits: &Arc<slack::Waits>,
    owners: &Arc<Owners>,
) -> Result<Arc<dyn Notifier>, SendError> {
    let wording = Wording {
        calls: Calls {
            when: channel.mention_when.clone(),
            owners: Arc::clone(owners),
        },
        renderer: Arc::clone(renderer),
        voice: Voice {
            locale: channel.locale,
            time_zone: channel.time_zone.clone(),
        },
    };
    Ok(match &channel.target {
        Target::Email(settings) => Arc::new(email::Email::new(&channel.name, settings, wording)?),
        Target::Slack(settings) => {
            let slack = slack::Slack::new(http.clone(), settings.clone(), wording);
            Arc::new(slack.heeding(waits))
        }
        Target::WeCom(settings) => {
            Arc::new(wecom::WeCom::new(http.clone(), settings.clone(), wording))
        }
        Target::DingTalk(settings) => Arc::new(dingtalk::DingTalk::new(
            http.clone(),
            settings.clone(),
            wording,
            Arc::clone(clock),
        )),
        Target::Webhook(settings) => Arc::new(webhook::Webhook::new(
            http.clone(),
            settings.clone(),
            wording,
            Arc::clone(clock),
        )),
    })
}
