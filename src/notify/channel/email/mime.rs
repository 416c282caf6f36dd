//! A notice as a mail: `alternative{plain, related{html, chart}}`, and its headers.
//!
//! The same notice always makes the same bytes: the date is the notice's, boundaries come from the
//! message's id.

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use sha2::{Digest as _, Sha256};

use super::super::{Class, SendError};
use crate::notify::render::value::{hex, line, shorten};

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 160;

/// What goes into a mail.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    /// The sender.
    pub from: &'a Mailbox,
    /// All recipients, as every one of them sees them.
    pub to: &'a [Mailbox],
    /// Where answers go.
    pub reply_to: Option<&'a Mailbox>,
    /// One line.
    pub subject: &'a str,
    /// Without angle brackets.
    pub message_id: &'a str,
    /// The thread's first mail, when this is a follow-up.
    pub root: Option<&'a str>,
    /// The channel's name, for `List-Id`.
    pub list: &'a str,
    /// Whether clients should mark it.
    pub urgent: bool,
    /// When the facts were gathered.
    pub at: jiff::Timestamp,
    /// The plain body.
    pub plain: String,
    /// The HTML body.
    pub html: String,
    /// The chart, shown where the HTML names [`content_id`].
    pub chart_png: Option<&'a [u8]>,
}

/// Headers lettre has no type for.
macro_rules! header {
    ($name:ident, $text:literal) => {
        #[derive(Debug, Clone)]
        struct $name(String);
        impl Header for $name {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($text)
            }
            fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Self(text.to_owned()))
            }
            fn display(&self) -> HeaderValue {
                HeaderValue::new(Self::name(), self.0.clone())
            }
        }
    };
}

header!(AutoSubmitted, "Auto-Submitted");
header!(Precedence, "Precedence");
header!(ListId, "List-Id");
header!(SuppressResponse, "X-Auto-Response-Suppress");
header!(Importance, "Importance");
header!(Priority, "X-Priority");

/// The mail's message, for any envelope.
///
/// # Errors
/// When lettre refuses a part.
pub fn message(draft: &Draft<'_>) -> Result<Message, SendError> {
    let host = draft
        .message_id
        .rsplit('@')
        .next()
        .unwrap_or("backstop.invalid");
    let mut builder = Message::builder()
        .from(draft.from.clone())
        .date(draft.at.into())
        .subject(shorten(&line(draft.subject), MAX_SUBJECT))
        .message_id(Some(format!("<{}>", draft.message_id)))
        .header(AutoSubmitted("auto-generated".to_owned()))
        .header(Precedence("bulk".to_owned()))
        .header(ListId(format!("<{}.{host}>", draft.list)))
        .header(SuppressResponse("All".to_owned()));
    for to in draft.to {
        builder = builder.to(to.clone());
    }
    if let Some(reply_to) = draft.reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    if let Some(root) = draft.root {
        builder = builder
            .in_reply_to(format!("<{root}>"))
            .references(format!("<{root}>"));
    }
    if draft.urgent {
        builder = builder
            .header(Importance("high".to_owned()))
            .header(Priority("1".to_owned()));
    }
    builder
        .multipart(parts(draft)?)
        .map_err(|error| SendError::new(Class::Permanent, "mime", error.to_string()))
}

fn parts(draft: &Draft<'_>) -> Result<MultiPart, SendError> {
    let boundary = |which: &str| format!("{which}-{}", short_hash(draft.message_id));
    let mut related = MultiPart::related()
        .boundary(boundary("related"))
        .singlepart(SinglePart::html(draft.html.clone()));
    if let Some(png) = draft.chart_png {
        let kind = ContentType::parse("image/png")
            .map_err(|error| SendError::new(Class::Permanent, "mime", error.to_string()))?;
        let chart =
            Attachment::new_inline_with_name(content_id(draft.message_id), "chart.png".to_owned());
        related = related.singlepart(chart.body(png.to_vec(), kind));
    }
    Ok(MultiPart::alternative()
        .boundary(boundary("alternative"))
        .singlepart(SinglePart::plain(draft.plain.clone()))
        .multipart(related))
}

/// The chart's Content-ID, without angle brackets.
pub fn content_id(message_id: &str) -> String {
    format!("chart.{message_id}")
}

/// A Message-ID, without angle brackets, for a ledger entry's id: the id itself where RFC 5322
/// allows it, with a hash of it where it does not.
pub fn message_id(entry: &str, host: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_+=".contains(c);
    if !entry.is_empty() && entry.len() <= 128 && entry.chars().all(fits) {
        return format!("{entry}@{host}");
    }
    let kept: String = entry
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(100)
        .collect();
    format!("{kept}-{}@{host}", short_hash(entry))
}

fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    hex(digest
        .first_chunk::<12>()
        .map_or(&[], |bytes| bytes.as_slice()))
}
