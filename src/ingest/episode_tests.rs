use proptest::prelude::*;

use super::*;
use crate::domain::alert::Labels;

const TIMING: EpisodeTiming = EpisodeTiming {
    gap: Duration::from_mins(5),
    remind_after: Duration::from_hours(1),
};

/// 2026-11-22T20:00:00Z plus `seconds`.
fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_377_600 + seconds).unwrap()
}

fn copy(source: Source, start: i64, ends_at: Option<i64>, status: AlertStatus) -> Alert {
    let labels = Labels::from([("alertname".to_owned(), "A".to_owned())]);
    Alert {
        fingerprint: Fingerprint::of(&labels),
        status,
        labels,
        annotations: Labels::new(),
        starts_at: t(start),
        ends_at: ends_at.map(t),
        generator_url: None,
        source,
    }
}

/// An Alertmanager's copy: no lease.
fn am(start: i64) -> Alert {
    copy(Source::Alertmanager, start, None, AlertStatus::Firing)
}

fn am_end(start: i64, end: i64) -> Alert {
    copy(
        Source::Alertmanager,
        start,
        Some(end),
        AlertStatus::Resolved,
    )
}

/// A vmalert's copy, vouched for until `lease`.
fn vm(start: i64, lease: i64) -> Alert {
    copy(Source::Vmalert, start, Some(lease), AlertStatus::Firing)
}

fn vm_end(start: i64, end: i64) -> Alert {
    copy(Source::Vmalert, start, Some(end), AlertStatus::Resolved)
}

struct Story(Episodes);

impl Story {
    fn new() -> Self {
        Self(Episodes::new(TIMING))
    }

    /// `at` this alert arrives; what is it?
    fn at(&mut self, at: i64, alert: &Alert) -> (Class, Option<String>) {
        let (seen, _) = self.0.see(0, alert, t(at));
        let print = format!("{}@", alert.fingerprint);
        (seen.class, seen.fact.map(|fact| fact.replace(&print, "")))
    }

    fn fact(&mut self, at: i64, alert: &Alert) -> String {
        self.at(at, alert).1.unwrap()
    }
}

#[test]
fn a_life_has_one_name_from_beginning_to_end() {
    let mut story = Story::new();
    assert_eq!(
        story.at(0, &am(-5)),
        (Class::Started, Some("2026-11-22T19:59:55Z/firing/0".into()))
    );
    // The same again after our 503: the ledger is asked under the same name.
    assert_eq!(
        story.at(1, &am(-5)),
        (Class::Still, Some("2026-11-22T19:59:55Z/firing/0".into()))
    );
    assert_eq!(
        story.at(60, &am_end(-5, 50)),
        (Class::Ended, Some("2026-11-22T19:59:55Z/resolved/0".into()))
    );
    assert_eq!(
        story.at(61, &am_end(-5, 50)),
        (
            Class::EndedAgain,
            Some("2026-11-22T19:59:55Z/resolved/0".into())
        )
    );
}

#[test]
fn copies_of_both_doors_are_one_episode() {
    let mut story = Story::new();
    assert_eq!(story.at(0, &vm(0, 60)).0, Class::Started);
    assert_eq!(story.at(30, &am(-10)).0, Class::Still);
    assert_eq!(story.at(40, &vm_end(0, 40)).0, Class::Ended);
    assert_eq!(story.at(300, &am_end(-10, 40)).0, Class::EndedAgain);
}

#[test]
fn a_restarted_vmalert_goes_on_with_the_same_episode() {
    let mut story = Story::new();
    let first = story.fact(0, &vm(0, 600));
    // While the lease runs, and, once it ran out, within the gap of the last copy.
    assert_eq!(story.fact(500, &vm(490, 560)), first);
    assert_eq!(story.fact(790, &vm(780, 850)), first);
    // After both, a later start is another life.
    assert_eq!(story.at(1_200, &vm(1_190, 1_260)).0, Class::Started);
}

#[test]
fn after_an_end_only_a_later_start_begins_anew() {
    let mut story = Story::new();
    story.at(0, &am(0));
    story.at(60, &am_end(0, 50));
    // A late Alertmanager peer.
    assert_eq!(story.at(61, &am(0)), (Class::Stale, None));
    assert_eq!(story.at(62, &am(-30)), (Class::Stale, None));
    assert_eq!(story.at(63, &am(55)).0, Class::Started);
    // And the end of the life before does not end this one.
    assert_eq!(story.at(64, &am_end(0, 50)).0, Class::Stale);
    assert_eq!(story.at(65, &am(55)).0, Class::Still);
}

#[test]
fn an_end_that_arrives_first_makes_its_beginning_stale() {
    let mut story = Story::new();
    assert_eq!(story.at(0, &am_end(-60, -1)).0, Class::Ended);
    assert_eq!(story.at(1, &am(-60)), (Class::Stale, None));
    // vmalert repeats old ends to a gateway that never heard of them: nobody is told.
    let mut story = Story::new();
    assert_eq!(story.at(0, &vm_end(-60, -1)), (Class::Stale, None));
    assert_eq!(story.at(15, &vm_end(-60, -1)), (Class::Stale, None));
}

#[test]
fn a_firing_alert_is_told_again_every_hour() {
    let mut story = Story::new();
    story.at(0, &vm(0, 60));
    assert_eq!(story.at(3_599, &vm(0, 3_700)).0, Class::Still);
    let (class, fact) = story.at(3_600, &vm(0, 3_700));
    assert_eq!(class, Class::Reminded);
    assert!(fact.unwrap().ends_with("/firing/1"));
    assert_eq!(story.at(3_615, &vm(0, 3_700)).0, Class::Still);
    // A sender that comes every four hours is told once for them.
    assert!(
        story
            .fact(4 * 3_600 + 5, &vm(0, 14_500))
            .ends_with("/firing/4")
    );
}

