//! The time axis: few ticks at round moments of the reader's wall clock.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

/// Steps people count in, in seconds.
const STEPS: [i64; 19] = [
    1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
    172_800, 604_800, 2_592_000,
];
const DAY: i64 = 86_400;

/// At most `most` labelled moments between `from` and `to`.
///
/// Midnight is written as a date, so a window over several days stays clear.
pub(super) fn ticks(
    from: Timestamp,
    to: Timestamp,
    zone: &TimeZone,
    most: i64,
) -> Vec<(Timestamp, String)> {
    let span = to.duration_since(from).as_secs();
    let most = most.max(1);
    let years = span / most + 1;
    let step = STEPS
        .into_iter()
        .find(|step| span / step <= most)
        .unwrap_or(years);
    let start = floor(zone.to_datetime(from), step);
    let mut ticks: Vec<(Timestamp, String)> = Vec::new();
    for n in 0..=most + 2 {
        let Some(local) = start.and_then(|s| {
            s.checked_add(SignedDuration::from_secs(step.saturating_mul(n)))
                .ok()
        }) else {
            break;
        };
        let Ok(at) = zone.to_timestamp(local) else {
            continue;
        };
        // Around a clock change two wall times may be one moment.
        let fresh = ticks.last().is_none_or(|(last, _)| *last < at);
        if at >= from && at <= to && fresh {
            ticks.push((at, label(local, step)));
        }
    }
    ticks
}

/// The wall time rounded down to a step: within its day, or in days since the epoch.
fn floor(local: DateTime, step: i64) -> Option<DateTime> {
    let midnight = local.date().to_datetime(jiff::civil::Time::midnight());
    let back = if step < DAY {
        midnight.duration_until(local).as_secs() / step * step
    } else {
        let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
        -(epoch
            .duration_until(midnight)
            .as_secs()
            .rem_euclid(step / DAY * DAY))
    };
    midnight.checked_add(SignedDuration::from_secs(back)).ok()
}

fn label(local: DateTime, step: i64) -> String {
    let format = if local.time() == jiff::civil::Time::midnight() || step >= DAY {
        "%m-%d"
    } else if step < 60 {
        "%H:%M:%S"
    } else {
        "%H:%M"
    };
    local.strftime(format).to_string()
}

/// The window's day or days and the zone: `2026-11-22  UTC+08:00 Asia/Shanghai`.
pub(super) fn caption(from: Timestamp, to: Timestamp, zone: &TimeZone) -> String {
    let first = zone.to_datetime(from).date();
    let last = zone.to_datetime(to).date();
    let days = if first == last {
        first.to_string()
    } else {
        format!("{first} – {last}")
    };
    let seconds = zone.to_offset(to).seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    let offset = match minutes {
        0 => String::new(),
        _ => format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
    };
    let name = match zone.iana_name() {
        None | Some("UTC") => String::new(),
        Some(name) => format!(" {name}"),
    };
    format!("{days}   UTC{offset}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn labels(from: &str, to: &str, zone: &TimeZone) -> Vec<String> {
        let ticks = ticks(at(from), at(to), zone, 7);
        assert!(ticks.len() <= 8, "{ticks:?}");
        assert!(ticks.is_sorted_by(|a, b| a.0 < b.0), "{ticks:?}");
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_stand_at_round_moments_of_the_zone() {
        let shanghai = zone("Asia/Shanghai");
        assert_eq!(
            labels("2026-11-22T05:07:12Z", "2026-11-22T07:07:12Z", &shanghai),
            ["13:30", "14:00", "14:30", "15:00"]
        );
        let kathmandu = zone("Asia/Kathmandu");
        assert_eq!(
            labels("2026-11-22T05:00:00Z", "2026-11-22T11:00:00Z", &kathmandu),
            ["11:00", "12:00", "13:00", "14:00", "15:00", "16:00"]
        );
    }

    #[test]
    fn midnight_is_written_as_a_date() {
        assert_eq!(
            labels(
                "2026-11-22T14:00:00Z",
                "2026-11-22T18:00:00Z",
                &zone("Asia/Shanghai")
            ),
            ["22:00", "23:00", "11-23", "01:00", "02:00"]
        );
    }

    #[test]
    fn a_clock_change_in_the_window_neither_repeats_nor_reorders_ticks() {
        let berlin = zone("Europe/Berlin");
        for (from, to) in [
            ("2026-03-28T22:00:00Z", "2026-03-29T04:00:00Z"),
            ("2026-10-24T22:00:00Z", "2026-10-25T04:00:00Z"),
        ] {
            assert!(labels(from, to, &berlin).len() >= 4);
        }
    }

    #[test]
    fn windows_of_any_length_have_few_ticks() {
        let utc = TimeZone::UTC;
        for to in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:03Z",
            "2026-01-02T00:00:00Z",
            "2026-02-01T00:00:00Z",
            "2036-01-01T00:00:00Z",
            "9999-12-30T00:00:00Z",
        ] {
            labels("2026-01-01T00:00:00Z", to, &utc);
        }
        ticks(Timestamp::MIN, Timestamp::MAX, &zone("Asia/Shanghai"), 7);
        ticks(Timestamp::MAX, Timestamp::MIN, &zone("Asia/Shanghai"), 7);
    }

    #[test]
    fn caption_names_days_offset_and_zone() {
        let of = |from, to, zone: &TimeZone| caption(at(from), at(to), zone);
        let day = ("2026-11-22T15:00:00Z", "2026-11-22T15:30:00Z");
        assert_eq!(
            of(day.0, day.1, &zone("Asia/Shanghai")),
            "2026-11-22   UTC+08:00 Asia/Shanghai"
        );
        assert_eq!(of(day.0, day.1, &TimeZone::UTC), "2026-11-22   UTC");
        assert_eq!(
            of(day.0, "2026-11-23T01:00:00Z", &zone("America/St_Johns")),
            "2026-11-22   UTC-03:30 America/St_Johns"
        );
    }
}
