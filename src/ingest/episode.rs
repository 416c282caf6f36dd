//! Which alert is new, which is the same again, which is over: a pure fold over copies of alerts.
//!
//! An episode is one life of a fingerprint. It ends when a sender says so, or when nobody vouches
//! for it any more: the last lease has run out and no copy came within `gap`. Until then a copy
//! with a later start is the same episode (vmalert's restarts change `startsAt`); after a sender
//! ended it, a copy that does not start later is stale (a late Alertmanager peer). Both doors
//! share an episode. Facts told to people are named after it, so that replicas agree on names.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use super::life::{Class, Entry, EpisodeId, EpisodeTiming, FORGET_AFTER, Open, Over, Seen};
use crate::domain::alert::{Alert, AlertStatus, Fingerprint, Source};
use crate::domain::clock;

/// Ended episodes are remembered this long, to know stale copies.
pub const REMEMBER_ENDED: Duration = Duration::from_hours(24);
/// Episodes without a lease are written down again after this long.
const RENEW_OPEN_ENDED: Duration = Duration::from_hours(6);
/// Most episodes kept, open and ended together; the longest silent go first.
pub const MAX_EPISODES: usize = 100_000;

struct Kept {
    entry: Entry,
    /// The number of the last reminder given here.
    reminded: u64,
    /// When it is to be written down again.
    note_at: Timestamp,
}

/// Every episode this replica knows.
pub struct Episodes {
    timing: EpisodeTiming,
    kept: HashMap<Fingerprint, Kept>,
    /// The group of the delivery being judged.
    thread: String,
}

impl fmt::Debug for Episodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Episodes")
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

impl Episodes {
    /// None yet.
    pub fn new(timing: EpisodeTiming) -> Self {
        Self {
            timing,
            kept: HashMap::new(),
            thread: String::new(),
        }
    }

    /// Judges one copy. Returns what it means, and what the other replicas should know, if
    /// anything.
    pub fn see(&mut self, index: usize, alert: &Alert, now: Timestamp) -> (Seen, Option<Entry>) {
        match alert.status {
            AlertStatus::Firing => self.firing(index, alert, now),
            AlertStatus::Resolved => self.resolved(index, alert, now),
        }
    }

    fn firing(&mut self, index: usize, alert: &Alert, now: Timestamp) -> (Seen, Option<Entry>) {
        let fresh = EpisodeId {
            fingerprint: alert.fingerprint,
            start: alert.starts_at,
            life: 0,
        };
        let gap = self.timing.gap;
        match self.kept.get_mut(&alert.fingerprint) {
            None => self.start(index, fresh, alert, now),
            Some(kept) => match &mut kept.entry {
                Entry::Open(open) => {
                    let vouched = open.lease.is_some_and(|lease| lease > now)
                        || now < clock::after(open.last_copy, gap);
                    if alert.starts_at > open.latest_start && !vouched {
                        return self.start(index, fresh, alert, now);
                    }
                    self.again(index, alert, now)
                }
                Entry::Over(over) if alert.starts_at > over.latest_start => {
                    self.start(index, fresh, alert, now)
                }
                Entry::Over(over) if over.expired => {
                    let id = EpisodeId {
                        life: over.id.life + 1,
                        // An earlier copy than the first must not name it earlier.
                        start: over.latest_start,
                        ..over.id
                    };
                    self.start(index, id, alert, now)
                }
                Entry::Over(over) => {
                    let stale = Seen {
                        index,
                        class: Class::Stale,
                        episode: over.id,
                        fact: None,
                    };
                    (stale, None)
                }
            },
        }
    }

    fn start(
        &mut self,
        index: usize,
        id: EpisodeId,
        alert: &Alert,
        now: Timestamp,
    ) -> (Seen, Option<Entry>) {
        let open = Open {
            id,
            began: now,
            latest_start: alert.starts_at.max(id.start),
            lease: alert.ends_at,
            open_ended: alert.ends_at.is_none(),
            last_copy: now,
            thread: self.thread.clone(),
            alert: Arc::new(alert.clone()),
        };
        let entry = Entry::Open(open.clone());
        self.keep_open(open, 0, now);
        let seen = Seen {
            index,
            class: Class::Started,
            episode: id,
            fact: Some(format!("{id}/firing/0")),
        };
        (seen, Some(entry))
    }

    fn keep_open(&mut self, open: Open, reminded: u64, now: Timestamp) {
        let left = if open.open_ended {
            RENEW_OPEN_ENDED
        } else {
            clock::since(open.vouched_until(self.timing.gap), now) / 2
        };
        let kept = Kept {
            reminded,
            note_at: clock::after(now, left),
            entry: Entry::Open(open),
        };
        self.kept.insert(kept.fingerprint(), kept);
    }

