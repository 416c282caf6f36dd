//! Puts the chart together: grid, marks, lines, threshold by plotters at twice the size, then
//! the texts. What is drawn later lies on top: the rest, the accused, the threshold, the texts.

use jiff::Timestamp;
use plotters::{
    coord::Shift,
    prelude::{BitMapBackend, Circle, DrawingArea, IntoDrawingArea, PathElement, Rectangle},
    style::{Color, RGBColor, ShapeStyle},
};

use super::{
    Chart, ChartError, Fonts, MarkKind, Role, Series,
    canvas::{Canvas, Rgb},
    labels,
    layout::{self, Layout, Placed, SMALL, Wish, px},
    legend::{self, Stroke, Words},
    text::Type,
    theme::Colours,
    time,
    value::Axis,
};

/// Lines are drawn at twice the size.
pub(super) const SCALE: i32 = 2;
/// A distance of more than this many median steps is a gap.
const GAP_STEPS: i64 = 3;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Run = Vec<(Timestamp, f64)>;

/// Everything the picture is made of, measured but not yet drawn.
pub(super) struct Picture<'a> {
    pub(super) chart: &'a Chart,
    pub(super) colours: &'a Colours,
    pub(super) letters: Type<'a>,
    pub(super) words: Words,
    pub(super) layout: Layout,
    pub(super) axis: Axis,
    pub(super) times: Vec<(Timestamp, String)>,
    pub(super) marks: Vec<Placed>,
    /// The unbroken pieces of each series.
    pub(super) runs: Vec<Vec<Run>>,
}

pub(super) fn draw(chart: &Chart, fonts: &Fonts, colours: &Colours) -> Result<Canvas, ChartError> {
    let picture = Picture::measure(chart, fonts, colours);
    let (width, height) = chart.size;
    let side = |pixels: u32| usize::try_from(pixels).unwrap_or(0);
    let mut double = vec![0; side(width) * side(height) * 12];
    {
        let backend = BitMapBackend::with_buffer(&mut double, (width * 2, height * 2));
        let area = backend.into_drawing_area();
        picture.shapes(&area).map_err(ChartError::Draw)?;
    }
    let mut canvas = Canvas::halved(&double, side(width), side(height));
    picture.texts(&mut canvas);
    Ok(canvas)
}

impl<'a> Picture<'a> {
    fn measure(chart: &'a Chart, fonts: &'a Fonts, colours: &'a Colours) -> Self {
        let letters = Type::new(fonts.faces());
        let runs: Vec<_> = chart
            .series
            .iter()
            .map(|s| runs(s, chart.from, chart.to))
            .collect();
        let values = runs.iter().flatten().flatten().map(|(_, value)| *value);
        let wanted = chart.size.1 / 64;
        let mut axis = Axis::over(values.clone().chain(chart.threshold), &chart.unit, wanted);
        if values.clone().next().is_none() && chart.threshold.is_none() {
            axis.ticks.clear();
        }
        let widest = axis
            .ticks
            .iter()
            .map(|(_, label)| letters.width(label, SMALL))
            .fold(0.0, f32::max);
        let bare = Layout::new(chart.size, widest, 0);
        let words = legend::words(chart.locale, fonts);
        let marks = place_marks(chart, &letters, &bare, &words);
        let rows = marks
            .iter()
            .filter_map(|m| m.label.as_ref())
            .map(|l| l.row + 1)
            .max();
        Self {
            chart,
            colours,
            words,
            layout: Layout::new(chart.size, widest, rows.unwrap_or(0)),
            times: time::ticks(
                chart.from,
                chart.to,
                &chart.time_zone,
                i64::from(bare.width() / 90),
            ),
            letters,
            axis,
            marks,
            runs,
        }
    }

