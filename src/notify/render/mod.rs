//! From the facts of a notice to the text of a channel.
//!
//! A template says how facts are laid out; facts are only ever values in it, escaped for the
//! channel by default. An operator's template that fails gives way to the shipped one, so no
//! mistake in it can swallow an alert.

pub mod escape;
mod happened;
pub mod link;
pub mod markup;
pub mod page;
pub mod rows;
pub mod split;
pub mod value;
pub mod view;
mod why;
pub mod words;

mod examine;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod specimen;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;
use tera::{Context, Kwargs, State, StringInput, Tera, Value};
use tokio::time::Instant;

use self::escape::{Dialect, escape, escape_code, tera_escape};
pub use self::examine::{Examined, Fault, examine};
use self::view::View;
use crate::config::channel::Locale;

/// Longest template source, in bytes.
const MAX_SOURCE: usize = 50_000;

/// What rendering one message may use up.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Longest text, in bytes.
    output: usize,
    time: Duration,
}

/// The shipped templates word whatever comes: a thousand alerts of a kilobyte, on a machine that
/// has little time for it.
const SHIPPED: Bounds = Bounds {
    output: 4 << 20,
    time: Duration::from_secs(10),
};
/// Above this a shipped template takes an own one's place.
const OWN: Bounds = Bounds {
    output: 64 << 10,
    time: Duration::from_secs(1),
};

/// Language and time of a channel.
#[derive(Debug, Clone)]
pub struct Voice {
    /// The language of the fixed words.
    pub locale: Locale,
    /// Whose wall clock.
    pub time_zone: TimeZone,
}

/// Where the chart is, as the text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChartPlace {
    /// In this message or right after it.
    Beside,
    /// It exists, but its bytes were not ready.
    Late,
    /// It exists, but this channel needs an address for it.
    NoUrl,
    /// It exists, and the vendor did not take it: why.
    Refused(String),
    /// There is none; the notice may say why.
    Nowhere,
}

/// A template that can't be used, or failed.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Bigger than a template needs to be.
    #[error("template `{name}` is longer than {MAX_SOURCE} bytes")]
    TooLong {
        /// Which.
        name: String,
    },
    /// No channel uses a template of that name.
    #[error(
        "template `{name}` has no use: slack.tera, wecom.tera, dingtalk.tera, mail.html.tera, mail.txt.tera"
    )]
    Unknown {
        /// Which.
        name: String,
    },
    /// It does not parse, or failed with these facts.
    #[error("template `{name}`: {why}")]
    Tera {
        /// Which.
        name: String,
        /// In tera's words.
        why: String,
    },
}

const DIALECTS: [(Dialect, &str, &str); 5] = [
    (
        Dialect::Slack,
        "slack.tera",
        include_str!("../../../templates/notify/slack.tera"),
    ),
    (
        Dialect::WeCom,
        "wecom.tera",
        include_str!("../../../templates/notify/wecom.tera"),
    ),
    (
        Dialect::DingTalk,
        "dingtalk.tera",
        include_str!("../../../templates/notify/dingtalk.tera"),
    ),
    (
        Dialect::Html,
        "mail.html.tera",
        include_str!("../../../templates/notify/mail.html.tera"),
    ),
    (
        Dialect::Plain,
        "mail.txt.tera",
        include_str!("../../../templates/notify/mail.txt.tera"),
    ),
];

/// The templates of all dialects, ready to use.
#[derive(Debug)]
pub struct Renderer {
    shipped: Vec<Template>,
    own: Vec<Template>,
}

#[derive(Debug)]
struct Template {
    dialect: Dialect,
    name: &'static str,
    tera: Tera,
    /// It was too slow once: it is not tried again before the configuration is read again.
    given_up: AtomicBool,
}

impl Renderer {
    /// The shipped templates.
    ///
    /// # Errors
    /// Never with the templates this program was built with.
    pub fn shipped() -> Result<Self, RenderError> {
        Self::with(&[])
    }

    /// The shipped templates with an operator's (file name, source) in place of some.
    ///
    /// # Errors
    /// A name no channel uses, a source too long or one that does not parse.
    pub fn with(own: &[(String, String)]) -> Result<Self, RenderError> {
        let shipped = DIALECTS
            .iter()
            .map(|(dialect, name, source)| template(*dialect, name, source))
            .collect::<Result<_, _>>()?;
        let own = own
            .iter()
            .map(|(name, source)| {
                let known = DIALECTS.iter().find(|(_, known, _)| known == name);
                let (dialect, name, _) =
                    known.ok_or_else(|| RenderError::Unknown { name: name.clone() })?;
                template(*dialect, name, source)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shipped, own })
    }

