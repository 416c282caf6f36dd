//! Values as people read them: the value axis, its ticks, and single numbers with their unit.

use super::text;

/// What the numbers of a chart mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Unit {
    /// A bare number.
    #[default]
    None,
    /// A share of one: 0.052 is written `5.2 %`.
    Ratio,
    /// Already a percentage: 5.2 is written `5.2 %`.
    Percent,
    Seconds,
    Bytes,
    /// A bare number followed by the unit's name, as `req/s`.
    Custom(String),
}

/// A multiple of the unit: a value is divided by `by` and followed by `suffix`.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    by: f64,
    suffix: &'static str,
}

impl Unit {
    /// One number with its unit and three significant digits.
    pub fn format(&self, value: f64) -> String {
        let step = self.step(value.abs());
        let mut text = digits(value / step.by) + step.suffix;
        if let Self::Custom(name) = self {
            let name = text::clean(name);
            if !name.is_empty() {
                text.push(' ');
                text.push_str(&name);
            }
        }
        text
    }

    /// The multiple in which numbers of this size read best.
    fn step(&self, size: f64) -> Step {
        let steps: &[(f64, f64, &'static str)] = match self {
            Self::Ratio => &[(0.0, 0.01, " %")],
            Self::Percent => &[(0.0, 1.0, " %")],
            Self::Seconds => &[
                (0.0, 1e-9, " ns"),
                (1e-6, 1e-6, " µs"),
                (1e-3, 1e-3, " ms"),
                (1.0, 1.0, " s"),
                (180.0, 60.0, " min"),
                (3.0 * 3600.0, 3600.0, " h"),
                (72.0 * 3600.0, 86400.0, " d"),
            ],
            Self::Bytes => &[
                (0.0, 1.0, " B"),
                (1024.0, 1024.0, " KiB"),
                (1_048_576.0, 1_048_576.0, " MiB"),
                (1_073_741_824.0, 1_073_741_824.0, " GiB"),
                (1_099_511_627_776.0, 1_099_511_627_776.0, " TiB"),
            ],
            Self::None | Self::Custom(_) => &[
                (0.0, 1.0, ""),
                (1e4, 1e3, "k"),
                (1e6, 1e6, "M"),
                (1e9, 1e9, "G"),
                (1e12, 1e12, "T"),
            ],
        };
        // Zero has no size: it takes the unit itself, not nanoseconds.
        let size = if size == 0.0 { 1.0 } else { size };
        let chosen = steps.iter().rev().find(|(least, ..)| size >= *least);
        chosen.map_or(
            Step {
                by: 1.0,
                suffix: "",
            },
            |&(_, by, suffix)| Step { by, suffix },
        )
    }
}

/// The value axis: a range with room above and below, and round ticks in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

/// Values beyond it are drawn at the edge: ranges must stay finite.
const FARTHEST: f64 = 1e300;
/// Values closer than this share of their size are one value: floats tell no more apart.
const SAME: f64 = 1e-9;

impl Axis {
    /// Spans all values, with about `wanted` ticks. Non-finite values do not count.
    pub(super) fn over(values: impl Iterator<Item = f64>, unit: &Unit, wanted: u32) -> Self {
        let (mut low, mut high) = values
            .filter(|v| v.is_finite())
            .map(|v| v.clamp(-FARTHEST, FARTHEST))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // A curve is read against zero, unless it only moves far away from it.
        let apart = high - low > low.abs().max(high.abs()) * SAME;
        if low > 0.0 && (low < high * 0.6 || *unit == Unit::Ratio || !apart) {
            low = 0.0;
        }
        if high < 0.0 && (high > low * 0.6 || !apart) {
            high = 0.0;
        }
        let magnitude = low.abs().max(high.abs());
        if high - low <= magnitude * SAME {
            let room = if magnitude > 0.0 {
                magnitude * 0.1
            } else {
                1.0
            };
            (low, high) = (low - room, high + room);
            if magnitude == 0.0 {
                low = 0.0;
            }
        }
        let room = (high - low) * 0.08;
        let top = if high == 0.0 { 0.0 } else { high + room };
        let bottom = if low == 0.0 { 0.0 } else { low - room };
        Self {
            low: bottom,
            high: top,
            ticks: ticks(bottom, top, unit, wanted.max(1)),
        }
    }

