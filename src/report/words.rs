//! How times, durations, numbers and names are written.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::text::Text;
use crate::chart::Unit;
use crate::domain::decision::Scope;
use crate::domain::deployment::{Health, Phase, Status, Strategy};
use crate::domain::notice::NoticeKind;

/// A time that is one: senders write the year 1 or 1970 for "no time".
pub(super) fn known(at: Timestamp) -> Option<Timestamp> {
    (at.as_second() > 0).then_some(at)
}

/// `2026-11-22 14:02:05 +00:00`
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S +00:00").to_string()
}

/// The time, or `unknown`.
pub(super) fn time_or_unknown(at: Option<Timestamp>) -> String {
    at.and_then(known)
        .map_or_else(|| "unknown".to_owned(), time)
}

/// Seconds from one time to a later one; negative when it is not later.
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// `850 ms`, `4.2 s`, `1 min 14 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".to_owned();
    }
    if seconds == 0.0 {
        return "0 s".to_owned();
    }
    if seconds < 0.9995 {
        return format!("{:.0} ms", (seconds * 1e3).max(1.0));
    }
    if seconds < 9.95 {
        let text = format!("{seconds:.1}");
        return format!("{} s", text.trim_end_matches(".0"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and not negative; the end of time fits"
    )]
    let whole = seconds.round() as u64;
    let pair = |big: u64, big_name: &str, small: u64, small_name: &str| match small {
        0 => format!("{big} {big_name}"),
        small => format!("{big} {big_name} {small} {small_name}"),
    };
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => pair(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => pair(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => pair(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

/// A measured value in its unit.
pub(super) fn measured(value: f64, unit: &Text) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let unit = match unit.as_str() {
        "" => Unit::None,
        "ratio" => Unit::Ratio,
        "percent" => Unit::Percent,
        "seconds" => Unit::Seconds,
        "bytes" => Unit::Bytes,
        other => Unit::Custom(other.to_owned()),
    };
    unit.format(value)
}

/// A part of a whole in percent; None when the whole is nothing.
pub(super) fn share(part: usize, whole: usize) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "host counts are far below 2^52")]
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `1 host`, `2 hosts`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {many}")
    }
}

/// `batch 2`, `batches 1 and 2`, `the whole deployment`.
pub(super) fn scope(scope: &Scope) -> String {
    match scope {
        Scope::Full => "the whole deployment".to_owned(),
        Scope::Batch(numbers) => batches(numbers),
    }
}

fn batches(numbers: &BTreeSet<u32>) -> String {
    let mut names: Vec<String> = numbers.iter().map(u32::to_string).collect();
    match (names.pop(), names.is_empty()) {
        (None, _) => "no batch".to_owned(),
        (Some(only), true) => format!("batch {only}"),
        (Some(last), false) => format!("batches {} and {last}", names.join(", ")),
    }
}

pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Canary => "canary",
        Phase::Between => "between the last batch's start and the end of its soak",
        Phase::Full => "full",
    }
}

pub(super) fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Canary => "canary",
        Strategy::BlueGreen => "blue/green",
        Strategy::All => "all at once",
    }
}

pub(super) fn status(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Running => "running",
        Status::Success => "success",
        Status::Failed => "failed",
        Status::RolledBack => "rolled back",
    }
}

pub(super) fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Unknown => "health unknown",
    }
}

pub(super) fn notice(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Alert => "alert",
        NoticeKind::HoldPage => "hold: a person is needed",
        NoticeKind::ApprovalWanted => "a person was asked to agree",
        NoticeKind::ApprovalSettled => "the answer to that",
        NoticeKind::RollbackStarted => "rollback started",
        NoticeKind::RollbackFinished => "rollback finished",
        NoticeKind::Recovery => "recovery",
        NoticeKind::Report => "report",
        NoticeKind::OwnTrouble => "trouble of the gateway's own",
        NoticeKind::Digest => "digest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (0.0001, "1 ms"),
            (0.85, "850 ms"),
            (0.9999, "1 s"),
            (4.24, "4.2 s"),
            (12.4, "12 s"),
            (59.7, "1 min"),
            (74.0, "1 min 14 s"),
            (7_500.0, "2 h 5 min"),
            (273_600.0, "3 d 4 h"),
            (-3.0, "unknown"),
            (f64::NAN, "unknown"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn values_carry_their_unit_and_no_time_is_unknown() {
        assert_eq!(measured(0.059, &"ratio".into()), "5.9 %");
        assert_eq!(measured(f64::NAN, &"ratio".into()), "NaN");
        assert_eq!(measured(12.0, &"req/s".into()), "12 req/s");
        assert_eq!(
            time_or_unknown("0001-01-01T00:00:00Z".parse().ok()),
            "unknown"
        );
        assert_eq!(time_or_unknown(Some(Timestamp::UNIX_EPOCH)), "unknown");
        assert_eq!(
            time_or_unknown("2026-11-22T14:02:05.9Z".parse().ok()),
            "2026-11-22 14:02:05 +00:00"
        );
    }

    #[test]
    fn scopes_are_named() {
        let batch = |numbers: &[u32]| scope(&Scope::Batch(numbers.iter().copied().collect()));
        assert_eq!(batch(&[2]), "batch 2");
        assert_eq!(batch(&[1, 2, 4]), "batches 1, 2 and 4");
        assert_eq!(scope(&Scope::Full), "the whole deployment");
    }
}