    /// The text of `view` in `dialect`.
    ///
    /// # Errors
    /// When the shipped template fails; an operator's failing one is logged and replaced.
    pub fn render(&self, dialect: Dialect, view: &View) -> Result<String, RenderError> {
        let context = Context::from_serialize(view).map_err(|error| RenderError::Tera {
            name: "view".to_owned(),
            why: error.to_string(),
        })?;
        let own = self.own.iter().find(|own| own.dialect == dialect);
        if let Some(own) = own.filter(|own| !own.given_up.load(Ordering::Relaxed)) {
            let began = Instant::now();
            match run(own, &context, OWN) {
                Ok(text) => return Ok(text),
                Err(error) => tracing::error!(
                    template.name = own.name,
                    "own template failed, the shipped one is used: {error}"
                ),
            }
            if began.elapsed() > OWN.time {
                own.given_up.store(true, Ordering::Relaxed);
                tracing::error!(
                    template.name = own.name,
                    "own template is too slow: the shipped one is used until the next reload"
                );
            }
        }
        self.shipped
            .iter()
            .find(|template| template.dialect == dialect)
            .ok_or_else(|| RenderError::Unknown {
                name: format!("{dialect:?}"),
            })
            .and_then(|template| run(template, &context, SHIPPED))
    }
}

fn template(dialect: Dialect, name: &'static str, source: &str) -> Result<Template, RenderError> {
    if source.len() > MAX_SOURCE {
        return Err(RenderError::TooLong {
            name: name.to_owned(),
        });
    }
    let mut tera = Tera::new();
    tera.autoescape_on([".tera"]);
    tera.set_escape_fn(tera_escape(dialect));
    // A template walks over the facts and nothing else: no counting loops, nothing unescaped.
    tera.register_function(
        "range",
        |_: Kwargs, _: &State<'_>| -> tera::TeraResult<Value> {
            Err(tera::Error::message(
                "`range` is not available in message templates",
            ))
        },
    );
    tera.register_filter(
        "safe",
        |_: StringInput<'_>, _: Kwargs, _: &State<'_>| -> tera::TeraResult<Value> {
            Err(tera::Error::message(
                "`safe` is not available in message templates",
            ))
        },
    );
    tera.register_filter(
        "code",
        move |text: StringInput<'_>, _: Kwargs, _: &State<'_>| {
            Value::safe_string(&code(dialect, text.as_str()))
        },
    );
    tera.register_filter(
        "link",
        move |url: StringInput<'_>, with: Kwargs, _: &State<'_>| -> tera::TeraResult<Value> {
            let words: &str = with.must_get("text")?;
            Ok(Value::safe_string(&link::link(
                dialect,
                words,
                url.as_str(),
            )))
        },
    );
    let why = |error: tera::Error| RenderError::Tera {
        name: name.to_owned(),
        why: error.to_string(),
    };
    tera.add_raw_template(name, source).map_err(why)?;
    Ok(Template {
        dialect,
        name,
        tera,
        given_up: AtomicBool::new(false),
    })
}

fn code(dialect: Dialect, text: &str) -> String {
    match dialect {
        Dialect::Html => format!("<code>{}</code>", escape_code(dialect, text)),
        Dialect::Plain => text.to_owned(),
        _ if text.is_empty() => String::new(),
        _ => format!("`{}`", escape_code(dialect, text)),
    }
}

fn run(template: &Template, context: &Context, bounds: Bounds) -> Result<String, RenderError> {
    let mut out = Bounded {
        text: Vec::with_capacity(2048),
        until: Instant::now() + bounds.time,
        most: bounds.output,
        refused: None,
    };
    let why = |why: String| RenderError::Tera {
        name: template.name.to_owned(),
        why,
    };
    template
        .tera
        .render_to(template.name, context, &mut out)
        .map_err(|error| why(out.refused.map_or_else(|| error.to_string(), str::to_owned)))?;
    let text = String::from_utf8(out.text).map_err(|error| why(error.to_string()))?;
    Ok(tidy(template.dialect, &text))
}

/// A buffer that refuses to grow too far or for too long.
#[derive(Debug)]
struct Bounded {
    text: Vec<u8>,
    until: Instant,
    most: usize,
    /// Why it refused to grow.
    refused: Option<&'static str>,
}

impl Bounded {
    fn refuse(&mut self, why: &'static str) -> std::io::Error {
        self.refused = Some(why);
        std::io::Error::other(why)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            return Err(self.refuse("it makes too much text"));
        }
        if Instant::now() > self.until {
            return Err(self.refuse("it takes too long"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lines without white space at their ends, at most one empty one in a row. DingTalk breaks a line
/// only at two spaces.
fn tidy(dialect: Dialect, text: &str) -> String {
    if dialect == Dialect::Html {
        return text.trim().to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for row in text.lines().map(str::trim_end) {
        if row.is_empty() {
            empty += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(match (empty, dialect) {
                (0, Dialect::DingTalk) => "  \n",
                (0, _) => "\n",
                _ => "\n\n",
            });
        }
        empty = 0;
        out.push_str(row);
    }
    out
}

/// The headline where a vendor takes plain text only: no character in it can be markup.
pub fn bare(text: &str) -> String {
    escape(Dialect::WeCom, text)
}
