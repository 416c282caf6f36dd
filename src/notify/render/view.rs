//! A notice as templates see it: one line per value, in the channel's language, time and units.
//!
//! Every text in it has passed [`line()`]; nothing is escaped yet. What is not known is said.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::rows::{self, Row};
use super::value::{hex, line, local, shorten};
use super::words::Words;
use super::{ChartPlace, Voice};
use crate::domain::alert::{AlertStatus, Labels};
use crate::domain::notice::{AlertLine, Digest, Happened, Link, Notice, NoticeKind};

/// Longest headline, in characters; Slack's header block takes 150.
const HEADLINE: usize = 140;

/// Spinnaker's word for an execution that did what it should.
const SUCCEEDED: &str = "SUCCEEDED";

/// What a template can show.
#[derive(Debug, Serialize)]
pub struct View {
    /// The fixed words.
    pub w: &'static Words,
    /// `alert`, `hold_page`, `rollback_started`, …
    pub kind: NoticeKind,
    /// Whether alerts and all rows are told, or a follow-up's few.
    pub full: bool,
    /// `bad`, `good` or `wait`: the colour.
    pub tone: &'static str,
    /// The state in words.
    pub state: String,
    /// State, subject and place in one line.
    pub headline: String,
    /// The subject without state.
    pub subject: String,
    /// `checkout prod`, as far as known.
    pub place: String,
    /// The worst severity.
    pub severity: String,
    /// A short name that all messages of a thread share.
    pub reference: String,
    /// When the facts were gathered, local; empty when nobody knows.
    pub at: String,
    /// Facts, labelled.
    pub rows: Vec<Row>,
    /// The alerts.
    pub alerts: Vec<AlertView>,
    /// Alerts that are counted, not listed.
    pub more_alerts: u64,
    /// Links.
    pub links: Vec<Link>,
    /// Mail only: the Content-ID of the chart's part.
    pub chart_cid: Option<String>,
    /// The chart in words.
    pub chart_alt: String,
}

/// One alert as templates see it.
#[derive(Debug, Serialize)]
pub struct AlertView {
    /// `alertname`.
    pub name: String,
    /// Label `severity`.
    pub severity: String,
    /// The state in words.
    pub state: String,
    /// Whether it fires.
    pub firing: bool,
    /// Local time; empty when nobody knows.
    pub since: String,
    /// The rule author's words.
    pub message: String,
    /// `name=value` of labels the rows don't tell already.
    pub labels: String,
}

impl View {
    /// Prepares `notice` for one channel. `hosts` is how many are named before counting begins.
    pub fn of(notice: &Notice, voice: &Voice, chart: &ChartPlace, hosts: usize) -> Self {
        let w = Words::of(voice.locale);
        let full = is_full(notice.kind);
        let place = [
            notice.service.as_ref().map(ToString::to_string),
            notice.env.as_ref().map(ToString::to_string),
        ];
        let place: Vec<String> = place.into_iter().flatten().collect();
        let place = place.join(" ");
        let state = state(notice, w);
        let subject = match &notice.digest {
            Some(digest) => tally(digest, w),
            None => shorten(&line(w.subject(&notice.subject)), HEADLINE),
        };
        let mut headline = format!("{state}: {subject}");
        if !place.is_empty() {
            headline = format!("{headline} ({place})");
        }
        Self {
            w,
            kind: notice.kind,
            full,
            tone: tone(notice),
            headline: shorten(&headline, HEADLINE),
            state,
            subject,
            place,
            severity: line(&notice.severity),
            reference: reference(notice),
            at: local(notice.at, &voice.time_zone).unwrap_or_default(),
            rows: rows::of(notice, voice, w, chart, hosts),
            alerts: notice
                .alerts
                .iter()
                .filter(|_| lists_alerts(notice.kind))
                .map(|alert| alert_view(alert, notice, voice, w))
                .collect(),
            more_alerts: notice.truncated,
            links: notice
                .links
                .iter()
                .map(|link| Link {
                    text: link_text(&link.text, w),
                    url: link.url.clone(),
                })
                .collect(),
            chart_cid: None,
            chart_alt: notice
                .chart
                .as_ref()
                .map(|chart| line(&chart.alt))
                .unwrap_or_default(),
        }
    }
}

/// Alerts and pages tell everything; follow-ups lean on the message before them.
pub(super) fn is_full(kind: NoticeKind) -> bool {
    matches!(
        kind,
        NoticeKind::Alert | NoticeKind::HoldPage | NoticeKind::ApprovalWanted
    )
}

fn lists_alerts(kind: NoticeKind) -> bool {
    matches!(kind, NoticeKind::Alert | NoticeKind::OwnTrouble)
}

/// Whether a message calls people by their mention: something burns or waits.
pub fn calls_people(notice: &Notice) -> bool {
    match notice.kind {
        NoticeKind::Alert | NoticeKind::OwnTrouble | NoticeKind::Digest => {
            notice.status == AlertStatus::Firing
        }
        NoticeKind::HoldPage | NoticeKind::ApprovalWanted => true,
        _ => false,
    }
}

