//! "Is it this release's fault?" Three checks over the history, each with the words a person reads.

use std::time::Duration;

use jiff::Timestamp;

use super::super::catalog::View;
use super::history::{BEFORE, History, SINCE};
use super::names::{Accused, Names};
use crate::domain::clock;
use crate::domain::deployment::Phase;
use crate::domain::evidence::{Attribution, Check, Verify};

/// History there must be before the batch for a comparison with it.
const BASELINE: Duration = Duration::from_mins(5);
/// How far back the accused's own past is looked at.
const PAST: Duration = Duration::from_mins(30);
/// "Now", in history; and the longest pause within one anomaly.
const RECENT: Duration = Duration::from_mins(5);
/// One scrape: how much earlier than its batch an anomaly may seem to begin.
const SCRAPE: Duration = Duration::from_secs(15);
/// A store may repeat old points this close to now.
const UNSETTLED: Duration = Duration::from_secs(30);
/// From this share of bad samples before the batch on, it is not clear that anything changed.
const OFTEN: f64 = 0.1;
/// Others are equally bad from this part of the accused's share on.
const EQUALLY: f64 = 0.5;

/// Lines about what is accused, now.
const OURS: [Names; 2] = [Names::Accused, Names::Release];

/// Judges what was read; what could not be read is a hold.
pub(super) fn judge(
    accused: &Accused<'_>,
    view: &View,
    history: Result<History, String>,
    verify: &Verify,
    now: Timestamp,
) -> Attribution {
    let holds = matches!(verify, Verify::Holds(_));
    let reports = match &history {
        Ok(history) => holds || history.reports(now),
        Err(_) => holds,
    };
    let still_running = still_running(accused, view, reports, now);
    let history = match history {
        Ok(history) => history,
        Err(reason) => {
            return Attribution {
                began_after: Check::Hold(reason.clone()),
                others_are_well: Check::Hold(reason),
                still_running,
            };
        }
    };
    let began = history.began(now, holds);
    Attribution {
        began_after: began_after(&history, began),
        others_are_well: match began {
            Some(began) => others_are_well(accused, &history, began, now),
            None => Check::Hold("the accused has no bad sample now".into()),
        },
        still_running,
    }
}

fn began_after(history: &History, began: Option<Timestamp>) -> Check {
    let Some(began) = began else {
        return Check::Hold("the accused has no bad sample now".into());
    };
    let start = history.batch_start;
    let tolerance = SCRAPE.max(history.step);
    if let Some(hold) = history.too_short_before(start) {
        return hold;
    }
    if began < clock::before(start, tolerance) {
        return Check::Deny(format!(
            "bad since {}, {} before the batch started",
            clock_time(began),
            words(clock::since(start, began))
        ));
    }
    if history.since_from > start && began <= clock::after(history.since_from, history.step) {
        return Check::Hold(format!(
            "bad for longer than the {} that were looked at",
            words(SINCE)
        ));
    }
    let past = history.share(
        &[Names::Accused, Names::Release, Names::Former],
        clock::before(start, PAST),
        clock::before(start, tolerance),
    );
    match past {
        Some(share) if share.bad >= OFTEN => Check::Hold(format!(
            "already {} of its samples in the {} before the batch were bad",
            percent(share.bad),
            words(PAST)
        )),
        _ => Check::Pass(format!(
            "bad since {}, {} after the batch started",
            clock_time(began),
            words(clock::since(began, start))
        )),
    }
}

fn others_are_well(
    accused: &Accused<'_>,
    history: &History,
    began: Timestamp,
    now: Timestamp,
) -> Check {
    let from = began.max(clock::before(now, RECENT));
    let Some(mine) = history.share(&OURS, from, now) else {
        return Check::Hold("the accused reports nothing to compare".into());
    };
    // Its newest sample is bad even where the ranges don't show it yet.
    let mine_bad = if mine.bad > 0.0 { mine.bad } else { 1.0 };
    let phase = accused.context.deployment.phase(now);
    let others = history.share(&[Names::Other], from, now);
    match (phase, others) {
        (Phase::Canary | Phase::Between, Some(others)) => {
            let told = format!(
                "{} of the samples of {} others are bad, {} of the accused's",
                percent(others.bad),
                others.lines,
                percent(mine_bad)
            );
            if others.bad >= EQUALLY * mine_bad {
                Check::Hold(told)
            } else {
                Check::Pass(told)
            }
        }
        (Phase::Canary, None) => {
            Check::Hold("nothing without the release reports, so there is no comparison".into())
        }
        (Phase::Between | Phase::Full, _) => hour_before(history, mine_bad),
    }
}

