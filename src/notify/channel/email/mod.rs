//! Mail over SMTP, an envelope per recipient.
//!
//! lettre gives a message up at the first refused recipient, so each one gets an own transaction
//! with the same bytes, and an own result. A timeout is tried again: the Message-ID stays the same,
//! so the far end can drop the double. The thread's subject carries no state; follow-ups refer to
//! a Message-ID that was really sent.

pub mod mime;

use std::sync::OnceLock;

use async_trait::async_trait;
use futures::StreamExt as _;
use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use self::mime::Draft;
use super::{
    Body, Class, Delivery, Notifier, Outgoing, Probe, Proof, Receipt, Recipient, SendError,
    Wording, chart_place,
};
use crate::config::channel::{Email as Settings, SmtpTls};
use crate::domain::id::ChannelName;
use crate::notify::render::escape::Dialect;
use crate::notify::render::page;
use crate::notify::render::view::{View, calls_people};

/// Hosts a mail names before it counts.
const HOSTS: usize = 200;
/// Transactions at once, and connections kept.
const AT_ONCE: usize = 4;

/// A mail channel.
#[derive(Debug)]
pub struct Email {
    list: ChannelName,
    settings: Settings,
    wording: Wording,
    builder: AsyncSmtpTransportBuilder,
    /// The pool lives in the runtime, so it is made by the first mail and not by `check`.
    transport: OnceLock<AsyncSmtpTransport<Tokio1Executor>>,
}

/// A mail ready to be handed in.
#[derive(Debug)]
pub struct Mail {
    /// Without angle brackets.
    pub message_id: String,
    /// The thread's first Message-ID.
    pub root: String,
    /// The thread's subject, without `Re:`.
    pub subject: String,
    /// Its HTML body.
    pub html: String,
    /// The message as it travels.
    pub bytes: Vec<u8>,
}

/// What became of one transaction.
#[derive(Debug)]
enum Outcome {
    Told(Recipient),
    Failed(SendError),
}

impl Email {
    /// A channel that hands its mail to the configured server.
    ///
    /// # Errors
    /// When its TLS settings can't be used.
    pub fn new(
        name: &ChannelName,
        settings: &Settings,
        wording: Wording,
    ) -> Result<Self, SendError> {
        Ok(Self {
            list: name.clone(),
            builder: builder(settings)?,
            transport: OnceLock::new(),
            settings: settings.clone(),
            wording,
        })
    }

    /// The mail of a message.
    ///
    /// # Errors
    /// When it can't be worded.
    pub fn build(&self, message: &Outgoing<'_>) -> Result<Mail, SendError> {
        let notice = message.notice;
        let mut view = self.wording.view(notice, &chart_place(message), HOSTS);
        let message_id = mime::message_id(message.message_id, self.settings.from.email.domain());
        view.chart_cid = message.chart_png.map(|_| mime::content_id(&message_id));
        let sent = match message.thread.map(|root| &root.proof) {
            Some(Proof::Email { root, subject, .. }) if *root != message_id => {
                Some((root, subject))
            }
            _ => None,
        };
        let subject = sent.map_or_else(|| subject(&view), |(_, subject)| subject.clone());
        let line = if sent.is_some() {
            format!("Re: {subject}")
        } else {
            subject.clone()
        };
        let draft = Draft {
            from: &self.settings.from,
            to: &self.settings.to,
            reply_to: self.settings.reply_to.as_ref(),
            subject: &line,
            message_id: &message_id,
            root: sent.map(|(root, _)| root.as_str()),
            list: self.list.as_str(),
            urgent: calls_people(notice) && matches!(view.severity.as_str(), "critical" | "page"),
            at: notice.at,
            plain: self.wording.renderer.render(Dialect::Plain, &view)?,
            html: self.wording.renderer.render(Dialect::Html, &view)?,
            chart_png: message.chart_png,
        };
        let bytes = mime::message(&draft)?.formatted();
        let html = draft.html;
        let root = sent.map_or_else(|| message_id.clone(), |(root, _)| root.clone());
        Ok(Mail {
            message_id,
            root,
            subject,
            html,
            bytes,
        })
    }

