//! How the accused and the others did before and since: the trusted expression over time.
//!
//! Two ranges are read of each expression, one up to the accused batch's start and one since. A
//! point is bad when the whole condition holds there; what is measured (the left side) shows where
//! there was anything to judge at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::names::{Accused, Names};
use super::trusted::{Question, Trusted};
use super::verify::{SERIES_LIMIT, about};
use crate::domain::alert::Labels;
use crate::domain::clock;
use crate::prometheus::{Ask, Options, PromError, Series, expr};

/// Read before the deployment's start.
pub(super) const BEFORE: Duration = Duration::from_hours(1);
/// The longest deployment that is read from its start.
const LONGEST: Duration = Duration::from_hours(12);
/// Read since the batch's start at most.
pub(super) const SINCE: Duration = Duration::from_hours(3);
/// Points of one range.
const POINTS: u64 = 240;
/// The finest resolution; below it, stores repeat samples.
const FINEST: Duration = Duration::from_secs(2);

/// One series over time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) names: Names,
    /// In order; true where the condition held.
    pub(super) points: Vec<(Timestamp, bool)>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct History {
    pub(super) lines: Vec<Line>,
    /// When the accused batch (the first of several) started.
    pub(super) batch_start: Timestamp,
    /// When the deployment started.
    pub(super) deployment_start: Timestamp,
    /// Where the part since the batch's start begins; later than it when that is long ago.
    pub(super) since_from: Timestamp,
    /// The coarser of the two resolutions.
    pub(super) step: Duration,
}

/// Reads the history of the question's first expression.
///
/// # Errors
/// Why it can't be told, in words.
pub(super) async fn read(
    metrics: &dyn Ask,
    question: &Question,
    accused: &Accused<'_>,
    at: Timestamp,
) -> Result<History, String> {
    let trusted = question.all.first().ok_or("there is no expression")?;
    let deployment = &accused.context.deployment;
    let starts = deployment.batches.iter();
    let batch_start = starts
        .filter(|batch| accused.context.batches.contains(&batch.n))
        .filter_map(|batch| batch.started_at)
        .min()
        .or(deployment.started_at)
        .ok_or("nobody knows when the deployment started")?;
    let deployment_start = deployment
        .started_at
        .unwrap_or(batch_start)
        .min(batch_start);
    let measured = expr::measured(&trusted.expr)
        .ok_or("the expression can't be taken apart, so its past can't be judged")?;

    let first = clock::before(
        deployment_start.max(clock::before(batch_start, LONGEST)),
        BEFORE,
    );
    let since_from = batch_start.max(clock::before(at, SINCE)).min(at);
    let windows = [(first, batch_start), (since_from, at)];
    let mut asked = vec![(trusted.expr.clone(), measured.lhs.clone())];
    let context = accused.context;
    let release = context.release_id.as_str();
    let others = |text: &str| {
        expr::about_others(text, "release_id", release, &["batch"])
            .or_else(|| expr::about_others(text, "version", context.release_id.version(), &[]))
    };
    if let (Some(condition), Some(lhs)) = (others(&trusted.expr), others(&measured.lhs)) {
        asked.push((condition, lhs));
    }
    let reads = asked.iter().enumerate().flat_map(|(place, pair)| {
        windows.map(|window| async move {
            let lines = window_of(metrics, trusted, pair, window).await?;
            Ok::<_, PromError>((place, lines))
        })
    });
    let parts = futures::future::try_join_all(reads).await;
    let parts = parts.map_err(|error| format!("the past can't be read: {error}"))?;
    let mut lines: BTreeMap<(usize, Labels), Line> = BTreeMap::new();
    for (place, part) in parts {
        for (labels, points) in part {
            let names = whom(place, trusted, accused, &labels);
            // The same labels can come from both questions when the release is aggregated away.
            let line = lines.entry((place, labels)).or_insert_with(|| Line {
                names,
                points: Vec::new(),
            });
            line.points.extend(points);
        }
    }
    let mut lines: Vec<Line> = lines.into_values().collect();
    // What speaks of the release as a whole began with its first batch.
    let whole = lines.iter().any(|line| line.names == Names::Release);
    let first_batch = deployment
        .batches
        .iter()
        .filter_map(|batch| batch.started_at)
        .min();
    let batch_start = match first_batch {
        Some(first) if whole => first.min(batch_start),
        _ => batch_start,
    };
    for line in &mut lines {
        line.points.sort_unstable();
        line.points.dedup_by_key(|(at, _)| *at);
    }
    Ok(History {
        lines,
        batch_start,
        deployment_start,
        since_from,
        step: step(first, batch_start).max(step(since_from, at)),
    })
}

/// Whom a line is about. What answers the question about the others is theirs, unless a label
/// says that it is a host of the accused.
fn whom(place: usize, trusted: &Trusted, accused: &Accused<'_>, labels: &Labels) -> Names {
    let names = accused.names(labels);
    if place == 0 {
        return match names {
            Names::Nobody if about(trusted, accused, labels) => Names::Release,
            names => names,
        };
    }
    match names {
        // Asked of every release but the accused: on its hosts that was the one before.
        Names::Accused | Names::Release => Names::Former,
        Names::Nobody => Names::Other,
        names => names,
    }
}

type Judged = Vec<(Labels, Vec<(Timestamp, bool)>)>;

async fn window_of(
    metrics: &dyn Ask,
    trusted: &Trusted,
    (condition, lhs): &(String, String),
    (start, end): (Timestamp, Timestamp),
) -> Result<Judged, PromError> {
    let options = Options {
        max_series: SERIES_LIMIT,
        params: trusted.params.clone(),
        ..Options::default()
    };
    let step = step(start, end);
    let (bad, all) = tokio::try_join!(
        metrics.range(condition, start, end, step, &options),
        metrics.range(lhs, start, end, step, &options),
    )?;
    let bad: BTreeMap<Labels, BTreeSet<Timestamp>> = bad
        .into_iter()
        .map(|series| {
            let times = series.points.iter().map(|(at, _)| *at).collect();
            (nameless(series.labels), times)
        })
        .collect();
    let judge = |series: Series| {
        let labels = nameless(series.labels);
        let times = bad.get(&labels);
        let points = series.points.iter().filter(|(_, value)| !value.is_nan());
        let points = points.map(|(at, _)| (*at, times.is_some_and(|times| times.contains(at))));
        let points = points.collect();
        (labels, points)
    };
    Ok(all.into_iter().map(judge).collect())
}

/// A comparison may or may not keep the metric's name.
fn nameless(mut labels: Labels) -> Labels {
    labels.remove("__name__");
    labels
}

fn step(start: Timestamp, end: Timestamp) -> Duration {
    let seconds = clock::since(end, start).as_secs().div_ceil(POINTS);
    Duration::from_secs(seconds).max(FINEST)
}