    /// A copy of an open episode.
    fn again(&mut self, index: usize, alert: &Alert, now: Timestamp) -> (Seen, Option<Entry>) {
        let timing = self.timing;
        let Some(Kept {
            entry: Entry::Open(open),
            reminded,
            note_at,
        }) = self.kept.get_mut(&alert.fingerprint)
        else {
            let id = EpisodeId {
                fingerprint: alert.fingerprint,
                start: alert.starts_at,
                life: 0,
            };
            return self.start(index, id, alert, now);
        };
        open.latest_start = open.latest_start.max(alert.starts_at);
        open.lease = open.lease.max(alert.ends_at);
        open.last_copy = now;
        open.alert = Arc::new(alert.clone());
        let news = alert.ends_at.is_none() && !open.open_ended;
        open.open_ended |= news;
        let n = open.reminder(now, timing.remind_after);
        let class = if n > *reminded {
            Class::Reminded
        } else {
            Class::Still
        };
        let (n, id) = (n.max(*reminded), open.id);
        *reminded = n;
        let note = (news || now >= *note_at).then(|| open.clone());
        if let Some(open) = note.clone() {
            self.keep_open(open, n, now);
        }
        let seen = Seen {
            index,
            class,
            episode: id,
            fact: Some(format!("{id}/firing/{n}")),
        };
        (seen, note.map(Entry::Open))
    }

    fn resolved(&mut self, index: usize, alert: &Alert, now: Timestamp) -> (Seen, Option<Entry>) {
        let at = alert.ends_at.map_or(now, |end| end.min(now));
        let seen = |class, episode: EpisodeId| Seen {
            index,
            class,
            episode,
            fact: (class != Class::Stale).then(|| format!("{episode}/resolved/0")),
        };
        // vmalert repeats its ends for 15 min to whoever listens; Alertmanager only sends one
        // after somebody here has accepted the beginning.
        let told_before = alert.source == Source::Alertmanager;
        match self
            .kept
            .get_mut(&alert.fingerprint)
            .map(|kept| &mut kept.entry)
        {
            Some(Entry::Open(open)) if at < open.id.start => (seen(Class::Stale, open.id), None),
            Some(Entry::Open(open)) => {
                let (id, latest_start) = (open.id, open.latest_start.max(alert.starts_at));
                let over = self.end(id, latest_start, at, true);
                (seen(Class::Ended, id), Some(over))
            }
            Some(Entry::Over(over)) if alert.starts_at <= over.latest_start => {
                over.expired = false;
                let class = if over.known || told_before {
                    Class::EndedAgain
                } else {
                    Class::Stale
                };
                (seen(class, over.id), None)
            }
            Some(Entry::Over(_)) | None => {
                let id = EpisodeId {
                    fingerprint: alert.fingerprint,
                    start: alert.starts_at,
                    life: 0,
                };
                let over = self.end(id, alert.starts_at, at, told_before);
                let class = if told_before {
                    Class::Ended
                } else {
                    Class::Stale
                };
                (seen(class, id), Some(over))
            }
        }
    }

    fn end(&mut self, id: EpisodeId, latest_start: Timestamp, at: Timestamp, known: bool) -> Entry {
        let over = Entry::Over(Over {
            id,
            latest_start,
            at,
            expired: false,
            known,
        });
        self.keep_over(over.clone());
        over
    }

    fn keep_over(&mut self, entry: Entry) {
        let kept = Kept {
            entry,
            reminded: 0,
            note_at: Timestamp::MAX,
        };
        self.kept.insert(kept.fingerprint(), kept);
    }

    /// Ends what nobody has vouched for since `patience` ago, and forgets what is long over.
    /// Returns the ended episodes.
    pub fn sweep(&mut self, now: Timestamp, patience: Duration) -> Vec<(Open, Over)> {
        let gap = self.timing.gap;
        let mut ended = Vec::new();
        self.kept.retain(|_, kept| match &mut kept.entry {
            Entry::Over(over) => now < clock::after(over.at, REMEMBER_ENDED),
            Entry::Open(open) => {
                if now < clock::after(open.vouched_until(gap), patience) {
                    return true;
                }
                if open.open_ended {
                    // No end was ever promised, so nobody is told of one.
                    return false;
                }
                let over = Over {
                    id: open.id,
                    latest_start: open.latest_start,
                    at: now,
                    expired: true,
                    known: true,
                };
                ended.push((open.clone(), over.clone()));
                kept.entry = Entry::Over(over);
                kept.note_at = Timestamp::MAX;
                true
            }
        });
        self.crowd();
        ended
    }

