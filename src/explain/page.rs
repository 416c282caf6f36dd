//! Lines for a terminal, with times as their reader has them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Lines, and the zone their times are in.
#[derive(Debug)]
pub struct Page<'a> {
    text: String,
    zone: &'a TimeZone,
}

impl<'a> Page<'a> {
    /// An empty one.
    pub fn new(zone: &'a TimeZone) -> Self {
        Self {
            text: String::new(),
            zone,
        }
    }

    /// Adds a line.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A moment, to the second.
    pub fn time(&self, at: Timestamp) -> String {
        let at = at.to_zoned(self.zone.clone());
        at.strftime("%m-%d %H:%M:%S").to_string()
    }

    /// Where its times are.
    pub fn zone(&self) -> &TimeZone {
        self.zone
    }

    /// All lines.
    pub fn into_text(self) -> String {
        self.text
    }
}
