//! The metrics: picture, exact query, raw points.

use std::collections::BTreeMap;

use base64::Engine as _;
use jiff::Timestamp;
use maud::{Markup, html as markup};

use super::super::parts::{MetricSnapshot, Role, Series, Side};
use super::super::record::Record;
use super::super::words;
use super::parts::{self, facts, when};

/// A page is read by people: more columns or rows are in the record only.
const COLUMNS: usize = 8;
const ROWS: usize = 500;

pub(super) fn section(record: &Record) -> Markup {
    parts::section(
        "Metrics",
        &markup! {
            (parts::partial(record.metrics.why()))
            @for metric in record.metrics.value().into_iter().flatten() { (snapshot(metric)) }
        },
    )
}

fn snapshot(metric: &MetricSnapshot) -> Markup {
    markup! {
        h3 { (metric.title) }
        @match &metric.chart_png {
            Some(png) => figure { img alt=(alt(metric)) src=(data_uri(&png.0)); },
            None => p.soft { "No chart was drawn in time; the raw points are below." },
        }
        pre { code { (metric.query) } }
        (facts(&[
            ("Threshold", markup! { (threshold(metric)) }),
            ("From", when(Some(metric.from))),
            ("To", when(Some(metric.to))),
            ("Step", markup! { (words::duration(metric.step.as_secs_f64())) }),
            ("Answered by", markup! { (metric.source) }),
        ]))
        (points(metric))
    }
}

fn threshold(metric: &MetricSnapshot) -> String {
    metric.threshold.map_or_else(
        || "none is known".to_owned(),
        |line| {
            let side = match line.bad {
                Side::Above => "above",
                Side::Below => "below",
            };
            format!("bad {side} {}", words::measured(line.value.0, &metric.unit))
        },
    )
}

fn data_uri(png: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(png);
    format!("data:image/png;base64,{text}")
}

/// The picture in words, for readers who can't see it.
fn alt(metric: &MetricSnapshot) -> String {
    format!(
        "Chart of {} from {} to {}, {}; {}",
        metric.title.line(80),
        words::time(metric.from),
        words::time(metric.to),
        words::count(metric.series.len(), "series", "series"),
        threshold(metric)
    )
}

/// The series of the accused first, a row per time.
fn points(metric: &MetricSnapshot) -> Markup {
    let mut series: Vec<&Series> = metric.series.iter().collect();
    series.sort_by_key(|series| series.role != Role::Accused);
    let more = series.len().saturating_sub(COLUMNS);
    series.truncate(COLUMNS);
    let mut rows: BTreeMap<Timestamp, Vec<Option<f64>>> = BTreeMap::new();
    for (column, series) in series.iter().enumerate() {
        for point in &series.points {
            let row = rows
                .entry(point.0)
                .or_insert_with(|| vec![None; COLUMNS.min(metric.series.len())]);
            if let Some(cell) = row.get_mut(column) {
                *cell = Some(point.1.0);
            }
        }
    }
    if rows.is_empty() {
        return markup! { p.soft { "The metrics store answered no point." } };
    }
    let hidden = rows.len().saturating_sub(ROWS);
    markup! {
        details.points {
            summary { "Raw points (" (words::count(rows.len(), "time", "times")) ", "
                (words::count(metric.series.len(), "series", "series")) ")" }
            div.scroll { table {
                thead { tr {
                    th { "Time" }
                    @for series in &series { th.num { (name(series)) } }
                } }
                tbody { @for (at, row) in rows.iter().take(ROWS) {
                    tr {
                        td { (when(Some(*at))) }
                        @for cell in row { td.num {
                            @if let Some(value) = cell { (words::measured(*value, &metric.unit)) }
                        } }
                    }
                } }
            } }
            @if more > 0 || hidden > 0 {
                p.soft { (more) " more series and " (hidden) " more times are in the record." }
            }
        }
    }
}

pub(super) fn name(series: &Series) -> String {
    let role = match series.role {
        Role::Accused => "accused",
        Role::Rest => "rest",
    };
    let labels: Vec<String> = series
        .labels
        .iter()
        .filter(|(name, _)| name.as_str() != "__name__")
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    if labels.is_empty() {
        role.to_owned()
    } else {
        format!("{role} {{{}}}", labels.join(", "))
    }
}
