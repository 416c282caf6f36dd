//! What is told, what is owed, and what is told only once.

use super::world::{MINUTE, PATIENCE, Vendor, World, away, group, message, tell};
use crate::domain::alert::AlertStatus;
use crate::domain::notice::NoticeKind;
use crate::notify::Delivery;
use crate::notify::channel::Class;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn what_was_told_is_not_told_again_and_only_news_are_told() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[]));
    let notify = world.replica(&vendor);
    assert_eq!(tell(&notify, message(&["a"])).await, Delivery::Delivered);
    assert_eq!(tell(&notify, message(&["a"])).await, Delivery::Deduplicated);
    assert_eq!(
        tell(&notify, message(&["a", "b"])).await,
        Delivery::Delivered
    );
    assert_eq!(vendor.taken(), [["a"], ["b"]]);
}

#[tokio::test(start_paused = true)]
async fn two_replicas_told_the_same_make_one_message() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[]));
    let (one, two) = (world.replica(&vendor), world.replica(&vendor));
    let outcomes = futures::join!(
        tell(&one, message(&["a"])),
        tell(&two, message(&["a", "b"]))
    );
    assert!(
        outcomes.0 == Delivery::Delivered || outcomes.1 == Delivery::Delivered,
        "{outcomes:?}"
    );
    let mut told: Vec<String> = vendor.taken().concat();
    told.sort();
    assert_eq!(told, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_tried_again_while_the_sender_waits() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[Class::Retry; 2]));
    let notify = world.replica(&vendor);
    assert_eq!(tell(&notify, message(&["a"])).await, Delivery::Delivered);
    assert_eq!(vendor.taken(), [["a"]]);
}