    fn crowd(&mut self) {
        let Some(excess) = self.kept.len().checked_sub(MAX_EPISODES) else {
            return;
        };
        let mut silent: Vec<_> = self
            .kept
            .iter()
            .map(|(fingerprint, kept)| match &kept.entry {
                Entry::Over(over) => (true, over.at, *fingerprint),
                Entry::Open(open) => (false, open.last_copy, *fingerprint),
            })
            .collect();
        // Ended ones first, then the longest silent.
        silent.sort_unstable_by_key(|(over, at, _)| (!*over, *at));
        for (_, _, fingerprint) in silent.into_iter().take(excess) {
            self.kept.remove(&fingerprint);
        }
    }

    /// Takes in what another replica wrote. Reading it twice, or late, changes nothing.
    pub fn absorb(&mut self, entry: Entry, now: Timestamp) {
        match entry {
            Entry::Open(theirs) => self.absorb_open(theirs, now),
            Entry::Over(theirs) => self.absorb_over(theirs),
        }
    }

    fn absorb_open(&mut self, theirs: Open, now: Timestamp) {
        let reminded = theirs.reminder(now, self.timing.remind_after);
        match self
            .kept
            .get_mut(&theirs.id.fingerprint)
            .map(|kept| &mut kept.entry)
        {
            None => self.keep_open(theirs, reminded, now),
            Some(Entry::Over(over)) => {
                let later = theirs.id.start > over.latest_start || theirs.id.life > over.id.life;
                let wrongly_ended = over.expired && theirs.last_copy > over.at;
                if later || wrongly_ended {
                    self.keep_open(theirs, reminded, now);
                }
            }
            Some(Entry::Open(ours)) => {
                let newer = theirs.id.start > ours.latest_start || theirs.id.life > ours.id.life;
                let older = ours.id.start > theirs.latest_start || ours.id.life > theirs.id.life;
                if newer {
                    self.keep_open(theirs, reminded, now);
                } else if !older {
                    merge(ours, theirs);
                }
            }
        }
    }

    fn absorb_over(&mut self, theirs: Over) {
        let gap = self.timing.gap;
        let stands = match self
            .kept
            .get(&theirs.id.fingerprint)
            .map(|kept| &kept.entry)
        {
            None => false,
            Some(Entry::Over(ours)) => ours.latest_start >= theirs.latest_start,
            Some(Entry::Open(ours)) => {
                ours.id.start > theirs.latest_start
                    || ours.id.life > theirs.id.life
                    // It ran out there, but we have heard of it since.
                    || (theirs.expired && ours.vouched_until(gap) > theirs.at)
            }
        };
        if !stands {
            self.keep_over(Entry::Over(theirs));
        }
    }

    /// Every open episode, in no order.
    pub fn open(&self) -> impl Iterator<Item = &Open> {
        self.kept.values().filter_map(|kept| match &kept.entry {
            Entry::Open(open) => Some(open),
            Entry::Over(_) => None,
        })
    }

    /// The open episode of a fingerprint.
    pub fn open_of(&self, fingerprint: Fingerprint) -> Option<&Open> {
        match &self.kept.get(&fingerprint)?.entry {
            Entry::Open(open) => Some(open),
            Entry::Over(_) => None,
        }
    }
}

impl Episodes {
    /// Whether the newest episode of a fingerprint is known to be over.
    pub fn is_over(&self, fingerprint: Fingerprint) -> bool {
        let kept = self.kept.get(&fingerprint);
        kept.is_some_and(|kept| matches!(kept.entry, Entry::Over(_)))
    }

    /// Names the delivery whose copies are judged next: new episodes remember it.
    pub fn delivering(&mut self, thread: &str) {
        thread.clone_into(&mut self.thread);
    }
}

impl Kept {
    fn fingerprint(&self) -> Fingerprint {
        match &self.entry {
            Entry::Open(open) => open.id.fingerprint,
            Entry::Over(over) => over.id.fingerprint,
        }
    }
}

/// Two replicas' views of one episode; whoever saw it first names it.
fn merge(ours: &mut Open, theirs: Open) {
    if (theirs.began, theirs.id) < (ours.began, ours.id) {
        ours.id = theirs.id;
        ours.began = theirs.began;
    }
    ours.latest_start = ours.latest_start.max(theirs.latest_start);
    ours.lease = ours.lease.max(theirs.lease);
    ours.open_ended |= theirs.open_ended;
    if theirs.last_copy > ours.last_copy {
        ours.last_copy = theirs.last_copy;
        ours.alert = theirs.alert;
    }
}

#[cfg(test)]
#[path = "episode_tests.rs"]
mod tests;
