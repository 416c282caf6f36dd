//! More alerts than a bot may tell: all named or counted in time, and the bot is never banned.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::world::{MINUTE, Vendor, World, group, message, tell};
use crate::notify::{Delivery, Notify};

const GROUPS: usize = 1_000;
const WITHIN: Duration = Duration::from_secs(10);

/// Tells a group each to the replicas in turn, spread over the storm's time.
async fn storm(replicas: &[Notify]) -> Vec<Delivery> {
    let told = (0..GROUPS).map(async |n| {
        tokio::time::sleep(WITHIN * u32::try_from(n).unwrap() / 1_000).await;
        tell(&replicas[n % replicas.len()], group(&format!("alert-{n}"))).await
    });
    join_all(told).await
}

/// Looks at what is owed again and again, as every replica does.
fn sweeping(world: &Arc<World>, replica: &Notify) -> tokio::task::JoinHandle<()> {
    let (world, replica) = (Arc::clone(world), replica.clone());
    tokio::spawn(async move {
        loop {
            world.pass(Duration::from_secs(10)).await;
            replica.sweep_once().await.unwrap();
        }
    })
}

async fn a_storm_over(count: u32, lines: usize) {
    let mut world = World::new();
    (world.calls, world.replicas) = (20, count);
    let (world, vendor) = (Arc::new(world), Vendor::strict(20, lines));
    let replicas: Vec<Notify> = (0..count).map(|_| world.replica(&vendor)).collect();
    let began = Instant::now();
    // One looks, or the shared clock would run at double speed.
    let sweeping = sweeping(&world, &replicas[0]);
    for delivery in storm(&replicas).await {
        assert!(
            matches!(delivery, Delivery::Delivered | Delivery::Pending),
            "{delivery:?}"
        );
    }
    world.tasks.close();
    world.tasks.wait().await;
    sweeping.abort();
    let taken = vendor.all();
    let named: usize = taken.iter().map(|one| one.names.len()).sum();
    let counted: u64 = taken.iter().map(|one| one.counted).sum();
    assert_eq!(
        named as u64 + counted,
        GROUPS as u64,
        "none lost, none twice"
    );
    let last = taken.iter().map(|one| one.at).max().unwrap() - began;
    assert!(last <= MINUTE, "the last was told after {last:?}");
    assert_eq!(
        *vendor.refused.lock().unwrap(),
        0,
        "and no call was too many"
    );
    if lines >= 100 {
        assert_eq!(counted, 0, "there was room to name all");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_groups_in_ten_seconds_are_all_named_by_one_replica() {
    a_storm_over(1, 200).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_groups_in_ten_seconds_are_all_named_by_two_replicas() {
    a_storm_over(2, 200).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_counted() {
    a_storm_over(1, 20).await;
    a_storm_over(2, 20).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_of_more_calls_than_a_window_has_is_not_starved() {
    let mut world = World::new();
    world.calls = 20;
    let vendor = Vendor::strict(20, 1);
    let notify = world.replica(&vendor);
    let names: Vec<String> = (0..50).map(|n| format!("alert-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(tell(&notify, message(&names)).await, Delivery::Pending);
    world.settle().await;
    assert_eq!(vendor.taken(), [names]);
    assert_eq!(*vendor.refused.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bot_that_is_banned_is_left_alone_by_every_replica_and_nothing_is_lost() {
    let mut world = World::new();
    world.calls = 40;
    // The configuration allows more than the vendor takes.
    let vendor = Vendor::strict(20, 130);
    let one = world.replica(&vendor);
    for n in 0..30 {
        tell(&one, group(&format!("alert-{n}"))).await;
    }
    world.pass(Duration::from_secs(10)).await;
    let refused = *vendor.refused.lock().unwrap();
    assert!(refused > 0, "this is about a ban");
    let two = world.replica(&vendor);
    two.heed_parkings().await.unwrap();
    assert_eq!(tell(&two, group("other")).await, Delivery::Pending);
    world.pass(MINUTE * 8).await;
    assert_eq!(
        *vendor.refused.lock().unwrap(),
        refused,
        "neither replica made it worse"
    );
    world.settle().await;
    let named: usize = vendor.taken().iter().map(Vec::len).sum();
    assert_eq!(named, 31);
}