#[tokio::test(start_paused = true)]
async fn a_longer_failure_is_owed_and_delivered_by_the_same_replica_when_it_is_over() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[Class::Retry; 9]));
    let notify = world.replica(&vendor);
    assert_eq!(tell(&notify, message(&["a"])).await, Delivery::Pending);
    world.settle().await;
    assert_eq!(vendor.taken(), [["a"]]);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_replica_owes_is_delivered_by_another_after_its_claim() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[Class::Retry; 9]));
    let one = world.replica(&vendor);
    assert_eq!(tell(&one, message(&["a"])).await, Delivery::Pending);
    // As a crash does: nothing of it runs on.
    one.retire();
    world.settle().await;
    let vendor = Vendor::scripted(&[]);
    let two = world.replica(&vendor);
    two.sweep_once().await.unwrap();
    world.settle().await;
    assert!(vendor.all().is_empty(), "its claim still stands");
    world.pass(Duration::from_secs(31)).await;
    world.replica(&vendor).sweep_once().await.unwrap();
    world.settle().await;
    assert_eq!(vendor.taken(), [["a"]]);
    world.pass(Duration::from_secs(31)).await;
    world.replica(&vendor).sweep_once().await.unwrap();
    world.settle().await;
    assert_eq!(vendor.taken().len(), 1, "it ended");
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_its_writers_claim_and_nobody_elses() {
    let (world, mut slow) = (World::new(), Vendor::default());
    slow.latency = Duration::from_secs(4);
    let (one, vendor) = (
        world.replica(&std::sync::Arc::new(slow)),
        Vendor::scripted(&[]),
    );
    let two = world.replica(&vendor);
    let sending = tokio::spawn(async move { tell(&one, message(&["a"])).await });
    world.pass(Duration::from_secs(2)).await;
    let names = world.store.list("ledger").await.unwrap();
    assert_eq!(names.len(), 1, "the entry alone: {names:?}");
    two.sweep_once().await.unwrap();
    assert_eq!(sending.await.unwrap(), Delivery::Delivered);
    world.settle().await;
    assert!(vendor.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_is_sent_in_plain_words_and_then_told_elsewhere() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[Class::Permanent]));
    let notify = world.replica(&vendor);
    assert_eq!(tell(&notify, group("a")).await, Delivery::Delivered);
    assert!(vendor.all()[0].plain);
    let vendor = Vendor::scripted(&[Class::Permanent; 2]);
    let notify = world.replica(&vendor);
    let refused = tell(&notify, group("b")).await;
    assert!(matches!(refused, Delivery::Refused(_)), "{refused:?}");
    world.pass(Duration::from_mins(10)).await;
    notify.sweep_once().await.unwrap();
    world.settle().await;
    assert!(vendor.all().is_empty(), "it is not asked again");
    assert!(world.heard.has("broken scripted"));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_broken_keeps_what_it_is_owed_until_it_is_mended() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[Class::Broken]));
    let notify = world.replica(&vendor);
    assert_eq!(tell(&notify, group("a")).await, Delivery::Pending);
    assert!(world.heard.has("broken scripted"));
    assert_eq!(tell(&notify, group("b")).await, Delivery::Pending);
    assert!(vendor.all().is_empty(), "and it is left alone");
    world.settle().await;
    let mut told = vendor.taken().concat();
    told.sort();
    assert_eq!(told, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_ban_is_told_once_and_a_short_pause_is_not() {
    let (world, short) = (World::new(), Class::Wait(MINUTE));
    let ban = Class::Wait(MINUTE * 10);
    let vendor = Vendor::scripted(&[short, ban]);
    let (one, two) = (world.replica(&vendor), world.replica(&vendor));
    assert_eq!(tell(&one, group("a")).await, Delivery::Pending);
    assert_eq!(world.heard.broken(), Vec::<String>::new());
    world.pass(MINUTE * 2).await;
    let first = world.heard.broken();
    assert_eq!(first, ["scripted until 2026-11-22T12:12:00Z"]);
    two.heed_parkings().await.unwrap();
    for name in ["b", "c"] {
        assert_eq!(tell(&one, group(name)).await, Delivery::Pending);
        assert_eq!(
            tell(&two, group(&format!("{name}2"))).await,
            Delivery::Pending
        );
    }
    assert_eq!(world.heard.broken(), first);
}

#[tokio::test(start_paused = true)]
async fn replicas_that_are_banned_at_once_name_the_ban_alike() {
    let (world, ban) = (World::new(), Class::Wait(MINUTE * 10));
    let one = world.replica(&Vendor::scripted(&[ban]));
    let two = world.replica(&Vendor::scripted(&[ban]));
    assert_eq!(tell(&one, group("a")).await, Delivery::Pending);
    world.pass(Duration::from_secs(3)).await;
    assert_eq!(tell(&two, group("b")).await, Delivery::Pending);
    let told = world.heard.broken();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], told[1], "so the ledger tells it once");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_once_more_and_then_rarely() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[Class::MaybeSent; 2]));
    let notify = world.replica(&vendor);
    assert_eq!(tell(&notify, message(&["a"])).await, Delivery::Pending);
    assert!(vendor.is_script_over(), "asked twice");
    assert!(vendor.all().is_empty(), "and not a third time");
    world.settle().await;
    assert_eq!(vendor.taken(), [["a"]], "yet it is not lost");
}

#[tokio::test(start_paused = true)]
async fn with_the_store_away_messages_still_go_out_once() {
    let (mut world, vendor) = (World::new(), Vendor::scripted(&[]));
    world.store = away();
    let notify = world.replica(&vendor);
    assert_eq!(tell(&notify, message(&["a"])).await, Delivery::Delivered);
    assert_eq!(tell(&notify, message(&["a"])).await, Delivery::Deduplicated);
    assert_eq!(vendor.taken(), [["a"]]);
}

