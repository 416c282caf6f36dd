use std::collections::BTreeMap;

use super::super::presence::{Doing, Dropped};
use super::*;
use crate::config::load::{Secrets, load};
use crate::domain::clock::ManualClock;
use crate::explain::Code;

/// The present; everything here happened hours ago.
const NOW: &str = "2026-11-22T18:00:00Z";

fn t(text: &str) -> Timestamp {
    format!("2026-11-22T{text}Z").parse().unwrap()
}

async fn sign(store: &Store, by: &str, from: &str, to: &str, change: impl FnOnce(&mut Sign)) {
    let mut sign = Sign {
        by: by.parse().unwrap(),
        doing: Doing::Serving,
        from: t(from),
        to: t(to),
        answers: BTreeMap::from([("webhook 200".to_owned(), 2)]),
        dropped: Vec::new(),
        more_dropped: 0,
    };
    change(&mut sign);
    let key = keys::presence(sign.to, by);
    store.create(&key, &sign).await.unwrap();
}

async fn explain(store: &Store, at: &str) -> Explanation {
    let config = load(None, Secrets::Read).unwrap();
    let clock: SharedClock = ManualClock::at(NOW.parse().unwrap());
    let at = t(at);
    let moment = Moment {
        service: "checkout".parse().unwrap(),
        env: None,
        at,
        from: clock::before(at, Duration::from_mins(5)),
        to: clock::after(at, Duration::from_mins(5)).min(clock.now()),
        time_zone: "UTC".to_owned(),
    };
    from_store(store, &config, &clock, moment, &TimeZone::UTC)
        .await
        .unwrap()
}

fn codes(explanation: &Explanation) -> Vec<Code> {
    explanation.because.iter().map(|one| one.code).collect()
}

#[tokio::test]
async fn a_crash_between_two_signs_is_a_gap_and_quiet_time_is_not() {
    let store = Store::in_memory();
    for (by, from, to) in [
        ("r1", "13:00:00", "13:58:30"),
        ("r1", "13:58:30", "13:59:30"),
        // r1 died; its successor came six minutes later.
        ("r2", "14:05:10", "14:05:12"),
        ("r2", "14:05:12", "16:00:00"),
    ] {
        sign(&store, by, from, to, |_| {}).await;
    }
    let down = explain(&store, "14:02:00").await;
    assert_eq!(codes(&down), [Code::NobodyUp, Code::NoAlert]);
    let gap = down.presence.unwrap().gaps[0];
    assert_eq!((gap.from, gap.to), (t("13:59:30"), t("14:05:10")));
    let quiet = explain(&store, "13:30:00").await;
    assert_eq!(codes(&quiet), [Code::NoAlert]);
    assert_eq!(quiet.presence.unwrap().replicas, 1);
    assert_eq!(quiet.not_known, Vec::<String>::new());
}

#[tokio::test]
async fn time_before_the_first_sign_of_all_is_not_known() {
    let store = Store::in_memory();
    let nothing = explain(&store, "14:02:00").await;
    assert_eq!(codes(&nothing), [Code::NotKnown]);
    assert_eq!(nothing.not_known.len(), 1, "{:?}", nothing.not_known);
}

#[tokio::test]
async fn of_the_last_minute_nothing_is_claimed() {
    let store = Store::in_memory();
    sign(&store, "r1", "16:00:00", "17:59:10", |_| {}).await;
    let recent = explain(&store, "17:59:30").await;
    assert_eq!(codes(&recent), [Code::NoAlert]);
    assert!(
        recent.not_known[0].contains("last minute"),
        "{:?}",
        recent.not_known
    );
}

#[tokio::test]
async fn what_was_refused_at_the_door_or_came_late_is_told_for_its_service() {
    let store = Store::in_memory();
    sign(&store, "r1", "13:50:00", "14:10:00", |sign| {
        sign.answers.insert("webhook 401".to_owned(), 3);
        for (service, what) in [
            (Some("checkout"), "a late copy"),
            (Some("cart"), "not mine"),
            (None, "bad"),
        ] {
            sign.dropped.push(Dropped {
                at: t("14:02:00"),
                service: service.map(str::to_owned),
                what: what.to_owned(),
            });
        }
    })
    .await;
    let told = explain(&store, "14:02:00").await;
    assert_eq!(
        codes(&told),
        [Code::Refused, Code::LeftOut, Code::LeftOut, Code::NoAlert]
    );
    assert!(
        !told
            .because
            .iter()
            .any(|reason| reason.text.contains("not mine"))
    );
}
