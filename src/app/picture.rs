//! Charts: drawn once per accusation and minute, kept in the store, shown by signed address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use moka::future::Cache;
use tokio::task::JoinHandle;

use super::compose;
use super::core::Core;
use super::look::Look;
use super::setup::Setup;
use crate::chart::{self, Chart, Fonts, Mark, MarkKind, Series, Unit};
use crate::config::Config;
use crate::domain::alert::Alert;
use crate::domain::clock;
use crate::domain::context::Context;
use crate::domain::deployment::Batch;
use crate::domain::notice::{ChartRef, Metric};
use crate::enrich::catalog::View;
use crate::enrich::chart::{ChartData, ChartLine, ChartSource, Role};
use crate::enrich::evidence::Prober;
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

/// A chart as it was drawn for one look.
#[derive(Debug, Clone)]
struct Drawn {
    id: String,
    png: Bytes,
    measured: Arc<Measured>,
}

/// What a chart shows, whatever it looks like.
#[derive(Debug)]
pub(super) struct Measured {
    chart: Chart,
    /// The newest value of the worst series: of the accused where somebody is.
    pub(super) latest: Option<f64>,
}

/// The chart room's memory.
#[derive(Debug)]
pub(super) struct Pictures {
    fonts: Fonts,
    /// Asked once, whatever the channels' looks.
    measured: Cache<String, Arc<Measured>>,
    drawn: Cache<(String, Look), Arc<Drawn>>,
}

impl Pictures {
    pub(super) fn new(fonts: Fonts) -> Self {
        Self {
            fonts,
            measured: Cache::builder()
                .max_capacity(CACHED)
                .time_to_live(KEEP)
                .build(),
            drawn: Cache::builder()
                .max_capacity(CACHED)
                .time_to_live(KEEP)
                .build(),
        }
    }
}

/// What a message shows of the metric.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub(super) metric: Option<Metric>,
    pub(super) chart: Option<ChartRef>,
    pub(super) missing: Option<String>,
    pub(super) png: Option<Bytes>,
}

impl Shown {
    pub(super) const NO_STORE: &str = "no metrics store is configured";
    pub(super) const NO_EXPRESSION: &str = "the alert's expression is not known";

    pub(super) fn without(why: &str) -> Self {
        Self {
            missing: Some(why.to_owned()),
            ..Self::default()
        }
    }

    /// What is known before anything is measured.
    pub(super) fn measuring(source: &ChartSource) -> Self {
        let threshold = source.threshold.map(|(_, line)| line);
        Self {
            metric: Some(compose::metric(&source.expr, threshold, None)),
            ..Self::default()
        }
    }

    /// Adds what was measured and drawn; the chart's id, and its address if it has one.
    pub(super) fn fill(
        &mut self,
        look: &Look,
        measured: &Measured,
        (id, url): (String, Option<String>),
        png: Bytes,
    ) {
        if let Some(metric) = &mut self.metric {
            metric.value = measured.latest;
        }
        let alt = look.alt(&measured.chart, measured.latest);
        self.chart = Some(ChartRef { id, alt, url });
        self.png = Some(png);
    }
}

/// Asks for everything a chart of `alert` shows until `now`.
///
/// # Errors
/// Why the metrics store gave no whole answer, in words.
pub(super) async fn measure(
    prober: &Prober,
    view: &View,
    alert: &Alert,
    context: Option<&Context>,
    source: &ChartSource,
    now: jiff::Timestamp,
) -> Result<Arc<Measured>, String> {
    let from = clock::before(now, window(context, now));
    let accused = context.map(|context| (context, view));
    let data = prober.chart(source, accused, from, now).await;
    let data = data.map_err(|error| format!("the metrics store gave no answer: {error}"))?;
    let latest = data
        .lines
        .first()
        .and_then(|line| line.points.last())
        .map(|(_, value)| *value);
    let chart = chart_of(alert.name(), context, source, data, (from, now));
    Ok(Arc::new(Measured { chart, latest }))
}

/// Draws what was measured, off the threads that answer.
///
/// # Errors
/// When it can't be drawn.
pub(super) async fn paint(
    measured: &Measured,
    look: &Look,
    fonts: &Fonts,
) -> Result<Bytes, String> {
    let (chart, fonts) = (look.dress(measured.chart.clone()), fonts.clone());
    let png = tokio::task::spawn_blocking(move || chart::render(&chart, &fonts)).await;
    let png = png
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    Ok(Bytes::from(png))
}

