//! The shape of one file of `channels/`, and of every kind of channel in it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretRef;
use crate::config::place::At;

/// One file of `channels/`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawChannel {
    /// Its name in rules, metrics and the ledger.
    pub name: At<String>,
    /// Mail over SMTP.
    #[serde(default)]
    pub email: Option<RawEmail>,
    /// A Slack bot.
    #[serde(default)]
    pub slack: Option<RawSlack>,
    /// A WeCom group bot.
    #[serde(default)]
    pub wecom: Option<RawWecom>,
    /// A DingTalk custom robot.
    #[serde(default)]
    pub dingtalk: Option<RawDingtalk>,
    /// A generic webhook.
    #[serde(default)]
    pub webhook: Option<RawWebhook>,
    /// en or zh-CN. Default en.
    #[serde(default)]
    pub locale: Option<At<String>>,
    /// IANA name. Default UTC.
    #[serde(default)]
    pub time_zone: Option<At<String>>,
    /// Colours of the charts: light or dark. Default light.
    #[serde(default)]
    pub chart_theme: Option<At<String>>,
    /// Whether messages about ended alerts go there. Default true.
    #[serde(default)]
    pub send_resolved: Option<bool>,
    /// Matchers over severity, service, env, owner and `route_<label>`: its people are called only
    /// where all hold. Left out: by every firing alert and page.
    #[serde(default)]
    pub mention_when: Vec<At<String>>,
    /// The vendor's limit per minute, before it is divided by the replicas.
    #[serde(default)]
    pub rate_per_minute: Option<At<u32>>,
}

/// Mail over SMTP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawEmail {
    /// `smtps://host:465`, `smtp+starttls://host:587` or `smtp://host:25`.
    pub smarthost: At<String>,
    /// Login name.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<At<SecretRef>>,
    /// PEM of a private authority.
    #[serde(default)]
    pub ca_file: Option<At<PathBuf>>,
    /// Sender.
    pub from: At<String>,
    /// Recipients.
    pub to: Vec<At<String>>,
    /// Where answers go.
    #[serde(default)]
    pub reply_to: Option<At<String>>,
    /// One SMTP transaction may take this long. Default 20s.
    #[serde(default)]
    pub timeout: Option<At<String>>,
}

/// A Slack bot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSlack {
    /// Bot token.
    pub token: At<SecretRef>,
    /// Channel id.
    pub channel: String,
    /// Default `https://slack.com/api`.
    #[serde(default)]
    pub api_url: Option<At<String>>,
    /// here, channel, U… or S…: called by firing alerts and pages.
    #[serde(default)]
    pub mention: Vec<At<String>>,
    /// How long to wait for an uploaded chart. Default 5s.
    #[serde(default)]
    pub chart_wait: Option<At<String>>,
}

/// A WeCom group bot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWecom {
    /// The `key` of the webhook URL.
    pub key: At<SecretRef>,
    /// Default `https://qyapi.weixin.qq.com`.
    #[serde(default)]
    pub api_url: Option<At<String>>,
    /// User ids called by firing alerts and pages.
    #[serde(default)]
    pub mention: Vec<At<String>>,
}

/// A DingTalk custom robot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDingtalk {
    /// The `access_token` of the webhook URL.
    pub token: At<SecretRef>,
    /// The signing secret.
    #[serde(default)]
    pub secret: Option<At<SecretRef>>,
    /// The word the robot wants in every message.
    #[serde(default)]
    pub keyword: Option<String>,
    /// Default `https://oapi.dingtalk.com`.
    #[serde(default)]
    pub api_url: Option<At<String>>,
    /// Phone numbers called by firing alerts and pages.
    #[serde(default)]
    pub mention_mobiles: Vec<At<String>>,
    /// User ids called by firing alerts and pages.
    #[serde(default)]
    pub mention_users: Vec<At<String>>,
}

/// A generic webhook, signed as Standard Webhooks says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// Where messages are posted.
    pub url: At<String>,
    /// Signs them: `whsec_` and the base64 of 24 to 64 bytes.
    pub secret: At<SecretRef>,
    /// Signs them too, while it replaces the first.
    #[serde(default)]
    pub next_secret: Option<At<SecretRef>>,
    /// Sent as a bearer token.
    #[serde(default)]
    pub bearer: Option<At<SecretRef>>,
    /// Longest body in bytes. Default 256 KiB.
    #[serde(default)]
    pub max_body: Option<At<usize>>,
}
