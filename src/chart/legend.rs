//! Who is who: the style of each line, and the legend that says so.
//!
//! Accused hosts are named, three at most, with their latest value; the rest is one group with a
//! count and the median of its latest values, to compare with. When nobody is accused the first
//! lines are told apart by hue and named.

use super::{
    Chart, Locale, Role, Series,
    canvas::{Canvas, Rgb},
    font::Fonts,
    layout::{LEGEND, round},
    text::{self, Type},
    theme::Colours,
};

/// Names in the legend; a reader looks up the others by the alert's links.
const MOST_NAMES: usize = 3;
/// Lines with a hue of their own when nobody is accused.
const MOST_HUES: usize = 5;
const WIDEST_NAME: f32 = 190.0;
const SWATCH: f32 = 16.0;
const GAP: f32 = 16.0;

/// The chart's own words.
#[derive(Debug)]
pub(super) struct Words {
    accused: &'static str,
    rest: &'static str,
    /// Between the count of the rest and its median.
    median: &'static str,
    pub(super) threshold: &'static str,
    pub(super) no_data: &'static str,
    /// Before a batch's number.
    pub(super) batch: &'static str,
}

impl Words {
    fn all(&self) -> String {
        [
            self.accused,
            self.rest,
            self.median,
            self.threshold,
            self.no_data,
            self.batch,
        ]
        .concat()
    }
}

const ENGLISH: Words = Words {
    accused: "accused",
    rest: "rest",
    median: ", median",
    threshold: "threshold",
    no_data: "no data in this window",
    batch: "batch",
};

const CHINESE: Words = Words {
    accused: "嫌疑",
    rest: "其余",
    median: "，中位数",
    threshold: "阈值",
    no_data: "该时间段内无数据",
    batch: "批次",
};