/// The incident's id, or a short name of the thread.
pub fn reference(notice: &Notice) -> String {
    notice.incident.as_ref().map_or_else(
        || {
            let digest = Sha256::digest(notice.thread.as_bytes());
            let short = hex(digest
                .first_chunk::<3>()
                .map_or(&[], |bytes| bytes.as_slice()));
            format!("#{short}")
        },
        ToString::to_string,
    )
}

/// A kind of message in a word.
pub(super) fn kind_word(kind: NoticeKind, status: AlertStatus, w: &Words) -> &'static str {
    match kind {
        NoticeKind::Alert if status == AlertStatus::Firing => w.firing,
        NoticeKind::Alert => w.resolved,
        NoticeKind::HoldPage => w.hold_page,
        NoticeKind::ApprovalWanted => w.approval_wanted,
        NoticeKind::ApprovalSettled => w.approval_settled,
        NoticeKind::RollbackStarted => w.rollback_started,
        NoticeKind::RollbackFinished => w.rollback_finished,
        NoticeKind::Recovery => w.recovery,
        NoticeKind::Report => w.report,
        NoticeKind::OwnTrouble if status == AlertStatus::Resolved => w.resolved,
        NoticeKind::OwnTrouble => w.own_trouble,
        NoticeKind::Digest => w.digest,
    }
}

/// How many alerts of each state a digest stands for.
fn tally(digest: &Digest, w: &Words) -> String {
    let counts = [(w.firing, digest.firing), (w.resolved, digest.resolved)];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(word, count)| format!("{word} {count}"))
        .collect();
    if counts.is_empty() {
        format!("{} {}", w.merged, digest.messages)
    } else {
        counts.join(", ")
    }
}

fn state(notice: &Notice, w: &Words) -> String {
    let word = outcome(notice, w).unwrap_or_else(|| kind_word(notice.kind, notice.status, w));
    if notice.decision.as_ref().is_some_and(|told| told.shadow) {
        format!("[{}] {word}", w.shadow_tag)
    } else {
        word.to_owned()
    }
}

/// How it went, where a message is about that.
fn outcome(notice: &Notice, w: &Words) -> Option<&'static str> {
    match notice.kind {
        NoticeKind::RollbackFinished => {
            let status = notice.execution.as_ref()?.status.as_deref()?;
            (status != SUCCEEDED).then_some(w.rollback_undone)
        }
        NoticeKind::Recovery => match notice.happened.as_ref()? {
            Happened::Recovered => Some(w.recovery_good),
            Happened::StillBad => Some(w.recovery_bad),
            Happened::Unverified => Some(w.recovery_untold),
            _ => None,
        },
        _ => None,
    }
}

fn tone(notice: &Notice) -> &'static str {
    match notice.kind {
        NoticeKind::Alert | NoticeKind::Recovery | NoticeKind::OwnTrouble | NoticeKind::Digest
            if notice.status == AlertStatus::Resolved =>
        {
            "good"
        }
        NoticeKind::Alert
        | NoticeKind::HoldPage
        | NoticeKind::ApprovalWanted
        | NoticeKind::OwnTrouble
        | NoticeKind::Digest => "bad",
        NoticeKind::RollbackFinished => {
            match notice.execution.as_ref().and_then(|e| e.status.as_deref()) {
                Some(SUCCEEDED) => "good",
                Some(_) => "bad",
                None => "wait",
            }
        }
        NoticeKind::Recovery if notice.happened == Some(Happened::StillBad) => "bad",
        NoticeKind::ApprovalSettled
        | NoticeKind::Recovery
        | NoticeKind::RollbackStarted
        | NoticeKind::Report => "wait",
    }
}

fn alert_view(alert: &AlertLine, notice: &Notice, voice: &Voice, w: &Words) -> AlertView {
    let firing = alert.status == AlertStatus::Firing;
    AlertView {
        name: line(&alert.name),
        severity: line(&alert.severity),
        state: if firing { w.firing } else { w.resolved }.to_owned(),
        firing,
        since: local(alert.starts_at, &voice.time_zone).unwrap_or_default(),
        message: line(&alert.message),
        labels: labels(&alert.labels, notice),
    }
}

/// Our own links' words in the channel's language.
fn link_text(text: &str, w: &Words) -> String {
    match text {
        Link::INCIDENT => w.incident.to_owned(),
        Link::APPROVE => w.approve_or_deny.to_owned(),
        other => line(other),
    }
}

/// Labels, without those whose value the rows tell.
fn labels(labels: &Labels, notice: &Notice) -> String {
    let told = |name: &str, value: &str| match name {
        "alertname" | "severity" => true,
        "service" => notice
            .service
            .as_ref()
            .is_some_and(|service| service.as_str() == value),
        "env" => notice.env.as_ref().is_some_and(|env| env.as_str() == value),
        "release_id" => notice
            .release_id
            .as_ref()
            .is_some_and(|id| id.as_str() == value),
        _ => false,
    };
    let shown: Vec<String> = labels
        .iter()
        .filter(|(name, value)| !told(name, value))
        .map(|(name, value)| format!("{}={}", line(name), line(value)))
        .collect();
    shown.join(", ")
}
