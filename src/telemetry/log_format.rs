//! How a log line looks: logfmt or JSON, one line each, whatever a value holds.
//!
//! Values come from labels and vendors: control and direction characters are escaped, and at most
//! 1 KiB of a value is shown.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::log::LogFormat;
use crate::domain::clock::{Clock as _, SystemClock};

/// Bytes shown of one value.
const MAX_VALUE: usize = 1_024;

/// The shape of lines and of the fields in them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    format: LogFormat,
}

impl Lines {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format }
    }

    fn pair(self, out: &mut impl fmt::Write, name: &str, value: &str) -> fmt::Result {
        let value = clean(value);
        match self.format {
            // Fragments begin with their separator, so that they can be strung together.
            LogFormat::Json => write!(out, ",{}:{}", quoted(name), quoted(&value)),
            LogFormat::Logfmt if is_bare(&value) => write!(out, " {name}={value}"),
            LogFormat::Logfmt => write!(out, " {name}={}", quoted(&value)),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let at = SystemClock.now();
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warn",
            tracing::Level::INFO => "info",
            tracing::Level::DEBUG => "debug",
            tracing::Level::TRACE => "trace",
        };
        match self.format {
            LogFormat::Json => write!(out, "{{\"ts\":\"{at:.3}\"")?,
            LogFormat::Logfmt => write!(out, "ts={at:.3}")?,
        }
        self.pair(&mut out, "level", level)?;
        self.pair(&mut out, "target", event.metadata().target())?;
        context.format_fields(out.by_ref(), event)?;
        if let Some(scope) = context.event_scope() {
            for span in scope.from_root() {
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                    out.write_str(fields)?;
                }
            }
        }
        out.write_str(match self.format {
            LogFormat::Json => "}\n",
            LogFormat::Logfmt => "\n",
        })
    }
}

impl<'writer> FormatFields<'writer> for Lines {
    fn format_fields<R: RecordFields>(&self, out: Writer<'writer>, fields: R) -> fmt::Result {
        let mut record = Record {
            lines: *self,
            out,
            outcome: Ok(()),
        };
        fields.record(&mut record);
        record.outcome
    }
}

struct Record<'writer> {
    lines: Lines,
    out: Writer<'writer>,
    outcome: fmt::Result,
}

impl Record<'_> {
    fn put(&mut self, field: &Field, value: &str) {
        let name = match field.name() {
            "message" => "msg",
            name => name,
        };
        self.outcome = self
            .outcome
            .and_then(|()| self.lines.pair(&mut self.out, name, value));
    }
}

impl Visit for Record<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            // Writing to a String can't fail.
            let _infallible = write!(text, ": {cause}");
            source = cause.source();
        }
        self.put(field, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

/// The value with its control and direction characters escaped, and not too long.
fn clean(value: &str) -> String {
    let mut clean = String::with_capacity(value.len().min(MAX_VALUE));
    for letter in value.chars() {
        if clean.len() >= MAX_VALUE {
            clean.push('…');
            break;
        }
        if letter.is_control() || is_direction(letter) {
            clean.extend(letter.escape_unicode());
        } else {
            clean.push(letter);
        }
    }
    clean
}

/// Invisible characters that reorder or hide what a terminal shows.
fn is_direction(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn is_bare(value: &str) -> bool {
    !value.is_empty()
        && !value.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '=' | '\\'))
}

/// A JSON string; logfmt takes the same.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn logged(format: LogFormat, say: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Page(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Page {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(line);
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let page = Page::default();
        let writer = page.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(Lines::new(format))
            .fmt_fields(Lines::new(format))
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let text = page.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    fn nasty() {
        let span = tracing::info_span!("request", request.id = "r-1");
        let _inside = span.enter();
        tracing::warn!(
            alert.name = "a\nlevel=error \u{1b}[31m\u{202e}x\"",
            long = "中".repeat(2_000),
            count = 3,
            empty = "",
            "something `odd` happened"
        );
    }

    #[test]
    fn a_hostile_value_stays_one_json_line() {
        let text = logged(LogFormat::Json, nasty);
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "warn");
        assert_eq!(line["msg"], "something `odd` happened");
        assert_eq!(line["request.id"], "r-1");
        assert_eq!(line["count"], "3");
        assert_eq!(
            line["alert.name"],
            "a\\u{a}level=error \\u{1b}[31m\\u{202e}x\""
        );
        assert!(line["long"].as_str().unwrap().len() <= MAX_VALUE + 6);
        assert!(line["ts"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_hostile_value_stays_one_logfmt_line() {
        let text = logged(LogFormat::Logfmt, nasty);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(r" level=warn "), "{text}");
        assert!(
            text.contains(r#" msg="something `odd` happened""#),
            "{text}"
        );
        assert!(text.contains(r#" empty="""#), "{text}");
        assert!(text.contains(" request.id=r-1"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
}
