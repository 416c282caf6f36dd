//! What a channel needs to know: checked values, secrets resolved.
//!
//! How the YAML looks and where secrets are read from is decided elsewhere; here a value either
//! fits its channel or is refused with the words a `check` prints.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use lettre::message::Mailbox;
use url::Url;

use crate::domain::id::ChannelName;
use crate::domain::policy::Matcher;
use crate::domain::secret::Secret;

/// A setting that does not fit its channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSetting(String);

impl BadSetting {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// One file of `channels/`.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its name: in rules, metrics and the ledger.
    pub name: ChannelName,
    /// The language of the fixed words.
    pub locale: Locale,
    /// Whose wall clock times are written in.
    pub time_zone: TimeZone,
    /// How its charts are coloured.
    pub chart_theme: ChartTheme,
    /// Its people are called only where all of these hold.
    pub mention_when: Vec<Matcher>,
    /// The vendor's side.
    pub target: Target,
}

/// The vendor's side of a channel.
#[derive(Debug, Clone)]
pub enum Target {
    /// SMTP.
    Email(Email),
    /// Slack, with a bot token.
    Slack(Slack),
    /// A WeCom group bot.
    WeCom(WeCom),
    /// A DingTalk custom robot.
    DingTalk(DingTalk),
    /// A generic webhook.
    Webhook(Webhook),
}

/// The languages the fixed words exist in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Locale {
    /// English.
    #[default]
    En,
    /// Simplified Chinese.
    ZhCn,
}

/// The colours of a channel's charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChartTheme {
    /// On white, for mail and chats with a light background.
    #[default]
    Light,
    /// On near black.
    Dark,
}

impl FromStr for ChartTheme {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "light" => Ok(Self::Light),
            "dark" => Ok(Self::Dark),
            _ => Err(BadSetting::new(format!(
                "`{}` is no chart theme: light or dark",
                text.escape_default()
            ))),
        }
    }
}

impl FromStr for Locale {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "en" => Ok(Self::En),
            "zh-CN" => Ok(Self::ZhCn),
            _ => Err(BadSetting::new(format!(
                "`{}` is no locale: en or zh-CN",
                text.escape_default()
            ))),
        }
    }
}

/// An IANA time zone by name.
///
/// # Errors
/// When the system's database does not know it.
pub fn time_zone(name: &str) -> Result<TimeZone, BadSetting> {
    TimeZone::get(name).map_err(|_| {
        BadSetting::new(format!(
            "`{}` is no IANA time zone such as Asia/Shanghai",
            name.escape_default()
        ))
    })
}

