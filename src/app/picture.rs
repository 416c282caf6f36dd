//! Charts: drawn once per accusation and minute, kept in the store, shown by signed address.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;

use super::compose;
use super::core::Core;
use super::setup::Setup;
use crate::chart::{self, Chart, Fonts, Mark, MarkKind, Series, Theme, Unit};
use crate::domain::alert::Alert;
use crate::domain::clock;
use crate::domain::context::Context;
use crate::domain::deployment::Batch;
use crate::domain::notice::{ChartRef, Metric};
use crate::enrich::chart::{ChartData, ChartLine, ChartSource, Role};
use crate::store::keys;
use crate::web::signed::{Purpose, Signer};

/// What a chart shows before now: this many times the age of what is accused ..
const TIMES_ITS_AGE: u32 = 4;
/// .. so that a young anomaly is not a dot at the edge, and never more than is worth reading.
const WINDOW: std::ops::RangeInclusive<Duration> = Duration::from_mins(5)..=Duration::from_mins(30);
/// A drawn chart is good for alerts of the same accusation within this time.
const KEEP: Duration = Duration::from_mins(1);
/// Charts kept in memory.
const CACHED: u64 = 200;
/// How long a chart's signed address works: chats are read later.
pub(super) const LINK_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// A chart as it was drawn.
#[derive(Debug, Clone)]
struct Drawn {
    id: String,
    png: Bytes,
    alt: String,
    latest: Option<f64>,
}

/// The chart room's memory.
#[derive(Debug)]
pub(super) struct Pictures {
    fonts: Fonts,
    drawn: Cache<String, Arc<Drawn>>,
}

impl Pictures {
    pub(super) fn new(fonts: Fonts) -> Self {
        Self {
            fonts,
            drawn: Cache::builder()
                .max_capacity(CACHED)
                .time_to_live(KEEP)
                .build(),
        }
    }
}

/// What a message shows of the metric.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) metric: Option<Metric>,
    pub(super) chart: Option<ChartRef>,
    pub(super) missing: Option<String>,
    pub(super) png: Option<Bytes>,
}

impl Core {
    /// The metric of an alert, and its chart when it is ready within `patience`. Text never waits
    /// longer: what is missing is said.
    pub(super) async fn picture(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        alert: &Alert,
        context: Option<&Context>,
        patience: Duration,
    ) -> Shown {
        if setup.config.metrics.is_none() {
            return Shown {
                missing: Some("no metrics store is configured".to_owned()),
                ..Shown::default()
            };
        }
        let Ok(Some(source)) =
            tokio::time::timeout(patience, setup.prober.chart_source(alert)).await
        else {
            return Shown {
                missing: Some("the alert's expression is not known".to_owned()),
                ..Shown::default()
            };
        };
        let threshold = source.threshold.map(|(_, line)| line);
        let mut shown = Shown {
            metric: Some(compose::metric(&source.expr, threshold, None)),
            ..Shown::default()
        };
        // Drawing goes on when patience ends: the next message has it.
        let (core, setup_, alert, context) = (
            Arc::clone(self),
            Arc::clone(setup),
            alert.clone(),
            context.cloned(),
        );
        let drawing = self
            .ground
            .tasks
            .spawn(async move { core.drawn(&setup_, &alert, context, source).await });
        match tokio::time::timeout(patience, drawing).await {
            Ok(Ok(Ok(drawn))) => {
                if let Some(metric) = &mut shown.metric {
                    metric.value = drawn.latest;
                }
                shown.chart = Some(ChartRef {
                    id: drawn.id.clone(),
                    alt: drawn.alt.clone(),
                    url: self.chart_url(setup, &drawn.id),
                });
                shown.png = Some(drawn.png.clone());
            }
            Ok(Ok(Err(why))) => shown.missing = Some(why),
            Ok(Err(panicked)) => shown.missing = Some(format!("drawing failed: {panicked}")),
            Err(_) => shown.missing = Some("the chart was not ready in time".to_owned()),
        }
        shown
    }

    /// Draws once for all who ask at the same time.
    async fn drawn(
        &self,
        setup: &Setup,
        alert: &Alert,
        context: Option<Context>,
        source: ChartSource,
    ) -> Result<Arc<Drawn>, String> {
        let accused = context
            .as_ref()
            .map(|context| (&context.deployment.id, &context.batches));
        let key = format!("{}|{}|{accused:?}", source.drawn, alert.name());
        let draw = self.draw(setup, alert, context.as_ref(), &source);
        self.pictures
            .drawn
            .try_get_with(key, draw)
            .await
            .map_err(|why: Arc<String>| why.to_string())
    }

