//! Which of several messages goes first.

use jiff::Timestamp;

use crate::domain::alert::{AlertStatus, severity_rank};
use crate::domain::notice::{Notice, NoticeKind};

/// The smaller, the sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pressing {
    class: u8,
    severity: usize,
}

/// What asks for people or tells of a rollback, then what fires, then what ended; by severity.
pub(super) fn pressing(kind: NoticeKind, status: AlertStatus, severity: &str) -> Pressing {
    let class = match (kind, status) {
        (NoticeKind::HoldPage | NoticeKind::ApprovalWanted | NoticeKind::OwnTrouble, _) => 0,
        (NoticeKind::Alert | NoticeKind::Digest, AlertStatus::Firing) => 2,
        (NoticeKind::Alert | NoticeKind::Digest, AlertStatus::Resolved) => 3,
        _ => 1,
    };
    Pressing {
        class,
        severity: severity_rank(severity),
    }
}

/// The place of a message among others: how pressing it is, then its age.
pub(super) fn place(notice: &Notice) -> (Pressing, Timestamp) {
    let pressing = pressing(notice.kind, notice.status, &notice.severity);
    (pressing, notice.at)
}
