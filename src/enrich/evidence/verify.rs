//! "Does the condition hold now, for the accused?"

use jiff::Timestamp;

use super::names::{Accused, Names};
use super::trusted::{Question, Trusted};
use crate::domain::alert::Labels;
use crate::domain::evidence::{Measured, Verify};
use crate::prometheus::{Ask, Options, PromError, Sample, expr};

/// A condition may hold for a whole fleet.
pub(super) const SERIES_LIMIT: usize = 5_000;
/// Series named in an answer.
const NAMED_LIMIT: usize = 10;

/// Asks every expression of the question; it holds when all of them do.
pub(super) async fn ask_all(
    metrics: &dyn Ask,
    question: &Question,
    accused: &Accused<'_>,
    at: Timestamp,
) -> Verify {
    let asked = question
        .all
        .iter()
        .map(|one| ask(metrics, one, accused, at));
    let answers = futures::future::join_all(asked).await;
    let weakest = answers.into_iter().max_by_key(super::openness);
    weakest.unwrap_or_else(|| Verify::NoTrustedExpression {
        reason: "nothing to ask".into(),
    })
}

async fn ask(metrics: &dyn Ask, trusted: &Trusted, accused: &Accused<'_>, at: Timestamp) -> Verify {
    let options = Options {
        max_series: SERIES_LIMIT,
        params: trusted.params.clone(),
        ..Options::default()
    };
    let lhs = expr::measured(&trusted.expr).map(|found| found.lhs);
    let measured = async {
        match &lhs {
            Some(lhs) => Some(metrics.instant(lhs, None, &options).await),
            None => None,
        }
    };
    let (condition, measured) =
        tokio::join!(metrics.instant(&trusted.expr, None, &options), measured);
    let condition = match condition {
        Ok(samples) => numbers(samples),
        Err(error) => return down(&error),
    };
    if !condition.is_empty() {
        return holds(trusted, accused, &condition, at);
    }
    let expr = trusted.expr.clone();
    match measured {
        None | Some(Err(PromError::TooMuch { .. })) => Verify::DoesNotHold { expr },
        Some(Err(error)) => down(&error),
        Some(Ok(samples)) => {
            // A series that names nobody may hold the accused's share: there is traffic.
            let speaks = |sample: &Sample| {
                about(trusted, accused, &sample.labels)
                    || accused.names(&sample.labels) == Names::Nobody
            };
            if numbers(samples).iter().any(speaks) {
                Verify::DoesNotHold { expr }
            } else {
                Verify::NoData { expr }
            }
        }
    }
}

/// 0/0 is no measurement; `VictoriaMetrics` leaves it out, Prometheus does not.
fn numbers(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.retain(|sample| !sample.value.is_nan());
    samples
}

fn down(error: &PromError) -> Verify {
    Verify::SourceDown {
        reason: error.to_string(),
    }
}

fn holds(trusted: &Trusted, accused: &Accused<'_>, found: &[Sample], at: Timestamp) -> Verify {
    let ours: Vec<&Sample> = found
        .iter()
        .filter(|sample| about(trusted, accused, &sample.labels))
        .collect();
    let low = expr::measured(&trusted.expr).is_some_and(|found| found.op.bad_is_low());
    let values = ours.iter().map(|sample| sample.value);
    let worst = if low {
        values.reduce(f64::min)
    } else {
        values.reduce(f64::max)
    };
    match worst {
        Some(value) => Verify::Holds(Measured {
            expr: trusted.expr.clone(),
            from: trusted.from.clone(),
            value,
            series: ours.len(),
            at,
        }),
        None => Verify::HoldsForOthers {
            expr: trusted.expr.clone(),
            series: found
                .iter()
                .take(NAMED_LIMIT)
                .map(|sample| told(accused.names(&sample.labels), &sample.labels))
                .collect(),
        },
    }
}

/// Whether a series speaks about the accused. A rule whose own labels name the release selects it
/// in its expression, so what it returns is about it unless it says otherwise.
pub(super) fn about(trusted: &Trusted, accused: &Accused<'_>, labels: &Labels) -> bool {
    let by_rule = trusted.release_id.as_ref() == Some(&accused.context.release_id);
    match accused.names(labels) {
        Names::Accused | Names::Release => true,
        Names::Nobody => by_rule,
        Names::Fellow | Names::Former | Names::Other | Names::Foreign => false,
    }
}

fn told(names: Names, labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", expr::matcher_value(value)))
        .collect();
    let text = format!("{{{}}}", pairs.join(","));
    match names {
        Names::Nobody => format!("{text} names neither a release nor a host"),
        _ => text,
    }
}
