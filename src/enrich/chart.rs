//! What to draw for an alert: its measured side over time, the line it crossed, who is who.
//!
//! Here, and only here, an expression may come from the alert itself: it explains, it proves
//! nothing. A link's host is never asked; only the expression written in it is used, and our own
//! metrics store answers, within limits.

use std::time::Duration;

use jiff::Timestamp;

use super::catalog::View;
use super::evidence::{Accused, Names, Prober, rules_of};
use crate::config::{Comparison, Recovery};
use crate::domain::alert::{Alert, Labels};
use crate::domain::clock;
use crate::domain::context::Context;
use crate::prometheus::expr::{self, Op};
use crate::prometheus::{Options, PromError, Sample, Series};

/// Lines of one chart.
const LINES_LIMIT: usize = 50;
/// Series that are read to choose the lines from.
const SERIES_LIMIT: usize = 2_000;
/// Points of one line.
const POINTS: u64 = 240;
/// Longest expression taken from an alert, bytes.
const EXPR_LIMIT: usize = 8 * 1024;

/// An expression to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartSource {
    /// The alert's whole expression.
    pub expr: String,
    /// What is drawn: its left side where it could be taken apart.
    pub drawn: String,
    /// The line it is held against.
    pub threshold: Option<(Op, f64)>,
    /// Where it comes from: `annotation`, `link`, or a vmalert.
    pub from: String,
}

/// What a line is in the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The accused release or its hosts.
    Accused,
    /// Everybody else.
    Rest,
    /// The series does not say.
    Plain,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartLine {
    /// What tells it from the others.
    pub label: String,
    /// What it is.
    pub role: Role,
    /// Its points, in order; gaps are absent.
    pub points: Vec<(Timestamp, f64)>,
}

/// The lines of a chart, the accused first.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartData {
    /// At most 50.
    pub lines: Vec<ChartLine>,
    /// How many more there are.
    pub omitted: usize,
}

impl ChartSource {
    fn new(text: &str, from: impl Into<String>) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.len() > EXPR_LIMIT {
            return None;
        }
        let measured = expr::measured(text);
        let threshold = measured
            .as_ref()
            .and_then(|found| Some((found.op, found.line?)));
        Some(Self {
            expr: text.to_owned(),
            drawn: measured.map_or_else(|| text.to_owned(), |found| found.lhs),
            threshold,
            from: from.into(),
        })
    }
}

impl ChartSource {
    /// What recovery is judged by: the question's own expression, bad on the other side of its line.
    pub fn of_recovery(question: &Recovery) -> Self {
        let bad = match question.op {
            Comparison::Less => Op::GreaterOrEqual,
            Comparison::LessOrEqual => Op::Greater,
            Comparison::Greater => Op::LessOrEqual,
            Comparison::GreaterOrEqual => Op::Less,
        };
        Self {
            expr: question.expr.clone(),
            drawn: question.expr.clone(),
            threshold: Some((bad, question.value)),
            from: "recovery".to_owned(),
        }
    }
}

/// The expression the alert itself carries: annotation `chart_expr` or `expr`, else `g0.expr` in
/// the query or fragment of its link.
pub fn carried(alert: &Alert) -> Option<ChartSource> {
    let annotation = |name: &str| {
        let text = alert.annotations.get(name)?;
        ChartSource::new(text, "annotation")
    };
    annotation("chart_expr")
        .or_else(|| annotation("expr"))
        .or_else(|| ChartSource::new(&linked(alert.generator_url.as_deref()?)?, "link"))
}

/// `g0.expr` of a link, be it in the query or behind the `#`.
fn linked(link: &str) -> Option<String> {
    let (page, fragment) = link.split_once('#').unwrap_or((link, ""));
    [page, fragment].iter().find_map(|part| {
        let (_, query) = part.split_once('?')?;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let (_, value) = pairs.find(|(name, _)| name == "g0.expr")?;
        Some(value.into_owned())
    })
}

