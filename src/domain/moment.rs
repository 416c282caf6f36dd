//! A moment as people name it: `14:02`, `-2h`, `2026-11-22T14:02:00Z`.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;

/// Text that names no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no moment: RFC 3339 such as 2026-11-22T14:02:00Z, `14:02`, `2026-11-22 14:02`, `-2h` or `now`",
    shorten(.0)
)]
pub struct BadMoment(pub String);

fn shorten(text: &str) -> String {
    text.escape_default().take(64).collect()
}

/// Reads a moment. A time of day is the last one that is over; without an offset `zone` is meant.
/// In the hour that a change of clocks repeats, the earlier one is meant.
///
/// # Errors
/// When it is written in none of the forms, or out of range.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, BadMoment> {
    let text = text.trim();
    let bad = || BadMoment(text.to_owned());
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = humantime::parse_duration(ago).map_err(|_| bad())?;
        return now.checked_sub(ago).map_err(|_| bad());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // `Z` and offsets are read above; what is left has none. A time of day alone is no date.
    if let Ok(at) = text.parse::<DateTime>() {
        return in_zone(at, zone).ok_or_else(bad);
    }
    let time = text.parse::<Time>().ok().filter(|_| text.contains(':'));
    let time = time.ok_or_else(bad)?;
    time_of_day(time, now, zone).ok_or_else(bad)
}

fn time_of_day(time: Time, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let today = now.to_zoned(zone.clone()).date();
    let at = in_zone(today.to_datetime(time), zone)?;
    if at <= now {
        return Some(at);
    }
    in_zone(today.yesterday().ok()?.to_datetime(time), zone)
}

fn in_zone(at: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(at).compatible().ok()
}

/// `2026-11-22 14:02:00 CST`, as people in `zone` read it.
pub fn shown(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str, now: &str, zone: &str) -> Result<String, BadMoment> {
        let zone = TimeZone::get(zone).unwrap();
        parse(text, now.parse().unwrap(), &zone).map(|at| at.to_string())
    }

    #[test]
    fn a_time_of_day_is_the_last_one_that_is_over() {
        let now = "2026-11-22T10:00:00Z";
        let read = |text, zone| at(text, now, zone).unwrap();
        assert_eq!(read("09:59", "UTC"), "2026-11-22T09:59:00Z");
        assert_eq!(read("10:00", "UTC"), "2026-11-22T10:00:00Z");
        assert_eq!(read("14:02:30", "UTC"), "2026-11-21T14:02:30Z");
        // It is 18:00 in Shanghai.
        assert_eq!(read("14:02", "Asia/Shanghai"), "2026-11-22T06:02:00Z");
        assert_eq!(read("18:01", "Asia/Shanghai"), "2026-11-21T10:01:00Z");
    }

    #[test]
    fn every_form_people_use_is_read() {
        let now = "2026-11-22T10:00:00Z";
        for (text, expected) in [
            ("now", "2026-11-22T10:00:00Z"),
            ("-2h", "2026-11-22T08:00:00Z"),
            ("-1h30m", "2026-11-22T08:30:00Z"),
            ("2026-11-20T14:02:00Z", "2026-11-20T14:02:00Z"),
            ("2026-11-20T14:02:00+08:00", "2026-11-20T06:02:00Z"),
            ("2026-11-20 14:02", "2026-11-20T13:02:00Z"),
            ("2026-11-20T14:02", "2026-11-20T13:02:00Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
        ] {
            assert_eq!(
                at(text, now, "Europe/Berlin").as_deref(),
                Ok(expected),
                "{text}"
            );
        }
        for wrong in [
            "",
            "14",
            "25:00",
            "yesterday",
            "-",
            "-2",
            "--2h",
            "14:02 Mars/Base",
            "2h",
        ] {
            let refused = at(wrong, now, "UTC");
            assert!(refused.is_err(), "{wrong}: {refused:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let now = "2026-11-22T10:00:00Z".parse().unwrap();
            let _either = parse(&text, now, &TimeZone::UTC);
        }

        #[test]
        fn what_is_shown_as_rfc_3339_is_read_back(second in 0_i64..4_000_000_000) {
            let at = Timestamp::from_second(second).unwrap();
            prop_assert_eq!(parse(&at.to_string(), at, &TimeZone::UTC), Ok(at));
        }
    }
}