/// When everything runs the release, the hour before the deployment is what it is compared with.
fn hour_before(history: &History, mine_bad: f64) -> Check {
    let start = history.deployment_start;
    if let Some(hold) = history.too_short_before(start) {
        return hold;
    }
    let everybody = [
        Names::Accused,
        Names::Release,
        Names::Fellow,
        Names::Former,
        Names::Other,
        Names::Nobody,
    ];
    let Some(past) = history.share(&everybody, clock::before(start, BEFORE), start) else {
        return Check::Hold("nothing is known of the hour before the deployment".into());
    };
    let told = format!(
        "in the hour before the deployment {} of the samples were bad, now {}",
        percent(past.bad),
        percent(mine_bad)
    );
    if past.bad >= EQUALLY * mine_bad {
        Check::Hold(told)
    } else {
        Check::Pass(told)
    }
}

fn still_running(accused: &Accused<'_>, view: &View, reports: bool, now: Timestamp) -> Check {
    let context = accused.context;
    match view.freshness() {
        Some(freshness) if !freshness.stale => {}
        Some(freshness) => {
            return Check::Hold(format!(
                "the catalog is {} old",
                words(clock::since(now, freshness.as_of))
            ));
        }
        None => return Check::Hold("the catalog could not be read yet".into()),
    }
    let Some(lane) = accused.lane() else {
        return Check::Hold("the catalog does not know the deployment any more".into());
    };
    let hosts = accused.hosts();
    let mut moved = Vec::new();
    let mut stayed = 0;
    for host in hosts {
        match lane.membership(host, now) {
            Some(found) if found.deployment.release_id == context.release_id => stayed += 1,
            Some(found) => moved.push(format!("{host} runs {}", found.deployment.release_id)),
            None => moved.push(format!("{host} runs nothing known")),
        }
    }
    if hosts.is_empty() {
        let newest = lane
            .deployments()
            .iter()
            .rev()
            .find(|one| one.started_at.is_some());
        return match newest {
            Some(newest) if newest.release_id != context.release_id => {
                Check::Deny(format!("{} was deployed since", newest.release_id))
            }
            _ if reports => Check::Pass("no newer deployment is known, and it reports".into()),
            _ => Check::Hold("the accused release reports nothing now".into()),
        };
    }
    if stayed == 0 {
        moved.truncate(5);
        return Check::Deny(format!("it is gone from there: {}", moved.join(", ")));
    }
    if !reports {
        return Check::Hold("the accused release reports nothing now".into());
    }
    Check::Pass(format!("{stayed} of {} accused hosts run it", hosts.len()))
}

/// A share of bad samples, and over how many series.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Share {
    bad: f64,
    lines: usize,
}

impl History {
    /// Bad samples among all of some lines in `[from, to]`; None when there is no sample.
    fn share(&self, names: &[Names], from: Timestamp, to: Timestamp) -> Option<Share> {
        let (mut bad, mut all, mut lines) = (0_u32, 0_u32, 0);
        for line in self.lines.iter().filter(|line| names.contains(&line.names)) {
            let inside = line
                .points
                .iter()
                .filter(|(at, _)| (from..=to).contains(at));
            let before = all;
            for (_, is_bad) in inside {
                all += 1;
                bad += u32::from(*is_bad);
            }
            lines += usize::from(all > before);
        }
        (all > 0).then(|| Share {
            bad: f64::from(bad) / f64::from(all),
            lines,
        })
    }

    /// Whether the accused has any sample lately.
    fn reports(&self, now: Timestamp) -> bool {
        let from = clock::before(now, RECENT);
        self.share(&OURS, from, now).is_some()
    }

    /// When the anomaly that is on now began, the accused hosts' past included; None when there is
    /// none on now.
    fn began(&self, now: Timestamp, holds: bool) -> Option<Timestamp> {
        let ours = [Names::Accused, Names::Release, Names::Former];
        let lines = self.lines.iter().filter(|line| ours.contains(&line.names));
        let bad = lines.flat_map(|line| line.points.iter().filter(|(_, bad)| *bad));
        let mut bad: Vec<Timestamp> = bad.map(|(at, _)| *at).collect();
        bad.sort_unstable();
        let pause = RECENT.max(self.step * 3);
        let recent = |at: &Timestamp| clock::since(now, *at) <= pause;
        let mut began = match bad.pop() {
            Some(last) if recent(&last) => last,
            // It holds this moment, and the ranges lag behind.
            _ if holds => clock::before(now, UNSETTLED).max(self.batch_start),
            _ => return None,
        };
        while let Some(earlier) = bad.pop() {
            if clock::since(began, earlier) > pause {
                break;
            }
            began = earlier;
        }
        Some(began)
    }

    /// A hold when less is known from before `moment` than a comparison takes.
    fn too_short_before(&self, moment: Timestamp) -> Option<Check> {
        let comparable = |line: &&super::history::Line| line.names != Names::Foreign;
        let first = self.lines.iter().filter(comparable);
        let first = first
            .filter_map(|line| line.points.first())
            .map(|(at, _)| *at)
            .min();
        let known = first.map_or(Duration::ZERO, |first| clock::since(moment, first));
        (known < BASELINE).then(|| {
            Check::Hold(format!(
                "only {} of history before it, {} are needed",
                words(known),
                words(BASELINE)
            ))
        })
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A duration to the second.
fn words(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

/// A time of day, UTC.
fn clock_time(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}