/// The words of the locale, if the fonts can draw them.
pub(super) fn words(locale: Locale, fonts: &Fonts) -> Words {
    match locale {
        Locale::ZhCn if fonts.missing(&CHINESE.all()).is_empty() => CHINESE,
        Locale::ZhCn | Locale::En => ENGLISH,
    }
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stroke {
    pub(super) ink: Rgb,
    /// In half pixels.
    pub(super) width: u32,
}

/// The stroke of each series, in their order.
pub(super) fn strokes(series: &[Series], colours: &Colours) -> Vec<Stroke> {
    let accusing = series.iter().any(|s| s.role == Role::Accused);
    let mut accused = colours.accused.iter().cycle();
    let mut hues = colours
        .neutral
        .iter()
        .take(if accusing { 0 } else { MOST_HUES });
    let stroke = |ink: Rgb, width| Stroke { ink, width };
    series
        .iter()
        .map(|s| match s.role {
            Role::Accused => stroke(*accused.next().unwrap_or(&colours.text), 5),
            Role::Rest => hues
                .next()
                .map_or(stroke(colours.rest, 3), |hue| stroke(*hue, 4)),
        })
        .collect()
}

#[derive(Debug)]
struct Entry {
    swatch: Option<Stroke>,
    text: String,
    ink: Rgb,
}

impl Entry {
    fn width(&self, letters: &Type<'_>) -> f32 {
        let swatch = if self.swatch.is_some() {
            SWATCH + 6.0
        } else {
            0.0
        };
        swatch + letters.width(&self.text, LEGEND) + GAP
    }
}

/// Writes the legend in one line; names that do not fit are counted.
pub(super) fn draw(
    canvas: &mut Canvas,
    (left, right, line): (f32, f32, f32),
    chart: &Chart,
    letters: &Type<'_>,
    colours: &Colours,
    words: &Words,
) {
    let mut x = left;
    for entry in entries(chart, letters, right - left, colours, words) {
        let width = entry.width(letters);
        if let Some(stroke) = entry.swatch {
            let thick = i32::try_from(stroke.width).unwrap_or(3).max(4) - 1;
            let top = round(line) - 5 - thick / 2;
            canvas.fill((round(x), top), (round(SWATCH), thick), stroke.ink);
            x += SWATCH + 6.0;
        }
        let text = letters.cut(&entry.text, LEGEND, right - x);
        letters.draw(canvas, (x, line), &text, LEGEND, entry.ink);
        x += width
            - if entry.swatch.is_some() {
                SWATCH + 6.0
            } else {
                0.0
            };
        if x >= right {
            break;
        }
    }
}

fn entries(
    chart: &Chart,
    letters: &Type<'_>,
    room: f32,
    colours: &Colours,
    words: &Words,
) -> Vec<Entry> {
    let strokes = strokes(&chart.series, colours);
    let styled = || chart.series.iter().zip(&strokes);
    let accusing = chart.series.iter().any(|s| s.role == Role::Accused);
    let (named, counted): (Vec<_>, Vec<_>) = styled()
        .partition(|(s, stroke)| s.role == Role::Accused || (!accusing && stroke.width > 3));
    let head = accusing.then(|| Entry {
        swatch: None,
        text: format!("{} {}", words.accused, named.len()),
        ink: colours.accused.first().copied().unwrap_or(colours.text),
    });
    let rest = group(chart, &counted, colours, words);
    let plain = |text: String| Entry {
        swatch: None,
        text,
        ink: colours.faint,
    };
    let more = |hidden: usize| (hidden > 0).then(|| plain(format!("+{hidden}")));

    let fixed: f32 = head.iter().chain(&rest).map(|e| e.width(letters)).sum();
    let mut room = room + GAP - fixed;
    let most = if accusing { MOST_NAMES } else { MOST_HUES };
    let mut names = Vec::new();
    for (series, stroke) in named.iter().take(most) {
        let entry = name(chart, series, **stroke, letters, colours);
        let hidden = named.len() - names.len() - 1;
        let after = more(hidden).map_or(0.0, |e| e.width(letters));
        if entry.width(letters) + after > room && !names.is_empty() {
            break;
        }
        room -= entry.width(letters);
        names.push(entry);
    }
    let hidden = more(named.len() - names.len());
    head.into_iter()
        .chain(names)
        .chain(hidden)
        .chain(rest)
        .collect()
}

fn name(
    chart: &Chart,
    series: &Series,
    stroke: Stroke,
    letters: &Type<'_>,
    colours: &Colours,
) -> Entry {
    let mut text = letters.cut(&text::clean(&series.label), LEGEND, WIDEST_NAME);
    if let Some(value) = latest(chart, series) {
        text.push(' ');
        text.push_str(&chart.unit.format(value));
    }
    Entry {
        swatch: Some(stroke),
        text,
        ink: colours.text,
    }
}

/// The entry of the lines that are only counted.
fn group(
    chart: &Chart,
    counted: &[(&Series, &Stroke)],
    colours: &Colours,
    words: &Words,
) -> Option<Entry> {
    let (_, stroke) = counted.first()?;
    let mut values: Vec<f64> = counted
        .iter()
        .filter_map(|(s, _)| latest(chart, s))
        .collect();
    values.sort_by(f64::total_cmp);
    let count = format!("{} {}", words.rest, counted.len());
    let text = match values.get(values.len() / 2) {
        Some(median) => format!("{count}{} {}", words.median, chart.unit.format(*median)),
        None => count,
    };
    Some(Entry {
        swatch: Some(**stroke),
        text,
        ink: colours.faint,
    })
}

/// The last finite value in the window.
fn latest(chart: &Chart, series: &Series) -> Option<f64> {
    let inside = |at| (chart.from..=chart.to).contains(&at);
    series
        .points
        .iter()
        .filter(|(at, value)| inside(*at) && value.is_finite())
        .max_by_key(|(at, _)| *at)
        .map(|(_, value)| *value)
}