    /// Where a value lies, from 0 at the bottom to 1 at the top.
    pub(super) fn share(&self, value: f64) -> f64 {
        ((value.clamp(-FARTHEST, FARTHEST) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

fn ticks(low: f64, high: f64, unit: &Unit, wanted: u32) -> Vec<(f64, String)> {
    let multiple = unit.step(low.abs().max(high.abs()));
    let (low, high) = (low / multiple.by, high / multiple.by);
    let rough = (high - low) / f64::from(wanted);
    let tens = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|round| round * tens)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    if !(step.is_finite() && step > 0.0) {
        return Vec::new();
    }
    let first = (low / step).ceil();
    (0..=2 * wanted)
        .map(|n| (first + f64::from(n)) * step)
        .take_while(|tick| *tick <= high + step * 1e-6)
        .map(|tick| (tick * multiple.by, tick_label(tick, step, multiple.suffix)))
        .collect()
}

fn tick_label(tick: f64, step: f64, suffix: &str) -> String {
    if tick.abs() < step * 1e-6 {
        // `0 %`, but not `0k`.
        return format!("0{}", if suffix.starts_with(' ') { suffix } else { "" });
    }
    fixed(tick, step) + suffix
}

/// A tick with as many decimals as its step needs.
fn fixed(tick: f64, step: f64) -> String {
    if tick.abs() >= 1e7 || step < 1e-5 {
        return exponent(tick);
    }
    let mut decimals = 0;
    let mut left = step;
    while left < 0.999 && decimals < 6 {
        left *= 10.0;
        decimals += 1;
    }
    signed(format!("{tick:.decimals$}"))
}

/// Three significant digits, without trailing zeros.
fn digits(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return if value.is_nan() {
            "–".into()
        } else {
            signed(format!("{value}"))
        };
    }
    if size >= 1e7 || (size > 0.0 && size < 1e-4) {
        return exponent(value);
    }
    let decimals = match size {
        s if s >= 100.0 || s == 0.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        s if s >= 0.1 => 3,
        s if s >= 0.01 => 4,
        _ => 6,
    };
    trimmed(format!("{value:.decimals$}"))
}

fn exponent(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => format!("{}e{exponent}", trimmed(mantissa.to_owned())),
        None => text,
    }
}

fn trimmed(text: String) -> String {
    if text.contains('.') {
        signed(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    } else {
        signed(text)
    }
}

/// No negative zero.
fn signed(text: String) -> String {
    if text.starts_with('-') && !text.contains(|c: char| ('1'..='9').contains(&c) || c == 'i') {
        return text.trim_start_matches('-').to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_people_say_them() {
        let said = |unit: Unit, value: f64| unit.format(value);
        assert_eq!(said(Unit::Ratio, 0.052), "5.2 %");
        assert_eq!(said(Unit::Ratio, 0.0), "0 %");
        assert_eq!(said(Unit::Percent, 99.5), "99.5 %");
        assert_eq!(said(Unit::Seconds, 0.32), "320 ms");
        assert_eq!(said(Unit::Seconds, 1.5), "1.5 s");
        assert_eq!(said(Unit::Seconds, 0.0), "0 s");
        assert_eq!(said(Unit::Seconds, 300.0), "5 min");
        assert_eq!(said(Unit::Seconds, 4.2e-6), "4.2 µs");
        assert_eq!(said(Unit::Bytes, 1.2 * 1_073_741_824.0), "1.2 GiB");
        assert_eq!(said(Unit::Bytes, 512.0), "512 B");
        assert_eq!(said(Unit::None, 12_340.0), "12.3k");
        assert_eq!(said(Unit::None, -0.5), "-0.5");
        assert_eq!(said(Unit::Custom("req/s".into()), 42.0), "42 req/s");
        assert_eq!(said(Unit::None, f64::NAN), "–");
        assert_eq!(said(Unit::None, 1e-7), "1e-7");
    }

    #[test]
    fn axis_of_a_ratio_starts_at_zero_and_ticks_are_round() {
        let axis = Axis::over([0.031, 0.052].into_iter(), &Unit::Ratio, 5);
        assert!(axis.low.abs() < f64::EPSILON);
        let labels: Vec<_> = axis.ticks.iter().map(|(_, l)| l.as_str()).collect();
        assert_eq!(labels, ["0 %", "2 %", "4 %"]);
    }

    #[test]
    fn axis_far_from_zero_keeps_the_shape_of_the_curve() {
        let axis = Axis::over([1000.0, 1004.0].into_iter(), &Unit::None, 5);
        assert!(axis.low > 990.0, "{axis:?}");
    }

    #[test]
    fn axis_survives_values_that_have_no_range() {
        for values in [
            vec![],
            vec![f64::NAN],
            vec![f64::INFINITY, f64::NEG_INFINITY],
            vec![0.0],
            vec![5.0, 5.0],
            vec![-5.0],
            vec![f64::MAX, f64::MIN],
            vec![f64::MIN_POSITIVE, 0.0],
            vec![1e16, 1e16 + 2.0],
        ] {
            for unit in [Unit::None, Unit::Ratio, Unit::Seconds, Unit::Bytes] {
                let axis = Axis::over(values.iter().copied(), &unit, 5);
                assert!(axis.high > axis.low, "{values:?} {axis:?}");
                assert!(axis.high.is_finite() && axis.low.is_finite());
                assert!(axis.ticks.len() <= 11, "{values:?} {axis:?}");
                for value in &values {
                    let share = axis.share(*value);
                    assert!(value.is_nan() || (0.0..=1.0).contains(&share));
                }
            }
        }
    }
}