#[tokio::test(start_paused = true)]
async fn with_store_and_channel_away_the_sender_must_send_again() {
    let (mut world, vendor) = (World::new(), Vendor::scripted(&[Class::Retry; 9]));
    world.store = away();
    let notify = world.replica(&vendor);
    let lost = tell(&notify, message(&["a"])).await;
    assert!(matches!(lost, Delivery::Lost(_)), "{lost:?}");
    // Its sender has it; a message that goes out after that would be a double.
    world.settle().await;
    assert!(vendor.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn with_the_store_away_a_retry_does_not_overtake_what_is_being_sent() {
    let (mut world, mut slow) = (World::new(), Vendor::default());
    slow.latency = Duration::from_secs(20);
    world.store = away();
    let vendor = std::sync::Arc::new(slow);
    let notify = world.replica(&vendor);
    let first = tell(&notify, message(&["a"])).await;
    assert!(matches!(first, Delivery::Lost(_)), "{first:?}");
    let retry = tell(&notify, message(&["a"])).await;
    assert!(matches!(retry, Delivery::Lost(_)), "{retry:?}");
    world.settle().await;
    assert_eq!(tell(&notify, message(&["a"])).await, Delivery::Deduplicated);
    assert_eq!(vendor.taken(), [["a"]]);
}

#[tokio::test(start_paused = true)]
async fn a_follow_up_answers_to_the_first_message_that_was_delivered() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[]));
    let notify = world.replica(&vendor);
    tell(&notify, message(&["a"])).await;
    let mut started = message(&[]);
    started.notice.kind = NoticeKind::RollbackStarted;
    started.covers = ["checkout@prod-1/started".to_owned()].into();
    // Another replica, which was not there before.
    let two = world.replica(&vendor);
    assert_eq!(two.tell(started, None, PATIENCE).await, Delivery::Delivered);
    let all = vendor.all();
    assert!(all[0].thread.is_none());
    assert!(all[1].thread.is_some());
}

#[tokio::test(start_paused = true)]
async fn nobody_hears_that_an_alert_ended_before_he_heard_of_it() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[Class::Retry; 4]));
    let notify = world.replica(&vendor);
    let firing = {
        let notify = notify.clone();
        tokio::spawn(async move { tell(&notify, message(&["fires"])).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut ended = message(&["ended"]);
    ended.notice.at = "2026-11-22T12:00:01Z".parse().unwrap();
    ended.notice.status = AlertStatus::Resolved;
    assert_eq!(tell(&notify, ended).await, Delivery::Pending);
    assert_eq!(firing.await.unwrap(), Delivery::Pending);
    world.settle().await;
    assert_eq!(vendor.taken(), [["fires"], ["ended"]]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_leaves_what_waits_to_the_next_setup() {
    let (world, vendor) = (World::new(), Vendor::scripted(&[Class::Broken]));
    let old = world.replica(&vendor);
    assert_eq!(tell(&old, message(&["a"])).await, Delivery::Pending);
    old.retire();
    world.settle().await;
    assert!(vendor.all().is_empty());
    world.pass(Duration::from_secs(31)).await;
    let new = world.replica(&vendor);
    new.sweep_once().await.unwrap();
    world.settle().await;
    assert_eq!(vendor.taken(), [["a"]]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_entry_keeps_no_other_from_being_sent() {
    let world = World::new();
    let vendor = Vendor::scripted(&[Class::Retry; 4]);
    let gone = world.replica(&vendor);
    gone.retire();
    for name in ["a", "b"] {
        tell(&gone, group(name)).await;
    }
    let entries = world.store.list("ledger").await.unwrap();
    world
        .store
        .put_bytes(&entries[0], "torn".into())
        .await
        .unwrap();
    world.pass(Duration::from_mins(1)).await;
    let other = Vendor::scripted(&[]);
    let notify = world.replica(&other);
    notify.sweep_once().await.unwrap();
    world.settle().await;
    assert_eq!(other.taken().concat().len(), 1, "{:?}", other.taken());
    assert!(world.heard.has("trouble reading an owed message"));
}