    async fn draw(
        &self,
        setup: &Setup,
        alert: &Alert,
        context: Option<&Context>,
        source: &ChartSource,
    ) -> Result<Arc<Drawn>, String> {
        let now = self.ground.clock.now();
        let from = clock::before(now, window(context, now));
        let view = self.catalog.view();
        let data = setup
            .prober
            .chart(source, context.map(|context| (context, &view)), from, now)
            .await;
        let data = data.map_err(|error| format!("the metrics store gave no answer: {error}"))?;
        let latest = data
            .lines
            .first()
            .and_then(|line| line.points.last())
            .map(|(_, value)| *value);
        let chart = chart_of(alert.name(), context, source, data, (from, now));
        let alt = alt(&chart, latest);
        let fonts = self.pictures.fonts.clone();
        let png = tokio::task::spawn_blocking(move || chart::render(&chart, &fonts)).await;
        let png = png
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let png = Bytes::from(png);
        let id = uuid::Uuid::now_v7().simple().to_string();
        // In the store before any message names it; a message carries its own copy all the same.
        if let Err(error) = self
            .ground
            .store
            .put_bytes(&keys::chart(&id), png.clone())
            .await
        {
            tracing::warn!("a chart could not be kept: {error}");
        }
        Ok(Arc::new(Drawn {
            id,
            png,
            alt,
            latest,
        }))
    }

    /// The picture of a report's snapshot; None when it can't be drawn.
    pub(super) async fn report_chart(
        &self,
        title: &str,
        context: Option<&Context>,
        source: &ChartSource,
        data: ChartData,
        window: (jiff::Timestamp, jiff::Timestamp),
    ) -> Option<Bytes> {
        let chart = chart_of(title, context, source, data, window);
        let fonts = self.pictures.fonts.clone();
        let png = tokio::task::spawn_blocking(move || chart::render(&chart, &fonts))
            .await
            .ok()?;
        png.ok().map(Bytes::from)
    }

    /// A chart's signed address, when we have one for the outside.
    pub(super) fn chart_url(&self, setup: &Setup, id: &str) -> Option<String> {
        let base = setup.config.web.external_url.as_ref()?;
        let key = setup.config.auth.as_ref()?.signing_key.as_ref()?;
        let expires = clock::after(self.ground.clock.now(), LINK_LIFETIME);
        let signed = Signer::new(key.clone()).sign(Purpose::Chart, id, expires);
        Some(format!(
            "{}/charts/{signed}.png",
            base.as_str().trim_end_matches('/')
        ))
    }
}

/// How much of the past a chart shows.
fn window(context: Option<&Context>, now: jiff::Timestamp) -> Duration {
    let began = context.and_then(|context| {
        let deployment = &context.deployment;
        let accused = |batch: &&Batch| context.batches.contains(&batch.n);
        let batches = deployment.batches.iter().filter(accused);
        let first = batches.filter_map(|batch| batch.started_at).min();
        first.or(deployment.started_at)
    });
    let age = began.map_or(Duration::MAX, |began| clock::since(now, began));
    age.saturating_mul(TIMES_ITS_AGE)
        .clamp(*WINDOW.start(), *WINDOW.end())
}

fn chart_of(
    title: &str,
    context: Option<&Context>,
    source: &ChartSource,
    data: ChartData,
    (from, to): (jiff::Timestamp, jiff::Timestamp),
) -> Chart {
    Chart {
        title: match context {
            Some(context) => format!("{title} · {} · {}", context.release_id, context.env),
            None => title.to_owned(),
        },
        unit: match compose::unit(&source.expr) {
            "ratio" => Unit::Ratio,
            "seconds" => Unit::Seconds,
            "bytes" => Unit::Bytes,
            _ => Unit::None,
        },
        series: data.lines.into_iter().map(series).collect(),
        threshold: source.threshold.map(|(_, line)| line),
        marks: context.map(marks).unwrap_or_default(),
        from,
        to,
        time_zone: jiff::tz::TimeZone::UTC,
        theme: Theme::Light,
        locale: chart::Locale::En,
        size: Chart::DEFAULT_SIZE,
    }
}

fn series(line: ChartLine) -> Series {
    let role = match line.role {
        Role::Accused => chart::Role::Accused,
        Role::Rest | Role::Plain => chart::Role::Rest,
    };
    Series {
        label: line.label,
        role,
        points: line.points,
    }
}

/// The release's start and those of its batches.
fn marks(context: &Context) -> Vec<Mark> {
    let deployment = &context.deployment;
    let version = context.release_id.version().to_owned();
    let release = deployment.started_at.map(|at| Mark {
        at,
        label: version,
        kind: MarkKind::Release,
    });
    let mut seen: BTreeSet<jiff::Timestamp> = release.iter().map(|mark| mark.at).collect();
    let batches = deployment.batches.iter().filter_map(|batch| {
        let at = batch.started_at?;
        seen.insert(at).then(|| Mark {
            at,
            label: format!("batch {}", batch.n),
            kind: MarkKind::Batch,
        })
    });
    let batches: Vec<Mark> = batches.collect();
    release.into_iter().chain(batches).collect()
}

/// The picture in words.
fn alt(chart: &Chart, latest: Option<f64>) -> String {
    let accused = chart
        .series
        .iter()
        .filter(|series| series.role == chart::Role::Accused)
        .count();
    let now = latest.map_or("no data".to_owned(), |value| chart.unit.format(value));
    let line = chart.threshold.map_or(String::new(), |line| {
        format!(", threshold {}", chart.unit.format(line))
    });
    format!(
        "{}: now {now}{line}; {accused} accused series of {}",
        chart.title,
        chart.series.len()
    )
}
