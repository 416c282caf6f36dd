//! What a receiver reads, and how a message too big for one body becomes several.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::alert::AlertStatus;
use crate::domain::notice::{Notice, NoticeKind};
use crate::notify::channel::{SendError, Wording};
use crate::notify::render::ChartPlace;
use crate::notify::render::escape::Dialect;
use crate::notify::render::view::{View, reference};

/// Hosts the readable text names before it counts; the facts name all of them.
const HOSTS: usize = 50;

/// A request's body: `type`, `timestamp` and `data`, as Standard Webhooks recommends.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Payload<'a> {
    /// `alert.firing`, `alert.resolved`, `hold.page`, `rollback.started`, `rollback.finished`,
    /// `rollback.recovery`, `report.written`, `backstop.trouble`, `digest`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// When the facts were gathered.
    #[schemars(with = "String")]
    pub timestamp: Timestamp,
    /// The message.
    pub data: Data<'a>,
}

/// The message of a [`Payload`].
#[derive(Debug, Serialize, JsonSchema)]
pub struct Data<'a> {
    /// Which part of how many: parts share all facts and divide the alerts.
    pub part: usize,
    /// How many parts there are.
    pub parts: usize,
    /// A short name that all messages of a thread share.
    pub reference: String,
    /// The message in words, in the channel's language and time zone, without markup.
    pub text: String,
    /// The facts.
    pub notice: &'a Notice,
}

fn event_type(notice: &Notice) -> &'static str {
    match (notice.kind, notice.status) {
        (NoticeKind::Alert, AlertStatus::Firing) => "alert.firing",
        (NoticeKind::Alert, AlertStatus::Resolved) => "alert.resolved",
        (NoticeKind::HoldPage, _) => "hold.page",
        (NoticeKind::ApprovalWanted, _) => "approval.wanted",
        (NoticeKind::ApprovalSettled, _) => "approval.settled",
        (NoticeKind::RollbackStarted, _) => "rollback.started",
        (NoticeKind::RollbackFinished, _) => "rollback.finished",
        (NoticeKind::Recovery, _) => "rollback.recovery",
        (NoticeKind::Report, _) => "report.written",
        (NoticeKind::OwnTrouble, _) => "backstop.trouble",
        (NoticeKind::Digest, _) => "digest",
    }
}

/// The bodies of `notice`, each of at most `max` bytes unless a single alert is longer: the same
/// ones for the same notice, so that an attempt can go on where another stopped.
pub(super) fn split(
    notice: &Notice,
    wording: &Wording,
    max: usize,
) -> Result<Vec<String>, SendError> {
    let mut waiting = vec![notice.clone()];
    let mut fitting = Vec::new();
    while let Some(mut one) = waiting.pop() {
        let half = one.alerts.len() / 2;
        if half == 0 || body(&one, (usize::MAX, usize::MAX), wording)?.len() <= max {
            fitting.push(one);
        } else {
            let mut rest = one.clone();
            rest.alerts = one.alerts.split_off(half);
            waiting.extend([rest, one]);
        }
    }
    let parts = fitting.len();
    let numbered = fitting.iter().zip(1..);
    numbered
        .map(|(one, part)| body(one, (part, parts), wording))
        .collect()
}

fn body(
    notice: &Notice,
    (part, parts): (usize, usize),
    wording: &Wording,
) -> Result<String, SendError> {
    let chart = notice.chart.as_ref().map(|chart| chart.url.is_some());
    let place = match chart {
        Some(true) => ChartPlace::Beside,
        Some(false) => ChartPlace::NoUrl,
        None => ChartPlace::Nowhere,
    };
    let view: View = wording.view(notice, &place, HOSTS);
    let payload = Payload {
        kind: event_type(notice),
        timestamp: notice.at,
        data: Data {
            part,
            parts,
            reference: reference(notice),
            text: wording.renderer.render(Dialect::Plain, &view)?,
            notice,
        },
    };
    serde_json::to_string(&payload).map_err(|error| {
        SendError::new(
            crate::notify::channel::Class::Permanent,
            "render",
            error.to_string(),
        )
    })
}
