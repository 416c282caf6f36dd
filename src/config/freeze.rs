//! `guards.freeze` of a policy: weekly and dated windows, read into [`Freeze`].

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::channel;
use super::place::At;
use super::problem::Problem;
use crate::domain::freeze::{Freeze, Rollbacks, Window};

/// A window of as little change as possible. Either `weekly` or `dated`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFreeze {
    /// Its name in messages.
    name: At<String>,
    /// Every week.
    #[serde(default)]
    weekly: Option<RawWeekly>,
    /// Once.
    #[serde(default)]
    dated: Option<RawDated>,
    /// The IANA zone of its times. Default UTC.
    #[serde(default)]
    time_zone: Option<At<String>>,
    /// pass: a rollback passes. hold: it waits for the end, or for a person. Default pass.
    #[serde(default)]
    rollbacks: Rollbacks,
}

/// A window of every week.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawWeekly {
    /// The days it begins on.
    days: At<Vec<Day>>,
    /// When it begins. Default 00:00.
    #[serde(default)]
    from: Option<At<String>>,
    /// When it ends; not later than `from`: on the next day. Default 24:00.
    #[serde(default)]
    to: Option<At<String>>,
}

/// A window that comes once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawDated {
    /// Its first moment: 2026-12-24, 2026-12-24T18:00, or with an offset.
    from: At<String>,
    /// The first moment after it.
    to: At<String>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Mon => Self::Monday,
            Day::Tue => Self::Tuesday,
            Day::Wed => Self::Wednesday,
            Day::Thu => Self::Thursday,
            Day::Fri => Self::Friday,
            Day::Sat => Self::Saturday,
            Day::Sun => Self::Sunday,
        }
    }
}

/// Reads the windows of one policy file; what is wrong is added to `problems`.
pub(super) fn read(file: &str, raw: Vec<RawFreeze>, problems: &mut Vec<Problem>) -> Vec<Freeze> {
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for raw in raw {
        let name = raw.name.value.trim().to_owned();
        if name.is_empty() {
            problems.push(Problem::at(
                file,
                raw.name.place,
                "the name of the window is empty",
            ));
        } else if !names.insert(name) {
            problems.push(Problem::at(
                file,
                raw.name.place,
                format!("`{}` is the name of two windows", raw.name.value),
            ));
        }
        match window(file, raw) {
            Ok(freeze) => found.push(freeze),
            Err(wrong) => problems.extend(wrong),
        }
    }
    found
}

fn window(file: &str, raw: RawFreeze) -> Result<Freeze, Vec<Problem>> {
    let mut wrong = Vec::new();
    let mut keep = |problem: Problem| wrong.push(problem);
    let zone = match &raw.time_zone {
        None => TimeZone::UTC,
        Some(name) => channel::time_zone(&name.value).unwrap_or_else(|bad| {
            keep(Problem::at(file, name.place, bad.to_string()));
            TimeZone::UTC
        }),
    };
    let window = match (raw.weekly, raw.dated) {
        (Some(weekly), None) => weekly_window(file, weekly, &mut keep),
        (None, Some(dated)) => dated_window(file, &dated, &zone, &mut keep),
        (Some(_), Some(_)) | (None, None) => {
            let what = format!(
                "the window `{}` needs either `weekly` or `dated`",
                raw.name.value
            );
            keep(Problem::at(file, raw.name.place, what).hint(
                "for example `weekly: {days: [sat, sun]}` or `dated: {from: 2026-12-24, to: 2026-12-27}`",
            ));
            None
        }
    };
    match window {
        Some(window) if wrong.is_empty() => Ok(Freeze {
            name: raw.name.value.trim().to_owned(),
            window,
            zone,
            rollbacks: raw.rollbacks,
        }),
        Some(_) | None => Err(wrong),
    }
}

fn weekly_window(file: &str, raw: RawWeekly, keep: &mut impl FnMut(Problem)) -> Option<Window> {
    if raw.days.value.is_empty() {
        let problem = Problem::at(file, raw.days.place, "`days` names no day");
        keep(problem.hint("for example [sat, sun]"));
    }
    let mut read = |text: Option<At<String>>| match text {
        None => Some(Time::midnight()),
        Some(text) => {
            let time = time_of_day(&text.value);
            if time.is_none() {
                let what = format!("`{}` is not a time of day", text.value);
                keep(Problem::at(file, text.place, what).hint("for example 06:00, 22:30, 24:00"));
            }
            time
        }
    };
    let (from, to) = (read(raw.from), read(raw.to));
    Some(Window::Weekly {
        days: raw.days.value.into_iter().map(Weekday::from).collect(),
        from: from?,
        to: to?,
    })
}

/// `HH:MM`; `24:00` is the midnight at the day's end.
fn time_of_day(text: &str) -> Option<Time> {
    match text {
        "24:00" => Some(Time::midnight()),
        _ => Time::strptime("%H:%M", text).ok(),
    }
}

fn dated_window(
    file: &str,
    raw: &RawDated,
    zone: &TimeZone,
    keep: &mut impl FnMut(Problem),
) -> Option<Window> {
    let mut read = |text: &At<String>| {
        let moment = moment(&text.value, zone);
        if moment.is_none() {
            let what = format!("`{}` is not a moment", text.value);
            keep(
                Problem::at(file, text.place, what)
                    .hint("for example 2026-12-24, 2026-12-24T18:00 or 2026-12-24T18:00:00+08:00"),
            );
        }
        moment
    };
    let (from, to) = (read(&raw.from), read(&raw.to));
    let (from, to) = (from?, to?);
    if to <= from {
        let what = "the window ends before it begins";
        keep(Problem::at(file, raw.to.place, what));
    }
    Some(Window::Dated { from, to })
}

/// A moment with an offset of its own, or as the clocks of `zone` show it.
fn moment(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(exact) = text.parse() {
        return Some(exact);
    }
    // Would otherwise be read as if nobody had written an offset.
    let time = text
        .split_once(['T', 't', ' '])
        .map_or("", |(_, time)| time);
    if time.contains(['+', '-', '[', 'Z', 'z']) {
        return None;
    }
    let civil: DateTime = text.parse().ok()?;
    Some(civil.to_zoned(zone.clone()).ok()?.timestamp())
}
