//! Results go to stdout, through here alone.
//!
//! Text is made safe for a terminal: label text is data and may hold escape sequences. When the
//! reader goes away (`| head`), the rest is dropped and the verb ends as it would have.

use std::io::{self, ErrorKind, Write};

use clap::ValueEnum;
use serde::Serialize;

/// How results look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}

/// `--output`, for the verbs that print results.
#[derive(Debug, Clone, clap::Args)]
pub struct OutputArgs {
    /// How results are printed.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Format,
}

/// Where results go.
#[derive(Debug)]
pub struct Out {
    format: Format,
    reader: Reader,
}

#[derive(Debug, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

impl Out {
    /// Results in this format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            reader: Reader::There,
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// One result in both forms; only the one that was asked for is printed.
    ///
    /// # Errors
    /// When stdout can't be written, other than by its reader leaving.
    pub fn show(
        &mut self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match self.format {
            Format::Json => self.json(value),
            Format::Text => self.text(&text()),
        }
    }

    /// A line on the way, for people only.
    ///
    /// # Errors
    /// When stdout can't be written, other than by its reader leaving.
    pub fn note(&mut self, line: &str) -> io::Result<()> {
        match self.format {
            Format::Json => Ok(()),
            Format::Text => self.text(line),
        }
    }

    /// A JSON document and a line break.
    ///
    /// # Errors
    /// When stdout can't be written, other than by its reader leaving.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        text.push('\n');
        self.write(text.as_bytes())
    }

    /// Text; ends with a line break, adds one where it is missing.
    ///
    /// # Errors
    /// When stdout can't be written, other than by its reader leaving.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        let mut text = printable(text);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.write(text.as_bytes())
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// When stdout can't be written, other than by its reader leaving.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.reader == Reader::Gone {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.reader = Reader::Gone;
                Ok(())
            }
            other => other,
        }
    }
}

/// An error or a question, to stderr. That nobody reads it is no further error.
pub fn complain(text: &str) {
    let mut text = printable(text);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if let Err(error) = io::stderr().lock().write_all(text.as_bytes()) {
        tracing::debug!("stderr can't be written: {error}");
    }
}

/// `text` with every control character but line break and tab shown as a replacement.
pub fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        // Overrides of the writing direction can turn what a terminal shows around.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// `1 alert`, `2 alerts`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[31mb\u{202e}c\r\nd\te"),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}\nd\te"
        );
        assert_eq!(printable("出错了"), "出错了");
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(count(1, "alert"), "1 alert");
        assert_eq!(count(0, "alert"), "0 alerts");
    }
}
