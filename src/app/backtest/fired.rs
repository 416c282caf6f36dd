//! Which alerts fired, from the `ALERTS` series, and when nothing was recorded at all.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Progress, Range};
use crate::domain::alert::{Alert, AlertStatus, Fingerprint, Labels, Source};
use crate::domain::clock;
use crate::explain::{Span, gaps};
use crate::http::CallErrorKind;
use crate::prometheus::{Ask, Options, PromError, Series};

/// Points of one question; `VictoriaMetrics` gives up to 30,000 of a series, our client 2,000.
const POINTS: u32 = 1_000;
/// Series of one question. More makes the question shorter.
const MAX_SERIES: usize = 5_000;
/// One missing point is a late evaluation, not an end.
const PATIENCE: u32 = 2;
const FIRING: &str = "ALERTS{alertstate=\"firing\"}";

/// One life of an alert.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fired {
    /// The alert; it has no annotations, nobody recorded them.
    pub(super) alert: Alert,
    /// From here …
    pub(super) from: Timestamp,
    /// … to here it fired.
    pub(super) until: Timestamp,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Recorded {
    /// Earliest first.
    pub(super) fired: Vec<Fired>,
    /// Time without recorded metrics.
    pub(super) gaps: Vec<Span>,
    /// What is to be known when reading this.
    pub(super) notes: Vec<String>,
}

