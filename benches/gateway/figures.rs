//! What was measured: each figure by name, with every value it had.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, Vec<f64>>);

/// The middle of a figure's values, and between which they lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Figures {
    /// Adds one value, one per round usually.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// The spread of a figure; None when it was not measured.
    pub(crate) fn spread(&self, name: &str) -> Option<Spread> {
        let mut values = self.0.get(name)?.clone();
        values.sort_by(f64::total_cmp);
        Some(Spread {
            median: quantile_of(&values, 0.5)?,
            min: *values.first()?,
            max: *values.last()?,
        })
    }

    /// The median over the rounds of `name ÷ other`, each of the same round.
    pub(crate) fn ratio(&self, name: &str, other: &str) -> Option<f64> {
        let (ours, theirs) = (self.0.get(name)?, self.0.get(other)?);
        let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        quantile_of(&ratios, 0.5)
    }

    /// Writes everything down.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(crate) fn write(&self, file: &Path, rounds: usize) -> anyhow::Result<()> {
        let figures: BTreeMap<&str, serde_json::Value> = self
            .0
            .iter()
            .filter_map(|(name, values)| {
                let spread = self.spread(name)?;
                let all = json!({
                    "median": spread.median, "min": spread.min, "max": spread.max, "values": values,
                });
                Some((name.as_str(), all))
            })
            .collect();
        let text = serde_json::to_string_pretty(&json!({"rounds": rounds, "figures": figures}))?;
        std::fs::write(file, text).with_context(|| format!("write `{}`", file.display()))
    }
}

/// The value below which a share `q` of the sorted `values` lies.
pub(crate) fn quantile_of(values: &[f64], q: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index between 0 and a length"
    )]
    let place = (q * last as f64).ceil() as usize;
    values.get(place.min(last)).copied()
}

/// The quantile of some durations, in milliseconds.
pub(crate) fn quantile_ms(durations: &[Duration], q: f64) -> Option<f64> {
    let mut values: Vec<f64> = durations.iter().map(|one| ms(*one)).collect();
    values.sort_by(f64::total_cmp);
    quantile_of(&values, q)
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A count as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "counts of a few minutes")]
pub(crate) fn count(count: u64) -> f64 {
    count as f64
}
