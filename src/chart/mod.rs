//! Draws the trend chart of an alert's metric: series in, PNG out.
//!
//! A leaf: no I/O but the font file, no clock, no global state. Fetching the series, caching the
//! picture and drawing it once for many channels is the caller's; a render takes a few
//! milliseconds of CPU, so async callers put it on a blocking thread. Lines and boxes are drawn
//! by plotters at twice the size and averaged down, text is set glyph by glyph on top, and the
//! picture is stored with a palette.
//!
//! Invariant: any [`Chart`], however odd its numbers or texts, gives a picture; the only refusal
//! is a size nobody can draw in.

mod canvas;
mod draw;
mod encode;
mod font;
mod labels;
mod layout;
mod legend;
mod text;
mod theme;
mod time;
mod value;

#[cfg(test)]
mod tests;

use jiff::{Timestamp, tz::TimeZone};
use thiserror::Error;

pub use font::{FontError, FontSource, Fonts};
pub use value::Unit;

/// The smallest and largest width and height that are drawn, in pixels.
pub const SIDE: std::ops::RangeInclusive<u32> = 160..=2400;

/// One trend chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What is plotted, in the reader's words; cut with an ellipsis when too wide.
    pub title: String,
    pub unit: Unit,
    pub series: Vec<Series>,
    /// The alert's threshold, in the unit of the series.
    pub threshold: Option<f64>,
    pub marks: Vec<Mark>,
    /// The left edge of the plot; points before it are not drawn.
    pub from: Timestamp,
    /// The right edge of the plot; points after it are not drawn.
    pub to: Timestamp,
    /// Times are written in this zone, and its offset is named.
    pub time_zone: TimeZone,
    pub theme: Theme,
    /// The language of the chart's own words; falls back to English where the fonts lack them.
    pub locale: Locale,
    /// Width and height in pixels, each within [`SIDE`].
    pub size: (u32, u32),
}

impl Chart {
    /// 800 × 400 suits every channel: mail, Slack and the bots show it without scaling.
    pub const DEFAULT_SIZE: (u32, u32) = (800, 400);
}

/// One line of the chart, usually one host.
#[derive(Debug, Clone)]
pub struct Series {
    pub label: String,
    pub role: Role,
    /// Points in time order. A point that is not finite, or a distance of more than three times
    /// the median step, breaks the line: missing samples are never bridged.
    pub points: Vec<(Timestamp, f64)>,
}

/// Which side of the comparison a series is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs the release the alert accuses: strong colours, on top, named in the order given.
    Accused,
    /// Everything to compare with: muted, behind, counted.
    Rest,
}

/// A vertical line at a moment that may explain the curve.
#[derive(Debug, Clone)]
pub struct Mark {
    pub at: Timestamp,
    pub label: String,
    pub kind: MarkKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// A release began: a solid line, its label has precedence.
    Release,
    /// A rollback was asked for or ended: a solid line.
    Rollback,
    /// A batch began: a dashed line.
    Batch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    #[default]
    Light,
    Dark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Locale {
    #[default]
    En,
    ZhCn,
}

#[derive(Debug, Error)]
pub enum ChartError {
    #[error("chart size `{0}x{1}` is outside 160 to 2400 pixels a side")]
    Size(u32, u32),
    #[error("chart could not be drawn: {0}")]
    Draw(String),
    #[error("chart could not be encoded as PNG")]
    Encode(#[from] png::EncodingError),
}

/// Draws `chart` and returns the bytes of a palette PNG.
///
/// Without any finite value in the window the picture says that there is no data.
pub fn render(chart: &Chart, fonts: &Fonts) -> Result<Vec<u8>, ChartError> {
    let (width, height) = chart.size;
    if !SIDE.contains(&width) || !SIDE.contains(&height) {
        return Err(ChartError::Size(width, height));
    }
    let colours = theme::colours(chart.theme);
    let canvas = draw::draw(chart, fonts, &colours)?;
    encode::palette_png(&canvas, &colours.all())
}