/// Reads the range in pieces that stay within the metrics store's limits.
///
/// # Errors
/// When it gives no answer even to a short question. A part it knows only in part is a gap.
pub(super) async fn read(
    metrics: &dyn Ask,
    range: &Range,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Recorded, PromError> {
    let mut reader = Reader {
        metrics,
        range,
        points: BTreeMap::new(),
        since: BTreeMap::new(),
        alive: Vec::new(),
        lost: Vec::new(),
    };
    let mut todo = pieces(range);
    todo.reverse();
    while let Some(piece) = todo.pop() {
        match reader.piece(piece).await {
            Ok(()) => progress(Progress::Reading(piece.to)),
            Err(PromError::Incomplete) => reader.lost.push(piece),
            Err(error) if is_too_much(&error) && may_be_halved(piece, range) => {
                let (first, second) = halves(piece, range.step);
                todo.extend([second, first]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(reader.finish())
}

fn pieces(range: &Range) -> Vec<Span> {
    let length = range.step * (POINTS - 1);
    let mut pieces = Vec::new();
    let mut from = range.from;
    while from <= range.to {
        let to = clock::after(from, length).min(range.to);
        pieces.push(Span { from, to });
        from = clock::after(to, range.step);
    }
    pieces
}

/// Whether less might be answered: limits of ours and of the store's show in several ways.
fn is_too_much(error: &PromError) -> bool {
    match error {
        PromError::TooMuch { .. } | PromError::Refused { .. } => true,
        PromError::Call(call) => matches!(
            call.kind,
            CallErrorKind::Decode | CallErrorKind::Timeout | CallErrorKind::Server
        ),
        PromError::Incomplete | PromError::BadAnswer(_) => false,
    }
}

fn may_be_halved(piece: Span, range: &Range) -> bool {
    clock::since(piece.to, piece.from) >= range.step * 4
}

fn halves(piece: Span, step: Duration) -> (Span, Span) {
    let steps = clock::since(piece.to, piece.from).as_secs() / step.as_secs().max(1) / 2;
    let half = step * u32::try_from(steps).unwrap_or(u32::MAX);
    let middle = clock::after(piece.from, half);
    let first = Span {
        from: piece.from,
        to: middle,
    };
    let second = Span {
        from: clock::after(middle, step),
        to: piece.to,
    };
    (first, second)
}

struct Reader<'a> {
    metrics: &'a dyn Ask,
    range: &'a Range,
    /// When each alert was seen firing.
    points: BTreeMap<Labels, Vec<Timestamp>>,
    /// Since when its condition held, where the first look found it firing already.
    since: BTreeMap<Labels, Timestamp>,
    alive: Vec<Span>,
    lost: Vec<Span>,
}

impl Reader<'_> {
    async fn piece(&mut self, piece: Span) -> Result<(), PromError> {
        let options = Options {
            max_series: MAX_SERIES,
            ..Options::default()
        };
        let Range { step, alive, .. } = self.range;
        let ask = async |query: &str| {
            let answer = self
                .metrics
                .range(query, piece.from, piece.to, *step, &options);
            answer.await
        };
        let fired = ask(FIRING).await?;
        let alive = ask(alive).await?;
        if piece.from == self.range.from && !fired.is_empty() {
            // What fired already when the range begins began earlier.
            let since = self
                .metrics
                .instant("ALERTS_FOR_STATE", Some(piece.from), &options)
                .await?;
            for sample in since {
                if let Some(at) = seconds(sample.value) {
                    self.since.insert(identity(&sample.labels), at);
                }
            }
        }
        for series in fired {
            let seen = self.points.entry(identity(&series.labels)).or_default();
            seen.extend(
                series
                    .points
                    .iter()
                    .filter(|(_, value)| *value > 0.0)
                    .map(|(at, _)| *at),
            );
        }
        self.alive
            .extend(alive.iter().flat_map(|series| spans(series, *step)));
        Ok(())
    }

    fn finish(self) -> Recorded {
        let Self {
            range,
            points,
            since,
            alive,
            lost,
            ..
        } = self;
        let whole = Span {
            from: range.from,
            to: range.to,
        };
        let mut recorded = Recorded::default();
        if alive.is_empty() {
            recorded.notes.push(format!(
                "`{}` has no data in this range: whether alerts were recorded at all can't be told",
                range.alive
            ));
            recorded.gaps = lost;
        } else {
            recorded.gaps = gaps(whole, alive);
            recorded.gaps.extend(lost);
            recorded.gaps.sort_unstable();
        }
        for (labels, mut seen) in points {
            seen.sort_unstable();
            seen.dedup();
            recorded
                .fired
                .extend(lives(&labels, &seen, since.get(&labels).copied(), range));
        }
        recorded
            .fired
            .sort_by_key(|one| (one.from, one.alert.fingerprint));
        recorded
    }
}

/// The stretches in which a series has points.
fn spans(series: &Series, step: Duration) -> Vec<Span> {
    let mut found: Vec<Span> = Vec::new();
    for (at, _) in &series.points {
        match found.last_mut() {
            Some(last) if clock::since(*at, last.to) <= step * PATIENCE => last.to = *at,
            _ => found.push(Span { from: *at, to: *at }),
        }
    }
    // A point speaks for the time up to the next one.
    for span in &mut found {
        span.to = clock::after(span.to, step);
    }
    found
}

fn lives(
    labels: &Labels,
    seen: &[Timestamp],
    since: Option<Timestamp>,
    range: &Range,
) -> Vec<Fired> {
    let mut found: Vec<Fired> = Vec::new();
    for at in seen {
        match found.last_mut() {
            Some(last) if clock::since(*at, last.until) <= range.step * PATIENCE => {
                last.until = *at;
            }
            _ => {
                let early = since.filter(|since| *at == range.from && since < at);
                found.push(Fired {
                    alert: alert(labels, early.unwrap_or(*at)),
                    from: *at,
                    until: *at,
                });
            }
        }
    }
    for life in &mut found {
        life.until = clock::after(life.until, range.step);
    }
    found
}

fn alert(labels: &Labels, starts_at: Timestamp) -> Alert {
    Alert {
        fingerprint: Fingerprint::of(labels),
        status: AlertStatus::Firing,
        labels: labels.clone(),
        annotations: Labels::new(),
        starts_at,
        ends_at: None,
        generator_url: None,
        source: Source::Vmalert,
    }
}

/// The alert's own labels.
fn identity(labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    labels.retain(|name, value| {
        !matches!(name.as_str(), "__name__" | "alertstate") && !value.is_empty()
    });
    labels
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "whole seconds, checked to be in range"
)]
fn seconds(value: f64) -> Option<Timestamp> {
    (value.is_finite() && value.abs() < 1e11)
        .then(|| Timestamp::from_second(value as i64).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    fn range(seconds: i64) -> Range {
        Range {
            from: t(0),
            to: t(seconds),
            step: Duration::from_mins(1),
            service: None,
            alive: "count(up)".to_owned(),
        }
    }

    #[test]
    fn pieces_cover_the_grid_once_and_stay_within_the_limit() {
        let range = range(5 * 86_400);
        let pieces = pieces(&range);
        assert!(pieces.len() > 7);
        let points = |piece: &Span| clock::since(piece.to, piece.from).as_secs() / 60 + 1;
        assert_eq!(pieces.iter().map(points).sum::<u64>(), 5 * 1_440 + 1);
        assert!(
            pieces
                .iter()
                .all(|piece| points(piece) <= u64::from(POINTS))
        );
        let (first, second) = halves(pieces[0], range.step);
        assert_eq!(points(&first) + points(&second), points(&pieces[0]));
        assert_eq!(clock::since(second.from, first.to), range.step);
    }

    #[test]
    fn a_missing_point_is_no_end_and_two_are() {
        let labels = Labels::from([("alertname".to_owned(), "A".to_owned())]);
        let seen = [t(60), t(120), t(240), t(600)];
        let lives = lives(&labels, &seen, None, &range(900));
        let told: Vec<_> = lives.iter().map(|life| (life.from, life.until)).collect();
        assert_eq!(told, [(t(60), t(300)), (t(600), t(660))]);
    }

    #[test]
    fn what_fired_before_the_range_began_keeps_its_own_start() {
        let labels = Labels::new();
        let life = &lives(&labels, &[t(0), t(60)], Some(t(-500)), &range(900))[0];
        assert_eq!((life.alert.starts_at, life.from), (t(-500), t(0)));
        let later = &lives(&labels, &[t(60)], Some(t(-500)), &range(900))[0];
        assert_eq!(later.alert.starts_at, t(60));
    }
}
