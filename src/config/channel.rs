//! Settings of the channels, checked.

use url::Url;

use crate::domain::secret::Secret;

/// Language of a channel's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Locale {
    /// English.
    #[default]
    En,
    /// Simplified Chinese.
    ZhCn,
}

/// How a channel talks, and to whom.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Mail over SMTP.
    Email(Email),
    /// A Slack bot.
    Slack(Slack),
    /// A WeCom group bot.
    Wecom(Wecom),
    /// A DingTalk custom robot.
    Dingtalk(Dingtalk),
}

/// Mail over SMTP.
#[derive(Debug, Clone)]
pub struct Email {
    /// `smtps://host:465`, `smtp+starttls://host:587` or `smtp://host:25` (plain).
    pub smarthost: Url,
    /// Login.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Sender.
    pub from: String,
    /// Recipients; each gets an envelope of its own.
    pub to: Vec<String>,
}

/// A Slack bot.
#[derive(Debug, Clone)]
pub struct Slack {
    /// Bot token (`chat:write`, `files:write`).
    pub token: Secret,
    /// Channel id.
    pub channel: String,
    /// `https://slack.com/api`
    pub api_url: Url,
}

/// A WeCom group bot.
#[derive(Debug, Clone)]
pub struct Wecom {
    /// The bot's key.
    pub key: Secret,
    /// `https://qyapi.weixin.qq.com`
    pub api_url: Url,
}

/// A DingTalk custom robot.
#[derive(Debug, Clone)]
pub struct Dingtalk {
    /// The robot's access token.
    pub access_token: Secret,
    /// Signing secret, when the robot is guarded by a signature.
    pub secret: Option<Secret>,
    /// A keyword every message must hold, when the robot is guarded by one.
    pub keyword: Option<String>,
    /// `https://oapi.dingtalk.com`
    pub api_url: Url,
}