    /// Recipients an earlier attempt got an answer for.
    fn told<'a>(message: &Outgoing<'a>) -> &'a [Recipient] {
        match message.resume.map(|receipt| &receipt.proof) {
            Some(Proof::Email { recipients, .. }) => recipients,
            _ => &[],
        }
    }

    fn waiting(&self, message: &Outgoing<'_>) -> Vec<Mailbox> {
        let told = Self::told(message);
        let open = |to: &&Mailbox| told.iter().all(|one| one.address != to.email.to_string());
        self.settings.to.iter().filter(open).cloned().collect()
    }

    fn transport(&self) -> &AsyncSmtpTransport<Tokio1Executor> {
        self.transport.get_or_init(|| self.builder.clone().build())
    }

    async fn hand_in(&self, to: Mailbox, bytes: &[u8]) -> Outcome {
        let from = Some(self.settings.from.email.clone());
        let envelope = match Envelope::new(from, vec![to.email.clone()]) {
            Ok(envelope) => envelope,
            Err(error) => {
                return Outcome::Failed(SendError::new(
                    Class::Permanent,
                    "envelope",
                    error.to_string(),
                ));
            }
        };
        let sending = self.transport().send_raw(&envelope, bytes);
        let outcome = match tokio::time::timeout(self.settings.timeout, sending).await {
            Ok(Ok(_)) => Delivery::Accepted,
            Ok(Err(error)) if names_the_recipient(&error) => Delivery::Refused {
                code: code(&error),
                text: words(&error),
            },
            Ok(Err(error)) => return Outcome::Failed(failure(&error)),
            Err(_) => {
                return Outcome::Failed(SendError::new(
                    Class::Retry,
                    "timeout",
                    "no answer in time",
                ));
            }
        };
        Outcome::Told(Recipient {
            address: to.email.to_string(),
            outcome,
        })
    }
}

impl Drop for Email {
    fn drop(&mut self) {
        // lettre's pool says goodbye in a task; without a runtime it would panic instead.
        if tokio::runtime::Handle::try_current().is_err()
            && let Some(transport) = self.transport.take()
        {
            std::mem::forget(transport);
        }
    }
}

fn subject(view: &View) -> String {
    let mut subject = view.subject.clone();
    if !view.place.is_empty() {
        subject = format!("{}: {subject}", view.place);
    }
    if !view.severity.is_empty() {
        subject = format!("[{}] {subject}", view.severity);
    }
    crate::notify::render::value::shorten(&subject, 150)
}

fn builder(settings: &Settings) -> Result<AsyncSmtpTransportBuilder, SendError> {
    let server = &settings.server;
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
        .port(server.port)
        .timeout(Some(settings.timeout))
        .pool_config(PoolConfig::new().max_size(u32::try_from(AT_ONCE).unwrap_or(4)));
    if server.tls != SmtpTls::Plain {
        let bad = |error: SmtpError| SendError::new(Class::Permanent, "tls", error.to_string());
        let mut parameters = TlsParameters::builder(server.host.clone());
        if let Some(pem) = &settings.authority {
            parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(bad)?);
        }
        let parameters = parameters.build().map_err(bad)?;
        builder = builder.tls(if server.tls == SmtpTls::Implicit {
            Tls::Wrapper(parameters)
        } else {
            Tls::Required(parameters)
        });
    }
    if let Some((user, password)) = &settings.login {
        builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
    }
    Ok(builder)
}

/// 5xx answers that speak of a mailbox or of this mail, and not of us: 530–538 are about
/// authentication (RFC 4954), 500–504 about the dialogue, 521 and 556 about the whole server.
fn names_the_recipient(error: &SmtpError) -> bool {
    error.is_permanent() && matches!(code(error).as_str(), "550" | "551" | "552" | "553" | "554")
}

fn code(error: &SmtpError) -> String {
    error
        .status()
        .map_or_else(|| "smtp".to_owned(), |code| code.to_string())
}

fn words(error: &SmtpError) -> String {
    let text =
        std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    crate::notify::render::value::shorten(&crate::notify::render::value::line(&text), 200)
}