    /// The height of a value, in half pixels.
    pub(super) fn y(&self, value: f64) -> i32 {
        let share = self.axis.share(value) * f64::from(self.layout.height() * SCALE);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a share of the picture's height"
        )]
        let up = share.round() as i32;
        self.layout.bottom * SCALE - up
    }

    fn shapes(&self, area: &Area<'_>) -> Result<(), String> {
        let fine = |e: &dyn std::fmt::Display| e.to_string();
        area.fill(&paint(self.colours.background))
            .map_err(|e| fine(&e))?;
        self.grid(area)?;
        self.mark_lines(area)?;
        let strokes = legend::strokes(&self.chart.series, self.colours);
        let lines = || self.chart.series.iter().zip(&self.runs).zip(&strokes).rev();
        for role in [Role::Rest, Role::Accused] {
            for ((_, runs), stroke) in lines().filter(|((s, _), _)| s.role == role) {
                self.line(area, runs, *stroke)?;
            }
        }
        self.threshold_line(area)
    }

    fn grid(&self, area: &Area<'_>) -> Result<(), String> {
        let Layout {
            left,
            right,
            top,
            bottom,
            ..
        } = self.layout;
        for (value, _) in &self.axis.ticks {
            let y = snap(self.y(*value));
            fill(
                area,
                (left * SCALE, y),
                (right * SCALE, y + 2),
                self.colours.grid,
            )?;
        }
        for (at, _) in &self.times {
            let x = snap(half(x(self.chart, &self.layout, *at)));
            fill(
                area,
                (x, top * SCALE),
                (x + 2, bottom * SCALE),
                self.colours.grid,
            )?;
            let foot = (x + 2, (bottom + 5) * SCALE);
            fill(area, (x, bottom * SCALE), foot, self.colours.axis)?;
        }
        let base = bottom * SCALE;
        fill(
            area,
            (left * SCALE, base),
            (right * SCALE, base + 2),
            self.colours.axis,
        )
    }

    fn mark_lines(&self, area: &Area<'_>) -> Result<(), String> {
        for mark in &self.marks {
            let Some(kind) = self.chart.marks.get(mark.index).map(|m| m.kind) else {
                continue;
            };
            let ink = self.colours.mark(kind);
            let x = snap(half(mark.x));
            let top = mark.label.as_ref().map_or(self.layout.top, |label| {
                self.layout.row_line(label.row) - 10
            }) * SCALE;
            let bottom = self.layout.bottom * SCALE;
            if kind == MarkKind::Batch {
                for y in (top..bottom).step_by(12) {
                    fill(area, (x, y), (x + 2, (y + 6).min(bottom)), ink)?;
                }
            } else {
                fill(area, (x, top), (x + 3, bottom), ink)?;
            }
        }
        Ok(())
    }

    fn line(&self, area: &Area<'_>, runs: &[Run], stroke: Stroke) -> Result<(), String> {
        let style = ShapeStyle::from(&paint(stroke.ink)).stroke_width(stroke.width);
        for run in runs {
            let mut points: Vec<(i32, i32)> = run
                .iter()
                .map(|(at, value)| (half(x(self.chart, &self.layout, *at)), self.y(*value)))
                .collect();
            points.dedup();
            match points.as_slice() {
                // A sample between two gaps has no line; it is still a sample.
                [alone] => area.draw(&Circle::new(*alone, 5, style.filled())),
                _ => area.draw(&PathElement::new(points, style)),
            }
            .map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn threshold_line(&self, area: &Area<'_>) -> Result<(), String> {
        let Some(value) = self.chart.threshold.filter(|t| t.is_finite()) else {
            return Ok(());
        };
        let y = snap(self.y(value));
        let right = self.layout.right * SCALE;
        for x in (self.layout.left * SCALE..right).step_by(22) {
            fill(
                area,
                (x, y - 2),
                ((x + 14).min(right), y + 2),
                self.colours.threshold,
            )?;
        }
        Ok(())
    }
}

/// The unbroken pieces of a series within the window, in time order.
pub(super) fn runs(series: &Series, from: Timestamp, to: Timestamp) -> Vec<Run> {
    let mut points: Run = series
        .points
        .iter()
        .copied()
        .filter(|(at, _)| *at >= from && *at <= to)
        .collect();
    points.sort_by_key(|(at, _)| *at);
    let pairs = points.iter().zip(points.iter().skip(1));
    let mut steps: Vec<i128> = pairs
        .map(|((a, _), (b, _))| b.as_nanosecond() - a.as_nanosecond())
        .filter(|step| *step > 0)
        .collect();
    let middle = steps.len() / 2;
    let longest = match steps.get(middle) {
        Some(_) => *steps.select_nth_unstable(middle).1 * i128::from(GAP_STEPS),
        None => i128::MAX,
    };
    let mut runs: Vec<Run> = Vec::new();
    let mut before: Option<Timestamp> = None;
    for (at, value) in points {
        if !value.is_finite() {
            before = None;
            continue;
        }
        let joined = before.is_some_and(|b| at.as_nanosecond() - b.as_nanosecond() <= longest);
        match runs.last_mut().filter(|_| joined) {
            Some(run) => run.push((at, value)),
            None => runs.push(vec![(at, value)]),
        }
        before = Some(at);
    }
    runs
}

fn place_marks(chart: &Chart, letters: &Type<'_>, layout: &Layout, words: &Words) -> Vec<Placed> {
    let wishes = chart
        .marks
        .iter()
        .enumerate()
        .filter(|(_, mark)| (chart.from..=chart.to).contains(&mark.at))
        .map(|(index, mark)| Wish {
            index,
            kind: mark.kind,
            x: x(chart, layout, mark.at),
            width: letters.width(&labels::mark_text(letters, mark, words), SMALL),
        })
        .collect();
    layout::place(wishes, px(layout.right), Layout::rows(chart.size))
}

/// The horizontal place of a moment, in pixels; moments outside the window stand at its edges.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a share of the picture's width"
)]
pub(super) fn x(chart: &Chart, layout: &Layout, at: Timestamp) -> f32 {
    let seconds = |later: Timestamp| later.duration_since(chart.from).as_secs_f64();
    let share = (seconds(at) / seconds(chart.to).max(1e-9)).clamp(0.0, 1.0);
    px(layout.left) + (share * f64::from(layout.width())) as f32
}

/// A place in half pixels.
fn half(pixels: f32) -> i32 {
    layout::round(pixels * 2.0)
}

/// The whole pixel a half pixel is in: upright and level lines that begin there stay crisp.
const fn snap(half_pixels: i32) -> i32 {
    half_pixels & !1
}

/// Fills a box in half pixels; its right and bottom edges are the first not filled.
fn fill(area: &Area<'_>, from: (i32, i32), to: (i32, i32), ink: Rgb) -> Result<(), String> {
    area.draw(&Rectangle::new([from, to], paint(ink).filled()))
        .map_err(|e| e.to_string())
}

fn paint(ink: Rgb) -> RGBColor {
    RGBColor(ink.0, ink.1, ink.2)
}