/// A vendor's base URL, without a slash at its end.
///
/// # Errors
/// When it is no http(s) URL or carries a query, fragment or credentials.
pub fn base_url(text: &str) -> Result<Url, BadSetting> {
    let bad = |why: &str| BadSetting::new(format!("this base URL {why}"));
    let mut url = Url::parse(text).map_err(|_| bad("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("must be http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("must have no query and no fragment"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("must carry no credentials"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// `smtps://`: TLS from the first byte, port 465.
    Implicit,
    /// `smtp+starttls://`: compulsory upgrade, port 587.
    StartTls,
    /// `smtp://`: none, port 25.
    Plain,
}

/// The mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpServer {
    /// Its name, also the one its certificate must carry.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is protected.
    pub tls: SmtpTls,
}

impl FromStr for SmtpServer {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why: &str| BadSetting::new(format!("this mail server URL {why}"));
        let url = Url::parse(text).map_err(|_| bad("is not a URL"))?;
        let (tls, port) = match url.scheme() {
            "smtps" => (SmtpTls::Implicit, 465),
            "smtp+starttls" => (SmtpTls::StartTls, 587),
            "smtp" => (SmtpTls::Plain, 25),
            _ => return Err(bad("must be smtps://, smtp+starttls:// or smtp://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("must carry no credentials: set username and password"));
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("names no host"))?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(port),
            tls,
        })
    }
}

/// An e-mail channel.
#[derive(Debug, Clone)]
pub struct Email {
    /// Where mail is handed in.
    pub server: SmtpServer,
    /// User and password; QQ and 163 want an authorisation code as the password.
    pub login: Option<(String, Secret)>,
    /// A private authority's certificate (PEM), besides the system's.
    pub authority: Option<Vec<u8>>,
    /// The sender.
    pub from: Mailbox,
    /// The recipients; each gets an own envelope.
    pub to: Vec<Mailbox>,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
    /// One SMTP transaction may take this long.
    pub timeout: Duration,
}

impl Email {
    /// Whether the parts fit each other.
    ///
    /// # Errors
    /// No recipient, one named twice, or a password over a plain connection to another machine.
    pub fn check(&self) -> Result<(), BadSetting> {
        if self.to.is_empty() {
            return Err(BadSetting::new("an e-mail channel needs a recipient"));
        }
        for (place, one) in self.to.iter().enumerate() {
            if self
                .to
                .iter()
                .skip(place + 1)
                .any(|other| other.email == one.email)
            {
                return Err(BadSetting::new(format!("`{}` is named twice", one.email)));
            }
        }
        let local = matches!(self.server.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if self.login.is_some() && self.server.tls == SmtpTls::Plain && !local {
            return Err(BadSetting::new(
                "a password needs smtps:// or smtp+starttls://",
            ));
        }
        Ok(())
    }
}

/// A mailbox such as `On call <oncall@example.com>`.
///
/// # Errors
/// When it is none.
pub fn mailbox(text: &str) -> Result<Mailbox, BadSetting> {
    text.parse()
        .map_err(|_| BadSetting::new(format!("`{}` is no mail address", text.escape_default())))
}

/// Whom a Slack message calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackMention(String);

impl FromStr for SlackMention {
    type Err = BadSetting;

    /// `here`, `channel`, a user (`U…`, `W…`) or a user group (`S…`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.len() > 1
            && text
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let markup = match text.as_bytes().first() {
            _ if matches!(text, "here" | "channel") => format!("<!{text}>"),
            Some(b'U' | b'W') if id => format!("<@{text}>"),
            Some(b'S') if id => format!("<!subteam^{text}>"),
            _ => {
                return Err(BadSetting::new(format!(
                    "`{}` is nobody in Slack: here, channel, U… or S…",
                    text.escape_default()
                )));
            }
        };
        Ok(Self(markup))
    }
}

impl fmt::Display for SlackMention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Slack channel.
#[derive(Debug, Clone)]
pub struct Slack {
    /// A bot token (`xoxb-…`) with `chat:write` and, for charts, `files:write`.
    pub token: Secret,
    /// The channel's id; a name works for messages but not for threads.
    pub channel: String,
    /// `https://slack.com/api` unless told.
    pub api_url: Url,
    /// Called by firing alerts and pages.
    pub mention: Vec<SlackMention>,
    /// How long to wait until Slack can show an uploaded chart. The message then goes without it.
    pub chart_wait: Duration,
}

/// A WeCom group bot.
#[derive(Debug, Clone)]
pub struct WeCom {
    /// The `key` of the webhook URL.
    pub key: Secret,
    /// `https://qyapi.weixin.qq.com` unless told.
    pub base_url: Url,
    /// User ids called by firing alerts and pages. Markdown knows no `@all`.
    pub mention: Vec<String>,
}

/// A DingTalk custom robot.
#[derive(Debug, Clone)]
pub struct DingTalk {
    /// The `access_token` of the webhook URL.
    pub token: Secret,
    /// The signing secret (`SEC…`), when the robot checks signatures.
    pub secret: Option<Secret>,
    /// The word the robot wants to see in every message, when it has one.
    pub keyword: Option<String>,
    /// `https://oapi.dingtalk.com` unless told.
    pub base_url: Url,
    /// Phone numbers called by firing alerts and pages.
    pub mention_mobiles: Vec<String>,
    /// User ids called by firing alerts and pages.
    pub mention_users: Vec<String>,
}

/// A generic webhook, signed as Standard Webhooks says.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where messages are posted.
    pub url: Url,
    /// Signs them (`whsec_…`).
    pub secret: Secret,
    /// Signs them too, while it replaces the first.
    pub next_secret: Option<Secret>,
    /// Sent as `Authorization: Bearer`, when the receiver wants one.
    pub bearer: Option<Secret>,
    /// Longest body in bytes; more alerts go into further ones.
    pub max_body: usize,
}

/// The bytes of a Standard Webhooks secret: `whsec_` and base64 of 24 to 64 bytes.
///
/// # Errors
/// When it is none; the words do not hold it.
pub fn webhook_key(secret: &Secret) -> Result<Vec<u8>, BadSetting> {
    let text = secret.expose();
    let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text));
    match key {
        Ok(key) if (24..=64).contains(&key.len()) => Ok(key),
        _ => Err(BadSetting::new(
            "a signing secret is `whsec_` and the base64 of 24 to 64 random bytes",
        )),
    }
}