#[test]
fn a_lease_that_ran_out_ends_it_and_a_return_is_told() {
    let mut story = Story::new();
    story.at(0, &vm(0, 600));
    assert!(story.0.sweep(t(599), Duration::ZERO).is_empty());
    let ended = story.0.sweep(t(600), Duration::ZERO);
    assert_eq!(ended.len(), 1);
    assert!(ended[0].1.expired);
    assert!(story.0.sweep(t(601), Duration::ZERO).is_empty());
    // The network was away, not the alert.
    assert_eq!(
        story.at(700, &vm(0, 760)),
        (
            Class::Started,
            Some("2026-11-22T20:00:00Z.1/firing/0".into())
        )
    );
}

#[test]
fn a_short_lease_outlives_a_gap_between_copies() {
    let mut story = Story::new();
    story.at(0, &vm(0, 20));
    assert!(story.0.sweep(t(299), Duration::ZERO).is_empty());
    assert_eq!(story.0.sweep(t(300), Duration::ZERO).len(), 1);
}

#[test]
fn what_alertmanager_vouches_for_is_not_ended_by_silence_but_forgotten() {
    let mut story = Story::new();
    story.at(0, &am(0));
    let day = i64::try_from(FORGET_AFTER.as_secs()).unwrap();
    assert!(story.0.sweep(t(day - 1), Duration::ZERO).is_empty());
    assert_eq!(story.0.open().count(), 1);
    assert!(story.0.sweep(t(day), Duration::ZERO).is_empty());
    assert_eq!(story.0.open().count(), 0);
}

#[test]
fn others_hear_at_the_start_at_half_the_lease_and_at_the_end() {
    let mut episodes = Episodes::new(TIMING);
    let mut news = |at: i64, alert: &Alert| episodes.see(0, alert, t(at)).1.is_some();
    assert!(news(0, &vm(0, 60)));
    assert!(!news(15, &vm(0, 75)));
    assert!(!news(149, &vm(0, 209)));
    assert!(news(150, &vm(0, 210)));
    assert!(!news(165, &vm(0, 225)));
    // Another sender vouches without a lease: that is news.
    assert!(news(170, &am(0)));
    assert!(news(180, &vm_end(0, 180)));
    assert!(!news(195, &vm_end(0, 180)));
}

#[test]
fn another_replica_continues_where_the_first_was() {
    let (mut one, mut two) = (Episodes::new(TIMING), Episodes::new(TIMING));
    let (first, note) = one.see(0, &vm(0, 60), t(0));
    two.absorb(note.unwrap(), t(1));
    let (second, _) = two.see(0, &vm(0, 75), t(15));
    assert_eq!((second.class, second.fact), (Class::Still, first.fact));
    // It hears of the end, and of an old beginning late.
    let (_, begin) = one.see(0, &vm(0, 90), t(200));
    let (_, end) = one.see(0, &vm_end(0, 210), t(210));
    two.absorb(end.unwrap(), t(211));
    two.absorb(begin.unwrap(), t(212));
    assert_eq!(two.open().count(), 0);
}

#[test]
fn an_expiry_elsewhere_does_not_end_what_was_heard_here_since() {
    let (mut one, mut two) = (Episodes::new(TIMING), Episodes::new(TIMING));
    let (_, note) = one.see(0, &vm(0, 60), t(0));
    two.absorb(note.unwrap(), t(0));
    one.see(0, &vm(0, 260), t(200));
    let (_, over) = two.sweep(t(310), Duration::ZERO).remove(0);
    one.absorb(Entry::Over(over), t(311));
    assert_eq!(one.open().count(), 1);
    // And the one that was wrong takes it back.
    let open = one.open().next().cloned().unwrap();
    let open = Open {
        last_copy: t(320),
        thread: String::new(),
        ..open
    };
    two.absorb(Entry::Open(open), t(321));
    assert_eq!(two.open().count(), 1);
}

fn any_copy() -> impl Strategy<Value = (i64, Alert)> {
    (0..4_000_i64, -600..4_000_i64, 1..900_i64, 0..4_u8).prop_map(|(at, start, lease, kind)| {
        let start = start.min(at);
        let alert = match kind {
            0 => am(start),
            1 => vm(start, at + lease),
            2 => am_end(start, (start + lease).min(at)),
            _ => vm_end(start, (start + lease).min(at)),
        };
        (at, alert)
    })
}

proptest! {
    #[test]
    fn whatever_comes_a_start_is_named_once_and_a_replica_that_reads_the_notes_agrees(
        mut copies in prop::collection::vec(any_copy(), 1..40),
    ) {
        copies.sort_by_key(|(at, _)| *at);
        let (mut one, mut two) = (Episodes::new(TIMING), Episodes::new(TIMING));
        let mut started = std::collections::BTreeSet::new();
        for (at, alert) in &copies {
            for (_, over) in one.sweep(t(*at), Duration::ZERO) {
                two.absorb(Entry::Over(over), t(*at));
            }
            let (seen, note) = one.see(0, alert, t(*at));
            if seen.class == Class::Started {
                prop_assert!(started.insert(seen.episode), "{} began twice", seen.episode);
            }
            if let Some(note) = note {
                two.absorb(note.clone(), t(*at));
                two.absorb(note, t(*at));
            }
            let id = |episodes: &Episodes| episodes.open().next().map(|open| open.id);
            prop_assert_eq!(id(&one), id(&two));
        }
    }
}
