//! The metrics of a report: what the alerts measure, and what recovery is judged by.

use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::app::compose;
use crate::app::core::Core;
use crate::app::setup::Setup;
use crate::domain::alert::Alert;
use crate::domain::clock;
use crate::domain::context::Context;
use crate::domain::lane::Incident;
use crate::enrich::catalog::View;
use crate::enrich::chart::{ChartData, ChartLine, ChartSource, Role};
use crate::enrich::ladder;
use crate::report::{self, MetricSnapshot, Number, Png, Section, Series, Side, Threshold};

/// What a snapshot shows before the anomaly.
const BEFORE: Duration = Duration::from_mins(30);
/// The smallest distance of two points.
const STEP: Duration = Duration::from_secs(15);
/// What the recovery question's snapshot is called.
const RECOVERY: &str = "Recovery question";

/// One thing to draw.
struct Panel {
    title: String,
    source: ChartSource,
    context: Option<Context>,
}

impl Core {
    /// A snapshot per expression of the alerts, those first, and one of the recovery question.
    pub(super) async fn snapshots(
        &self,
        setup: &Setup,
        incident: &Incident,
        view: &View,
        now: Timestamp,
        deadline: Instant,
    ) -> Section<Vec<MetricSnapshot>> {
        let alerts = &incident.opened.alerts;
        let panels = panels(setup, incident, view);
        let Ok(panels) = tokio::time::timeout_at(deadline, panels).await else {
            return Section::missing("the rule lists did not answer in time");
        };
        let of_alerts = panels.iter().any(|panel| panel.title != RECOVERY);
        let started = alerts.iter().map(|alert| alert.starts_at).min();
        let from = started.map_or(incident.opened_at, |at| at.min(incident.opened_at));
        let window = (clock::before(from, BEFORE), now);
        let taken = panels
            .iter()
            .map(|panel| self.snapshot(setup, panel, view, window, deadline));
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for taken in join_all(taken).await {
            match taken {
                Ok(snapshot) => good.push(snapshot),
                Err(why) => bad.push(why),
            }
        }
        if !of_alerts {
            bad.insert(0, "the alerts' expressions are not known".to_owned());
        }
        match (bad.into_iter().next(), good.is_empty()) {
            (None, _) => Section::Whole(good),
            (Some(why), true) => Section::missing(why),
            (Some(why), false) => Section::partial(why, good),
        }
    }

    async fn snapshot(
        &self,
        setup: &Setup,
        panel: &Panel,
        view: &View,
        (from, to): (Timestamp, Timestamp),
        deadline: Instant,
    ) -> Result<MetricSnapshot, String> {
        let (source, context) = (&panel.source, panel.context.as_ref());
        let accused = context.map(|context| (context, view));
        let data = setup.prober.chart(source, accused, from, to);
        let data = match tokio::time::timeout_at(deadline, data).await {
            Ok(data) => data.map_err(|error| error.to_string())?,
            Err(_) => return Err("the metrics store did not answer in time".to_owned()),
        };
        let series = data.lines.iter().map(series).collect();
        // The points are worth keeping without their picture.
        let chart = self.chart_of(panel, data, (from, to));
        let chart = tokio::time::timeout_at(deadline, chart)
            .await
            .ok()
            .flatten();
        let store = setup.config.metrics.as_ref();
        Ok(MetricSnapshot {
            title: panel.title.as_str().into(),
            query: source.drawn.as_str().into(),
            source: store
                .map_or(String::new(), |store| store.url.to_string())
                .into(),
            unit: compose::unit(&source.expr).into(),
            threshold: source.threshold.map(|(op, value)| Threshold {
                value: Number(value),
                bad: if op.bad_is_low() {
                    Side::Below
                } else {
                    Side::Above
                },
            }),
            from,
            to,
            step: STEP.max(clock::since(to, from) / 240),
            series,
            chart: None,
            chart_png: chart.map(Png),
        })
    }

    async fn chart_of(
        &self,
        panel: &Panel,
        data: ChartData,
        window: (Timestamp, Timestamp),
    ) -> Option<bytes::Bytes> {
        let context = panel.context.as_ref();
        self.report_chart(&panel.title, context, &panel.source, data, window)
            .await
    }
}

/// What to draw: each expression once.
async fn panels(setup: &Setup, incident: &Incident, view: &View) -> Vec<Panel> {
    let opened = &incident.opened;
    let asked = opened.alerts.iter().map(async |alert: &Alert| {
        let source = setup.prober.chart_source(alert).await?;
        let resolution = ladder::resolve(alert, view, &setup.config.services);
        let context = resolution.context();
        Some(Panel {
            title: alert.name().to_owned(),
            source,
            context: context
                .filter(|context| context.deployment.id == opened.deployment)
                .cloned(),
        })
    });
    let mut panels: Vec<Panel> = Vec::new();
    for panel in join_all(asked).await.into_iter().flatten() {
        if !panels
            .iter()
            .any(|known| known.source.drawn == panel.source.drawn)
        {
            panels.push(panel);
        }
    }
    let service = setup.config.services.get(&opened.service);
    if let Some(question) = service.and_then(|service| service.recovery.as_ref()) {
        panels.push(Panel {
            title: RECOVERY.to_owned(),
            source: ChartSource::of_recovery(question),
            context: None,
        });
    }
    panels
}

fn series(line: &ChartLine) -> Series {
    let labels = BTreeMap::from([("series".to_owned(), line.label.clone())]);
    let role = match line.role {
        Role::Accused => report::Role::Accused,
        Role::Rest | Role::Plain => report::Role::Rest,
    };
    Series::new(&labels, role, line.points.iter().copied())
}