/// A user id or phone number that goes into markup: letters, digits and `._+-` only.
///
/// # Errors
/// When anything else is in it, so that no setting can break out of a mention.
pub fn mention(text: &str) -> Result<String, BadSetting> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(BadSetting::new(format!(
        "`{}` is no user id or phone number",
        text.escape_default()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_is_told_by_its_scheme() {
        let server = |text: &str| text.parse::<SmtpServer>();
        let expect = |host: &str, port, tls| {
            Ok(SmtpServer {
                host: host.into(),
                port,
                tls,
            })
        };
        assert_eq!(
            server("smtps://mail.example.com"),
            expect("mail.example.com", 465, SmtpTls::Implicit)
        );
        assert_eq!(
            server("smtp+starttls://mail.example.com:2587"),
            expect("mail.example.com", 2587, SmtpTls::StartTls)
        );
        assert_eq!(
            server("smtp://127.0.0.1:2525"),
            expect("127.0.0.1", 2525, SmtpTls::Plain)
        );
        assert_eq!(
            server("smtp://[::1]:2525"),
            expect("::1", 2525, SmtpTls::Plain)
        );
        for text in ["http://mail", "smtp://", "smtps://me:s3cr3t@mail", "mail"] {
            let error = server(text).unwrap_err().to_string();
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn a_password_does_not_travel_in_the_clear() {
        let mut email = Email {
            server: "smtp://mail.example.com".parse().unwrap(),
            login: Some(("me".into(), Secret::new("s3cr3t"))),
            authority: None,
            from: mailbox("backstop@example.com").unwrap(),
            to: vec![mailbox("On call <oncall@example.com>").unwrap()],
            reply_to: None,
            timeout: Duration::from_secs(20),
        };
        assert!(email.check().is_err());
        email.server = "smtps://mail.example.com".parse().unwrap();
        assert_eq!(email.check(), Ok(()));
        email.to.push(mailbox("oncall@example.com").unwrap());
        assert!(email.check().is_err(), "named twice");
        assert!(!format!("{email:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_base_url_carries_nothing_but_its_place() {
        assert_eq!(
            base_url("https://slack.com/api/").unwrap().as_str(),
            "https://slack.com/api"
        );
        for text in [
            "ftp://x",
            "https://u:p@x",
            "https://x?key=1",
            "https://x#y",
            "x",
        ] {
            assert!(base_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mentions_hold_no_markup() {
        assert_eq!(
            "U012AB".parse::<SlackMention>().unwrap().to_string(),
            "<@U012AB>"
        );
        assert_eq!(
            "S012AB".parse::<SlackMention>().unwrap().to_string(),
            "<!subteam^S012AB>"
        );
        assert_eq!(
            "here".parse::<SlackMention>().unwrap().to_string(),
            "<!here>"
        );
        for text in ["everyone", "U1>", "u12", "", "<!here>"] {
            assert!(text.parse::<SlackMention>().is_err(), "{text}");
        }
        assert!(mention("zhang.san").is_ok());
        assert!(mention("a>b").is_err());
        assert!(mention("").is_err());
    }

    #[test]
    fn a_signing_secret_is_base64_of_enough_bytes() {
        let secret = |bytes: usize| Secret::new(STANDARD.encode(vec![7; bytes]));
        assert_eq!(webhook_key(&secret(24)), Ok(vec![7; 24]));
        let prefixed = Secret::new(format!("whsec_{}", secret(64).expose()));
        assert_eq!(webhook_key(&prefixed), Ok(vec![7; 64]));
        for bad in [secret(23), secret(65), Secret::new("whsec_s3cr3t!")] {
            let error = webhook_key(&bad).unwrap_err().to_string();
            assert!(!error.contains(bad.expose()), "{error}");
        }
    }

    #[test]
    fn zones_and_locales_are_known_or_refused() {
        assert!(time_zone("Asia/Shanghai").is_ok());
        assert!(time_zone("Mars/Olympus").is_err());
        assert_eq!("zh-CN".parse(), Ok(Locale::ZhCn));
        assert!("xx".parse::<Locale>().is_err());
    }
}