impl Core {
    /// The metric of an alert, and its chart in each of `looks` when it is ready within `patience`.
    /// Text never waits longer: what is missing is said.
    pub(super) async fn picture(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        alert: &Alert,
        context: Option<&Context>,
        looks: BTreeSet<Look>,
        patience: Duration,
    ) -> BTreeMap<Look, Shown> {
        let all = |shown: Shown| {
            looks
                .iter()
                .map(|look| (look.clone(), shown.clone()))
                .collect()
        };
        if setup.config.metrics.is_none() {
            return all(Shown::without(Shown::NO_STORE));
        }
        let Ok(Some(source)) =
            tokio::time::timeout(patience, setup.prober.chart_source(alert)).await
        else {
            return all(Shown::without(Shown::NO_EXPRESSION));
        };
        let shown = looks.iter().map(async |look| {
            let drawing = self.drawing(setup, alert, context, &source, look);
            let mut shown = Shown::measuring(&source);
            match tokio::time::timeout(patience, drawing).await {
                Ok(Ok(Ok(drawn))) => {
                    let url = self.chart_url(setup, &drawn.id);
                    let reference = (drawn.id.clone(), url);
                    shown.fill(look, &drawn.measured, reference, drawn.png.clone());
                }
                Ok(Ok(Err(why))) => shown.missing = Some(why),
                Ok(Err(panicked)) => shown.missing = Some(format!("drawing failed: {panicked}")),
                Err(_) => shown.missing = Some("the chart was not ready in time".to_owned()),
            }
            (look.clone(), shown)
        });
        join_all(shown).await.into_iter().collect()
    }

    /// Draws on a task of its own: when patience ends it goes on, and the next message has it.
    fn drawing(
        self: &Arc<Self>,
        setup: &Arc<Setup>,
        alert: &Alert,
        context: Option<&Context>,
        source: &ChartSource,
        look: &Look,
    ) -> JoinHandle<Result<Arc<Drawn>, String>> {
        let (core, setup) = (Arc::clone(self), Arc::clone(setup));
        let (alert, context) = (alert.clone(), context.cloned());
        let (source, look) = (source.clone(), look.clone());
        let draw = async move {
            let context = context.as_ref();
            core.drawn(&setup, &alert, context, &source, look).await
        };
        self.ground.tasks.spawn(draw)
    }

    /// Draws once for all who ask at the same time.
    async fn drawn(
        &self,
        setup: &Setup,
        alert: &Alert,
        context: Option<&Context>,
        source: &ChartSource,
        look: Look,
    ) -> Result<Arc<Drawn>, String> {
        let accused = context.map(|context| (&context.deployment.id, &context.batches));
        let key = format!("{}|{}|{accused:?}", source.drawn, alert.name());
        let draw = async {
            let now = self.ground.clock.now();
            let view = self.catalog.view();
            let asked = measure(&setup.prober, &view, alert, context, source, now);
            let measured = self.pictures.measured.try_get_with(key.clone(), asked);
            let measured = measured.await.map_err(|why| why.to_string())?;
            self.draw(measured, &look).await
        };
        let drawn = self
            .pictures
            .drawn
            .try_get_with((key.clone(), look.clone()), draw);
        drawn.await.map_err(|why: Arc<String>| why.to_string())
    }

    async fn draw(&self, measured: Arc<Measured>, look: &Look) -> Result<Arc<Drawn>, String> {
        let png = paint(&measured, look, &self.pictures.fonts).await?;
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
        Ok(Arc::new(Drawn { id, png, measured }))
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
        chart_url(&setup.config, id, self.ground.clock.now())
    }
}

/// A chart's signed address, when there is one for the outside.
pub(super) fn chart_url(config: &Config, id: &str, now: jiff::Timestamp) -> Option<String> {
    let base = config.web.external_url.as_ref()?;
    let key = config.auth.as_ref()?.signing_key.as_ref()?;
    let expires = clock::after(now, LINK_LIFETIME);
    let signed = Signer::new(key.clone()).sign(Purpose::Chart, id, expires);
    let base = base.as_str().trim_end_matches('/');
    Some(format!("{base}/charts/{signed}.png"))
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
        theme: chart::Theme::Light,
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
            label: batch.n.to_string(),
            kind: MarkKind::Batch,
        })
    });
    let batches: Vec<Mark> = batches.collect();
    release.into_iter().chain(batches).collect()
}
