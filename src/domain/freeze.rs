//! Freeze windows: times in which a team wants as little change as possible.
//!
//! What they mean here is whether a rollback may happen in them. To keep deployments out of a
//! window is Spinnaker's business.

use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A freeze window of a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Freeze {
    /// Its name in messages.
    pub name: String,
    /// When it is open.
    pub window: Window,
    /// The zone its times are meant and told in.
    pub zone: TimeZone,
    /// What becomes of a rollback while it is open.
    pub rollbacks: Rollbacks,
}

/// What becomes of a rollback in a freeze window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rollbacks {
    /// It passes: leaving a bad release is what a freeze is for.
    #[default]
    Pass,
    /// It waits for the end of the window, or for a person.
    Hold,
}

/// When a freeze window is open.
#[derive(Debug, Clone, PartialEq)]
pub enum Window {
    /// On days of every week.
    Weekly {
        /// The days it begins on.
        days: Vec<Weekday>,
        /// When it begins.
        from: Time,
        /// When it ends: on the same day if that is later than `from`, else on the next.
        to: Time,
    },
    /// Once.
    Dated {
        /// The first moment inside.
        from: Timestamp,
        /// The first moment after.
        to: Timestamp,
    },
}

/// Longest chain of weekly windows that is followed to its end.
const DAYS: usize = 7;

impl Freeze {
    /// Until when it is open; None when it is not open at `now`. Windows of neighbouring days are
    /// one.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let mut until = self.end_at(now)?;
        for _ in 0..DAYS {
            match self.end_at(until) {
                Some(later) if later > until => until = later,
                Some(_) | None => break,
            }
        }
        Some(until)
    }

    /// A moment as the window's author writes it.
    pub fn local(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone())
            .strftime("%F %R %Z")
            .to_string()
    }

    fn end_at(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.window {
            Window::Dated { from, to } => (*from <= now && now < *to).then_some(*to),
            Window::Weekly { days, from, to } => {
                let today = now.to_zoned(self.zone.clone()).date();
                // A window that began yesterday may reach into today.
                [Some(today), today.yesterday().ok()]
                    .into_iter()
                    .flatten()
                    .filter(|day| days.contains(&day.weekday()))
                    .filter_map(|day| self.span(day, *from, *to))
                    .filter(|(start, end)| *start <= now && now < *end)
                    .map(|(_, end)| end)
                    .max()
            }
        }
    }

    fn span(&self, day: Date, from: Time, to: Time) -> Option<(Timestamp, Timestamp)> {
        let last = if to > from { day } else { day.tomorrow().ok()? };
        let at = |day: Date, time: Time| {
            let zoned = day.to_datetime(time).to_zoned(self.zone.clone()).ok()?;
            Some(zoned.timestamp())
        };
        Some((at(day, from)?, at(last, to)?))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn weekly(days: &[Weekday], from: Time, to: Time, zone: &str) -> Freeze {
        Freeze {
            name: "w".to_owned(),
            window: Window::Weekly {
                days: days.to_vec(),
                from,
                to,
            },
            zone: TimeZone::get(zone).unwrap(),
            rollbacks: Rollbacks::Hold,
        }
    }

    #[test]
    fn a_night_ends_on_the_next_morning_in_its_own_zone() {
        // 2026-11-24 is a Tuesday.
        let night = weekly(
            &[Weekday::Tuesday],
            time(22, 0, 0, 0),
            time(6, 0, 0, 0),
            "Asia/Shanghai",
        );
        assert_eq!(night.open_until(at("2026-11-24T13:59:59Z")), None);
        let end = at("2026-11-24T22:00:00Z");
        assert_eq!(night.open_until(at("2026-11-24T14:00:00Z")), Some(end));
        assert_eq!(night.open_until(at("2026-11-24T21:59:59Z")), Some(end));
        assert_eq!(night.open_until(at("2026-11-24T22:00:00Z")), None);
        assert!(night.local(end).starts_with("2026-11-25 06:00"));
    }

    #[test]
    fn neighbouring_days_are_one_window() {
        let weekend = weekly(
            &[Weekday::Saturday, Weekday::Sunday],
            Time::midnight(),
            Time::midnight(),
            "UTC",
        );
        let monday = Some(at("2026-11-30T00:00:00Z"));
        assert_eq!(weekend.open_until(at("2026-11-28T00:00:00Z")), monday);
        assert_eq!(weekend.open_until(at("2026-11-29T23:00:00Z")), monday);
        assert_eq!(weekend.open_until(at("2026-11-27T23:59:59Z")), None);
        assert_eq!(weekend.open_until(at("2026-11-30T00:00:00Z")), None);
    }

    #[test]
    fn a_day_is_as_long_as_the_clocks_make_it() {
        // The clocks went forward at 01:00 UTC on 2026-03-29, back on 2026-10-25.
        let sunday = weekly(
            &[Weekday::Sunday],
            Time::midnight(),
            Time::midnight(),
            "Europe/Berlin",
        );
        let span = |start: &str| {
            let end = sunday.open_until(at(start)).unwrap();
            end.duration_since(at(start)).as_hours()
        };
        assert_eq!(span("2026-03-28T23:00:00Z"), 23);
        assert_eq!(span("2026-10-24T22:00:00Z"), 25);
    }

    #[test]
    fn a_window_of_every_day_has_an_end_to_tell_all_the_same() {
        let days = [
            Weekday::Monday,
            Weekday::Tuesday,
            Weekday::Wednesday,
            Weekday::Thursday,
            Weekday::Friday,
            Weekday::Saturday,
            Weekday::Sunday,
        ];
        let always = weekly(&days, Time::midnight(), Time::midnight(), "UTC");
        assert!(always.open_until(at("2026-11-24T12:00:00Z")).is_some());
    }

    #[test]
    fn a_dated_window_is_open_from_its_first_to_before_its_last_moment() {
        let once = Freeze {
            window: Window::Dated {
                from: at("2026-12-24T00:00:00Z"),
                to: at("2026-12-27T00:00:00Z"),
            },
            ..weekly(&[], Time::midnight(), Time::midnight(), "UTC")
        };
        assert_eq!(once.open_until(at("2026-12-23T23:59:59Z")), None);
        let end = Some(at("2026-12-27T00:00:00Z"));
        assert_eq!(once.open_until(at("2026-12-24T00:00:00Z")), end);
        assert_eq!(once.open_until(at("2026-12-27T00:00:00Z")), None);
    }
}