impl Prober {
    /// What to draw for `alert`: what it carries, else its rule in a configured vmalert.
    pub async fn chart_source(&self, alert: &Alert) -> Option<ChartSource> {
        if let Some(source) = carried(alert) {
            return Some(source);
        }
        let lists = self.rule_lists().await;
        let (name, _, rule) = rules_of(alert, &lists).next()?;
        ChartSource::new(&rule.query, format!("vmalert {name}"))
    }

    /// The lines of `source` from `start` to `end`.
    ///
    /// # Errors
    /// When the metrics store gives no whole answer; a message then goes out without a chart.
    pub async fn chart(
        &self,
        source: &ChartSource,
        accused: Option<(&Context, &View)>,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<ChartData, PromError> {
        let Some(metrics) = &self.metrics else {
            return Err(PromError::BadAnswer(
                "no metrics store is configured".into(),
            ));
        };
        let step = Duration::from_secs(clock::since(end, start).as_secs().div_ceil(POINTS));
        let options = Options {
            max_series: SERIES_LIMIT,
            ..Options::default()
        };
        let (series, newest) = tokio::join!(
            metrics.range(&source.drawn, start, end, step, &options),
            metrics.instant(&source.drawn, Some(end), &options)
        );
        // Without the newest values the chart ends a little earlier; that is no reason for none.
        let series = with_newest(series?, newest.unwrap_or_default(), end);
        let accused = accused.map(|(context, view)| Accused::new(context, view));
        let low = source.threshold.is_some_and(|(op, _)| op.bad_is_low());
        Ok(choose(series, accused.as_ref(), low))
    }
}

/// A store may repeat an older point at the end of a range, which would be shown as "now"; the
/// instant answer is the truth there, also for a series that is too young for the range.
fn with_newest(mut series: Vec<Series>, newest: Vec<Sample>, end: Timestamp) -> Vec<Series> {
    for sample in newest {
        let point = (end, sample.value);
        match series.iter_mut().find(|one| one.labels == sample.labels) {
            Some(one) => {
                one.points.retain(|(at, _)| *at < end);
                one.points.push(point);
            }
            None => series.push(Series {
                labels: sample.labels,
                points: vec![point],
            }),
        }
    }
    series
}

/// The lines worth drawing: the accused first, of each kind the worst.
fn choose(series: Vec<Series>, accused: Option<&Accused<'_>>, low: bool) -> ChartData {
    let distinct = distinguishing(&series);
    let worst = |points: &[(Timestamp, f64)]| {
        let values = points
            .iter()
            .map(|(_, value)| if low { -value } else { *value });
        values.fold(f64::NEG_INFINITY, f64::max)
    };
    let mut lines: Vec<ChartLine> = series
        .into_iter()
        .map(|one| ChartLine {
            role: match accused.map(|accused| accused.names(&one.labels)) {
                Some(Names::Accused | Names::Release | Names::Fellow) => Role::Accused,
                Some(Names::Former | Names::Other | Names::Foreign) => Role::Rest,
                Some(Names::Nobody) | None => Role::Plain,
            },
            label: label(&one.labels, &distinct),
            points: one
                .points
                .into_iter()
                .filter(|(_, value)| value.is_finite())
                .collect(),
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    lines.sort_by(|a, b| {
        let rest = |line: &ChartLine| line.role != Role::Accused;
        let by_value = worst(&b.points).total_cmp(&worst(&a.points));
        rest(a)
            .cmp(&rest(b))
            .then(by_value)
            .then_with(|| a.label.cmp(&b.label))
    });
    let omitted = lines.len().saturating_sub(LINES_LIMIT);
    lines.truncate(LINES_LIMIT);
    ChartData { lines, omitted }
}

/// The labels in which the series differ, so that a legend need not repeat the rest.
fn distinguishing(series: &[Series]) -> Vec<String> {
    let Some(first) = series.first() else {
        return Vec::new();
    };
    let names: std::collections::BTreeSet<&String> =
        series.iter().flat_map(|one| one.labels.keys()).collect();
    let differs = |name: &&&String| {
        let value = first.labels.get(**name);
        series.iter().any(|one| one.labels.get(**name) != value)
    };
    names
        .iter()
        .filter(differs)
        .map(|name| (**name).clone())
        .collect()
}

fn label(labels: &Labels, distinct: &[String]) -> String {
    let values: Vec<&str> = distinct
        .iter()
        .filter_map(|name| labels.get(name).map(String::as_str))
        .collect();
    if !values.is_empty() {
        return values.join(" ");
    }
    let telling = ["instance", "release_id", "version", "service", "__name__"];
    let found = telling.iter().find_map(|name| labels.get(*name));
    found.map_or_else(|| "value".to_owned(), Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{AlertStatus, Fingerprint, Source};

    fn alert(annotations: &[(&str, &str)], link: Option<&str>) -> Alert {
        let pairs = annotations.iter();
        Alert {
            fingerprint: Fingerprint(1),
            status: AlertStatus::Firing,
            labels: Labels::new(),
            annotations: pairs
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            generator_url: link.map(str::to_owned),
            source: Source::Alertmanager,
        }
    }

    #[test]
    fn an_annotation_wins_over_the_link_and_is_taken_apart() {
        let link = "https://g.example/graph?g0.expr=up%7Ba%3D%22b%22%7D+%3C+1&g0.tab=1";
        let both = alert(&[("expr", "e > 2"), ("chart_expr", "c >= 0.5")], Some(link));
        let found = carried(&both).unwrap();
        assert_eq!(
            (found.drawn.as_str(), found.from.as_str()),
            ("c", "annotation")
        );
        assert_eq!(found.threshold, Some((Op::GreaterOrEqual, 0.5)));
        let found = carried(&alert(&[], Some(link))).unwrap();
        assert_eq!(
            (found.drawn.as_str(), found.from.as_str()),
            (r#"up{a="b"}"#, "link")
        );
    }

    #[test]
    fn an_expression_is_found_behind_the_fragment_too_and_nowhere_else() {
        let vmui = "http://vm:8428/vmui/#/?g0.expr=rate%28x%5B5m%5D%29&g0.range_input=30m";
        assert_eq!(
            carried(&alert(&[], Some(vmui))).unwrap().drawn,
            "rate(x[5m])"
        );
        for link in [
            "http://h/vmalert/alert?group_id=1&alert_id=2",
            "",
            "?",
            "#g0.expr=x",
        ] {
            assert_eq!(
                carried(&alert(&[("expr", " ")], Some(link))),
                None,
                "{link}"
            );
        }
    }

    #[test]
    fn the_recorded_link_of_a_vmalert_leads_to_its_expression() {
        let body = include_str!(
            "../../tests/fixtures/vmalert/vmalert-1.150_notifier_firing_g0expr_source.json"
        );
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let found = carried(&alert(&[], body[0]["generatorURL"].as_str())).unwrap();
        assert_eq!(found.drawn, r#"http_error_ratio{service="checkout"}"#);
        assert_eq!(found.threshold, Some((Op::Greater, 0.05)));
    }

    #[test]
    fn of_many_series_the_worst_are_drawn_and_the_rest_counted() {
        let series: Vec<Series> = (0..60)
            .map(|n| Series {
                labels: [("job", "x".to_owned()), ("instance", format!("h{n}"))]
                    .map(|(name, value)| (name.to_owned(), value))
                    .into(),
                points: vec![(Timestamp::UNIX_EPOCH, f64::from(n))],
            })
            .collect();
        let data = choose(series, None, false);
        assert_eq!((data.lines.len(), data.omitted), (50, 10));
        assert_eq!(
            (data.lines[0].label.as_str(), data.lines[0].role),
            ("h59", Role::Plain)
        );
    }
}
