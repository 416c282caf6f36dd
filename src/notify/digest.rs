//! Many messages as one, where a channel's limit leaves no room for each.
//!
//! Most pressing first: what asks for people, then what fires, then what ended, by severity.
//! Alerts that differ only in where they fire share a line. What does not fit is counted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::pressing::{Pressing, pressing};
use crate::domain::alert::{AlertStatus, severity_rank};
use crate::domain::notice::{Digest, DigestLine, Link, Message, Notice, NoticeKind};

/// Instances kept with a line.
const KEPT_INSTANCES: usize = 8;

/// What lines that are told as one share.
type Kin = (Pressing, NoticeKind, String, String, String);

/// The digest of `messages` with its first `named` lines; None of none.
pub(super) fn of(messages: &[&Message], named: usize, list: Option<&Link>) -> Option<Notice> {
    let first = messages.first()?;
    let at = messages.iter().map(|message| message.notice.at).max()?;
    let mut digest = Digest {
        messages: messages.len() as u64,
        firing: 0,
        resolved: 0,
        lines: Vec::new(),
    };
    let mut merged = BTreeMap::new();
    let mut cut = 0;
    for message in messages {
        cut += message.notice.truncated;
        for line in lines_of(&message.notice) {
            match line.status {
                _ if line.kind != NoticeKind::Alert => {}
                AlertStatus::Firing => digest.firing += line.count,
                AlertStatus::Resolved => digest.resolved += line.count,
            }
            add(&mut merged, line);
        }
    }
    digest.lines = merged.into_values().collect();
    let counted: u64 = digest.lines.iter().skip(named).map(|line| line.count).sum();
    digest.lines.truncate(named);
    let thread = format!("digest/{}", first.notice.thread);
    let mut notice = Notice::blank(NoticeKind::Digest, &thread, "", at);
    if digest.firing == 0 && digest.resolved > 0 {
        notice.status = AlertStatus::Resolved;
    }
    let severities = messages.iter().map(|one| one.notice.severity.as_str());
    if let Some(worst) = severities.min_by_key(|word| severity_rank(word)) {
        worst.clone_into(&mut notice.severity);
    }
    notice.truncated = counted + cut;
    notice.links = list.cloned().into_iter().collect();
    notice.digest = Some(digest);
    Some(notice)
}

/// A line per alert; for a message about anything else one that says what it was about.
fn lines_of(notice: &Notice) -> Vec<DigestLine> {
    let place: Vec<&str> = [
        notice.service.as_ref().map(AsRef::as_ref),
        notice.env.as_ref().map(AsRef::as_ref),
    ]
    .into_iter()
    .flatten()
    .collect();
    let place = place.join(" ");
    if notice.kind != NoticeKind::Alert || notice.alerts.is_empty() {
        return vec![DigestLine {
            kind: notice.kind,
            status: notice.status,
            severity: notice.severity.clone(),
            name: notice.subject.clone(),
            place,
            count: 1,
            instances: Vec::new(),
        }];
    }
    let line = |alert: &crate::domain::notice::AlertLine| DigestLine {
        kind: notice.kind,
        status: alert.status,
        severity: alert.severity.clone(),
        name: alert.name.clone(),
        place: place.clone(),
        count: 1,
        instances: alert.labels.get("instance").cloned().into_iter().collect(),
    };
    notice.alerts.iter().map(line).collect()
}

/// Adds a line to the one it shares everything with but the place where it fires.
fn add(lines: &mut BTreeMap<Kin, DigestLine>, line: DigestLine) {
    let kin = (
        pressing(line.kind, line.status, &line.severity),
        line.kind,
        line.severity.clone(),
        line.name.clone(),
        line.place.clone(),
    );
    match lines.entry(kin) {
        Entry::Vacant(free) => {
            free.insert(line);
        }
        Entry::Occupied(mut known) => {
            let known = known.get_mut();
            known.count += line.count;
            let room = KEPT_INSTANCES.saturating_sub(known.instances.len());
            known
                .instances
                .extend(line.instances.into_iter().take(room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::render::sample::{alert, finished, firing};

    fn message(notice: Notice) -> Message {
        Message {
            channel: crate::domain::id::ChannelName::new("ops").unwrap(),
            covers: std::collections::BTreeSet::new(),
            notice,
        }
    }

    fn about(name: &str, severity: &str, status: AlertStatus) -> Message {
        let mut notice = firing();
        notice.alerts = vec![alert(name, "")];
        notice.severity = severity.to_owned();
        notice.status = status;
        for line in &mut notice.alerts {
            line.severity = severity.to_owned();
            line.status = status;
        }
        message(notice)
    }

    #[test]
    fn pages_first_then_what_fires_then_what_ended_and_the_rest_is_counted() {
        let messages = [
            about("Slow", "warning", AlertStatus::Firing),
            about("Down", "critical", AlertStatus::Resolved),
            about("Down", "critical", AlertStatus::Firing),
            about("Down", "critical", AlertStatus::Firing),
            message(finished()),
        ];
        let messages: Vec<&Message> = messages.iter().collect();
        let whole = of(&messages, 10, None).unwrap();
        let digest = whole.digest.unwrap();
        let lines = digest.lines.iter();
        let told: Vec<(&str, u64, &str)> = lines
            .map(|line| (line.name.as_str(), line.count, line.severity.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("Rollback of checkout", 1, "critical"),
                ("Down", 2, "critical"),
                ("Slow", 1, "warning"),
                ("Down", 1, "critical"),
            ]
        );
        assert_eq!((digest.messages, digest.firing, digest.resolved), (5, 3, 1));
        assert_eq!((whole.truncated, whole.severity.as_str()), (0, "critical"));
        let cut = of(&messages, 2, None).unwrap();
        assert_eq!(cut.truncated, 2, "named or counted");
        assert_eq!(of(&[], 10, None), None);
    }
}