fn failure(error: &SmtpError) -> SendError {
    let (class, code) = if error.is_permanent() {
        (Class::Broken, code(error))
    } else if error.is_transient() {
        (Class::Retry, code(error))
    } else if error.is_timeout() {
        (Class::Retry, "timeout".to_owned())
    } else if error.is_tls() {
        // A certificate is renewed or an authority added without us.
        (Class::Retry, "tls".to_owned())
    } else if error.is_client() {
        (Class::Permanent, "client".to_owned())
    } else {
        (Class::Retry, "network".to_owned())
    };
    let fix = fix(&code);
    SendError::new(class, code, words(error)).fixed_by(fix)
}

/// What a person does about an SMTP code or a failure of ours.
fn fix(code: &str) -> Option<&'static str> {
    Some(match code {
        "530" | "534" | "535" | "538" => {
            "correct `username` and `password`; QQ, 163 and Gmail want an authorisation code made for programs"
        }
        "550" | "551" | "553" => "correct the address, or let the server accept `from` as a sender",
        "552" | "554" => "ask the mail server's people why it refuses: its words are above",
        "tls" => {
            "compare the server's name in `smarthost` with its certificate; a private authority goes into `ca_file`"
        }
        "timeout" | "network" => {
            "look whether this machine may reach the server: smtps:// means port 465, smtp+starttls:// 587, smtp:// 25"
        }
        _ => return None,
    })
}

#[async_trait]
impl Notifier for Email {
    fn kind(&self) -> &'static str {
        "email"
    }

    fn parts(&self, message: &Outgoing<'_>) -> u32 {
        u32::try_from(self.waiting(message).len()).unwrap_or(u32::MAX)
    }

    fn preview(&self, message: &Outgoing<'_>) -> Result<Vec<Body>, SendError> {
        let mail = self.build(message)?;
        // Content ids mean nothing outside the mail.
        let cid = format!("cid:{}", mime::content_id(&mail.message_id));
        Ok(vec![Body {
            text: String::from_utf8_lossy(&mail.bytes).into_owned(),
            page: mail.html.replace(&cid, page::CHART),
        }])
    }

    async fn send(&self, message: &Outgoing<'_>) -> Result<Receipt, SendError> {
        let mail = self.build(message)?;
        let waiting = self.waiting(message);
        let outcomes: Vec<Outcome> = futures::stream::iter(waiting)
            .map(|to| self.hand_in(to, &mail.bytes))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut recipients = Self::told(message).to_vec();
        let mut failed: Option<SendError> = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Told(recipient) => recipients.push(recipient),
                // One that may still succeed decides over one that can't.
                Outcome::Failed(error) => match &failed {
                    Some(worse) if worse.class == Class::Retry => {}
                    _ => failed = Some(error),
                },
            }
        }
        let accepted = recipients
            .iter()
            .filter(|one| one.outcome == Delivery::Accepted)
            .count();
        let refused = recipients.iter().find_map(|one| match &one.outcome {
            Delivery::Refused { code, text } => Some((code.clone(), text.clone())),
            Delivery::Accepted => None,
        });
        let receipt = Receipt {
            parts: u32::try_from(accepted).unwrap_or(u32::MAX),
            chart_bytes: message.chart_png.map(|png| png.len() as u64),
            notes: Vec::new(),
            merged: 0,
            proof: Proof::Email {
                message_id: mail.message_id,
                root: mail.root,
                subject: mail.subject,
                recipients,
            },
        };
        match (failed, refused) {
            (Some(mut error), _) => {
                error.partial = Some(Box::new(receipt));
                Err(error)
            }
            (None, Some((code, text))) if accepted == 0 => {
                let mut error = SendError::new(Class::Permanent, code, text);
                error.partial = Some(Box::new(receipt));
                Err(error)
            }
            _ => Ok(receipt),
        }
    }

    async fn probe(&self) -> Result<Probe, SendError> {
        match tokio::time::timeout(self.settings.timeout, self.transport().test_connection()).await
        {
            Ok(Ok(true)) => Ok(Probe::Works(self.settings.server.host.clone())),
            Ok(Ok(false)) => Err(SendError::new(
                Class::Retry,
                "smtp",
                "the server answered NOOP with a failure",
            )),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(SendError::new(Class::Retry, "timeout", "no answer in time")),
        }
    }
}
